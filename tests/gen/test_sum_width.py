"""How wide sums become: an input that needs every bit, and what is too narrow is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from layer_networks import NetworkBuilder, extreme_inputs
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.network import Layer, Network
from oarlock.gen.program import compile_network
from oarlock.gen.sum_width import SumWidthError, narrow_splits, split_bits, sum_bits
from oarlock.sim import reference


def conv(image: tuple[int, int, int], **values: object) -> Network:
    """Return a network of one convolution whose window is 3 x 2."""
    zero_point = values.pop("zero_point")
    builder = NetworkBuilder(image, 3, zero_point=zero_point)
    return builder.conv(4, (3, 2), **values).network()


NETWORKS = {
    "conv": lambda zero_point: conv((3, 2, 5), zero_point=zero_point),
    "strides and padding": lambda zero_point: conv(
        (5, 4, 3), zero_point=zero_point, stride=(2, 1), padding=((1, 1), (0, 1))),
    "depthwise": lambda zero_point: conv((3, 2, 5), zero_point=zero_point, depthwise=True),
    "dense": lambda zero_point: NetworkBuilder(
        (2, 3, 7), 3, zero_point=zero_point).dense(9).network(),
}


def accumulators(network: Network, x: np.ndarray) -> np.ndarray:
    """Return all sums of the network's layer, from the reference."""
    layer = network.layers[0]
    zero_point = network.tensors[layer.inputs[0]].zero_point
    if layer.op == "fully_connected":
        return reference.accumulate_fully_connected(
            x.reshape(len(x), -1), layer.weights, input_zero_point=zero_point)
    accumulate = (reference.accumulate_depthwise if layer.op == "depthwise_conv"
                  else reference.accumulate_conv2d)
    return accumulate(x, layer.weights, stride=layer.stride, padding=layer.padding,
                      input_zero_point=zero_point)


def bits_of(sums: np.ndarray) -> int:
    """Return the bits of two's complement that the largest of some numbers needs."""
    bits = 1
    while not (-(1 << bits - 1) <= sums.min() and sums.max() < 1 << bits - 1):
        bits += 1
    return bits


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
@pytest.mark.parametrize("name", NETWORKS)
def test_bits_are_needed_and_enough(name: str, zero_point: int) -> None:
    network = NETWORKS[name](zero_point)
    sums = accumulators(network, extreme_inputs(network))
    assert bits_of(sums) == sum_bits(network.layers[0], network.tensors)
    # Whatever the sign of the weights.
    for sign in (1, -1):
        one = with_weights(network, sign * np.abs(network.layers[0].weights))
        sums = accumulators(one, extreme_inputs(one))
        assert bits_of(sums) == sum_bits(one.layers[0], one.tensors)


def with_weights(network: Network, weights: np.ndarray) -> Network:
    """Return the network with other weights."""
    layer: Layer = replace(network.layers[0], weights=weights.astype(np.int8))
    return replace(network, layers=(layer,))


@pytest.mark.parametrize(("weights", "zero_point", "bits"), [
    # Up to 129 * 254 + 1 = 32767, and to 32768; down to as much below zero, and further.
    ([127, 2, -1, 0], -127, 16), ([127, 2, -2, 0], -127, 17), ([-127, -2, 2, 0], -127, 16),
    ([-127, -2, 3, 0], -127, 17), ([0, 0, 0, 0], 5, 1), ([1, 0, 0, 0], 127, 9),
    ([1, 0, 0, 0], 126, 9), ([1, 0, 0, 0], -1, 9), ([-1, 0, 0, 0], 0, 9), ([1, 0, 0, 0], 0, 8)])
def test_ends_of_ranges(weights: list[int], zero_point: int, bits: int) -> None:
    network = NetworkBuilder((1, 1, 4), 1, zero_point=zero_point).dense(1).network()
    network = with_weights(network, np.array([weights]))
    assert sum_bits(network.layers[0], network.tensors) == bits
    if any(weights):
        assert bits_of(accumulators(network, extreme_inputs(network))) == bits


