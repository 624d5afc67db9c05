"""cocotb benches of the memories and of the way to them."""

from __future__ import annotations

import pytest
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.sim.bench import BenchFailure, run_bench


def global_buffer(size_bytes: int, word_bytes: int, **options: object) -> None:
    sizes = {"size_bytes": size_bytes, "word_bytes": word_bytes}
    run_bench(GlobalBuffer(**sizes), test_module="oarlock.sim.benches.global_buffer",
              parameters=sizes, **options)


@pytest.mark.parametrize(("size_bytes", "word_bytes"), [(80, 4), (1280, 16)])
def test_global_buffer(size_bytes: int, word_bytes: int) -> None:
    global_buffer(size_bytes, word_bytes)


@pytest.mark.parametrize(("sabotage", "message"), [
    ("short write", "must be"),
    ("late host", "host_read_valid must be"),
])
def test_a_wrong_global_buffer_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        global_buffer(80, 4, env={"OARLOCK_SABOTAGE": sabotage})
