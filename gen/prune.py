"""Leave out channels that no weight looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .network import Layer, Network, Tensor


__all__ = ["without_dead_channels"]

#: What computes every channel of its output from the same channel of its inputs.
CHANNELWISE = ("depthwise_conv", "add", "average_pool", "max_pool", "mean", "pad")


def without_dead_channels(network: Network) -> Network:
    """Return a network with the same output that computes fewer channels.

    A channel is dead if all weights that read it are zero: then it need not be computed, nor the
    channels that only it was computed from. Tensors that an element-by-element layer connects have
    the same channels alive. Input and output of the network keep theirs. Nothing is reordered, so
    feature maps stay contiguous.

    Parameters
    ----------
    network : :class:`~oarlock.gen.network.Network`
        The network; its layers and tensors keep their names.
    """
    while True:
        alive = _alive(network)
        if all(mask.all() for mask in alive.values()):
            return network
        network = _cut(network, alive)


def _groups(network: Network) -> dict[str, str]:
    """Return for each tensor the one that stands for all that have the same channels."""
    parent = {name: name for name in network.tensors}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for layer in network.layers:
        if _keeps_channels(layer, network.tensors):
            for name in layer.inputs:
                parent[find(name)] = find(layer.output)
    return {name: find(name) for name in parent}


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1]


def _keeps_channels(layer: Layer, tensors: dict[str, Tensor]) -> bool:
    source, target = tensors[layer.inputs[0]], tensors[layer.output]
    if layer.op == "reshape":
        # Into a vector, of an image of one pixel: its elements are the channels.
        return source.size == _channels(source) == _channels(target) == target.size
    return layer.op in CHANNELWISE and _channels(source) == _channels(target)


def _alive(network: Network) -> dict[str, np.ndarray]:
    """Return which channels of each tensor are needed."""
    groups, tensors = _groups(network), network.tensors
    alive = {name: np.zeros(_channels(tensors[name]), bool) for name in set(groups.values())}
    for name in (network.input, network.output):
        alive[groups[name]][:] = True
    for layer in network.layers:
        for name, needed in _needs(layer, tensors):
            alive[groups[name]] |= needed
    for mask in alive.values():
        # A tensor of no channel is none.
        mask[0] |= not mask.any()
    return {name: alive[group] for name, group in groups.items()}


def _needs(layer: Layer, tensors: dict[str, Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the channels of tensors that a layer needs, beyond those of its group."""
    if _keeps_channels(layer, tensors):
        return
    source = layer.inputs[0]
    channels = _channels(tensors[source])
    if layer.op == "conv":
        assert layer.weights is not None
        yield source, layer.weights.any(axis=(0, 1, 2))
    elif layer.op == "fully_connected" and layer.weights.shape[1] == channels:  # type: ignore
        assert layer.weights is not None
        yield source, layer.weights.any(axis=0)
    else:
        # Where elements change their places, or a channel becomes several, all stay.
        for name in (*layer.inputs, layer.output):
            yield name, np.ones(_channels(tensors[name]), bool)


def _cut(network: Network, alive: dict[str, np.ndarray]) -> Network:
    """Take the other channels out of tensors and constants."""
    tensors = {
        name: replace(tensor, shape=(*tensor.shape[:-1], int(alive[name].sum())))
        for name, tensor in network.tensors.items()}
    layers = []
    for layer in network.layers:
        own, source = alive[layer.output], alive[layer.inputs[0]]
        changes: dict[str, np.ndarray] = {}
        if layer.weights is not None:
            changes = {name: getattr(layer, name)[own] for name in ("bias", "multiplier", "shift")}
            weights = layer.weights
            if layer.op == "depthwise_conv":
                changes["weights"] = weights[..., own]
            elif weights.shape[-1] == len(source):
                changes["weights"] = weights[own][..., source]
            else:
                changes["weights"] = weights[own]
        layers.append(replace(layer, **changes))
    return replace(network, tensors=tensors, layers=tuple(layers))
