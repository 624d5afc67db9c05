"""Exact cycles of the compact core: how often which part of its microprogram is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ..hw import isa
from ..hw.micro_commands import microprogram
from .config import ArrayConfig


if TYPE_CHECKING:
    from .systolic_mapping import SystolicMapping

__all__ = ["CompactTiming", "compact_timing"]

#: Shift of a channel whose parameters are not known.
USUAL_SHIFT = -8


class CompactTiming:
    """Times of a configuration's microprogram, by its labels: an instruction takes a cycle.

    Only two things are waited for: rows of positions being sent, and multiplications.

    Members
    -------
    before : :class:`int`
        What the timer shows when the first descriptor begins.
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._labels = microprogram(config).labels
        self.before = self._between("started", "next descriptor")
        self._prepare = self._between("prepare scale", "convolution")

    def _between(self, first: str, last: str) -> int:
        return self._labels[last] - self._labels[first]

    def descriptor(self, words: Sequence[int], shifts: Sequence[int] | None = None,
                   ) -> tuple[int, int]:
        """Return the cycles of a descriptor until its end is noted, and until the next one.

        Parameters
        ----------
        words : sequence of :class:`int`
            The descriptor.
        shifts : sequence of :class:`int`, optional
            ``shift`` of all entries of the parameter memory.
        """
        if words[0] & 15 == isa.DescriptorKind.VECTOR:
            # The branch to it is the one behind that to the convolution.
            cycles = 2 + self.vector(isa.unpack(isa.VECTOR_FIELDS, words))
            done = self._between("vector done", "time")
        else:
            cycles = self.convolution(isa.unpack(isa.SYSTOLIC_FIELDS, words), shifts)
            # There is a jump across what marks the end of the other kind.
            done = self._between("convolution done", "vector done") + self._between(
                "descriptor done", "time")
        dispatch = 6
        return dispatch + cycles + done, self._between("time", "run end")

    def estimate(self, mapping: SystolicMapping) -> int:
        """Return the cycles of a mapping, as if its tiles were all alike."""
        between = self._between
        shape, tiles = mapping.shape, len(mapping.position_tiles)
        rows, row = (1, mapping.p_count) if shape.pixels else (mapping.p_count, mapping.q_count)
        wave = between("weights", "row sent") + between("row sent", "y end") + 2 + max(
            row - between("row sent", "y end"), 0) + (rows - 1) * (
                max(between("row sent", "rows sent") + 1, row + 1) + 3)
        loops = mapping.c_count * (
            between("c", "y") + between("c end", "window end")
            + shape.r * (between("y", "x") + between("y end", "c end")))
        drain = mapping.columns * self._drain(rows, row, [USUAL_SHIFT], double=False)
        return between("convolution", "tile") + mapping.blocks * mapping.tiles * (
            between("block", "p_tile") + tiles * (
                mapping.window * wave + loops + drain + between("q_tile", "c")))

    def _scale(self, shift: int, double: bool, left: int = 0) -> tuple[int, int, int]:
        """Return cycles of the shifts to the left, of the first pass and of the second."""
        e = max(-shift, 0)
        first, again = (0, e) if double else (e, 0)
        left += max(shift, 0)
        return left // 4 + left % 4, (35 + first) // 4, (4 + again) // 4

    def vector(self, fields: Mapping[str, int]) -> int:
        """Return the cycles of a VECTOR descriptor."""
        between, double = self._between, fields["rule"] == isa.Rule.DOUBLE
        left, digits, again = self._scale(fields["shift"], double)
        written = between("write byte", "pixel end")
        scaled = 10 + left + digits + again
        if fields["op"] == isa.VectorOp.ADD:
            element = between("channel", "reduce")
            for name, waits in (("b", 13), ("a", 14)):
                element += waits + sum(self._scale(fields[f"shift_{name}"], double,
                                                   fields["left_shift"]))
            element += scaled
        else:
            element = (
                between("channel", "wy") + between("reduced", "truncate")
                + fields["window_y_count"] * (
                    between("wy", "wx") + between("wx end", "reduced")
                    + fields["window_x_count"] * between("wx", "wx end")))
            if fields["op"] == isa.VectorOp.MAX:
                element += scaled - 4
            elif fields["rule"] == isa.Rule.TRUNCATE:
                element += left + digits + 9
            else:
                element += scaled
        pixel = (between("vector x", "channel") + fields["channels"] * (element + written)
                 + between("pixel end", "row end"))
        row = between("vector y", "vector x") + fields["x_count"] * pixel + between(
            "row end", "vector end")
        return (between("vector", "vector y") + 3 * self._prepare - double
                + fields["y_count"] * row + 2)

    def convolution(self, fields: Mapping[str, int], shifts: Sequence[int] | None) -> int:
        """Return the cycles of a SYSTOLIC descriptor."""
        between = self._between
        now = (between("convolution", "tile") - (fields["rule"] == isa.Rule.DOUBLE)
               - 2 * fields["fold"])
        idle = 0                 # the first cycle in which no row is sent
        blocks, tiles = fields["block_count"], fields["tile_count"]
        known: dict[tuple[int, ...], int] = {}

        def tile_sizes(axis: str) -> list[tuple[int, int]]:
            """Return the positions of each tile, and what it takes to choose them."""
            count = fields[f"{axis}_tiles"]
            return [(fields[f"{axis}_count"], 5)] * (count - 1) + [(fields[f"{axis}_last"], 7)]

        for tile in range(tiles):
            now += between("tile", "block")
            for block in range(blocks):
                last = block == blocks - 1
                part = last and (fields["part_each"] or tile == tiles - 1)
                now += between("block", "p_tile") - between("block", "columns known") + (
                    5 if not last else (10 if fields["part_each"] else 13 if part else 11))
                columns = fields["columns_last"] if part else fields["columns"]
                channel = (fields["parameter_base"] + tile * fields["out_tile_step"]
                           + block * fields["out_block_step"])
                used = tuple(USUAL_SHIFT if shifts is None else shifts[channel + n]
                             for n in range(columns))
                for p, choice in tile_sizes("p"):
                    now += choice + between("p count known", "q_tile")
                    for q, choice in tile_sizes("q"):
                        now += choice + between("q count known", "c")
                        now, idle = self._waves(fields, p, q, now, idle)
                        now += between("window end", "drain")
                        if not fields["hold"]:
                            now = max(now + between("drain", "parameters"), idle)
                            key = (p, q, *used)
                            if key not in known:
                                known[key] = self._drain(p, q, used,
                                                         fields["rule"] == isa.Rule.DOUBLE)
                            now += known[key]
                        now += between("drained", "p_tile end")
                    now += between("p_tile end", "block end")
                now += between("block end", "tile end")
            now += between("tile end", "convolution end")
        # The jump to the end; only with "hold" there is still a row on its way.
        return max(now + 2, idle - 1)

    def _waves(self, fields: Mapping[str, int], p: int, q: int, now: int, idle: int,
               ) -> tuple[int, int]:
        """Return when the waves of a position tile have ended, and when their last row has."""
        between = self._between
        rows = (p - 1) * (max(between("row sent", "rows sent") + 1, q + 1) + 3)
        # From reading the weights to sending the last row, and from there to the next wave.
        wave = between("weights", "row sent") - 1 + rows
        after = 1 + between("row sent", "y end") + between("x", "weights")
        y_more = between("y end", "c end") + between("y", "x")
        c_more = y_more + between("c end", "window end") + between("c", "y")
        r, s, c = fields["r_count"], fields["s_count"], fields["c_count"]
        begin = max(now + between("c", "weights"), idle)
        total = r * s * c * wave
        for count, more in ((r * c * (s - 1), 0), (c * (r - 1), y_more), (c - 1, c_more)):
            total += count * max(after + more, q + 1)
        sent = begin + total
        return (sent + 1 + between("row sent", "window end"), sent + q + 1)

    def _drain(self, p: int, q: int, shifts: Sequence[int], double: bool) -> int:
        """Return the cycles from reading the first column's parameters to the last one's end."""
        between, rule = self._between, "double" if double else "single"
        begin = (between("parameters", "prepared") + self._prepare
                 + between("prepared", "first single"))
        # Of an output after its multiplication has begun, and more at the end of a row.
        finish = between(f"scaled {rule}", f"row end {rule}")
        row_end = between(f"row end {rule}", f"values end {rule}")
        total = 0
        for shift in shifts:
            left, digits, again = self._scale(shift, double)
            # From a product that is read to the next multiplication, and from there to its product.
            more = 2
            if double:
                more = 5 + left + 5 + again
                inside, ends = (max(digits, finish + extra) + 1 for extra in (0, row_end))
                end = finish + row_end + 1
            else:
                # At the end of a row, the product is read before and again behind what is done.
                # SCALE shifts, too, while what follows it is executed.
                inside = max(digits + 1 + (left + 1 if left else 0), finish)
                ends = end = inside + row_end + 1
                end += 2
            total += (
                begin + 4 + left                        # to the first multiplication
                + max(digits, 2) + 1 + more             # to that of the second value
                + p * (q - 1) * (inside + more) + (p - 1) * (ends + more) + end
                + between("column end", "drained"))
        return total + (len(shifts) - 1) * between("column", "parameters")


@lru_cache(maxsize=16)
def compact_timing(config: ArrayConfig) -> CompactTiming:
    """Return the times of a configuration's microprogram."""
    return CompactTiming(config)
