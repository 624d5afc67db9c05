"""How a convolution is laid over the array: the space of mappings, their cost, the search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

import numpy as np

from .config import ArrayConfig
from .network import Layer, Tensor


__all__ = [
    "ConvShape", "Mapping", "MappingError", "bound_cycles", "conv_shape", "search", "variants",
]

# Cycles from the first beat of a descriptor to its first MAC, and from its last MAC to its end,
# beyond the skew of the rows. An estimate; it is the same for all mappings.
OVERHEAD = 60
# Unsigned fields of a descriptor; see hw.isa.
MAX_8, MAX_12, MAX_16 = (1 << 8) - 1, (1 << 12) - 1, (1 << 16) - 1


class MappingError(ValueError):
    """No mapping of this shape satisfies the array's limits; cut the layer into smaller ones."""


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

    @property
    def multiplier(self) -> int:
        """Output channels per input channel of a depthwise layer."""
        return self.m // self.c

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


def variants(shape: ConvShape) -> Iterator[ConvShape]:
    """Yield the shapes in which a convolution can be computed, itself among them."""
    dense, unpadded = not shape.depthwise, shape.pad_y == shape.pad_x == 0
    small = shape.stride_y == shape.stride_x == shape.r == shape.s == 1
    if (small and unpadded and (shape.p, shape.q) == (shape.h, shape.w) and shape.q > 1
            and shape.in_y == shape.w * shape.in_x and shape.out_y == shape.q * shape.out_x
            and shape.p * shape.q <= MAX_16):
        # Pointwise: the image is a list of pixels.
        pixels = shape.p * shape.q
        yield replace(shape, p=pixels, q=1, h=pixels, w=1, in_y=shape.in_x, out_y=shape.out_x)
        return
    if (dense and unpadded and shape.p == shape.q == 1 and shape.r * shape.s > 1
            and (shape.r, shape.s) == (shape.h, shape.w) and shape.in_x == shape.c
            and shape.in_y == shape.w * shape.c and shape.h * shape.w * shape.c <= MAX_16):
        size = shape.h * shape.w * shape.c
        yield replace(shape, c=size, r=1, s=1, h=1, w=1, in_y=size, in_x=size, flat=True)
    swapped = replace(
        shape, p=shape.q, q=shape.p, r=shape.s, s=shape.r, h=shape.w, w=shape.h,
        stride_y=shape.stride_x, stride_x=shape.stride_y, pad_y=shape.pad_x, pad_x=shape.pad_y,
        in_y=shape.in_x, in_x=shape.in_y, out_y=shape.out_x, out_x=shape.out_y, swapped=True)
    for variant in (shape, swapped):
        yield variant
        if dense and variant.s > 1 and variant.in_x == variant.c and variant.s * variant.c <= 256:
            yield replace(variant, c=variant.s * variant.c, s=1, fold=True)


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """One way to compute a convolution on an array.

    Members
    -------
    shape : :class:`ConvShape`
        What is computed, one of :func:`variants`.
    r_groups, lanes, groups : :class:`int`
        What array rows carry. ``groups`` counts the chain's groups: for depthwise layers
        ``lanes * (groups of the multiplier)``.
    pc, qc, mc : :class:`int`
        What array columns carry.
    r_chunks, c_chunks, t_count : :class:`int`
        Passes of a step; channels of a lane in one of them.
    m_count : :class:`int`
        Filters a PE applies to one ifmap entry.
    tiles : :class:`int`
        Filter tiles.
    cycles : :class:`int`
        Estimate.
    filter_entries : :class:`int`
        Bytes of every PE's filter scratchpad.
    """

    shape: ConvShape
    r_groups: int
    lanes: int
    groups: int
    pc: int
    qc: int
    mc: int
    r_chunks: int
    c_chunks: int
    t_count: int
    m_count: int
    tiles: int
    cycles: int
    filter_entries: int

    @cached_property
    def u_count(self) -> int:
        """Partial sums of a PE in one step."""
        return self.m_count * (self.t_count if self.shape.depthwise else 1)

    @cached_property
    def channel_steps(self) -> int:
        """Ifmap entries of a lane, over all channel chunks of a step."""
        if self.shape.depthwise:
            return self.t_count
        return -(-self.shape.c // self.lanes)

    @property
    def text(self) -> str:
        """Short form for people: ``R3 x C4 | P12``."""
        shape = self.shape
        rows = {"R": self.r_groups}
        if shape.depthwise:
            rows |= {"C": self.lanes, "M": self.groups // self.lanes}
        else:
            rows |= {"SC" if shape.fold else "C": self.lanes, "M": self.groups}
        y, x = ("Q", "P") if shape.swapped else ("P", "Q")
        columns = {y: self.pc, x: self.qc, "C" if shape.depthwise else "M": self.mc}
        return " | ".join(
            " x ".join(f"{name}{count}" for name, count in axis.items() if count > 1) or "1"
            for axis in (rows, columns))


def _triples(limit: int, bounds: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return all (a, b, c) up to ``bounds`` with a product of at most ``limit``."""
    return [
        (a, b, c)
        for a in range(1, min(limit, bounds[0]) + 1)
        for b in range(1, min(limit // a, bounds[1]) + 1)
        for c in range(1, min(limit // (a * b), bounds[2]) + 1)
    ]


@cache
def _bound(rows: int, cols: int, shape: ConvShape) -> int:
    channels = 1 if shape.depthwise else shape.c
    best = None
    columns = np.array(_triples(cols, (shape.p, shape.q, shape.m)))
    for r, c, m in _triples(rows, (shape.r, channels, shape.m)):
        fixed = -(-shape.r // r) * shape.s * -(-channels // c)
        steps = (-(-shape.p // columns[:, 0]) * -(-shape.q // columns[:, 1])
                 * -(-shape.m // (m * columns[:, 2])))
        cycles = fixed * int(steps.min())
        best = cycles if best is None else min(best, cycles)
    assert best is not None
    return best


def bound_cycles(shape: ConvShape, config: ArrayConfig) -> int:
    """Return the mapping bound: cycles of the best mapping if nothing ever waited.

    The minimum of the product of ``ceil(dimension / spatial)`` over all splits of {R, C, M} on
    array rows and {P, Q, M} on array columns, for a depthwise layer with C = 1. Source:
    architecture.md, section 3.
    """
    return _bound(config.rows, config.cols, shape)


@lru_cache(maxsize=4096)
def search(
    shape: ConvShape, config: ArrayConfig, *, max_entries: int | None = None,
) -> tuple[Mapping, ...]:
    """Return the best mappings of a convolution, the fastest first.

    No mapping of the result is both slower and larger (in ``filter_entries``) than another.

    Parameters
    ----------
    shape : :class:`ConvShape`
        As the network has it.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array.
    max_entries : :class:`int`, optional
        Filter bytes per PE that a mapping may take; the scratchpad by default.

    Raises
    ------
    MappingError
        If no mapping fits.
    """
    limit = config.filter_depth if max_entries is None else max_entries
    found = []
    for variant in variants(shape):
        table = _evaluate(variant, config)
        table = table[:, table[-1] <= limit] if table.size else table
        found += [(variant, row) for row in _front(table)]
    if not found:
        raise MappingError(f"no mapping of {shape} fits {limit} filter bytes per PE")
    found.sort(key=lambda pair: (pair[1][COST], pair[1][-1], pair[1][BEATS]))
    result: list[Mapping] = []
    for variant, row in found:
        if not result or row[-1] < result[-1].filter_entries:
            values = dict(zip(COLUMNS, (int(value) for value in row), strict=True))
            del values["beats"]
            result.append(Mapping(shape=variant, **values))
    return tuple(result)


# Rows of the table of mappings.
COLUMNS = ("r_groups", "lanes", "groups", "pc", "qc", "mc", "r_chunks", "c_chunks", "t_count",
           "m_count", "tiles", "beats", "cycles", "filter_entries")
BEATS, COST = COLUMNS.index("beats"), COLUMNS.index("cycles")


def _front(table: np.ndarray) -> list[tuple[int, ...]]:
    """Return the columns that no other column beats in cycles and filter entries."""
    if not table.size:
        return []
    table = table[:, np.lexsort((table[BEATS], table[-1], table[COST]))]
    best = np.minimum.accumulate(table[-1])
    better = np.append(True, best[1:] < best[:-1])
    return [tuple(column) for column in table[:, better].T]


def _row_choices(shape: ConvShape, config: ArrayConfig) -> np.ndarray:
    """Return (r_groups, lanes, groups, r_chunks, m_count or 0), one column for each choice."""
    choices = []
    for r_groups in range(1, min(config.rows, shape.r) + 1):
        if shape.r % r_groups:
            continue
        rows, left = shape.r // r_groups, config.rows // r_groups
        chunks = [n for n in range(1, min(rows, MAX_8) + 1) if rows % n == 0]
        max_lanes = min(left, config.word_bytes, shape.c)
        if shape.depthwise:
            multiplier = shape.multiplier
            pairs = [(lanes, lanes * multiplier, 1) for lanes in range(1, max_lanes + 1)
                     if lanes * multiplier <= left]
            pairs += [(1, groups, multiplier // groups)
                      for groups in range(1, min(left, multiplier - 1) + 1)
                      if multiplier % groups == 0]
        else:
            pairs = [(lanes, groups, 0) for lanes in range(1, max_lanes + 1)
                     for groups in range(1, min(left // lanes, shape.m) + 1)]
        choices += [(r_groups, lanes, groups, n, count) for lanes, groups, count in pairs
                    for n in chunks]
    return np.array(choices, dtype=np.int64).T


def _ceil(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    return -(-np.asarray(a) // b)


def _beat_table(config: ArrayConfig) -> np.ndarray:
    """Return post-processing beats of a slot by (columns of a filter block, filter blocks)."""
    table = np.zeros((config.cols + 1, config.cols + 1), dtype=np.int64)
    for positions in range(1, config.cols + 1):
        for blocks in range(1, config.cols // positions + 1):
            table[positions, blocks] = sum(
                ((block + 1) * positions - 1) // config.lanes
                - block * positions // config.lanes + 1 for block in range(blocks))
    return table


def _evaluate(shape: ConvShape, config: ArrayConfig) -> np.ndarray:
    """Return all mappings of one variant as the columns of a table with the rows of COLUMNS."""
    rows = _row_choices(shape, config)
    blocks = shape.c if shape.depthwise else shape.m
    columns = np.array(_triples(config.cols, (shape.p, shape.q, blocks)), dtype=np.int64).T
    pairs = np.concatenate([np.repeat(rows, columns.shape[1], axis=1),
                            np.tile(columns, rows.shape[1])])
    found = []
    if shape.depthwise:
        for t_count in range(1, config.psum_depth + 1):
            found.append(_depthwise_choices(shape, config, pairs, t_count))
    else:
        depths = (config.ifmap_depth, config.ifmap_depth // 2)
        for extra, depth in itertools.product((0, 1), depths):
            found.append(_dense_choices(shape, config, pairs, extra, depth))
    return _cost(shape, config, np.concatenate(found, axis=1))


def _dense_choices(shape: ConvShape, config: ArrayConfig, pairs: np.ndarray, extra: int, depth: int,
                   ) -> np.ndarray:
    """Add (c_chunks, t_count, m_count, tiles): windows of at most ``depth``, ``extra`` tiles."""
    r_groups, lanes, groups, r_chunks, _, pc, qc, mc = pairs
    rows = shape.r // r_groups // r_chunks
    steps = _ceil(shape.c, lanes)
    room = depth // (shape.s * rows)
    fits = room > 0
    chunks = _ceil(steps, np.minimum(np.maximum(room, 1), MAX_8))
    if shape.fold:
        fits &= chunks == 1
    t_count = _ceil(steps, chunks)
    chunks = _ceil(steps, t_count)
    filters = _ceil(shape.m, mc * groups)
    tiles = np.minimum(_ceil(filters, config.psum_depth) + extra, filters)
    m_count = _ceil(filters, tiles)
    tiles = _ceil(shape.m, mc * groups * m_count)
    fits &= chunks <= MAX_8
    return np.stack([r_groups, lanes, groups, pc, qc, mc, r_chunks, chunks, t_count, m_count,
                     tiles])[:, fits]


def _depthwise_choices(shape: ConvShape, config: ArrayConfig, pairs: np.ndarray, t_count: int,
                       ) -> np.ndarray:
    """Add (c_chunks, t_count, m_count, tiles) for ``t_count`` channels of a PE."""
    r_groups, lanes, groups, r_chunks, m_count, pc, qc, mc = pairs
    rows = shape.r // r_groups // r_chunks
    steps = _ceil(shape.c, lanes * mc)
    tiles = _ceil(steps, t_count)
    fits = ((t_count * m_count <= config.psum_depth)
            & (shape.s * rows * t_count <= config.ifmap_depth)
            & (_ceil(steps, tiles) == t_count))
    one, t_counts = np.ones_like(tiles), np.full_like(tiles, t_count)
    return np.stack([r_groups, lanes, groups, pc, qc, mc, r_chunks, one, t_counts, m_count,
                     tiles])[:, fits]


def _cost(shape: ConvShape, config: ArrayConfig, choices: np.ndarray) -> np.ndarray:
    """Append beats, cycles and filter entries; drop what breaks a limit of the hardware."""
    r_groups, lanes, groups, pc, qc, mc, r_chunks, c_chunks, t_count, m_count, tiles = choices
    rows = shape.r // r_groups // r_chunks
    passes = r_chunks * c_chunks
    u_count = m_count * (t_count if shape.depthwise else 1)
    blocks = qc * (mc if shape.depthwise else 1)
    q_count = _ceil(shape.q, qc)
    strips = _ceil(shape.p, pc)
    p_last = shape.p - (strips - 1) * pc
    # A single filter row needs no ifmap rows between those of two outputs.
    stride = 1 if shape.r == 1 else shape.stride_y
    y_full = (pc - 1) * stride + (r_groups - 1) * rows * r_chunks + rows
    y_last = y_full - (pc - p_last) * stride
    x_next = np.where(passes == 1, min(shape.s, shape.stride_x), shape.s)
    steps = t_count if shape.depthwise else _ceil(shape.c, lanes)
    entries = tiles * steps * (rows * r_chunks * shape.s) * m_count
    fits = (entries <= config.filter_depth) & (blocks * y_full <= MAX_8 + 1) & (y_full <= MAX_8)
    fits &= (mc - 1) * u_count * groups <= MAX_12
    fits &= (tiles <= MAX_16) & (strips <= MAX_16) & (q_count <= MAX_16)
    fits &= (pc * stride <= MAX_8) & (shape.s <= MAX_8)
    fits &= (shape.c <= MAX_16) & (shape.h <= MAX_16) & (shape.pad_y <= 128)

    window = shape.s * rows * t_count
    compute = shape.s * rows * steps * r_chunks * m_count
    beats = _beat_table(config)[pc * qc, mc]
    slots, flush = u_count * groups, pc * qc * mc
    drain = (slots // config.word_bytes * np.maximum(config.word_bytes * beats, flush)
             + np.where(slots % config.word_bytes,
                        np.maximum(slots % config.word_bytes * beats, flush), 0))
    whole = 2 * window <= config.ifmap_depth
    part = window + x_next * rows * t_count <= config.ifmap_depth

    def step(load: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
        """Cycles of one step; passes of one step are alike."""
        return np.maximum(np.where(overlaps, np.maximum(load, compute), load + compute), drain)

    cycles = np.zeros_like(tiles)
    total_beats = np.zeros_like(tiles)
    for y, count in ((y_full, strips - 1), (y_last, np.ones_like(strips))):
        row = blocks * y * steps * r_chunks
        first, following = row * shape.s, row * x_next
        cycles += count * (step(first, whole) + (q_count - 1) * step(following, part))
        total_beats += count * (first + (q_count - 1) * following)
    first = blocks * np.where(strips > 1, y_full, y_last) * t_count * shape.s
    cycles = tiles * cycles + first + drain + config.rows + OVERHEAD
    return np.concatenate([choices, [tiles * total_beats, cycles, entries]])[:, fits]
