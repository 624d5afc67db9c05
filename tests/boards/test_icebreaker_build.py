"""The whole way to the bitstream of a real board with the real tools.

Beside test_real_build.py, so that both run at the same time.
"""

from __future__ import annotations

import json
from pathlib import Path

from oarlock.gen.cli import main


def test_the_bitstream_of_an_icebreaker(tmp_path: Path) -> None:
    # Nothing smaller would tell whether it fits.
    out = tmp_path / "out"
    assert main(["build", "--board", "icebreaker", "-o", str(out), "--seeds", "3"]) == 0
    report = json.loads((out / "build.json").read_text())
    assert report["met"] and report["achieved_hz"] >= 18_000_000
    assert report["dsp"] == report["available"]["dsp"] == 8
    assert 24 < report["bram"] <= report["available"]["bram"] == 30
    # With room, or the next change does not fit.
    assert 2500 < report["lut"] < 0.8 * report["available"]["lut"] == 0.8 * 5280
    # Ref: iCE40 Programming and Configuration, FPGA-TN-02001: a bitstream begins with a comment
    # and the preamble 7EAA997E.
    assert b"\x7e\xaa\x99\x7e" in (out / "icebreaker.bin").read_bytes()[:64]
