# amaranth: UnusedElaboratable=no
"""The CONV engine on fixed small layers, mapped by hand such that each uses a different feature."""

import numpy as np
import pytest
from engine_bench import run_conv, run_in_order
from layer_networks import NetworkBuilder, random_input
from oarlock.gen.config import ArrayConfig
from oarlock.gen.conv_shape import conv_shape, variant
from oarlock.gen.cycles import conv_cycles
from oarlock.gen.dataflow import dataflow_of
from oarlock.gen.interpret import evaluate
from oarlock.gen.lower import Requantization, filter_writes, lower_conv, parameter_entries
from oarlock.gen.mapping import Mapping
from oarlock.hw import isa


def config_of(rows, cols, **values):
    sizes = {"ifmap_depth": 16, "filter_depth": 256, "psum_depth": 4, "word_bytes": 4,
             "buffer_bytes": 2048, "lanes": min(2, cols), "parameter_depth": 64,
             "program_depth": 512}
    return ArrayConfig(rows=rows, cols=cols, **sizes | values)


def mapping_of(shape, *, r_groups=1, lanes=1, groups=1, pc=1, qc=1, mc=1, r_chunks=1, t_count=None,
               m_count=1):
    """Complete what is given; for depthwise layers ``groups`` are those of the multiplier."""
    if shape.depthwise:
        # Or else a column would not deliver its channels in order.
        assert lanes == 1 or groups == shape.multiplier
        steps = t_count = t_count or -(-shape.c // (lanes * mc))
        m_count, tiles = shape.multiplier // groups, -(-shape.c // (mc * lanes * t_count))
        groups *= lanes
    else:
        steps = -(-shape.c // lanes)
        t_count = t_count or steps
        tiles = -(-shape.m // (mc * groups * m_count))
    return Mapping(
        shape=shape, r_groups=r_groups, lanes=lanes, groups=groups, pc=pc, qc=qc, mc=mc,
        r_chunks=r_chunks, c_chunks=1 if shape.depthwise else -(-steps // t_count),
        t_count=t_count, m_count=m_count, tiles=tiles, cycles=0,
        filter_entries=tiles * steps * (shape.r // r_groups) * shape.s * m_count)


def layer_of(image, m, window, **values):
    """Return a network of one convolution and an input for it."""
    network = NetworkBuilder(image, 1).conv(m, window, **values).network()
    return network, random_input(network, 2)


def requantization_of(network, rounding):
    layer = network.layers[0]
    return Requantization(
        zero_point_in=network.tensors["t0"].zero_point,
        zero_point_out=network.tensors[layer.output].zero_point, low=layer.activation[0],
        high=layer.activation[1],
        rule=isa.Rule.DOUBLE if rounding == "double" else isa.Rule.SINGLE)


ONES = (1, 1), (1, 1)

#: Name: array, layer, form and mapping of it.
CASES = {
    "one PE": (
        config_of(1, 1, psum_depth=1), layer_of((4, 3, 2), 2, (2, 2)), "plain", {}),
    "diagonals": (
        config_of(3, 3), layer_of((5, 5, 2), 3, (3, 3), padding=ONES), "plain",
        {"r_groups": 3, "pc": 3, "m_count": 3}),
    "strides, lanes do not divide columns": (
        config_of(3, 3), layer_of((8, 7, 2), 2, (3, 2), stride=(2, 3), padding=((1, 0), (0, 1))),
        "plain", {"r_groups": 3, "pc": 3, "m_count": 2}),
    "swapped": (
        config_of(2, 2, lanes=1), layer_of((5, 7, 3), 2, (1, 2), stride=(2, 1)), "swap",
        {"r_groups": 2, "pc": 2, "m_count": 2}),
    "channels on lanes, the last is short": (
        config_of(4, 2, word_bytes=8), layer_of((3, 4, 6), 5, (1, 2)), "plain",
        {"lanes": 4, "pc": 2, "m_count": 4}),
    "groups, segments of which the last is short": (
        config_of(2, 2), layer_of((3, 3, 2), 7, (1, 1)), "pixels",
        {"groups": 2, "pc": 2, "m_count": 3}),
    "filter and q blocks on columns": (
        config_of(2, 4, lanes=3), layer_of((2, 6, 2), 7, (1, 2)), "plain",
        {"lanes": 2, "qc": 2, "mc": 2, "m_count": 2}),
    # Sums of a step with fewer columns come into a bank whose last slot still has beats.
    "steps shorter than the beats of a slot": (
        config_of(1, 3, lanes=1), layer_of((5, 1, 1), 4, (1, 1)), "pixels", {"mc": 3}),
    "passes": (
        config_of(2, 2), layer_of((5, 3, 7), 3, (4, 2), padding=((1, 2), (1, 0))), "plain",
        {"r_groups": 2, "r_chunks": 2, "t_count": 3, "pc": 2, "m_count": 3}),
    "fold": (
        config_of(4, 2), layer_of((4, 6, 3), 3, (2, 3), stride=(1, 2), padding=ONES), "fold",
        {"lanes": 4, "pc": 2, "m_count": 3}),
    "flat": (
        config_of(2, 2), layer_of((2, 3, 2), 5, (2, 3)), "flat",
        {"lanes": 2, "mc": 2, "m_count": 3}),
    "depthwise": (
        config_of(3, 4), layer_of((4, 4, 7), 1, (3, 3), padding=ONES, depthwise=True), "plain",
        {"r_groups": 3, "pc": 2, "mc": 2, "t_count": 1}),
    "depthwise, many channels of a PE": (
        config_of(1, 2, ifmap_depth=32, psum_depth=8, word_bytes=16),
        layer_of((4, 3, 5), 2, (2, 2), depthwise=True), "plain", {"pc": 2, "t_count": 3}),
    "depthwise, lanes and multiplier on rows": (
        config_of(4, 2), layer_of((3, 3, 5), 2, (2, 1), depthwise=True), "plain",
        {"lanes": 2, "groups": 2, "pc": 2, "t_count": 2}),
    "depthwise multiplier on rows": (
        config_of(3, 2), layer_of((3, 3, 3), 3, (2, 1), depthwise=True, stride=(1, 2)), "plain",
        {"groups": 3, "pc": 2, "t_count": 1}),
    "no gating": (
        config_of(2, 2, zero_gating=False), layer_of((3, 3, 2), 2, (2, 2)), "plain",
        {"r_groups": 2, "pc": 2, "m_count": 2}),
}


def check_conv(config, network, x, mapping, rounding):
    """Run a convolution on an engine and compare outputs, MACs and cycles."""
    layer = network.layers[0]
    expected = evaluate(network, x, rounding)[network.output]
    found = run_conv(config, mapping, x, layer.weights, layer.bias, layer.multiplier, layer.shift,
                     requantization_of(network, rounding), expected.size)
    np.testing.assert_array_equal(found["out"].reshape(expected.shape), expected)
    assert len(np.unique(expected)) > 5 or expected.size < 10
    assert found["done"] + found["gated"] == network.macs
    assert (found["gated"] > 0) == config.zero_gating
    assert found["cycles"] + 1 == dataflow_of(config).conv_cycles(found["fields"], config).cycles


def check_layer(name):
    """Run a case."""
    config, (network, x), kind, choice = CASES[name]
    shape = variant(conv_shape(network.layers[0], network.tensors), kind)
    check_conv(config, network, x, mapping_of(shape, **choice),
               "double" if len(name) % 2 else "single")


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    check_layer(name)


def test_the_cases_use_what_they_are_there_for():
    def some(fact):
        found = []
        for name, (config, (network, _), kind, choice) in CASES.items():
            shape = variant(conv_shape(network.layers[0], network.tensors), kind)
            if fact(mapping_of(shape, **choice), config):
                found.append(name)
        return found

    assert some(lambda m, c: c.psum_depth == 1)
    assert {config.word_bytes for config, *_ in CASES.values()} == {4, 8, 16}
    assert some(lambda m, c: m.r_chunks > 1 and m.c_chunks > 1)
    # Segments: several, the last short; a partial column; strips and q blocks with a short last.
    assert some(lambda m, c: m.u_count * m.groups > c.word_bytes
                and m.u_count * m.groups % c.word_bytes)
    assert some(lambda m, c: m.shape.m % (m.mc * m.u_count * m.groups) and m.tiles > 1)
    assert some(lambda m, c: m.shape.p % m.pc)
    assert some(lambda m, c: m.shape.q % m.qc)
    assert some(lambda m, c: not m.shape.depthwise and m.shape.c % m.lanes)


def test_hold_and_keep():
    """Three thirds of the channels, one descriptor each, the sums staying in the array."""
    config = config_of(2, 2)
    network, x = layer_of((2, 2, 12), 3, (2, 1), padding=((0, 1), (0, 0)))
    layer = network.layers[0]
    whole = conv_shape(layer, network.tensors)
    how = requantization_of(network, "single")
    descriptors, filters = [], []
    # A step is all that the array holds: one column pair at a time.
    out_base = 512
    for q in range(2):
        for third in range(3):
            shape = variant(whole, "plain")
            shape = type(shape)(**{**vars(shape), "c": 4, "q": 1, "w": 1})
            mapping = mapping_of(shape, lanes=2, pc=2, m_count=3, t_count=1 + third % 2)
            descriptors.append(lower_conv(
                mapping, config, how, in_base=16 + q * 12 + 4 * third, out_base=out_base + q * 3,
                filter_base=20 * third, parameter_base=0, keep=third > 0, hold=third < 2))
            if q == 0:
                filters += filter_writes(mapping, config,
                                         layer.weights[..., 4 * third:4 * third + 4], 20 * third)
    found = run_in_order(
        config, descriptors, filters,
        parameter_entries(layer.bias, layer.multiplier, layer.shift), x, 16, out_base, 12)
    expected = evaluate(network, x, "single")[network.output]
    np.testing.assert_array_equal(found["out"].reshape(expected.shape), expected)
    assert found["done"] + found["gated"] == network.macs
    assert [n + 1 for n in found["cycles"]] == [
        conv_cycles(descriptor.fields, config).cycles for descriptor in descriptors]
