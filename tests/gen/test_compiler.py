"""The compiler against the numpy reference, on a functional model of the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from descriptor_model import Device
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oarlock.gen import dataflow as dataflows
from oarlock.gen import lower
from oarlock.gen.config import DATAFLOWS, ArrayConfig, load_config
from oarlock.gen.conv_shape import conv_shape
from oarlock.gen.dataflow import ArrayMapping, dataflow_of
from oarlock.gen.interpret import evaluate_layer
from oarlock.gen.network import Layer, Tensor
from oarlock.hw import isa


SIZES = {
    "1x1": load_config("tiny", rows=1, cols=1, lanes=1, word_bytes=4, filter_depth=8192),
    "3x5": load_config("tiny", rows=3, cols=5, lanes=3),
    "4x4": load_config("tiny"),
    "12x12": load_config("ulx3s-85f"),
}
ARRAYS = {f"{name} {dataflow}": replace(config, dataflow=dataflow)
          for name, config in SIZES.items() for dataflow in DATAFLOWS}


DEPTHWISE = "depthwise_conv"
PADDING = ((0, 0), (0, 0))


def make_conv(
    seed: int, *, image: tuple[int, int, int], m: int = 1, window: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1), padding: tuple[tuple[int, int], tuple[int, int]] = PADDING,
    op: str = "conv", zero_point: int = 3,
) -> tuple[Layer, dict[str, Tensor]]:
    """Make a layer with random constants: ``m`` filters, or ``m`` per channel if depthwise."""
    rng, (h, w, c), (r, s) = np.random.default_rng(seed), image, window
    p, q = ((size + sum(pad) - kernel) // step + 1 for size, pad, kernel, step
            in zip((h, w), padding, window, stride, strict=True))
    count = m * c if op == DEPTHWISE else m
    shape = {DEPTHWISE: (r, s, count), "conv": (m, r, s, c), "fully_connected": (m, h * w * c)}[op]
    out = (1, m) if op == "fully_connected" else (1, p, q, count)
    tensors = {"x": Tensor(name="x", shape=(1, h, w, c), scale=0.5, zero_point=zero_point),
               "y": Tensor(name="y", shape=out, scale=0.25, zero_point=-5)}
    layer = Layer(
        name=f"op0_{op}", op=op, index=0, inputs=("x",), output="y",
        weights=rng.integers(-127, 128, shape).astype(np.int8),
        bias=rng.integers(-5000, 5000, count).astype(np.int32),
        multiplier=rng.integers(1 << 30, 1 << 31, count), shift=rng.integers(-11, -6, count),
        stride=stride, padding=padding, activation=(-120, 125))
    return layer, tensors


def run_layer(config: ArrayConfig, layer: Layer, tensors: dict[str, Tensor], x: np.ndarray,
              choice: ArrayMapping, rule: isa.Rule = isa.Rule.SINGLE,
              ) -> tuple[np.ndarray, Device]:
    """Run one convolution on the model; bases are odd on purpose."""
    device = Device(config)
    source, target = tensors[layer.inputs[0]], tensors[layer.output]
    in_base, out_base, filter_base, parameter_base = 5, 5 + source.size + 2, 3, 1
    device.buffer[in_base:in_base + source.size] = x.ravel()
    tools = dataflow_of(config)
    for write in tools.filter_writes(choice, config, layer.weights, filter_base):
        address = write.block << 24 | write.entry
        device._write(isa.Memory.FILTER, write.columns, address,
                      list(write.data.view("<u4").ravel()))
    entries = lower.parameter_entries(layer.bias, layer.multiplier, layer.shift)
    device._write(isa.Memory.PARAMETERS, 0, parameter_base, [w for e in entries for w in e])
    descriptor = tools.lower_conv(
        choice, config, lower.Requantization(
            zero_point_in=source.zero_point, zero_point_out=target.zero_point,
            low=layer.activation[0], high=layer.activation[1], rule=rule),
        in_base=in_base, out_base=out_base, filter_base=filter_base, parameter_base=parameter_base)
    words = descriptor.words()
    assert len(words) == config.descriptor_lengths[tools.kind]
    device._write(isa.Memory.PROGRAM, 0, 7, words)
    device.run(7, 1)
    return device.buffer[out_base:out_base + target.size].reshape(target.shape), device


def check_layer(config: ArrayConfig, layer: Layer, tensors: dict[str, Tensor], *,
                seed: int = 0, every: bool = False, pick: int = 0) -> None:
    """Run the mappings of a layer's Pareto front and compare outputs and MACs."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, tensors["x"].shape).astype(np.int8)
    found = dataflow_of(config).search(conv_shape(layer, tensors), config,
                                       max_entries=config.filter_depth - 3)
    for choice in {found[0], found[-1]} if every else [found[pick % len(found)]]:
        for rounding, rule in (("single", isa.Rule.SINGLE), ("double", isa.Rule.DOUBLE)):
            out, device = run_layer(config, layer, tensors, x, choice, rule)
            expected = evaluate_layer(layer, tensors, [x], rounding)
            np.testing.assert_array_equal(out, expected, err_msg=f"{choice}")
            macs = device.counters["macs_done"] + device.counters["macs_gated"]
            assert macs == layer.macs(tensors), choice


