"""The compiler against the numpy reference, on a functional model of the device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from oarlock.gen import lower, mapping
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.interpret import evaluate_layer
from oarlock.gen.network import Layer, Tensor
from oarlock.hw import isa

from descriptor_model import Device


ARRAYS = {
    "1x1": load_config("tiny", rows=1, cols=1, lanes=1, word_bytes=4, filter_depth=8192),
    "3x5": load_config("tiny", rows=3, cols=5, lanes=3),
    "4x4": load_config("tiny"),
    "12x12": load_config("ulx3s-85f"),
}


def make_conv(
    rng: np.random.Generator, *, h: int, w: int, c: int, m: int, r: int, s: int,
    stride: tuple[int, int] = (1, 1), padding: tuple[tuple[int, int], tuple[int, int]] | None = None,
    depthwise: bool = False, dense: bool = False, zero_point: int = 3,
) -> tuple[Layer, dict[str, Tensor]]:
    """Draw a layer: conv by default, with ``m`` filters (``m`` per channel if depthwise)."""
    padding = padding or ((0, 0), (0, 0))
    p, q = ((size + sum(pad) - kernel) // step + 1 for size, pad, kernel, step
            in zip((h, w), padding, (r, s), stride, strict=True))
    count = m * c if depthwise else m
    shape = (r, s, count) if depthwise else (m, r, s, c)
    if dense:
        shape = (m, h * w * c)
    out = (1, m) if dense else (1, p, q, count)
    tensors = {"x": Tensor(name="x", shape=(1, h, w, c), scale=0.5, zero_point=zero_point),
               "y": Tensor(name="y", shape=out, scale=0.25, zero_point=-5)}
    op = "depthwise_conv" if depthwise else "fully_connected" if dense else "conv"
    layer = Layer(
        name=f"op0_{op}", op=op, index=0, inputs=("x",), output="y",
        weights=rng.integers(-127, 128, shape).astype(np.int8),
        bias=rng.integers(-5000, 5000, count).astype(np.int32),
        multiplier=rng.integers(1 << 30, 1 << 31, count), shift=rng.integers(-11, -6, count),
        stride=stride, padding=padding, activation=(-120, 125))
    return layer, tensors


def run_layer(config: ArrayConfig, layer: Layer, tensors: dict[str, Tensor], x: np.ndarray,
              choice: mapping.Mapping, rule: isa.Rule = isa.Rule.SINGLE,
              ) -> tuple[np.ndarray, Device]:
    """Run one convolution on the model; bases are odd on purpose."""
    device = Device(config)
    source, target = tensors[layer.inputs[0]], tensors[layer.output]
    in_base, out_base, filter_base, parameter_base = 5, 5 + source.size + 2, 3, 1
    device.buffer[in_base:in_base + source.size] = x.ravel()
    for write in lower.filter_writes(choice, config, layer.weights, filter_base):
        address = write.block << 24 | write.entry
        device._write(isa.Memory.FILTER, write.columns, address,
                      list(write.data.view("<u4").ravel()))
    entries = lower.parameter_entries(layer.bias, layer.multiplier, layer.shift)
    device._write(isa.Memory.PARAMETERS, 0, parameter_base, [w for e in entries for w in e])
    descriptor = lower.lower_conv(
        choice, config, lower.Requantization(
            zero_point_in=source.zero_point, zero_point_out=target.zero_point,
            low=layer.activation[0], high=layer.activation[1], rule=rule),
        in_base=in_base, out_base=out_base, filter_base=filter_base, parameter_base=parameter_base)
    words = descriptor.words()
    assert len(words) == isa.conv_words(config.rows, config.cols)
    device._write(isa.Memory.PROGRAM, 0, 7, words)
    device.run(7, 1)
    return device.buffer[out_base:out_base + target.size].reshape(target.shape), device


def check_layer(config: ArrayConfig, layer: Layer, tensors: dict[str, Tensor], *,
                seed: int = 0, every: bool = False, pick: int = 0) -> None:
    """Run the mappings of a layer's Pareto front and compare outputs and MACs."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, tensors["x"].shape).astype(np.int8)
    found = mapping.search(mapping.conv_shape(layer, tensors), config,
                           max_entries=config.filter_depth - 3)
    for choice in {found[0], found[-1]} if every else [found[pick % len(found)]]:
        for rounding, rule in (("single", isa.Rule.SINGLE), ("double", isa.Rule.DOUBLE)):
            out, device = run_layer(config, layer, tensors, x, choice, rule)
            expected = evaluate_layer(layer, tensors, [x], rounding)
            np.testing.assert_array_equal(out, expected, err_msg=f"{choice}")
            macs = device.counters["macs_done"] + device.counters["macs_gated"]
            assert macs == layer.macs(tensors), choice


