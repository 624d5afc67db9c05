"""cocotb benches of the array and of what stands around it."""

from __future__ import annotations

import pytest
from oarlock.hw import isa
from oarlock.hw.post_processor import PostProcessor
from oarlock.hw.processing_array import ProcessingArray
from oarlock.hw.processing_element import ProcessingElement
from oarlock.hw.sequencer import Sequencer
from oarlock.sim.bench import BenchFailure, run_bench


def processing_element(*, zero_gating: bool = True, **options: object) -> None:
    sizes = {"ifmap_depth": 16, "filter_depth": 64, "psum_depth": 4, "psum_width": 24,
             "sum_width": 32, "zero_gating": zero_gating}
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


ARRAYS = {
    "1x1": {"rows": 1, "cols": 1, "word_bytes": 4, "ifmap_depth": 16, "filter_depth": 16,
            "psum_depth": 1, "psum_width": 32, "sum_width": 32, "zero_gating": True},
    "5x3": {"rows": 5, "cols": 3, "word_bytes": 8, "ifmap_depth": 16, "filter_depth": 32,
            "psum_depth": 4, "psum_width": 32, "sum_width": 32, "zero_gating": True},
}


def processing_array(array: str, **options: object) -> None:
    sizes = ARRAYS[array] | {"sideband": 9}
    run_bench(ProcessingArray(**sizes), test_module="oarlock.sim.benches.processing_array",
              parameters=sizes, **options)


@pytest.mark.parametrize("array", ARRAYS)
def test_processing_array(array: str) -> None:
    processing_array(array)


@pytest.mark.parametrize(("sabotage", "message"), [
    ("group", "sums must be"),
    ("gating", "counts must be"),
])
def test_a_wrong_processing_array_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        processing_array("5x3", only="p_idle=0$", env={"OARLOCK_SABOTAGE": sabotage})


def post_processor(**options: object) -> None:
    sizes = {"lanes": 3, "parameter_depth": 13}
    run_bench(PostProcessor(**sizes, tag_shape=6), test_module="oarlock.sim.benches.post_processor",
              parameters=sizes, **options)


def test_post_processor() -> None:
    post_processor()


@pytest.mark.parametrize("sabotage", ["zero point", "rounding"])
def test_a_wrong_post_processor_is_noticed(sabotage: str) -> None:
    with pytest.raises(BenchFailure, match=r"results: item \d+ must be"):
        post_processor(only="p_idle=0/zero_point=-128$", env={"OARLOCK_SABOTAGE": sabotage})


def sequencer(**options: object) -> None:
    sizes = {"dataflow": isa.Dataflow.WEIGHT_STATIONARY, "rows": 2, "cols": 1}
    dut = Sequencer(lengths=isa.descriptor_lengths(**sizes), program_depth=256)
    run_bench(dut, test_module="oarlock.sim.benches.sequencer",
              parameters=sizes | {"program_depth": 256}, **options)


def test_sequencer() -> None:
    sequencer()


@pytest.mark.parametrize(("sabotage", "message"), [
    ("time", "done_cycles must be"),
    ("last word", r"starts: item \d+ must be"),
    ("record", r"word \d+ must be"),
])
def test_a_wrong_sequencer_is_noticed(sabotage: str, message: str) -> None:
    with pytest.raises(BenchFailure, match=message):
        sequencer(only="longest=3/p_idle=0$", env={"OARLOCK_SABOTAGE": sabotage})
