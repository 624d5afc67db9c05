"""Counters can be left out: the same results, a smaller design, and clear words from the host."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from oarlock.gen.config import PRESETS, ArrayConfig
from oarlock.gen.errors import OarlockError
from oarlock.gen.runner import compile_model, random_inputs, run_model
from oarlock.gen.tables import run_tables
from oarlock.gen.tflite_import import load
from oarlock.gen.verilog import emit
from oarlock.hw.accelerator import Accelerator
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.transport import SimTransport
from oarlock.sw_driver.errors import DriverError
from oarlock.sw_driver.session import Session
from rich.console import Console


DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"
WITHOUT = replace(PRESETS["tiny"], counters=False)


def test_results_are_the_same(capsys):
    result = run_model(DIGITS, preset="tiny", config=WITHOUT)
    assert result.bit_exact
    assert result.report["counters"] == {"cycles": result.cycles}
    assert result.cycles == run_model(DIGITS, preset="tiny").cycles
    run_tables(Console(), result)
    assert "not counted by this configuration" in capsys.readouterr().out


def test_who_needs_them_says_so():
    with pytest.raises(OarlockError, match="leaves out the counters, which this needs"):
        run_model(DIGITS, preset="tiny", config=WITHOUT, profile=True)
    library = build(emit(WITHOUT))
    program = compile_model(DIGITS, WITHOUT, "single")
    with Simulator(library) as simulator, Session(SimTransport(simulator), program) as session:
        session.load()
        session.infer(random_inputs(load(DIGITS)))
        with pytest.raises(DriverError, match="Device has no counters"):
            session.counters()


def flip_flops(config: ArrayConfig) -> int:
    """Return the bits of registers that something depends on."""
    text = rtlil.convert(Accelerator(config))
    script = (f"read_rtlil <<rtlil\n{text}\nrtlil\nhierarchy -auto-top\nproc\nflatten\n"
              "opt_clean -purge\nwrite_rtlil\n")
    netlist = find_yosys(lambda version: version >= (0, 40)).run(
        ["-q", "-"], script, ignore_warnings=True)
    registers = re.findall(r"cell \$s?dff\w* .*?parameter \\WIDTH (\d+)", netlist,
                           flags=re.DOTALL)
    return sum(map(int, registers))


@pytest.mark.parametrize("dataflow", ["row-stationary", "weight-stationary"])
def test_the_design_is_smaller(dataflow):
    config = ArrayConfig(
        rows=2, cols=3, ifmap_depth=16, filter_depth=64, psum_depth=4, word_bytes=4,
        buffer_bytes=1024, lanes=2, lane_depth=2, parameter_depth=16, program_depth=512,
        dataflow=dataflow)
    counted = flip_flops(config)
    without = flip_flops(replace(config, counters=False))
    # 22 counters of 48 bits, cycles apart.
    assert 0 < without <= counted - 22 * 48
