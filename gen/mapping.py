"""How a convolution is laid over the array: the space of mappings, their cost, the search."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import TypeVar

import numpy as np

from .config import ArrayConfig
from .conv_shape import KINDS, ConvShape, conv_shape, variant
from .sum_width import Split


__all__ = [
    "ConvShape", "Mapping", "MappingError", "bound_cycles", "conv_shape", "fitting",
    "keeps_parameters", "search",
]

#: A mapping of any dataflow.
AnyMapping = TypeVar("AnyMapping")


# Cycles from the first beat of a descriptor to its first MAC, and from its last MAC to its end,
# beyond the skew of the rows. An estimate; it is the same for all mappings.
OVERHEAD = 60
# Unsigned fields of a descriptor; see hw.isa.
MAX_8, MAX_12, MAX_16 = (1 << 8) - 1, (1 << 12) - 1, (1 << 16) - 1


class MappingError(ValueError):
    """No mapping of this shape satisfies the array's limits; cut the layer into smaller ones."""


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """One way to compute a convolution on an array.

    Members
    -------
    shape : :class:`ConvShape`
        What is computed, a variant of the network's convolution.
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

    def adapted(self, shape: ConvShape) -> Mapping:
        """Return the same assignment of rows and columns for a smaller convolution.

        Filters of all channels and positions stay where they are in the scratchpads as long as
        ``m`` and ``c`` are the same.

        Parameters
        ----------
        shape : :class:`ConvShape`
            Its image, filters or channels may be fewer.
        """
        form = variant(shape, self.shape.kind)
        assert form is not None and form.depthwise == self.shape.depthwise
        if form.depthwise:
            return replace(self, shape=form,
                           tiles=-(-form.c // (self.mc * self.lanes * self.t_count)))
        steps = -(-form.c // self.lanes)
        t_count = min(self.t_count, steps)
        return replace(self, shape=form, t_count=t_count, c_chunks=-(-steps // t_count),
                       tiles=-(-form.m // (self.mc * self.groups * self.m_count)))

    @property
    def entries(self) -> int:
        """Filter bytes per PE of this very shape: :attr:`filter_entries`, or less if adapted."""
        rows = self.shape.r // self.r_groups
        return self.tiles * self.channel_steps * rows * self.shape.s * self.m_count

    @property
    def image_words(self) -> int:
        """Words that the filters are on the link, without commands."""
        rows = self.r_groups * self.groups * (1 if self.shape.depthwise else self.lanes)
        return self.mc * -(-rows // 4) * self.filter_entries


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


def search(
    shape: ConvShape, config: ArrayConfig, *, max_entries: int | None = None,
    kinds: frozenset[str] = frozenset(KINDS), one_step: bool = False,
    splits: frozenset[Split] | None = None,
) -> list[Mapping]:
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
    kinds : set of :class:`str`
        Variants to consider, of :data:`oarlock.gen.conv_shape.KINDS`.
    one_step : :class:`bool`
        Only mappings of a single step, after which partial sums can stay in the array.
    splits : set of :data:`.Split`, optional
        Only mappings that divide terms so among rows; see :func:`.narrow_splits`.

    Raises
    ------
    MappingError
        If no mapping fits.
    """
    return fitting(_search(shape, config, kinds, one_step, splits), shape, config, max_entries)


def fitting(found: Iterable[AnyMapping], shape: ConvShape, config: ArrayConfig,
            max_entries: int | None) -> list[AnyMapping]:
    """Return those mappings that leave the filter scratchpads room; see :func:`search`."""
    limit = config.filter_depth if max_entries is None else max_entries
    kept = [mapping for mapping in found if mapping.filter_entries <= limit]
    if not kept:
        raise MappingError(f"no mapping of {shape} fits {limit} filter bytes per PE")
    return kept


@lru_cache(maxsize=4096)
def _search(shape: ConvShape, config: ArrayConfig, kinds: frozenset[str], one_step: bool,
            splits: frozenset[Split] | None) -> tuple[Mapping, ...]:
    found = []
    for kind in KINDS:
        form = variant(shape, kind)
        if form is None or kind not in kinds:
            continue
        table = _evaluate(form, config)
        if one_step:
            table = table[:, (table[TILES] == 1) & (table[PC] >= form.p) & (table[QC] >= form.q)]
        if splits is not None:
            table = table[:, [(kind, r_groups, lanes) in splits
                              for r_groups, lanes in table[:2].T.tolist()]]
        found += [(form, row) for row in _front(table)]
        if kind == "pixels":
            break
    found.sort(key=lambda pair: (pair[1][COST], pair[1][-1], pair[1][BEATS]))
    result: list[Mapping] = []
    for form, row in found:
        if not result or row[-1] < result[-1].filter_entries:
            values = dict(zip(COLUMNS, (int(value) for value in row), strict=True))
            del values["beats"]
            result.append(Mapping(shape=form, **values))
    return tuple(result)


# Rows of the table of mappings.
COLUMNS = ("r_groups", "lanes", "groups", "pc", "qc", "mc", "r_chunks", "c_chunks", "t_count",
           "m_count", "tiles", "beats", "cycles", "filter_entries")
BEATS, COST, TILES = (COLUMNS.index(name) for name in ("beats", "cycles", "tiles"))
PC, QC = COLUMNS.index("pc"), COLUMNS.index("qc")


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


def keeps_parameters(blocks: int | np.ndarray, outputs: int | np.ndarray,
                     config: ArrayConfig) -> bool | np.ndarray:
    """Tell whether the lanes keep the parameters of a tile, so that a slot is one beat.

    ``blocks`` filter blocks of ``outputs`` channels each; arrays, or one of each.
    """
    return (blocks > 1) & (outputs <= config.lane_depth) & (config.lanes >= config.cols)


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
    slots, flush = u_count * groups, pc * qc * mc
    beats = np.where(keeps_parameters(mc, slots, config), 1, _beat_table(config)[pc * qc, mc])
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
