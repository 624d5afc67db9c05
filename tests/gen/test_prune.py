"""Channels that no weight looks at are left out, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from descriptor_model import Device, run_program, run_setup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_networks import NetworkBuilder
from oarlock.gen import prune
from oarlock.gen.config import DATAFLOWS, load_config
from oarlock.gen.counts import predicted
from oarlock.gen.interpret import evaluate
from oarlock.gen.network import Network
from oarlock.gen.program import compile_network
from oarlock.gen.prune import without_dead_channels
from oarlock.gen.tflite_import import load
from shared_data import MODELS, shared_file


def zeroed(network: Network, index: int, channels: list[int]) -> Network:
    """Return a network of which a layer has zero weights for some input channels."""
    layer = network.layers[index]
    assert layer.weights is not None
    weights = layer.weights.copy()
    weights[..., channels] = 0
    layers = list(network.layers)
    layers[index] = replace(layer, weights=weights)
    return replace(network, layers=tuple(layers))


def chain(seed: int = 1) -> Network:
    """Return conv, depthwise, conv, add of two convs, mean, dense."""
    builder = NetworkBuilder((6, 5, 3), seed)
    builder.conv(8, (3, 3), padding=((1, 1), (1, 1))).conv(1, (3, 3), depthwise=True)
    first = builder.conv(6, (1, 1)).last
    builder.conv(6, (1, 1)).add(first).pool("max_pool", (2, 2), (1, 1), ((0, 1), (1, 0)))
    return builder.mean().dense(4).network()


def same_output(network: Network, other: Network, seed: int = 3) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, network.tensors[network.input].shape)
    x = x.astype(np.int8)
    for rounding in ("single", "double"):
        np.testing.assert_array_equal(evaluate(network, x, rounding)[network.output],
                                      evaluate(other, x, rounding)[other.output])


def test_nothing_dead_nothing_changed() -> None:
    network = chain()
    assert without_dead_channels(network) is network


def test_what_is_left_of_a_chain() -> None:
    network = zeroed(chain(), 2, [0, 3, 4])
    cut = without_dead_channels(network)
    # The channels of the depthwise layer and of the filters before it.
    assert [layer.weights.shape for layer in cut.layers[:3]] == [(5, 3, 3, 3), (3, 3, 5),
                                                                 (6, 1, 1, 5)]
    assert cut.tensors[cut.layers[0].output].shape[-1] == 5
    assert [layer.name for layer in cut.layers] == [layer.name for layer in network.layers]
    assert cut.macs < network.macs
    same_output(network, cut)


def test_death_travels_backwards_through_sums() -> None:
    """A dead channel of a sum is dead in both terms if nobody else reads them."""
    network = zeroed(chain(), 7, [1, 5])
    cut = without_dead_channels(network)
    # The first term is also what the second is computed from: it keeps what that reads.
    assert cut.layers[7].weights.shape == (4, 6)
    network = zeroed(network, 3, [1, 5])
    cut = without_dead_channels(network)
    assert cut.layers[7].weights.shape == (4, 4)
    assert cut.layers[2].weights.shape[0] == cut.layers[3].weights.shape[0] == 4
    same_output(network, cut)


def test_a_channel_read_by_dead_filters_only_is_dead() -> None:
    network = zeroed(chain(), 7, [0])
    network = zeroed(network, 3, [0])
    layer = network.layers[2]
    weights = layer.weights.copy()
    weights[1:, ..., 2] = 0     # only the filter that dies looks at channel 2
    network = replace(network, layers=(*network.layers[:2], replace(layer, weights=weights),
                                       *network.layers[3:]))
    cut = without_dead_channels(network)
    assert cut.layers[2].weights.shape == (5, 1, 1, 7)
    same_output(network, cut)


def test_a_layer_of_zeros_keeps_a_channel() -> None:
    network = zeroed(chain(), 2, list(range(8)))
    cut = without_dead_channels(network)
    assert cut.layers[2].weights.shape == (6, 1, 1, 1)
    same_output(network, cut)


@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 99))
def test_drawn_zeros(data: st.DataObject, seed: int) -> None:
    network = chain(seed)
    for index in (0, 2, 3, 7):
        channels = network.layers[index].weights.shape[-1]
        network = zeroed(network, index, data.draw(
            st.lists(st.integers(0, channels - 1), max_size=channels)))
    same_output(network, without_dead_channels(network), seed)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_device_does_less(dataflow: str) -> None:
    config = load_config("tiny", dataflow=dataflow)
    network = zeroed(chain(), 2, [1, 2, 6, 7])
    x = np.random.default_rng(1).integers(-128, 128, (6, 5, 3)).astype(np.int8)
    cycles = []
    for skip in (False, True):
        program = compile_network(network, config, skip_zeros=skip)
        device = Device(config)
        run_setup(device, program)
        out = run_program(device, program, x)
        np.testing.assert_array_equal(
            out.ravel(), evaluate(network, x[None], "single")[network.output].ravel())
        macs = device.counters["macs_done"] + device.counters["macs_gated"]
        assert macs == sum(layer["macs"] for layer in program.header["layers"])
        assert (macs < network.macs) == skip
        cycles.append(predicted(program, config)[0]["busy_cycles"])
    assert cycles[1] < cycles[0]


def test_a_channel_too_few_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = prune._needs

    def forgets(*args: object) -> object:
        for name, needed in needs(*args):  # type: ignore[arg-type]
            needed = needed.copy()
            needed[0] = False
            yield name, needed

    monkeypatch.setattr(prune, "_needs", forgets)
    network = chain()
    with pytest.raises(AssertionError, match="Mismatched elements"):
        same_output(network, without_dead_channels(network))


@pytest.mark.parametrize("model", MODELS)
def test_real_networks(model: str) -> None:
    network = load(shared_file(f"models/{model}.tflite"))
    cut = without_dead_channels(network)
    # Only the visual wake words were pruned, by whole channels.
    assert (cut.macs < network.macs) == (model == "vww_96_int8")
    if cut is not network:
        assert cut.macs < 0.51 * network.macs
        same_output(network, cut)
