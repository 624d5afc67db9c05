"""Sums too wide for a PE, divided among PEs: the compiled programs on the simulated hardware."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from layer_networks import NetworkBuilder, extreme_inputs, program_of
from oarlock.gen import residency
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.graph import prepare
from oarlock.gen.interpret import evaluate
from oarlock.gen.network import Network
from oarlock.gen.plan import plan_memory
from oarlock.gen.sum_width import split_bits, sum_bits
from oarlock.gen.verilog import verilog_of
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.transport import SimTransport
from oarlock.sw_driver.session import Session


WIDTH = 18

#: Name: a network, and whether its channels are computed in slices.
NETWORKS = {
    "conv": (NetworkBuilder((6, 5, 12), 1, zero_point=-128).conv(10, (3, 3)), False),
    "pixels": (NetworkBuilder((4, 4, 30), 2, zero_point=5).conv(7, (1, 1)), False),
    "dense": (NetworkBuilder((2, 3, 6), 3, zero_point=127).dense(9), False),
    "slices": (NetworkBuilder((3, 3, 36), 4, zero_point=-128).conv(5, (3, 3)), True),
}


@pytest.fixture(scope="module")
def device() -> Iterator[tuple[ArrayConfig, Simulator]]:
    config = load_config("tiny", filter_depth=64, psum_width=WIDTH)
    with Simulator(build(verilog_of(config))) as simulator:
        yield config, simulator


def mismatches(device: tuple[ArrayConfig, Simulator], network: Network) -> int:
    """Return how many outputs are wrong."""
    config, simulator = device
    wrong = 0
    with Session(SimTransport(simulator), program_of(network, config, "single")) as session:
        session.load()
        for image in extreme_inputs(network):
            x = image[None]
            wrong += int((session.infer(x) != evaluate(network, x)[network.output]).sum())
    return wrong


def network_of(name: str, config: ArrayConfig) -> Network:
    """Return a network whose sums are too wide for one PE, but not for several.

    Nothing but the upper bits of a sum is in an output.
    """
    network = NETWORKS[name][0].network()
    layer = network.layers[0]
    count = len(layer.bias)
    while min(split_bits(layer, network.tensors, config).values()) > WIDTH:
        layer = replace(layer, weights=layer.weights >> 1)
    layer = replace(layer, bias=np.zeros(count, np.int32), multiplier=np.full(count, 1 << 30),
                    shift=np.full(count, -(sum_bits(layer, network.tensors) - 9)))
    return replace(network, layers=(layer,))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sum_that_no_pe_could_hold(device: tuple[ArrayConfig, Simulator], name: str) -> None:
    network = network_of(name, device[0])
    assert sum_bits(network.layers[0], network.tensors) > WIDTH
    assert mismatches(device, network) == 0
    graph = prepare(network)
    plan, = residency.plan_layers(graph, plan_memory(graph, device[0]), device[0])
    assert plan.tiling.keeps == NETWORKS[name][1]


def test_a_pe_that_holds_too_much_is_noticed(device: tuple[ArrayConfig, Simulator],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "narrow_splits",
                        lambda *_: frozenset({("pixels", 1, 1)}))
    assert mismatches(device, network_of("pixels", device[0])) > 0
