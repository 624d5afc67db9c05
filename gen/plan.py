"""Where tensors live, and in which boxes a layer is computed when they don't fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from .config import ArrayConfig
from .errors import OarlockError
from .graph import ARRAY_OPS, Box, Graph, Task, image_shape
from .lower_vector import View
from .mapping import ConvShape
from .network import Tensor
from .tiles import (
    box_bytes,
    box_view,
    contiguous_boxes,
    cut,
    input_boxes,
    input_shapes,
    output_shape,
    piece_shape,
    whole,
)


__all__ = [
    "MemoryPlan", "Piece", "PlanError", "Tiling", "filter_unit", "halves", "main_shape", "pieces",
    "plan_memory", "plan_tiling", "slice_channels",
]


class PlanError(OarlockError, ValueError):
    """A layer cannot be cut small enough."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where the tensors of a graph are.

    Members
    -------
    addresses : dict of :class:`str` to :class:`int`
        Byte address in the global buffer; tensors without one live on the host.
    scratch : list of (:class:`int`, :class:`int`)
        For every task, address and size of the largest part of the buffer that is free during it.
    """

    addresses: dict[str, int]
    scratch: list[tuple[int, int]]


@dataclass(frozen=True)
class _Item:
    """Bytes needed from task ``first`` to task ``last``."""

    name: str
    size: int
    first: int
    last: int


def _place(items: list[_Item], capacity: int) -> dict[str, int] | _Item:
    """Give addresses, large items first, or return an item that finds no room."""
    placed: list[tuple[int, _Item]] = []
    for item in sorted(items, key=lambda item: (-item.size, item.first)):
        address = 0
        for start, other in sorted(placed, key=lambda pair: pair[0]):
            if other.first <= item.last and item.first <= other.last:
                if address + item.size <= start:
                    break
                address = max(address, start + other.size)
        if address + item.size > capacity:
            return item
        placed.append((address, item))
    return {item.name: address for address, item in placed}


def plan_memory(graph: Graph, config: ArrayConfig) -> MemoryPlan:
    """Place tensors in the global buffer; the largest go to the host where they don't fit."""
    capacity = config.buffer_bytes // 4 * 4
    first, last = {graph.source: -1}, {graph.source: -1}
    for index, task in enumerate(graph.tasks):
        first[task.output] = last[task.output] = index
        for name in task.inputs:
            last[name] = index
    last[graph.target] = len(graph.tasks)
    sizes = {name: -(-graph.tensors[name].size // 4) * 4 for name in first}
    hosts: set[str] = set()
    while True:
        items = [_Item(name, sizes[name], first[name], last[name])
                 for name in first if name not in hosts]
        # Tiles of host tensors need room, too.
        for index, task in enumerate(graph.tasks):
            need = sum(sizes[name] for name in {*task.inputs, task.output} & hosts)
            if need:
                items.append(_Item(f"scratch {index}", min(need, capacity // 2), index, index))
        found = _place(items, capacity)
        if isinstance(found, dict):
            break
        hosts.add(_largest(items, found, hosts))
    addresses = {name: found[name] for name in first if name not in hosts}
    scratch = []
    for index in range(len(graph.tasks)):
        used = sorted((addresses[name], sizes[name]) for name in addresses
                      if first[name] <= index <= last[name])
        gaps, end = [], 0
        for address, size in [*used, (capacity, 0)]:
            gaps.append((address - end, end))
            end = max(end, address + size)
        size, address = max(gaps)
        scratch.append((address, size))
    return MemoryPlan(addresses=addresses, scratch=scratch)


def _largest(items: list[_Item], failed: _Item, hosts: set[str]) -> str:
    """Return the largest tensor that is live where an item found no room."""
    rivals = [item for item in items if not item.name.startswith("scratch ")
              and item.first <= failed.last and failed.first <= item.last]
    return max(rivals, key=lambda item: (item.size, -item.first)).name


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiling:
    """How one layer is cut.

    Members
    -------
    task : :class:`oarlock.gen.graph.Task`
        The layer.
    index : :class:`int`
        Its place in the graph.
    outputs : :class:`int`
        Its output channels.
    step : (y, x, m)
        Size of a box of the output.
    channel_slices : list of ((start, end), box or None)
        Input channels of a run, with partial sums staying in the array from one to the next; the
        box of the input if the channels are a flattened image. One slice: the usual case.
    scratch : (address, size)
        Room for the boxes of host tensors.
    """

    task: Task
    index: int
    outputs: int
    step: tuple[int, int, int]
    scratch: tuple[int, int]
    channel_slices: list[tuple[tuple[int, int], Box | None]] = field(default_factory=list)

    @property
    def keeps(self) -> bool:
        """Whether partial sums stay in the array between runs."""
        return len(self.channel_slices) > 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One run: a box of a layer's output.

    Members
    -------
    box : :data:`oarlock.gen.graph.Box`
        The output.
    boxes : list of boxes
        Of the inputs.
    channels : (start, end)
        Input channels summed in this run.
    reads : list of (tensor, box, address)
        Boxes of host tensors to be written to the buffer before.
    writes : (tensor, box, address) or None
        The output's box, if it lives on the host.
    sources, target : :class:`oarlock.gen.lower_vector.View`
        Where the boxes lie in the buffer.
    shape : :class:`oarlock.gen.conv_shape.ConvShape` or None
        The convolution.
    keep, hold : :class:`bool`
        See :func:`oarlock.gen.lower.lower_conv`.
    """

    box: Box
    boxes: list[Box]
    channels: tuple[int, int]
    reads: list[tuple[str, Box, int]]
    writes: tuple[str, Box, int] | None
    sources: list[View]
    target: View
    shape: ConvShape | None
    keep: bool = False
    hold: bool = False


def plan_tiling(graph: Graph, memory: MemoryPlan, index: int, *, filters: int | None = None,
                ) -> Tiling:
    """Choose the largest boxes of a layer whose host tensors fit the free part of the buffer.

    Whole rows are preferred, then whole pixels, then whole input channels.

    Parameters
    ----------
    graph, memory, index
        The layer and where its tensors are.
    filters : :class:`int`, optional
        Output channels of a box, at most; all by default.
    """
    task, tensors = graph.tasks[index], graph.tensors
    out, shapes = output_shape(task, tensors), input_shapes(task, tensors)
    hosted = [name not in memory.addresses for name in task.inputs]
    out_hosted = task.output not in memory.addresses
    scratch = memory.scratch[index]
    depth = shapes[0][2]
    limit = min(out[2], filters or out[2])
    unit = filter_unit(task, tensors)

    def need(step: tuple[int, int, int], channels: int) -> int:
        total = box_bytes(whole(step)) if out_hosted else 0
        for shape, on_host in zip(shapes, hosted, strict=True):
            if on_host:
                total += box_bytes(whole(_input_step(task, shape, step, channels)))
        return total

    tiling = Tiling(task=task, index=index, outputs=out[2], step=(*out[:2], limit),
                    scratch=scratch, channel_slices=[((0, depth), None)])
    for step in _steps(out[:2], limit, unit):
        if need(step, depth) <= scratch[1]:
            return replace(tiling, step=step)
    if task.layer.op not in ("conv", "fully_connected"):
        raise PlanError(f"layer {task.layer.name}: a window of one channel does not fit the buffer")
    for channels in halves(depth):
        if need((1, 1, 1), channels) <= scratch[1]:
            largest = max(m for m in halves(limit) if need((1, 1, m), channels) <= scratch[1])
            return slice_channels(graph, replace(tiling, step=(1, 1, largest)), channels)
    raise PlanError(f"layer {task.layer.name}: a window of one channel does not fit the buffer")


def filter_unit(task: Task, tensors: dict[str, Tensor]) -> int:
    """Return of how many filters a part has a multiple or a divisor: those of an input channel."""
    if task.layer.op != "depthwise_conv":
        return 1
    return tensors[task.output].shape[-1] // input_shapes(task, tensors)[0][2]


def slice_channels(graph: Graph, tiling: Tiling, channels: int) -> Tiling:
    """Return a tiling that sums at most ``channels`` input channels in a run."""
    task, tensors = tiling.task, graph.tensors
    name = task.inputs[0]
    depth = input_shapes(task, tensors)[0][2]
    if task.layer.op == "fully_connected":
        # The host's tensor may have been an image.
        image = image_shape(tensors[name].shape)
        slices = [(span, box) for box, span in contiguous_boxes(image, channels)]
    else:
        slices = [(span, None) for span in cut(depth, channels)]
    return replace(tiling, channel_slices=slices)


def halves(size: int, unit: int = 1) -> Iterator[int]:
    """Yield ``size``, half of it and so on: multiples of ``unit``, then divisors of ``unit``."""
    count = -(-size // unit)
    while count > 1:
        yield count * unit
        count = -(-count // 2)
    yield from (part for part in range(min(size, unit), 0, -1) if unit % part == 0)


def _steps(image: tuple[int, int], filters: int, unit: int) -> Iterator[tuple[int, int, int]]:
    """Yield boxes of the output, large ones first."""
    height, width = image
    for count in range(1, height + 1):
        yield -(-height // count), width, filters
    for count in range(2, width + 1):
        yield 1, -(-width // count), filters
    for count in halves(filters, unit):
        yield 1, 1, count


def _input_step(task: Task, shape: tuple[int, int, int], step: tuple[int, int, int], channels: int,
                ) -> tuple[int, int, int]:
    """Return the largest box of an input that a box of the output may need."""
    layer = task.layer
    match layer.op:
        case "add" | "pad":
            return step
        case "fully_connected":
            return step[0], step[1], channels
        case "mean":
            return *shape[:2], step[2]
    window = layer.window if layer.weights is None else (
        layer.weights.shape[1:3] if layer.op == "conv" else layer.weights.shape[:2])
    height, width = (
        min(size, (count - 1) * stride + taps)
        for size, count, stride, taps in zip(shape[:2], step[:2], layer.stride, window,
                                             strict=True))
    depth = step[2]
    if layer.op == "conv":
        depth = channels
    elif layer.op == "depthwise_conv":
        assert layer.weights is not None
        depth = -(-step[2] * shape[2] // layer.weights.shape[2])
    return height, width, depth


def pieces(graph: Graph, memory: MemoryPlan, tiling: Tiling, *, samples: bool = False,
           ) -> list[Piece]:
    """Return the runs of a layer: for filters, for boxes, for input channels.

    Parameters
    ----------
    graph, memory, tiling
        The layer.
    samples : :class:`bool`
        Only the runs at the edges and in the middle, enough to know what forms are possible.
    """
    task = tiling.task
    out = output_shape(task, graph.tensors)

    def chosen(items: list[Any]) -> list[Any]:
        if samples:
            return [items[n] for n in sorted({0, len(items) // 2, len(items) - 1})]
        return items

    result = []
    slices = tiling.channel_slices
    for m in chosen(list(cut(out[2], tiling.step[2]))):
        for y in chosen(list(cut(out[0], tiling.step[0]))):
            for x in chosen(list(cut(out[1], tiling.step[1]))):
                for n in chosen(list(range(len(slices)))):
                    piece = _piece(graph, memory, tiling, (y, x, m), *slices[n])
                    result.append(replace(
                        piece, keep=n > 0, hold=n < len(slices) - 1,
                        writes=piece.writes if n == len(slices) - 1 else None))
    return result


def _piece(graph: Graph, memory: MemoryPlan, tiling: Tiling, box: Box, channels: tuple[int, int],
           flat: Box | None) -> Piece:
    task, tensors = tiling.task, graph.tensors
    boxes = input_boxes(task, tensors, box, channels)
    address = tiling.scratch[0]
    reads, sources = [], []
    for name, seen, shape, own in zip(task.inputs, task.layer.inputs, input_shapes(task, tensors),
                                      boxes, strict=True):
        if name in memory.addresses:
            sources.append(box_view(memory.addresses[name], shape, own))
            continue
        size = tuple(end - start for start, end in own)
        sources.append(View(address=address, y=size[1] * size[2], x=size[2]))
        if prod(size):
            image = image_shape(tensors[name].shape)
            if task.layer.op == "fully_connected":
                reads.append((name, flat or whole(image), address))
            else:
                # A reshape: the layer's own name of the same data.
                reads.append((name if image == shape else seen, own, address))
            address += box_bytes(own)
    writes = None
    if task.output in memory.addresses:
        target = box_view(memory.addresses[task.output], output_shape(task, tensors), box)
    else:
        size = tuple(end - start for start, end in box)
        target = View(address=address, y=size[1] * size[2], x=size[2])
        writes = (task.output, box, address)
        address += box_bytes(box)
    assert address <= sum(tiling.scratch)
    shape = None
    if task.layer.op in ARRAY_OPS:
        shape = piece_shape(task, tensors, box, boxes[0], sources[0], target)
    return Piece(box=box, boxes=boxes, channels=channels, reads=reads, writes=writes,
                 sources=sources, target=target, shape=shape)


def main_shape(parts: list[Piece]) -> ConvShape:
    """Return the convolution that some runs, or samples of them, mostly are."""
    shapes = [part.shape for part in parts if part.shape is not None]
    return max(shapes, key=lambda shape: (shape.macs, shape.h * shape.w))
