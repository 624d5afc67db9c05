"""From a convolution on the compact core to its descriptor, and what its parameters are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .config import ArrayConfig
from .network import Layer
from .systolic_lower import SystolicDescriptor
from .systolic_lower import lower_conv as lower_systolic
from .systolic_mapping import SystolicMapping


__all__ = ["folded_bias", "lower_conv"]

#: Fields of the two axes that mean the same.
AXIS_FIELDS = ("{}_step", "{}_tile_step", "{}_count", "{}_last", "{}_tiles", "out_{}_step",
               "out_{}_tile_step")


def lower_conv(mapping: SystolicMapping, config: ArrayConfig, *arguments: Any, **options: Any,
               ) -> SystolicDescriptor:
    """Make the descriptor of a convolution: that of the systolic array, but pixels in a row.

    The compact core sends a row of positions a cycle each, and needs some more for every row. So
    where the image is a list of pixels, this is one row.

    Parameters are those of :func:`oarlock.gen.lower.lower_conv`.
    """
    descriptor = lower_systolic(mapping, config, *arguments, **options)
    fields, shape = descriptor.fields, mapping.shape
    if not shape.pixels:
        return descriptor
    swapped = {name.format(to): fields[name.format(axis)]
               for axis, to in ("pq", "qp") for name in AXIS_FIELDS}
    return SystolicDescriptor(fields=fields | swapped | {
        "x_limit": shape.h * shape.in_y, "y_limit": 1, "p_rows": 0, "p_tile_rows": 0})


def folded_bias(layer: Layer, zero_point: int) -> np.ndarray:
    """Return the bias of every filter, less what raw activations add to its sums.

    A sum of ``(x - zero_point) * w`` is that of ``x * w`` less ``zero_point`` times the filter's
    weights, modulo 2**32 as everything before post-processing. Padding reads as ``zero_point``.

    Parameters
    ----------
    layer : :class:`~oarlock.gen.network.Layer`
        A convolution of any kind, or fully connected.
    zero_point : :class:`int`
        Of its input.

    Returns
    -------
    int32 array (m,)
    """
    assert layer.weights is not None and layer.bias is not None
    sums = layer.weights.sum(axis=layer.term_axes, dtype=np.int64)
    return (layer.bias.astype(np.int64) - zero_point * sums).astype(np.uint32).view(np.int32)
