"""Exact counts of what depends on the activations: gated MACs, sums that they leave alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..hw import isa
from ..sim.reference import accumulate_conv2d, accumulate_depthwise
from .config import ArrayConfig
from .graph import Graph, prepare
from .mapping import Mapping as RowMapping
from .network import Layer, Network, Tensor
from .plan import plan_memory
from .residency import LayerPlan, plan_layers


__all__ = ["gated_macs", "value_counts"]


def gated_macs(layer: Layer, tensors: Mapping[str, Tensor], x: np.ndarray) -> int:
    """Return the MACs of one inference whose activation is zero, or padding.

    Parameters
    ----------
    layer : :class:`~oarlock.gen.network.Layer`
        A convolution of any kind, or fully connected.
    tensors : mapping
        Tensors by name.
    x : int8 array (1, ...)
        Its input.
    """
    assert layer.weights is not None
    there = (x != tensors[layer.inputs[0]].zero_point).astype(np.int8)
    if layer.op == "fully_connected":
        return layer.macs(tensors) - int(np.count_nonzero(there)) * layer.weights.shape[0]
    ones = np.ones_like(layer.weights)
    # One filter is as good as any.
    if layer.op == "conv":
        taps = accumulate_conv2d(there, ones[:1], stride=layer.stride, padding=layer.padding)
        done = int(taps.sum(dtype=np.int64)) * len(ones)
    else:
        taps = accumulate_depthwise(there, ones, stride=layer.stride, padding=layer.padding)
        done = int(taps.sum(dtype=np.int64))
    return layer.macs(tensors) - done


def _first_activations(layer: Layer, tensors: Mapping[str, Tensor], mapping: RowMapping,
                       there: np.ndarray, *, gating: bool) -> int:
    """Return how many partial sums of PEs begin with a MAC that is executed.

    A PE begins with the first column of the first row of its r-group, and with the first channel of
    its lane; depthwise with every channel, each in a sum of its own.
    """
    assert layer.weights is not None
    shape = mapping.shape
    image = there.reshape(1, 1, -1) if layer.op == "fully_connected" or shape.flat else there[0]
    padding, stride = ((0, 0), (0, 0)), (1, 1)
    outputs, taps = (1, 1), 1
    if layer.op != "fully_connected" and not shape.flat:
        padding, stride = layer.padding, layer.stride
        outputs = tensors[layer.output].shape[1:3]
        window = (layer.weights.shape[1:3] if layer.op == "conv" else layer.weights.shape[:2])
        if shape.swapped:
            image = image.transpose(1, 0, 2)
            padding, stride, outputs, window = (
                pair[::-1] for pair in (padding, stride, outputs, window))
        taps = window[0]
    channels = image.shape[2]
    padded = np.pad(image, (*padding, (0, 0)))
    if not gating:
        padded = np.ones_like(padded)
    lanes = [divmod(lane, channels) for lane in range(mapping.lanes)]
    # Room for the columns that lanes of a folded window begin with.
    padded = np.pad(padded, ((0, 0), (0, lanes[-1][0]), (0, 0)), constant_values=not gating)
    found = 0
    for group in range(mapping.r_groups):
        first = group * (taps // mapping.r_groups)
        rows = padded[first:first + (outputs[0] - 1) * stride[0] + 1:stride[0]]
        for column, channel in [(0, slice(None))] if shape.depthwise else lanes:
            found += int(np.count_nonzero(
                rows[:, column:column + (outputs[1] - 1) * stride[1] + 1:stride[1], channel]))
    # A depthwise layer of one channel may be computed as a dense one.
    filters = tensors[layer.output].shape[-1]
    return found * (filters // channels if shape.depthwise else filters)


def _plans(network: Network, config: ArrayConfig) -> tuple[Graph, list[LayerPlan]]:
    graph = prepare(network)
    return graph, plan_layers(graph, plan_memory(graph, config), config)


def value_counts(network: Network, config: ArrayConfig, values: Mapping[str, np.ndarray],
                 ) -> dict[int, dict[str, int]]:
    """Return counts that depend on values, by the layer's place in the network.

    They are what :func:`oarlock.gen.counts.descriptor_counts` lacks; for partial sums, what has to
    be added to its counts.

    Parameters
    ----------
    network : :class:`~oarlock.gen.network.Network`
        The network.
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The array.
    values : mapping of :class:`str` to int8 array (1, ...)
        All tensors of one inference.
    """
    graph, plans = _plans(network, config)
    found = {}
    for plan in plans:
        task = plan.tiling.task
        layer = task.layer
        if plan.mapping is None:
            continue
        seen = layer.inputs[0] if layer.inputs[0] in values else task.inputs[0]
        x, macs = values[seen], layer.macs(graph.tensors)
        gated = gated_macs(layer, graph.tensors, x) if config.zero_gating else 0
        counts = {"macs_done": macs - gated, "macs_gated": gated}
        if config.dataflow_code == isa.Dataflow.ROW_STATIONARY:
            assert isinstance(plan.mapping, RowMapping)
            there = x != graph.tensors[layer.inputs[0]].zero_point
            firsts = _first_activations(layer, graph.tensors, plan.mapping,
                                        there, gating=config.zero_gating)
            updates = macs - gated - firsts
            counts |= {"filter_reads": macs - gated, "psum_reads": updates,
                       "psum_writes": updates}
        found[task.position] = counts
    return found
