"""The whole way to a bitstream with the real tools, for the smallest accelerator there is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from oarlock.boards.registry import BOARDS
from oarlock.gen.cli import main
from oarlock.gen.config import PRESETS, ArrayConfig


SMALLEST = ArrayConfig(rows=1, cols=1, ifmap_depth=16, filter_depth=512, psum_depth=4, word_bytes=4,
                       buffer_bytes=4096, lanes=1, lane_depth=2, parameter_depth=64,
                       program_depth=512, counters=False, clock_hz=30_000_000)


def test_a_bitstream_for_ecp5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "smallest", SMALLEST)
    monkeypatch.setitem(BOARDS, "smallest", replace(BOARDS["ulx3s-25f"], name="smallest"))
    out = tmp_path / "out"
    assert main(["build", "--board", "smallest", "-o", str(out)]) == 0
    report = json.loads((out / "build.json").read_text())
    assert report["met"] and report["achieved_hz"] >= 30_000_000
    # One PE, and the four of its lane.
    assert report["dsp"] == 5
    assert 0 < report["bram"] <= report["available"]["bram"] == 56
    assert 1000 < report["lut"] < report["available"]["lut"] == 24_288
    # Ref: ECP5 sysCONFIG Usage Guide, FPGA-TN-02039: a bitstream begins with a comment, and its
    # preamble is FFFF BDB3. The part is in clear text.
    bits = (out / "smallest.bit").read_bytes()
    assert bits.startswith(b"\xff\x00") and b"LFE5U-25F" in bits[:200]
    assert b"\xff\xff\xbd\xb3" in bits[:300]
    assert len(bits) > 50_000
