"""Sabotage of the compact core: whatever is broken, in logic or microcode, a layer notices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from layer_networks import NetworkBuilder
from oarlock.gen.config import load_config
from oarlock.gen.verilog import emit
from oarlock.hw import (
    byte_memory,
    compact_accelerator,
    micro_commands,
    micro_convolution,
    micro_engine,
    micro_scale,
    serial_multiplier,
)
from oarlock.sim.simulator import Simulator, build


sys.path.append(str(Path(__file__).parents[1]))

from test_mutants import mutated
from test_random_layers import check


CONFIG = load_config("icebreaker", filter_depth=256, accumulator_depth=8, buffer_bytes=2048,
                     parameter_depth=64, program_depth=512)

#: Name: the class or function, who makes it, what is replaced by what.
MUTANTS = {
    "a digit's carry is lost": (
        serial_multiplier.SerialMultiplier, micro_engine, "negative | bits.all()", "negative"),
    "padding is 0 and not the zero point": (
        micro_engine.MicroEngine, compact_accelerator,
        "memory.data_out.word_select(n, 8), zero_point)", "memory.data_out.word_select(n, 8), 0)"),
    "behind an odd word comes the even one beside it": (
        byte_memory.ByteMemory, micro_engine, "(odd if number == 0 else 0)", "0"),
    "sums are drained but not cleared": (
        micro_convolution.convolution, micro_commands,
        'p.op("add", 4, acc=True, when=When.SET)', 'p.op("add", 0, acc=True, when=When.SET)'),
    "negative halves are rounded up": (
        micro_scale.second_pass, micro_convolution,
        'f"{prefix}less", acc=True, when=When.SET', 'f"{prefix}less", acc=True, when=When.CLEAR'),
}


def check_layers(verilog: str) -> None:
    """Run a padded convolution of several tiles under both rules."""
    builder = NetworkBuilder((9, 10, 3), 1, zero_point=5)
    builder.conv(10, (3, 3), padding=((1, 1), (1, 1)), stride=(2, 1))
    with Simulator(build(verilog)) as simulator:
        for rounding in ("single", "double"):
            check((CONFIG, simulator), builder.network(), rounding, 1)


def test_the_original_passes() -> None:
    check_layers(emit(CONFIG))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str) -> None:
    with mutated(*MUTANTS[name]):
        verilog = emit(CONFIG)
    with pytest.raises(AssertionError):
        check_layers(verilog)
