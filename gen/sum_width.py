"""How wide the partial sums of a layer can become."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..hw import isa
from .config import ArrayConfig
from .conv_shape import KINDS, ConvShape, conv_shape, variant
from .errors import OarlockError
from .graph import ARRAY_OPS, Graph
from .network import Layer, Tensor


__all__ = ["Split", "SumWidthError", "check_sums", "narrow_splits", "split_bits", "sum_bits"]

#: How the terms of a sum are divided among rows of PEs: the form of the convolution, parts of the
#: filter's rows, lanes of channels; see :class:`oarlock.gen.mapping.Mapping`.
Split = tuple[str, int, int]


class SumWidthError(OarlockError, ValueError):
    """A layer whose sums may not fit the configuration's."""


def sum_bits(layer: Layer, tensors: dict[str, Tensor]) -> int:
    """Return the bits of two's complement that hold every sum of a layer, whatever its input.

    This is the range of complete sums, of all filters, over all int8 activations and without the
    bias. Sums of some of the terms lie in it, since every term can be 0.
    """
    return _sum_bits(layer, tensors[layer.inputs[0]].zero_point)


# A plan asks again for every way to cut a layer.
@lru_cache(maxsize=128)
def _sum_bits(layer: Layer, zero_point: int) -> int:
    low, high = _ends(layer, zero_point)
    return _bits(low.sum(axis=layer.term_axes), high.sum(axis=layer.term_axes))


def split_bits(layer: Layer, tensors: dict[str, Tensor], config: ArrayConfig,
               slices: tuple[tuple[int, int], ...] = ()) -> dict[Split, int]:
    """Return the bits that hold every partial sum of every PE, for whatever rows of PEs may share.

    A PE adds up the terms of consecutive filter rows, and of every ``lanes``-th channel.

    Parameters
    ----------
    layer, tensors
        As for :func:`sum_bits`.
    config : :class:`.ArrayConfig`
        A row-stationary array.
    slices : tuple of (:class:`int`, :class:`int`)
        Channels that are computed one after the other into the same partial sums; all at once by
        default.
    """
    return _split_bits(layer, tensors[layer.inputs[0]].zero_point, conv_shape(layer, tensors),
                       config, slices)


@lru_cache(maxsize=128)
def _split_bits(layer: Layer, zero_point: int, whole: ConvShape, config: ArrayConfig,
                slices: tuple[tuple[int, int], ...]) -> dict[Split, int]:
    bits = {}
    for kind in KINDS:
        shape = variant(whole, kind)
        if shape is None:
            continue
        # By filter, filter row, channel.
        ends = [shape.weights(terms).sum(axis=2) for terms in _ends(layer, zero_point)]
        for r_groups in range(1, min(config.rows, shape.r) + 1):
            if shape.r % r_groups:
                continue
            parts = [terms.reshape(len(terms), r_groups, -1, terms.shape[-1]).sum(axis=2)
                     for terms in ends]
            for lanes in range(1, min(config.rows // r_groups, config.word_bytes, shape.c) + 1):
                shares = parts if shape.depthwise else [
                    sum((_lane_sums(terms[..., start:end], lanes)
                         for start, end in slices or ((0, shape.c),)), np.int64(0))
                    for terms in parts]
                bits[kind, r_groups, lanes] = _bits(*shares)
    return bits


def _lane_sums(terms: np.ndarray, lanes: int) -> np.ndarray:
    """Return sums of every ``lanes``-th of the last axis."""
    rest = -terms.shape[-1] % lanes
    padded = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, rest)])
    return padded.reshape(*terms.shape[:-1], -1, lanes).sum(axis=-2)


def _ends(layer: Layer, zero_point: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest value of every term."""
    assert layer.weights is not None
    weights = layer.weights.astype(np.int64)
    # Padding takes terms away, too, and 0 is between these.
    ends = weights * (-128 - zero_point), weights * (127 - zero_point)
    return np.minimum(*ends), np.maximum(*ends)


def _bits(low: np.ndarray, high: np.ndarray) -> int:
    """Return the bits of two's complement that hold all these."""
    lowest, highest = int(low.min(initial=0)), int(high.max(initial=0))
    return 1 + max(highest.bit_length(), (-lowest - 1).bit_length() if lowest else 0)


def _in_shares(config: ArrayConfig) -> bool:
    """Tell whether PEs hold sums of a part of the terms each."""
    return config.dataflow_code == isa.Dataflow.ROW_STATIONARY


def narrow_splits(layer: Layer, tensors: dict[str, Tensor], config: ArrayConfig,
                  slices: tuple[tuple[int, int], ...] = ()) -> frozenset[Split] | None:
    """Return the splits with which partial sums fit a row-stationary array; None if all do.

    Parameters are those of :func:`split_bits`; other dataflows have no splits.
    """
    if (config.psum_width >= 32 or not _in_shares(config)
            or sum_bits(layer, tensors) <= config.psum_width):
        return None
    return frozenset(split for split, bits in split_bits(layer, tensors, config, slices).items()
                     if bits <= config.psum_width)


def check_sums(graph: Graph, config: ArrayConfig) -> None:
    """Raise :class:`SumWidthError` if a layer of the array may need wider sums than there are."""
    if config.psum_width >= 32:
        return
    for task in graph.tasks:
        if task.layer.op not in ARRAY_OPS:
            continue
        bits = sum_bits(task.layer, graph.tensors)
        if bits > config.psum_width and _in_shares(config):
            bits = min(split_bits(task.layer, graph.tensors, config).values())
        if bits > config.psum_width:
            raise SumWidthError(
                f"{task.layer.name}: its partial sums may need {bits} bits, and psum_width is "
                f"{config.psum_width}; set it to {bits} or more")