SAME = ((1, 1), (1, 1))
DIRECTED: dict[str, dict[str, Any]] = {
    "pointwise": {"image": (5, 7, 9), "m": 10},
    "pointwise stride 2": {"image": (8, 7, 5), "m": 6, "stride": (2, 2)},
    "pointwise stride 3 padded": {"image": (8, 7, 5), "m": 6, "stride": (3, 2),
                                  "padding": ((1, 2), (2, 1))},
    "3x3": {"image": (9, 8, 5), "m": 7, "window": (3, 3), "padding": SAME},
    "3x3 stride 2": {"image": (9, 9, 4), "m": 8, "window": (3, 3), "stride": (2, 2),
                     "padding": ((0, 1), (0, 1))},
    "3x3 stride 4": {"image": (13, 12, 2), "m": 3, "window": (3, 3), "stride": (4, 4),
                     "padding": SAME},
    "few channels": {"image": (12, 11, 3), "m": 8, "window": (3, 3), "stride": (2, 2),
                     "padding": ((0, 1), (0, 1))},
    "first of KWS": {"image": (20, 10, 1), "m": 16, "window": (10, 4), "stride": (2, 2),
                     "padding": ((4, 5), (1, 1))},
    "15x15": {"image": (11, 10, 1), "m": 3, "window": (15, 15), "padding": ((7, 7), (7, 7))},
    "1x15": {"image": (3, 20, 3), "m": 4, "window": (1, 15), "padding": ((0, 0), (7, 7))},
    "15x1": {"image": (30, 1, 5), "m": 4, "window": (15, 1)},
    "whole image": {"image": (4, 5, 6), "m": 7, "window": (4, 5)},
    "1x1 image padded": {"image": (1, 1, 6), "m": 7, "window": (3, 3), "padding": SAME},
    "many channels": {"image": (3, 3, 300), "m": 5},
    "dense": {"image": (2, 3, 50), "m": 20, "op": "fully_connected"},
    "depthwise 3x3": {"image": (7, 6, 21), "window": (3, 3), "padding": SAME, "op": DEPTHWISE},
    "depthwise stride 2": {"image": (8, 9, 16), "window": (3, 3), "stride": (2, 2),
                           "padding": ((0, 1), (1, 1)), "op": DEPTHWISE},
    "depthwise multiplier": {"image": (6, 5, 5), "m": 6, "window": (3, 2),
                             "padding": ((1, 1), (0, 1)), "op": DEPTHWISE},
    "depthwise one channel": {"image": (6, 5, 1), "m": 6, "window": (3, 3), "op": DEPTHWISE},
    "depthwise 1-D": {"image": (24, 1, 19), "window": (10, 1), "op": DEPTHWISE},
    "depthwise whole image": {"image": (15, 1, 13), "window": (15, 1), "op": DEPTHWISE},
}


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("name", DIRECTED)
def test_directed_layer(array: str, name: str) -> None:
    layer, tensors = make_conv(1, **DIRECTED[name])
    check_layer(ARRAYS[array], layer, tensors, every=array[:3] in ("3x5", "12x"))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Layer, dict[str, Tensor]]:
    """Draw a layer of up to some 100,000 MACs."""
    depthwise = draw(st.booleans())
    r, s = (draw(st.integers(1, 15) if draw(st.booleans()) else st.integers(1, 3))
            for _ in range(2))
    top, bottom, left, right = (draw(st.integers(0, size // 2)) for size in (r, r, s, s))
    h = draw(st.integers(max(1, r - top - bottom), 18))
    w = draw(st.integers(max(1, s - left - right), 18))
    c, m = draw(st.integers(1, 20)), draw(st.integers(1, 4 if depthwise else 20))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    positions = (h + top + bottom - r) // stride[0] * ((w + left + right - s) // stride[1])
    assume(positions * r * s * m * c < 50_000)
    return make_conv(
        draw(st.integers(0, 99)), image=(h, w, c), m=m, window=(r, s), stride=stride,
        padding=((top, bottom), (left, right)), op=DEPTHWISE if depthwise else "conv",
        zero_point=draw(st.integers(-128, 127)))


@pytest.mark.parametrize("array", ARRAYS)
@settings(max_examples=20, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(drawn=convolutions(), pick=st.integers(0, 9))
def test_drawn_layer(array: str, drawn: tuple[Layer, dict[str, Tensor]], pick: int) -> None:
    layer, tensors = drawn
    # The model takes about as long for a cycle of one PE as for one of 144.
    assume(layer.macs(tensors) < 2000 * ARRAYS[array].pes)
    check_layer(ARRAYS[array], layer, tensors, pick=pick)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_wrong_weight_is_found(dataflow: str) -> None:
    layer, tensors = make_conv(1, **DIRECTED["3x3"])
    config = ARRAYS[f"4x4 {dataflow}"]
    tools = dataflow_of(config)

    def corrupted(*args: Any) -> list[lower.FilterWrite]:
        result = tools.filter_writes(*args)
        result[0].data[2, 1] ^= 64
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dataflows.DATAFLOWS, config.dataflow_code,
                      replace(tools, filter_writes=corrupted))
        with pytest.raises(AssertionError, match="Mismatched elements"):
            check_layer(config, layer, tensors)
    check_layer(config, layer, tensors)
