"""How wide the partial sums of a layer can become."""

from __future__ import annotations

import numpy as np

from .config import ArrayConfig
from .errors import OarlockError
from .graph import ARRAY_OPS, Graph
from .network import Layer, Tensor


__all__ = ["SumWidthError", "check_sums", "sum_bits"]


class SumWidthError(OarlockError, ValueError):
    """A layer whose sums may not fit the configuration's."""


def sum_bits(layer: Layer, tensors: dict[str, Tensor]) -> int:
    """Return the bits of two's complement that hold every sum of a layer, whatever its input.

    This is the range of complete sums, of all filters, over all int8 activations and without the
    bias. Sums of some of the terms lie in it, since every term can be 0.
    """
    assert layer.weights is not None
    weights = layer.weights.astype(np.int64)
    zero_point = tensors[layer.inputs[0]].zero_point
    ends = weights * (-128 - zero_point), weights * (127 - zero_point)
    # Padding takes terms away, too.
    highest = int(np.maximum(*ends).sum(axis=layer.term_axes).max(initial=0))
    lowest = int(np.minimum(*ends).sum(axis=layer.term_axes).min(initial=0))
    return 1 + max(highest.bit_length(), (-lowest - 1).bit_length() if lowest else 0)


def check_sums(graph: Graph, config: ArrayConfig) -> None:
    """Raise :class:`SumWidthError` if a layer of the array may need wider sums than there are."""
    if config.psum_width >= 32:
        return
    for task in graph.tasks:
        if task.layer.op in ARRAY_OPS:
            bits = sum_bits(task.layer, graph.tensors)
            if bits > config.psum_width:
                raise SumWidthError(
                    f"{task.layer.name}: its partial sums may need {bits} bits, and psum_width is "
                    f"{config.psum_width}; set it to {bits} or more")
