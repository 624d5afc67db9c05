"""The network as the compiler sees it: tensors and layers, free of any file format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


__all__ = ["Layer", "Network", "OpName", "Tensor"]

OpName = Literal[
    "conv", "depthwise_conv", "fully_connected", "add", "average_pool", "max_pool", "mean",
    "pad", "reshape", "softmax", "quantize", "dequantize",
]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A value that flows between layers.

    Members
    -------
    name : :class:`str`
        Name in the file; unique within a network.
    shape : tuple of :class:`int`
        Shape with the leading batch of 1. Feature maps are NHWC.
    dtype : :class:`str`
        ``"int8"``, or ``"float32"`` outside of a (de)quantizing edge.
    scale, zero_point : :class:`float`, :class:`int`
        ``real = scale * (q - zero_point)``. 1.0 and 0 for float tensors.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: float = 1.0
    zero_point: int = 0

    @property
    def size(self) -> int:
        """Number of elements (and, for int8, of bytes)."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One operator with its constants.

    Members
    -------
    name : :class:`str`
        ``op<index>_<op>``, unique.
    op : :class:`str`
        One of :data:`OpName`.
    index : :class:`int`
        Operator index in the file.
    inputs, output : tuple of :class:`str`, :class:`str`
        Tensor names (constants are not among them). Two inputs for ``add``, one otherwise.
    weights : int8 array or None
        ``conv``: (M, R, S, C). ``depthwise_conv``: (R, S, M) with M = C * multiplier, where output
        channel ``m`` reads input channel ``m // multiplier``. ``fully_connected``: (M, C).
    bias : int32 array (M,) or None
        Zeros where the file has none.
    multiplier, shift : int64 arrays (M,)
        Requantization ``(q31, s)`` of numerics.md: ``M = q31 * 2**(s - 31)``. One element for
        ``mean``, whose ``bias`` has one too: minus the sum of the input's zero points.
    stride : (y, x)
        Strides of convolutions and pools.
    padding : ((top, bottom), (left, right))
        Explicit padding of convolutions, pools and ``pad``.
    window : (y, x)
        Kernel height and width of convolutions and pools.
    activation : (low, high)
        Clamp of the fused activation, as int8 values.
    beta : :class:`float`
        Factor before the exponential of ``softmax``.
    """

    name: str
    op: OpName
    index: int
    inputs: tuple[str, ...]
    output: str
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shift: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    window: tuple[int, int] = (1, 1)
    activation: tuple[int, int] = (-128, 127)
    beta: float = 1.0

    @property
    def term_axes(self) -> tuple[int, ...]:
        """Axes of ``weights`` along which the terms of one output channel's sum lie."""
        assert self.weights is not None
        return (0, 1) if self.op == "depthwise_conv" else tuple(range(1, self.weights.ndim))

    def macs(self, tensors: dict[str, Tensor]) -> int:
        """Multiply-accumulates of one inference, padding included; 0 for layers without weights."""
        if self.weights is None:
            return 0
        out = tensors[self.output]
        positions = out.size // out.shape[-1]
        return positions * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A directed acyclic graph of layers in execution order.

    Members
    -------
    name : :class:`str`
        File name without its ending.
    tensors : dict of :class:`str` to :class:`Tensor`
        Every tensor that flows (no constants).
    layers : tuple of :class:`Layer`
        In an order in which every input is ready.
    input, output : :class:`str`
        The one input and the one output tensor.
    """

    name: str
    tensors: dict[str, Tensor] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    input: str
    output: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs(self.tensors) for layer in self.layers)
