"""The whole way to the bitstream of a real board with the real tools; beside test_real_build.py, so
that both run at the same time."""

from __future__ import annotations

import json
from pathlib import Path

from oarlock.gen.cli import main


def test_the_bitstream_of_an_icebreaker(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["build", "--board", "icebreaker", "-o", str(out), "--seeds", "3"]) == 0
    report = json.loads((out / "build.json").read_text())
    assert report["met"] and report["achieved_hz"] >= 18_000_000
    # All of the multipliers; and room, or the next change does not fit.
    assert report["dsp"] == report["available"]["dsp"] == 8
    assert 1000 < report["lut"] < 0.8 * report["available"]["lut"]
    # Ref: iCE40 Programming and Configuration, FPGA-TN-02001: the preamble of a bitstream.
    assert b"\x7e\xaa\x99\x7e" in (out / "icebreaker.bin").read_bytes()[:300]