@pytest.mark.parametrize("dataflow", ["row-stationary", "weight-stationary"])
def test_a_layer_that_may_need_more_is_refused(dataflow: str) -> None:
    network = NetworkBuilder((6, 6, 80), 1).conv(20, (1, 1)).conv(5, (3, 3)).network()

    def config(width: int) -> ArrayConfig:
        return load_config("tiny", dataflow=dataflow, psum_width=width)

    # A row-stationary PE adds up the terms of its own filter rows and channels only.
    first, second = (
        min(split_bits(layer, network.tensors, config(32)).values())
        if dataflow == "row-stationary" else sum_bits(layer, network.tensors)
        for layer in network.layers)
    assert 16 < first < second

    compile_network(network, config(second))
    with pytest.raises(SumWidthError) as refusal:
        compile_network(network, config(second - 1))
    assert str(refusal.value) == (
        f"op1_conv: its partial sums may need {second} bits, and psum_width is {second - 1}; "
        f"set it to {second} or more")
    with pytest.raises(SumWidthError, match=f"^op0_conv: .* {first} bits, and psum_width is 16; "):
        compile_network(network, config(16))


def shares(layer: Layer, x: np.ndarray, r_groups: int, lanes: int) -> list[np.ndarray]:
    """Return the sums of all PEs of a convolution's rows and lanes, from the reference."""
    found = []
    for part in range(r_groups):
        for lane in range(lanes):
            weights = np.zeros_like(layer.weights)
            height = weights.shape[1] // r_groups
            own = slice(part * height, (part + 1) * height)
            weights[:, own, :, lane::lanes] = layer.weights[:, own, :, lane::lanes]
            found.append(reference.accumulate_conv2d(x, weights, input_zero_point=-3))
    return found


@pytest.mark.parametrize("split", [("plain", 1, 1), ("plain", 1, 4), ("plain", 3, 1)])
def test_bits_of_a_share_are_needed_and_enough(split: tuple[str, int, int]) -> None:
    network = conv((3, 2, 10), zero_point=-3)
    layer = network.layers[0]
    bits = split_bits(layer, network.tensors, load_config("tiny"))[split]
    found = shares(layer, extreme_inputs(network), *split[1:])
    assert max(map(bits_of, found)) == bits
    assert split == ("plain", 1, 1) or bits < sum_bits(layer, network.tensors)
    if split[1:] == (1, 1):
        assert bits == sum_bits(layer, network.tensors)
    # In slices of channels, in each of which lanes begin anew.
    cut = split_bits(layer, network.tensors, load_config("tiny"), ((0, 5), (5, 10)))[split]
    x = extreme_inputs(network)
    first, second = (x.copy() for _ in range(2))
    first[..., 5:], second[..., :5] = -3, -3
    rolled = replace(layer, weights=np.roll(layer.weights, -5, axis=3))
    pairs = zip(shares(layer, first, *split[1:]),
                shares(rolled, np.roll(second, -5, axis=3), *split[1:]), strict=True)
    assert max(bits_of(a + b) for a, b in pairs) == cut


def test_splits_are_asked_for_only_where_sums_are_too_narrow() -> None:
    network = conv((3, 2, 10), zero_point=-3)
    layer, tensors = network.layers[0], network.tensors
    whole = sum_bits(layer, tensors)
    assert narrow_splits(layer, tensors, load_config("tiny", psum_width=whole)) is None
    narrow = load_config("tiny", psum_width=whole - 1)
    splits = narrow_splits(layer, tensors, narrow)
    assert splits and ("plain", 1, 1) not in splits and ("plain", 3, 1) in splits
    assert narrow_splits(layer, tensors, replace(narrow, dataflow="weight-stationary")) is None


def test_layers_of_the_vector_unit_are_not_asked() -> None:
    network = NetworkBuilder((20, 20, 4), 1).pool(
        "average_pool", (20, 20), (1, 1), ((0, 0), (0, 0))).network()
    compile_network(network, load_config("tiny", psum_width=16))
