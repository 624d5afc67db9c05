"""cocotb benches of the memories and of the way to them."""

from __future__ import annotations

import pytest
from oarlock.hw import isa
from oarlock.hw.command_decoder import CommandDecoder
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.sim.bench import BenchFailure, run_bench


def global_buffer(size_bytes: int, word_bytes: int, banks: int, **options: object) -> None:
    sizes = {"size_bytes": size_bytes, "word_bytes": word_bytes}
    run_bench(GlobalBuffer(**sizes, banks=banks), parameters=sizes,
              test_module="oarlock.sim.benches.global_buffer", **options)


@pytest.mark.parametrize(("size_bytes", "word_bytes", "banks"),
                         [(80, 4, 2), (1280, 16, 2), (160, 8, 4), (1280, 16, 32)])
def test_global_buffer(size_bytes: int, word_bytes: int, banks: int) -> None:
    global_buffer(size_bytes, word_bytes, banks)


@pytest.mark.parametrize(("sabotage", "message"), [
    ("short write", "must be"),
    ("late host", "host_read_valid must be"),
])
def test_a_wrong_global_buffer_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        global_buffer(80, 4, 2, env={"OARLOCK_SABOTAGE": sabotage})


def command_decoder(**options: object) -> None:
    sizes = {"rows": 6, "cols": 5, "buffer_bytes": 160, "program_depth": 40, "parameter_depth": 7,
             "filter_depth": 16,
             "info": {name: 0x12340000 + n for n, name in enumerate(isa.INFO_FIELDS)}}
    run_bench(CommandDecoder(**sizes), test_module="oarlock.sim.benches.command_decoder",
              parameters=sizes, **options)


def test_command_decoder() -> None:
    command_decoder()


@pytest.mark.parametrize(("sabotage", "message"), [
    ("drop two", "answers: item"),
    ("range", "(answers|writes|runs): item"),
])
def test_a_wrong_command_decoder_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        command_decoder(only="p_idle=0/p_stall=0$", env={"OARLOCK_SABOTAGE": sabotage})
