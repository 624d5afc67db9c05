# amaranth: UnusedElaboratable=no
"""Engines whose sums are just wide enough for a layer, and a bit too narrow."""

from dataclasses import replace

import numpy as np
import pytest
from engine_bench import run_conv
from layer_networks import NetworkBuilder
from oarlock.gen.config import DATAFLOWS, ArrayConfig
from oarlock.gen.conv_shape import conv_shape
from oarlock.gen.dataflow import dataflow_of
from oarlock.gen.interpret import evaluate
from oarlock.gen.sum_width import sum_bits
from test_conv_engine import requantization_of


def layer_at_its_limits():
    """Return a network and an input that take one filter as high, the other as low as can be."""
    network = NetworkBuilder((2, 1, 6), 1, zero_point=-128).conv(2, (1, 1)).network()
    weights = np.array([[100, 90, 80, 70, 60, 50]] * 2) * np.array([[1], [-1]])
    layer = replace(network.layers[0], weights=weights.astype(np.int8)[:, None, None, :],
                    bias=np.zeros(2, np.int32), multiplier=np.array([1 << 30] * 2),
                    shift=np.array([-9, -9]))
    x = np.full((1, 2, 1, 6), 127, dtype=np.int8)
    x[0, 1] = -127
    return replace(network, layers=(layer,)), x


def run(dataflow, narrower):
    """Return found and expected output, with sums so many bits narrower than needed."""
    network, x = layer_at_its_limits()
    layer = network.layers[0]
    config = ArrayConfig(
        # One row: a row-stationary PE holds the whole sum, and not a share of it.
        rows=1, cols=2, filter_depth=256, accumulator_depth=4, word_bytes=4, buffer_bytes=2048,
        lanes=2, parameter_depth=64, program_depth=512, dataflow=dataflow,
        psum_width=sum_bits(layer, network.tensors) - narrower)
    mapping = dataflow_of(config).search(conv_shape(layer, network.tensors), config)[0]
    expected = evaluate(network, x)[network.output]
    found = run_conv(config, mapping, x, layer.weights, layer.bias, layer.multiplier, layer.shift,
                     requantization_of(network, "single"), expected.size)
    return found["out"].reshape(expected.shape), expected


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_just_wide_enough(dataflow):
    found, expected = run(dataflow, 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_bit_too_narrow_is_noticed(dataflow):
    found, expected = run(dataflow, 1)
    # Only the sums at their limits wrap around.
    assert (found != expected)[0, 0].all()
    np.testing.assert_array_equal(found[0, 1], expected[0, 1])
