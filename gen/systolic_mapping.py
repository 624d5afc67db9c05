"""How a convolution is laid over the weight-stationary array: filter tiles and position tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ..hw.global_buffer import GlobalBuffer
from ..hw.post_processor import PostProcessor
from ..hw.systolic_engine import SystolicEngine
from ..hw.systolic_scheduler import SystolicScheduler
from .compact_cycles import compact_timing
from .config import ArrayConfig
from .conv_shape import ConvShape, variant
from .mapping import fitting


__all__ = ["KINDS", "SystolicMapping", "bound_cycles", "search"]

#: Forms of a convolution that make a difference here: exchanging image axes does not.
KINDS = ("pixels", "flat", "plain", "fold")

# Unsigned fields of a descriptor; see hw.isa.
MAX_8, MAX_16 = (1 << 8) - 1, (1 << 16) - 1


@dataclass(frozen=True, kw_only=True)
class SystolicMapping:
    """One way to compute a convolution on a systolic array.

    Filters lie across the columns, channels down the rows; an entry of the filter memories is the
    weights of one filter tile for one place of the filter window and one word of channels.

    Members
    -------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The array.
    shape : :class:`~oarlock.gen.conv_shape.ConvShape`
        What is computed, a variant of the network's convolution.
    p_count, q_count : :class:`int`
        Output rows and columns of a position tile.
    filter_entries : :class:`int`
        Entries of the filter memories, bytes of every PE.
    """

    config: ArrayConfig
    shape: ConvShape
    p_count: int
    q_count: int
    filter_entries: int

    @property
    def row_count(self) -> int:
        """Channels of a word: rows at work."""
        return _row_count(self.shape, self.config)

    @property
    def c_count(self) -> int:
        """Words along the channels, for one filter tile."""
        return 1 if self.shape.depthwise else -(-self.shape.c // self.row_count)

    @property
    def tiles(self) -> int:
        """Channel tiles, of which each has its own filters: depthwise layers."""
        return -(-self.shape.c // self.row_count) if self.shape.depthwise else 1

    @property
    def blocks(self) -> int:
        """Filter tiles that read the same channels."""
        filters = self.shape.multiplier if self.shape.depthwise else self.shape.m
        return -(-filters // self.config.cols) if filters > self.config.cols else 1

    @property
    def columns(self) -> int:
        """Filters of a tile."""
        if not self.shape.depthwise:
            return min(self.shape.m, self.config.cols)
        return min(self.row_count * self.shape.multiplier, self.config.cols)

    @property
    def window(self) -> int:
        """Entries of a filter tile, waves of a position tile."""
        return self.shape.r * self.shape.s * self.c_count

    @property
    def p_tiles(self) -> int:
        """Position tiles down the output."""
        return -(-self.shape.p // self.p_count)

    @property
    def q_tiles(self) -> int:
        """Position tiles across the output."""
        return -(-self.shape.q // self.q_count)

    @property
    def groups(self) -> int:
        """Turns of the lanes for one position."""
        return -(-self.columns // self.config.lanes)

    @property
    def position_tiles(self) -> list[int]:
        """Positions of every tile, in their order."""
        shape = self.shape
        rows = [min(self.p_count, shape.p - n * self.p_count) for n in range(self.p_tiles)]
        columns = [min(self.q_count, shape.q - n * self.q_count) for n in range(self.q_tiles)]
        return [p * q for p in rows for q in columns]

    @property
    def cycles(self) -> int:
        """Estimate, as if parameters were always in time."""
        if self.config.compact:
            return compact_timing(self.config).estimate(self)
        config, feed = self.config, SystolicScheduler.feed_cycles(self.config.rows)
        tiles = self.position_tiles
        steps = sum(max(self.window * max(positions, feed), positions * self.groups)
                    for positions in tiles)
        return (feed + steps * self.blocks * self.tiles + tiles[-1] * self.groups
                + SystolicEngine.settle_cycles(config, read_latency=GlobalBuffer.LATENCY)
                + SystolicEngine.finish_cycles(scale_latency=PostProcessor.LATENCY))

    @property
    def text(self) -> str:
        """Short form for people: ``C12 | M12, 5 x 25``."""
        channels = "SC" if self.shape.fold else "C"
        columns = "C" if self.shape.depthwise else "M"
        return (f"{channels}{self.row_count} | {columns}{self.columns}, "
                f"{self.p_count} x {self.q_count}")

    def adapted(self, shape: ConvShape) -> SystolicMapping:
        """Return the mapping of a smaller convolution, in the same form.

        Filters stay where they are in the memories as long as ``m`` and ``c`` are the same.
        """
        form = variant(shape, self.shape.kind)
        assert form is not None and form.depthwise == self.shape.depthwise
        best = min(_mappings(form, self.config), key=lambda mapping: mapping.cycles)
        return replace(best, filter_entries=self.filter_entries)

    @property
    def entries(self) -> int:
        """Entries of this very shape: :attr:`filter_entries`, or less if adapted."""
        return self.window * self.blocks * self.tiles

    @property
    def image_words(self) -> int:
        """Words that the filters are on the link, without commands."""
        return self.columns * -(-self.row_count // 4) * self.filter_entries


def _row_count(shape: ConvShape, config: ArrayConfig) -> int:
    rows = min(config.rows, config.word_bytes, shape.c)
    if shape.depthwise:
        rows = max(1, min(rows, config.cols // shape.multiplier))
    return rows


def bound_cycles(shape: ConvShape, config: ArrayConfig) -> int:
    """Return the cycles of the best mapping if nothing ever waited: a position a cycle.

    The minimum over the forms of a convolution of positions times entries.
    """
    forms = (variant(shape, kind) for kind in KINDS)
    return min(form.p * form.q * next(_mappings(form, config)).entries
               for form in forms if form is not None)


def _mappings(shape: ConvShape, config: ArrayConfig) -> Iterator[SystolicMapping]:
    """Yield mappings of one form, with all reasonable shapes of position tiles."""
    depth = config.accumulator_depth
    seen = set()
    for tiles in range(1, shape.q + 1):
        q_count = -(-shape.q // tiles)
        if q_count > depth or q_count in seen:
            continue
        seen.add(q_count)
        p_tiles = -(-shape.p // min(shape.p, depth // q_count))
        mapping = SystolicMapping(config=config, shape=shape, p_count=-(-shape.p // p_tiles),
                                  q_count=q_count, filter_entries=0)
        yield replace(mapping, filter_entries=mapping.entries)
        # Narrower tiles only help if the wide ones leave much of a bank empty.
        if 2 * q_count * mapping.p_count > depth and len(seen) >= 4:
            break


def _possible(mapping: SystolicMapping) -> bool:
    """Tell whether a mapping fits the fields of a descriptor."""
    shape = mapping.shape
    # The compact core counts bytes from the edge of the image in 20 bits, signed.
    reach = (shape.w + 2 * shape.pad_x + shape.s + shape.stride_x) * shape.in_x
    if mapping.config.compact and max(reach, shape.h * shape.in_y) >= 1 << 19:
        return False
    return (max(shape.r, shape.s, shape.stride_y) <= MAX_8 and shape.pad_y <= 128
            and max(shape.h, mapping.c_count, mapping.blocks, mapping.tiles, mapping.window,
                    len(mapping.position_tiles)) <= MAX_16)


@lru_cache(maxsize=4096)
def _search(shape: ConvShape, config: ArrayConfig, kinds: frozenset[str], one_step: bool,
            ) -> tuple[SystolicMapping, ...]:
    found = []
    for kind in KINDS:
        form = variant(shape, kind)
        if form is None or kind not in kinds:
            continue
        ways = [mapping for mapping in _mappings(form, config) if _possible(mapping) and not (
            one_step and mapping.blocks * mapping.tiles * len(mapping.position_tiles) > 1)]
        if ways:
            found.append(min(ways, key=lambda mapping: mapping.cycles))
    found.sort(key=lambda mapping: (mapping.cycles, mapping.filter_entries))
    result: list[SystolicMapping] = []
    for mapping in found:
        if (mapping.filter_entries <= config.filter_depth
                and (not result or mapping.filter_entries < result[-1].filter_entries)):
            result.append(mapping)
    return tuple(result)


def search(
    shape: ConvShape, config: ArrayConfig, *, max_entries: int | None = None,
    kinds: frozenset[str] = frozenset(KINDS), one_step: bool = False, splits: None = None,
) -> list[SystolicMapping]:
    """Return the best mappings of a convolution, the fastest first.

    Parameters, order and errors are those of :func:`oarlock.gen.mapping.search`; an accumulator
    has complete sums, so there are no splits.
    """
    return fitting(_search(shape, config, kinds, one_step), shape, config, max_entries)
