# amaranth: UnusedElaboratable=no
"""The SYSTOLIC engine on fixed small layers, each of which uses a different feature."""

from dataclasses import replace

import numpy as np
import pytest
from engine_bench import run_in_order
from oarlock.gen.config import ArrayConfig
from oarlock.gen.conv_shape import conv_shape, variant
from oarlock.gen.dataflow import dataflow_of
from oarlock.gen.interpret import evaluate
from oarlock.gen.lower import parameter_entries
from oarlock.gen.systolic_mapping import SystolicMapping
from test_conv_engine import ONES, check_conv, layer_of, requantization_of


def config_of(rows, cols, **values):
    sizes = {"filter_depth": 256, "accumulator_depth": 16, "word_bytes": 4, "buffer_bytes": 2048,
             "lanes": min(2, cols), "parameter_depth": 64, "program_depth": 512}
    return ArrayConfig(rows=rows, cols=cols, dataflow="weight-stationary", **sizes | values)


def mapping_of(shape, config, p_count, q_count):
    mapping = SystolicMapping(config=config, shape=shape, p_count=p_count, q_count=q_count,
                              filter_entries=0)
    return replace(mapping, filter_entries=mapping.entries)


#: Name: array, layer, form, output rows and columns of a position tile.
CASES = {
    "one PE": (config_of(1, 1), layer_of((4, 3, 2), 2, (2, 2)), "plain", (3, 2)),
    "the last tile of positions is short both ways": (
        config_of(3, 3), layer_of((5, 5, 2), 3, (3, 3), padding=ONES), "plain", (2, 3)),
    "strides": (
        config_of(3, 3), layer_of((8, 7, 2), 2, (3, 2), stride=(2, 3), padding=((1, 0), (0, 1))),
        "plain", (2, 2)),
    "words of channels, the last is short": (
        config_of(4, 2, word_bytes=8), layer_of((3, 4, 6), 5, (1, 2)), "plain", (3, 3)),
    "more rows than bytes of a word": (
        config_of(6, 2), layer_of((4, 3, 6), 3, (1, 1)), "plain", (4, 3)),
    "pixels, many filter tiles": (
        config_of(2, 3, lanes=3), layer_of((3, 3, 2), 7, (1, 1)), "pixels", (4, 1)),
    "one lane for all columns": (
        config_of(2, 4, lanes=1, lane_depth=4), layer_of((2, 6, 2), 6, (1, 2)), "plain", (2, 4)),
    "lanes do not divide columns": (
        config_of(2, 5, lanes=3), layer_of((4, 3, 3), 8, (2, 1)), "plain", (3, 3)),
    "filters follow each other faster than positions": (
        config_of(7, 3), layer_of((2, 1, 30), 4, (1, 1)), "pixels", (1, 1)),
    "fold": (
        config_of(4, 2), layer_of((4, 6, 3), 3, (2, 3), stride=(1, 2), padding=ONES), "fold",
        (2, 4)),
    "flat": (config_of(3, 2), layer_of((2, 3, 2), 5, (2, 3)), "flat", (1, 1)),
    "depthwise": (
        config_of(3, 4), layer_of((4, 4, 7), 1, (3, 3), padding=ONES, depthwise=True), "plain",
        (4, 4)),
    "depthwise multiplier": (
        config_of(4, 5), layer_of((3, 3, 5), 2, (2, 1), depthwise=True), "plain", (2, 3)),
    "depthwise multiplier beyond the columns": (
        config_of(3, 2), layer_of((3, 3, 3), 5, (2, 1), depthwise=True, stride=(1, 2)), "plain",
        (2, 2)),
    "no gating": (
        config_of(2, 2, zero_gating=False), layer_of((3, 3, 2), 2, (2, 2)), "plain", (2, 2)),
    "narrow sums": (
        config_of(2, 2, psum_width=20), layer_of((3, 3, 2), 2, (2, 2)), "plain", (2, 2)),
}


def check_layer(name):
    """Run a case."""
    config, (network, x), kind, tile = CASES[name]
    shape = variant(conv_shape(network.layers[0], network.tensors), kind)
    check_conv(config, network, x, mapping_of(shape, config, *tile),
               "double" if len(name) % 2 else "single")


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    check_layer(name)


def test_the_cases_use_what_they_are_there_for():
    mappings = [mapping_of(variant(conv_shape(network.layers[0], network.tensors), kind), config,
                           *tile)
                for config, (network, _), kind, tile in CASES.values()]
    assert any(m.p_tiles > 1 and m.q_tiles > 1 and m.shape.p % m.p_count and m.shape.q % m.q_count
               for m in mappings)
    assert any(m.blocks > 1 and m.position_tiles[1:] and m.shape.m % m.columns for m in mappings)
    assert any(m.c_count > 1 and m.shape.c % m.row_count for m in mappings)
    assert any(m.groups > 1 for m in mappings)
    assert any(m.shape.depthwise and m.tiles > 1 and m.shape.c % m.row_count for m in mappings)
    assert any(m.shape.depthwise and m.tiles > 1 and m.blocks > 1 for m in mappings)
    assert any(m.position_tiles == [1] * len(m.position_tiles) for m in mappings)


def test_hold_and_keep():
    """Three thirds of the channels, one descriptor each, the sums staying in the array."""
    config = config_of(3, 3)
    network, x = layer_of((2, 2, 12), 3, (2, 1), padding=((0, 1), (0, 0)))
    layer, tools = network.layers[0], dataflow_of(config)
    whole = variant(conv_shape(layer, network.tensors), "plain")
    how = requantization_of(network, "single")
    mapping = mapping_of(replace(whole, c=4), config, 2, 2)
    descriptors = [tools.lower_conv(mapping, config, how, in_base=16 + 4 * third, out_base=512,
                                    filter_base=20 * third, parameter_base=0, keep=third > 0,
                                    hold=third < 2) for third in range(3)]
    filters = [write for third in range(3) for write in tools.filter_writes(
        mapping, config, layer.weights[..., 4 * third:4 * third + 4], 20 * third)]
    found = run_in_order(config, descriptors, filters,
                         parameter_entries(layer.bias, layer.multiplier, layer.shift), x, 16, 512,
                         12)
    expected = evaluate(network, x, "single")[network.output]
    np.testing.assert_array_equal(found["out"].reshape(expected.shape), expected)
    assert found["done"] + found["gated"] == network.macs
    assert [n + 1 for n in found["cycles"]] == [
        tools.conv_cycles(descriptor.fields, config).cycles for descriptor in descriptors]
