"""The loops of a convolution, and the forms in which it can be computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .network import Layer, Tensor


__all__ = ["KINDS", "ConvShape", "conv_shape", "variant"]

#: Forms of a convolution, see :func:`variant`. Where pixels are possible, no other form is better.
KINDS = ("pixels", "flat", "plain", "fold", "swap", "swap fold")

# Rows and channels have fields of 16 bits. A folded window is one pass, of which 256 entries times
# 16 lanes are more than any array takes.
MAX_ROWS, MAX_FOLD = (1 << 16) - 1, 256 * 16


@dataclass(frozen=True, kw_only=True)
class ConvShape:
    """The loops of one convolution, and how its feature maps lie in memory.

    Members
    -------
    m, c, p, q, r, s, h, w : :class:`int`
        Output channels, input channels, output rows and columns, filter rows and columns, ifmap
        rows and columns. ``y`` (p, r, h) is the axis on array columns.
    stride_y, stride_x, pad_y, pad_x : :class:`int`
        Strides; rows and columns of padding before the image. Padding behind it follows.
    in_y, in_x, out_y, out_x : :class:`int`
        Bytes from a row or column to the next, in the ifmap and in the output.
    depthwise : :class:`bool`
        Output channel ``m`` reads input channel ``m // multiplier`` only, ``multiplier = m // c``.
    swapped : :class:`bool`
        Image axes are exchanged against the network's.
    fold : :class:`bool`
        Filter columns were folded into the channels: ``c`` is S*C of the network, ``s`` is 1, and
        ``in_x`` (the network's C) bytes are one column.
    flat : :class:`bool`
        Filter rows and columns were folded into the channels: the filter covers the whole image.
    pixels : :class:`bool`
        The image was unrolled into one column of pixels.
    """

    m: int
    c: int
    p: int
    q: int
    r: int
    s: int
    h: int
    w: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    in_y: int
    in_x: int
    out_y: int
    out_x: int
    depthwise: bool = False
    swapped: bool = False
    fold: bool = False
    flat: bool = False
    pixels: bool = False

    @property
    def multiplier(self) -> int:
        """Output channels per input channel of a depthwise layer."""
        return self.m // self.c

    @property
    def kind(self) -> str:
        """Which of :data:`KINDS` this is."""
        if self.pixels or self.flat:
            return "pixels" if self.pixels else "flat"
        return " ".join(["swap"] * self.swapped + ["fold"] * self.fold) or "plain"

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included."""
        return self.m * self.p * self.q * self.r * self.s * (1 if self.depthwise else self.c)

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Arrange a layer's weights for this shape: (m, r, s, c), or (m, r, s, 1) if depthwise.

        Parameters
        ----------
        weights : int8 array
            As in :class:`oarlock.gen.network.Layer`.
        """
        if weights.ndim == 2:
            weights = weights[:, None, None, :]
        elif weights.ndim == 3:
            weights = weights.transpose(2, 0, 1)[..., None]
        if self.flat:
            return weights.reshape(self.m, 1, 1, self.c)
        if self.swapped:
            weights = weights.transpose(0, 2, 1, 3)
        if self.fold:
            return weights.reshape(self.m, self.r, 1, self.c)
        return weights


def conv_shape(layer: Layer, tensors: dict[str, Tensor]) -> ConvShape:
    """Return the shape of a convolution or fully connected layer, feature maps contiguous."""
    assert layer.weights is not None
    out = tensors[layer.output].shape
    if layer.op == "fully_connected":
        m, c = layer.weights.shape
        p = tensors[layer.output].size // m
        return ConvShape(m=m, c=c, p=p, q=1, r=1, s=1, h=p, w=1, stride_y=1, stride_x=1, pad_y=0,
                         pad_x=0, in_y=c, in_x=c, out_y=m, out_x=m)
    _, h, w, c = tensors[layer.inputs[0]].shape
    _, p, q, m = out
    depthwise = layer.op == "depthwise_conv"
    r, s = layer.weights.shape[:2] if depthwise else layer.weights.shape[1:3]
    return ConvShape(
        m=m, c=c, p=p, q=q, r=r, s=s, h=h, w=w, stride_y=layer.stride[0], stride_x=layer.stride[1],
        pad_y=layer.padding[0][0], pad_x=layer.padding[1][0], in_y=w * c, in_x=c, out_y=q * m,
        out_x=m, depthwise=depthwise and c > 1)


def variant(shape: ConvShape, kind: str) -> ConvShape | None:
    """Return the shape in which a convolution can be computed, or None.

    Parameters
    ----------
    shape : :class:`ConvShape`
        As the network has it.
    kind : :class:`str`
        One of :data:`KINDS`: ``pixels``: a pointwise layer's image as a list of pixels; ``flat``: a
        filter that covers the image as a list of channels; ``swap``: with image axes exchanged;
        ``fold``: with filter columns among the channels.
    """
    unpadded = shape.pad_y == shape.pad_x == 0
    lines = shape.in_y == shape.w * shape.in_x
    if kind == "pixels":
        pixels = shape.p * shape.q
        if (shape.stride_y == shape.stride_x == shape.r == shape.s == 1 and unpadded and lines
                and (shape.p, shape.q) == (shape.h, shape.w) and pixels <= MAX_ROWS
                and shape.out_y == shape.q * shape.out_x):
            return replace(shape, p=pixels, q=1, h=pixels, w=1, in_y=shape.in_x, out_y=shape.out_x,
                           pixels=True)
        return None
    if kind == "flat":
        size = shape.h * shape.w * shape.c
        if (not shape.depthwise and unpadded and lines and shape.p == shape.q == 1
                and (shape.r, shape.s) == (shape.h, shape.w) and shape.r * shape.s > 1
                and shape.in_x == shape.c and size <= MAX_ROWS):
            return replace(shape, c=size, r=1, s=1, h=1, w=1, in_y=size, in_x=size, flat=True)
        return None
    if kind.startswith("swap"):
        shape = replace(
            shape, p=shape.q, q=shape.p, r=shape.s, s=shape.r, h=shape.w, w=shape.h,
            stride_y=shape.stride_x, stride_x=shape.stride_y, pad_y=shape.pad_x, pad_x=shape.pad_y,
            in_y=shape.in_x, in_x=shape.in_y, out_y=shape.out_x, out_x=shape.out_y, swapped=True)
    if kind.endswith("fold"):
        size = shape.s * shape.c
        if shape.depthwise or shape.s == 1 or shape.in_x != shape.c or size > MAX_FOLD:
            return None
        return replace(shape, c=size, s=1, fold=True)
    return shape
