"""cocotb bench of the Verilog's ports."""

from __future__ import annotations

import pytest
from oarlock.gen.config import ArrayConfig
from oarlock.hw.top import Top
from oarlock.sim.bench import BenchFailure, run_bench


CONFIG = ArrayConfig(rows=1, cols=1, ifmap_depth=16, filter_depth=64, psum_depth=1, word_bytes=4,
                     buffer_bytes=1024, lanes=1, lane_depth=2, parameter_depth=16,
                     program_depth=256)


def axi_stream(**options: object) -> None:
    run_bench(Top(CONFIG), test_module="oarlock.sim.benches.axi_stream",
              parameters={"buffer_bytes": CONFIG.buffer_bytes}, **options)


def test_axi_stream() -> None:
    axi_stream()


def test_a_wrong_length_is_noticed() -> None:
    with pytest.raises(BenchFailure, match="TLAST is not where the answer ends"):
        axi_stream(only="p_idle=0/p_stall=0$", env={"OARLOCK_SABOTAGE": "length"})
