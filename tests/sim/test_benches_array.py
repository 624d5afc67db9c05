"""cocotb benches of the array and of what stands around it."""

from __future__ import annotations

import pytest
from oarlock.hw.processing_element import ProcessingElement
from oarlock.sim.bench import BenchFailure, run_bench


def processing_element(*, zero_gating: bool = True, **options: object) -> None:
    sizes = {"ifmap_depth": 16, "filter_depth": 64, "psum_depth": 4, "zero_gating": zero_gating}
    run_bench(ProcessingElement(**sizes), test_module="oarlock.sim.benches.processing_element",
              parameters=sizes, **options)


@pytest.mark.parametrize("zero_gating", [True, False])
def test_processing_element(zero_gating: bool) -> None:
    processing_element(zero_gating=zero_gating)


@pytest.mark.parametrize(("sabotage", "message"), [
    ("span", "took in cycle .* must be"),
    ("first", "sum_out in cycle .* must be"),
])
def test_a_wrong_processing_element_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        processing_element(only="p_idle=0$", env={"OARLOCK_SABOTAGE": sabotage})
