"""Whole networks on the Verilated accelerator: bit-exact, every MAC accounted for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from oarlock.gen.config import DATAFLOWS, load_config
from oarlock.gen.counts import layer_counts, predicted
from oarlock.gen.interpret import evaluate
from oarlock.gen.link_words import link_boxes, link_words
from oarlock.gen.runner import RunResult, compile_model, random_inputs, run_model
from oarlock.gen.tflite_import import load
from oarlock.gen.value_counts import value_counts
from oarlock.hw import isa
from shared_data import MODELS, real_inputs, shared_file
from tflite_builder import Builder


ROUNDINGS = ("single", "double")

#: Shares of the PE-cycles that a network must use on the flagship (issue 2).
FLOORS = {"pretrainedResnet_quant": 0.40, "kws_ref_model": 0.25, "vww_96_int8": 0.25}

#: Device cycles on the flagship. Cycles are exact: a larger number is a regression.
AT_MOST = {
    "row-stationary": {
        "kws_ref_model": 23_497, "pretrainedResnet_quant": 98_282, "vww_96_int8": 73_725,
        "ad01_int8": 2_929, "str_ww_ref_model": 7_425},
    "weight-stationary": {
        "kws_ref_model": 54_204, "pretrainedResnet_quant": 122_387, "vww_96_int8": 154_306,
        "ad01_int8": 23_830, "str_ww_ref_model": 12_359},
}

#: Likewise on what boards have, under both rounding rules.
AT_MOST_ON = {
    "ulx3s-85f-three-lanes": {
        "kws_ref_model": (34_671, 34_671), "pretrainedResnet_quant": (126_065, 126_065),
        "vww_96_int8": (112_790, 112_790), "ad01_int8": (3_526, 3_526),
        "str_ww_ref_model": (9_444, 9_444)},
    "icebreaker": {
        "kws_ref_model": (1_551_317, 2_273_556), "pretrainedResnet_quant": (5_343_165, 6_086_827),
        "vww_96_int8": (5_410_332, 7_764_108), "ad01_int8": (1_513_941, 1_522_157),
        "str_ww_ref_model": (652_151, 795_438)},
}

FULL = os.environ.get("OARLOCK_SLOW") == "1"


def check(path: Path, result: RunResult) -> None:
    """Assert what must hold of every run; cycles and counts are those that were predicted."""
    report = result.report
    assert report["bit_exact"], result.mismatch
    counters = report["counters"]
    config = load_config(report["preset"], dataflow=report["dataflow"])
    if config.counters:
        assert counters["macs_done"] + counters["macs_gated"] == report["macs"]
    assert report["cycles"] == counters["cycles"]
    assert sum(layer["cycles"] for layer in report["layers"]) <= report["cycles"]
    program = compile_model(path, config, report["rounding"])
    expected, ends = predicted(program, config)
    if config.counters:
        assert {name: counters[name] for name in expected} == expected
    if sum(step["do"] == "wait" for step in program.inference) == 1:
        assert report["cycles"] == max(ends.values())


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"])
def test_mlperf_tiny(model: str, preset: str, dataflow: str, rounding: str) -> None:
    path = shared_file(f"models/{model}.tflite")
    inputs = real_inputs(model)
    if inputs is not None and not FULL:
        inputs = inputs[:2]
    result = run_model(path, inputs, preset=preset, dataflow=dataflow, rounding=rounding)
    check(path, result)
    if preset == "ulx3s-85f":
        assert result.cycles <= AT_MOST[dataflow][model]
        if dataflow == "row-stationary":
            assert result.report["utilization"] >= FLOORS.get(model, 0)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", AT_MOST_ON)
def test_mlperf_tiny_on_a_board(preset: str, model: str, rounding: str) -> None:
    path = shared_file(f"models/{model}.tflite")
    inputs = real_inputs(model)
    if inputs is not None and not FULL:
        inputs = inputs[:2]
    result = run_model(path, inputs, preset=preset, rounding=rounding)
    check(path, result)
    assert result.cycles <= AT_MOST_ON[preset][model][ROUNDINGS.index(rounding)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"] if FULL else ["tiny"])
def test_every_counter_of_every_layer(model: str, preset: str, dataflow: str) -> None:
    """What the device counts while a layer runs is what the model says, to the last access."""
    path = shared_file(f"models/{model}.tflite")
    config, network = load_config(preset, dataflow=dataflow), load(path)
    result = run_model(path, preset=preset, dataflow=dataflow, profile=True)
    values = evaluate(network, random_inputs(network))
    program = compile_model(path, config, "single")
    found = layer_counts(program, config)
    for position, counts in value_counts(network, config, values).items():
        found[position].update(counts)
    names = set(isa.COUNTERS) - {"cycles", "busy_cycles", "filter_writes", "link_words_in",
                                 "link_words_out"}
    for layer, expected in zip(result.layers, found, strict=True):
        counted = layer["counters"]
        assert {name: counted.get(name, 0) for name in names} == {
            name: expected[name] for name in names}, layer["name"]
    total, _ = predicted(program, config, value_counts(network, config, values))
    assert set(total) >= names
    total |= link_words(program, link_boxes(program, network, values,
                                            run_length=config.run_length))
    assert {name: result.report["counters"][name] for name in total} == total


def test_pruned_channels_cost_nothing() -> None:
    path = shared_file("models/vww_96_int8.tflite")
    result = run_model(path, skip_zeros=True)
    report = result.report
    assert report["bit_exact"], result.mismatch
    assert report["cycles"] <= 43_425
    assert report["macs"] + report["macs_skipped"] == load(path).macs
    counters = report["counters"]
    assert counters["macs_done"] + counters["macs_gated"] == report["macs"]


@pytest.fixture(scope="module")
def large_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a network of more than 600 kB of weights and feature maps larger than the buffer."""
    builder = Builder((160, 160, 3), seed=7)
    builder.conv(8, (3, 3), (2, 2), activation="relu")
    first = builder.conv(16, (1, 1))
    builder.depthwise((3, 3))
    builder.add(first, builder.conv(16, (1, 1)))
    builder.conv(32, (3, 3), (4, 4), activation="relu6")
    builder.conv(64, (3, 3), (2, 2))
    builder.conv(512, (3, 3), (2, 2))
    builder.conv(64, (3, 3), activation="relu")
    builder.max_pool((2, 2))
    builder.fully_connected(96, "relu")
    builder.fully_connected(10)
    return builder.save(tmp_path_factory.mktemp("large") / "large.tflite")


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"])
def test_network_larger_than_the_chip(large_network: Path, preset: str, dataflow: str) -> None:
    network = load(large_network)
    weights = sum(layer.weights.nbytes for layer in network.layers if layer.weights is not None)
    largest = max(tensor.size for tensor in network.tensors.values())
    config = load_config(preset, dataflow=dataflow)
    assert weights > 600_000
    assert weights > config.pes * config.filter_depth
    assert largest > config.buffer_bytes
    check(large_network, run_model(large_network, preset=preset, dataflow=dataflow))


def test_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One output value that is off by one is found and named."""
    from oarlock.sw_driver.session import Session

    infer = Session.infer_batch

    def wrong(session: Session, *arguments: object) -> np.ndarray:
        y = infer(session, *arguments).copy()
        y.flat[0] ^= 1
        return y

    monkeypatch.setattr(Session, "infer_batch", wrong)
    digits = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"
    result = run_model(digits, preset="tiny")
    assert not result.bit_exact
    assert "[0, 0]" in str(result.mismatch)
