"""What the compiler does for the compact core alone: biases, pixels in a row, estimates."""

from __future__ import annotations

import numpy as np
import pytest
from layer_networks import NetworkBuilder
from oarlock.gen.compact_cycles import compact_timing
from oarlock.gen.compact_lower import folded_bias, lower_conv
from oarlock.gen.config import load_config
from oarlock.gen.conv_shape import conv_shape
from oarlock.gen.lower import Requantization
from oarlock.gen.systolic_lower import lower_conv as lower_systolic
from oarlock.gen.systolic_mapping import search
from oarlock.hw import isa
from oarlock.sim.reference import accumulate_conv2d, accumulate_depthwise


CONFIG = load_config("icebreaker")
REQUANTIZATION = Requantization(zero_point_in=3, zero_point_out=0, low=-128, high=127,
                                rule=isa.Rule.SINGLE)
BASES = {"in_base": 0, "out_base": 4096, "filter_base": 7, "parameter_base": 2}


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
@pytest.mark.parametrize("depthwise", [False, True])
def test_raw_activations_and_a_folded_bias_give_the_same_sums(
        zero_point: int, depthwise: bool) -> None:
    """Also next to the edges, where padding is the zero point."""
    builder = NetworkBuilder((5, 6, 3), 1, zero_point=zero_point)
    builder.conv(2, (3, 3), padding=((1, 1), (1, 1)), depthwise=depthwise)
    layer = builder.network().layers[0]
    assert layer.weights is not None and layer.bias is not None
    accumulate = accumulate_depthwise if depthwise else accumulate_conv2d
    x = np.random.default_rng(2).integers(-128, 128, (1, 5, 6, 3)).astype(np.int8)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=zero_point)
    wanted = accumulate(x, layer.weights, padding=((1, 1), (1, 1)), input_zero_point=zero_point)
    np.testing.assert_array_equal(
        accumulate(padded, layer.weights) + folded_bias(layer, zero_point),
        wanted + layer.bias.astype(np.int32))


def test_a_folded_bias_wraps() -> None:
    layer = NetworkBuilder((1, 1, 4), 1).conv(2, (1, 1)).network().layers[0]
    assert layer.weights is not None and layer.bias is not None
    layer.weights[:], layer.bias[:] = -127, -(1 << 31)
    assert folded_bias(layer, -128).tolist() == [(1 << 31) - 4 * 127 * 128] * 2


def test_pixels_are_a_row() -> None:
    network = NetworkBuilder((5, 6, 8), 1).conv(9, (1, 1)).network()
    mapping = search(conv_shape(network.layers[0], network.tensors), CONFIG)[0]
    assert mapping.shape.pixels and mapping.p_count == 30
    fields = lower_conv(mapping, CONFIG, REQUANTIZATION, **BASES).fields
    before = lower_systolic(mapping, CONFIG, REQUANTIZATION, **BASES).fields
    assert (fields["q_count"], fields["p_count"]) == (30, 1)
    assert (fields["q_step"], fields["x_limit"], fields["out_q_step"]) == (8, 240, 9)
    same = {"filter_base", "parameter_base", "in_base", "out_base", "c_count", "block_count"}
    assert {name: fields[name] for name in same} == {name: before[name] for name in same}


def test_other_forms_are_as_for_the_systolic_array() -> None:
    network = NetworkBuilder((5, 6, 8), 1).conv(9, (3, 3)).network()
    for mapping in search(conv_shape(network.layers[0], network.tensors), CONFIG):
        assert (lower_conv(mapping, CONFIG, REQUANTIZATION, **BASES)
                == lower_systolic(mapping, CONFIG, REQUANTIZATION, **BASES))


@pytest.mark.parametrize(("image", "filters", "window"), [
    ((25, 5, 64), 64, (1, 1)), ((32, 32, 16), 16, (3, 3)), ((1, 1, 640), 64, (1, 1)),
    ((49, 10, 1), 64, (10, 4))])
def test_estimates_are_close(image: tuple[int, int, int], filters: int, window: tuple[int, int],
                             ) -> None:
    network = NetworkBuilder(image, 1).conv(filters, window).network()
    mapping = search(conv_shape(network.layers[0], network.tensors), CONFIG)[0]
    words = lower_conv(mapping, CONFIG, REQUANTIZATION, **BASES).words()
    exact = compact_timing(CONFIG).descriptor(words)[0]
    assert 0.9 < mapping.cycles / exact < 1.1