DIRECTED = {
    "pointwise": dict(h=5, w=7, c=9, m=10, r=1, s=1),
    "pointwise stride 2": dict(h=8, w=7, c=5, m=6, r=1, s=1, stride=(2, 2)),
    "pointwise stride 3 padded": dict(h=8, w=7, c=5, m=6, r=1, s=1, stride=(3, 2),
                                      padding=((1, 2), (2, 1))),
    "3x3": dict(h=9, w=8, c=5, m=7, r=3, s=3, padding=((1, 1), (1, 1))),
    "3x3 stride 2": dict(h=9, w=9, c=4, m=8, r=3, s=3, stride=(2, 2), padding=((0, 1), (0, 1))),
    "3x3 stride 4": dict(h=13, w=12, c=2, m=3, r=3, s=3, stride=(4, 4), padding=((1, 1), (1, 1))),
    "few channels": dict(h=12, w=11, c=3, m=8, r=3, s=3, stride=(2, 2), padding=((0, 1), (0, 1))),
    "first of KWS": dict(h=20, w=10, c=1, m=16, r=10, s=4, stride=(2, 2),
                         padding=((4, 5), (1, 1))),
    "15x15": dict(h=17, w=16, c=1, m=3, r=15, s=15, padding=((7, 7), (7, 7))),
    "1x15": dict(h=3, w=30, c=3, m=4, r=1, s=15, padding=((0, 0), (7, 7))),
    "15x1": dict(h=30, w=1, c=5, m=4, r=15, s=1),
    "whole image": dict(h=4, w=5, c=6, m=7, r=4, s=5),
    "1x1 image padded": dict(h=1, w=1, c=6, m=7, r=3, s=3, padding=((1, 1), (1, 1))),
    "many channels": dict(h=3, w=3, c=300, m=5, r=1, s=1),
    "dense": dict(h=2, w=3, c=50, m=20, r=1, s=1, dense=True),
    "depthwise 3x3": dict(h=7, w=6, c=21, m=1, r=3, s=3, padding=((1, 1), (1, 1)), depthwise=True),
    "depthwise stride 2": dict(h=8, w=9, c=16, m=1, r=3, s=3, stride=(2, 2),
                               padding=((0, 1), (1, 1)), depthwise=True),
    "depthwise multiplier": dict(h=6, w=5, c=5, m=6, r=3, s=2, padding=((1, 1), (0, 1)),
                                 depthwise=True),
    "depthwise one channel": dict(h=6, w=5, c=1, m=6, r=3, s=3, depthwise=True),
    "depthwise 1-D": dict(h=24, w=1, c=19, m=1, r=10, s=1, depthwise=True),
    "depthwise whole image": dict(h=15, w=1, c=13, m=1, r=15, s=1, depthwise=True),
}


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("name", DIRECTED)
def test_directed_layer(array: str, name: str) -> None:
    layer, tensors = make_conv(np.random.default_rng(1), **DIRECTED[name])
    check_layer(ARRAYS[array], layer, tensors, every=array in ("3x5", "12x12"))


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
    assume(positions * r * s * m * c < 100_000)
    return make_conv(
        np.random.default_rng(draw(st.integers(0, 99))), h=h, w=w, c=c, m=m, r=r, s=s,
        stride=stride, padding=((top, bottom), (left, right)), depthwise=depthwise,
        zero_point=draw(st.integers(-128, 127)))


@pytest.mark.parametrize("array", ARRAYS)
@settings(max_examples=30, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(drawn=convolutions(), pick=st.integers(0, 9))
def test_drawn_layer(array: str, drawn: tuple[Layer, dict[str, Tensor]], pick: int) -> None:
    layer, tensors = drawn
    check_layer(ARRAYS[array], layer, tensors, pick=pick)


def test_one_wrong_weight_is_found() -> None:
    layer, tensors = make_conv(np.random.default_rng(1), **DIRECTED["3x3"])
    config, writes = ARRAYS["4x4"], lower.filter_writes

    def corrupted(*args: object) -> list[lower.FilterWrite]:
        result = writes(*args)  # type: ignore[arg-type]
        result[0].data[2, 1] ^= 64
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "filter_writes", corrupted)
        with pytest.raises(AssertionError, match="Mismatched elements"):
            check_layer(config, layer, tensors)
    check_layer(config, layer, tensors)
