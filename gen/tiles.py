"""Boxes of a layer's output, the boxes of its inputs they need, and the work on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from ..sim.reference import Rounding, add_parameters
from .graph import ARRAY_OPS, Box, Task, image_shape
from .lower import RULES, Requantization
from .lower_vector import Pool, View, lower_add, lower_pad, lower_pool
from .mapping import ConvShape
from .network import Tensor


__all__ = [
    "box_bytes", "box_view", "contiguous_boxes", "cut", "input_boxes", "input_shapes",
    "output_shape", "piece_shape", "piece_weights", "requantization", "vector_descriptors", "whole",
]


def whole(shape: tuple[int, int, int]) -> Box:
    """Return the box of everything."""
    return (0, shape[0]), (0, shape[1]), (0, shape[2])


def box_bytes(box: Box) -> int:
    """Return the size of a box, rounded up to whole words of the host."""
    return -(-prod(end - start for start, end in box) // 4) * 4


def cut(size: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield ``size`` elements in pieces of ``step``."""
    for start in range(0, size, step):
        yield start, min(start + step, size)


def contiguous_boxes(shape: tuple[int, int, int], limit: int,
                     ) -> Iterator[tuple[Box, tuple[int, int]]]:
    """Yield boxes of at most ``limit`` bytes without a gap, and their first and last+1 byte."""
    height, width, channels = shape
    row = width * channels
    if row <= limit:
        for y in cut(height, limit // row):
            yield (y, (0, width), (0, channels)), (y[0] * row, y[1] * row)
        return
    for y in range(height):
        if channels <= limit:
            for x in cut(width, limit // channels):
                start = y * row
                yield ((y, y + 1), x, (0, channels)), (start + x[0] * channels,
                                                       start + x[1] * channels)
            continue
        for x in range(width):
            start = y * row + x * channels
            for c in cut(channels, limit):
                yield ((y, y + 1), (x, x + 1), c), (start + c[0], start + c[1])


def output_shape(task: Task, tensors: dict[str, Tensor]) -> tuple[int, int, int]:
    """Return a task's output as rows, columns and channels."""
    return image_shape(tensors[task.output].shape)


def input_shapes(task: Task, tensors: dict[str, Tensor]) -> list[tuple[int, int, int]]:
    """Return a task's inputs as the layer sees them, in rows, columns and channels."""
    layer = task.layer
    if layer.op == "fully_connected":
        assert layer.weights is not None
        channels = layer.weights.shape[1]
        return [(1, tensors[layer.inputs[0]].size // channels, channels)]
    return [image_shape(tensors[name].shape) for name in layer.inputs]


def _span(start: int, end: int, stride: int, window: int, pad: int, size: int) -> tuple[int, int]:
    """Return the inputs of outputs ``start`` to ``end`` along an axis; never none at all."""
    first = min(max(start * stride - pad, 0), size - 1)
    return first, max(first + 1, min((end - 1) * stride - pad + window, size))


def input_boxes(task: Task, tensors: dict[str, Tensor], box: Box,
                channels: tuple[int, int] | None = None) -> list[Box]:
    """Return the boxes of the inputs that a box of the output needs.

    Parameters
    ----------
    task, tensors
        The layer.
    box : :data:`oarlock.gen.graph.Box`
        Box of the output.
    channels : (start, end), optional
        Input channels to be summed, all by default. Dense convolutions only.
    """
    layer = task.layer
    shapes = input_shapes(task, tensors)
    height, width, depth = shapes[0]
    if layer.op == "add":
        return [box, box]
    if layer.op == "fully_connected":
        return [(box[0], box[1], channels or (0, depth))]
    if layer.op == "mean":
        return [((0, height), (0, width), box[2])]
    if layer.op == "pad":
        return [(*(
            (min(max(start - pad[0], 0), size), max(min(end - pad[0], size), 0))
            for (start, end), pad, size in zip(box, layer.padding, (height, width), strict=False)
        ), box[2])]  # type: ignore[list-item]
    y, x = (
        _span(*box[axis], layer.stride[axis], _window(task, axis), layer.padding[axis][0],
              shapes[0][axis])
        for axis in range(2))
    own = channels or (0, depth)
    if layer.op == "depthwise_conv":
        multiplier = tensors[task.output].shape[-1] // depth
        own = box[2][0] // multiplier, -(-box[2][1] // multiplier)
    elif layer.op != "conv":
        own = box[2]
    return [(y, x, own)]


def _window(task: Task, axis: int) -> int:
    """Return the rows or columns of a kernel."""
    layer = task.layer
    if layer.weights is None:
        return layer.window[axis]
    return layer.weights.shape[axis + (layer.op == "conv")]


def box_view(address: int, shape: tuple[int, int, int], box: Box) -> View:
    """Return the view of a box of a feature map of ``shape`` that lies whole at ``address``."""
    y, x = shape[1] * shape[2], shape[2]
    return View(address=address + box[0][0] * y + box[1][0] * x + box[2][0], y=y, x=x)


def piece_shape(task: Task, tensors: dict[str, Tensor], box: Box, source_box: Box, source: View,
                target: View) -> ConvShape:
    """Return the convolution that computes a box of the output from boxes of feature maps."""
    layer = task.layer
    assert layer.op in ARRAY_OPS and layer.weights is not None
    (y0, y1), (x0, x1), (m0, m1) = box
    (h0, h1), (w0, w1), (c0, c1) = source_box
    plain = layer.op == "fully_connected"
    depthwise = layer.op == "depthwise_conv" and input_shapes(task, tensors)[0][2] > 1
    pads = (0, 0) if plain else tuple(
        first - (start * stride - pad[0])
        for first, start, stride, pad in zip((h0, w0), (y0, x0), layer.stride, layer.padding,
                                             strict=True))
    return ConvShape(
        m=m1 - m0, c=c1 - c0, p=y1 - y0, q=x1 - x0, r=1 if plain else _window(task, 0),
        s=1 if plain else _window(task, 1), h=h1 - h0, w=w1 - w0, stride_y=layer.stride[0],
        stride_x=layer.stride[1], pad_y=pads[0], pad_x=pads[1], in_y=source.y, in_x=source.x,
        out_y=target.y, out_x=target.x, depthwise=depthwise)


def piece_weights(task: Task, filters: tuple[int, int], channels: tuple[int, int] | None,
                  ) -> np.ndarray:
    """Return a layer's weights of some filters and, if dense, input channels."""
    weights = task.layer.weights
    assert weights is not None
    if task.layer.op == "depthwise_conv":
        return weights[..., slice(*filters)]
    return weights[slice(*filters), ..., slice(*(channels or (0, None)))]


def requantization(task: Task, tensors: dict[str, Tensor], rounding: Rounding) -> Requantization:
    """Return what all channels of a layer share."""
    return Requantization(
        zero_point_in=tensors[task.inputs[0]].zero_point,
        zero_point_out=tensors[task.output].zero_point, low=task.layer.activation[0],
        high=task.layer.activation[1], rule=RULES[rounding])


def vector_descriptors(
    task: Task, tensors: dict[str, Tensor], rounding: Rounding, box: Box, boxes: list[Box],
    sources: list[View], target: View,
) -> list[dict[str, int]]:
    """Make the descriptors of the vector unit for a box of a layer's output.

    Parameters
    ----------
    task, tensors, rounding
        The layer.
    box, boxes : boxes
        Of the output and of the inputs.
    sources, target : :class:`oarlock.gen.lower_vector.View`
        Where those boxes lie. ``add`` and ``pad`` need a contiguous output.
    """
    layer = task.layer
    how = requantization(task, tensors, rounding)
    sizes = [end - start for start, end in box]
    if layer.op == "add":
        a, b = (tensors[name] for name in layer.inputs)
        parameters = add_parameters(a.scale, b.scale, tensors[layer.output].scale, rounding)
        return lower_add(prod(sizes), sources[0].address, sources[1].address, target.address,
                         (a.zero_point, b.zero_point), parameters, how)
    (h0, h1), (w0, w1), _ = boxes[0]
    if layer.op == "pad":
        offset_y = h0 + layer.padding[0][0] - box[0][0]
        offset_x = w0 + layer.padding[1][0] - box[1][0]
        rows, columns = max(h1 - h0, 0), max(w1 - w0, 0)
        inner = replace(target, address=target.address + offset_y * target.y + offset_x * target.x)
        return lower_pad(rows if columns else 0, columns * sizes[2], sources[0], inner,
                         fill_bytes=prod(sizes), fill_address=target.address,
                         zero_point=how.zero_point_out)
    if layer.op == "mean":
        assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
        pool = Pool(size=(h1 - h0, w1 - w0), outputs=(1, 1), window=(h1 - h0, w1 - w0),
                    stride=(1, 1), pad=(0, 0), channels=sizes[2])
        return lower_pool(layer.op, pool, sources[0], target, how, bias=int(layer.bias[0]),
                          multiplier=int(layer.multiplier[0]), shift=int(layer.shift[0]))
    pad_y, pad_x = (
        boxes[0][axis][0] - (box[axis][0] * layer.stride[axis] - layer.padding[axis][0])
        for axis in range(2))
    pool = Pool(size=(h1 - h0, w1 - w0), outputs=(sizes[0], sizes[1]), window=layer.window,
                stride=layer.stride, pad=(pad_y, pad_x), channels=sizes[2])
    return lower_pool(layer.op, pool, sources[0], target, how)
