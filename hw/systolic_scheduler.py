"""Walk a SYSTOLIC descriptor: when which weights are fed, and which positions meet them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .accumulator import Accumulator, accumulate_token
from .descriptor import layout
from .loop_nest import LoopNest
from .systolic_walk import used_columns, walk_positions
from .weight_feeder import feed_token


__all__ = ["SystolicScheduler"]


class SystolicScheduler(wiring.Component):
    """Feed filter tiles one ahead of the waves that use them, and send the waves.

    The positions of a wave follow each other without a gap. A wave begins when its weights are all
    fed and, if it is the first of its position tile, a bank of sums is free. See docs/hardware.md
    for the loops.

    Parameters
    ----------
    rows, cols, filter_depth, accumulator_depth : :class:`int`
        Of the array.

    Members
    -------
    conv : ``In(layout(SYSTOLIC_FIELDS))``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        Waves are left to send.
    feed : ``Out(feed_token(...))``
        To be delayed such that the last weight of an entry, and the first position of a wave in the
        cycle after it, meet in the array.
    wave : ``Out(StructLayout)``
        ``valid``; ``first`` of its wave; ``address``, ``row``, ``column`` for
        :class:`~oarlock.hw.ifmap_reader.IfmapReader`; ``accumulate``.
    bank_full : ``Out(1)``
        The last position of a position tile is sent.
    bank_free : ``In(1)``
        The last of a bank's sums are read.
    waits_load, waits_drain : ``Out(1)``
        A wave can't begin because weights are missing, because both banks are in use.
    """

    def __init__(self, *, rows, cols, filter_depth, accumulator_depth):
        self.rows = rows
        self.cols = cols
        self.filter_depth = filter_depth
        self.accumulator_depth = accumulator_depth

        super().__init__({
            "conv": In(layout(isa.SYSTOLIC_FIELDS)),
            "start": In(1),
            "busy": Out(1),
            "feed": Out(feed_token(rows=rows, cols=cols, filter_depth=filter_depth)),
            "wave": Out(data.StructLayout({
                "valid": 1, "first": 1, "address": 24, "row": signed(18), "column": signed(26),
                "accumulate": accumulate_token(depth=accumulator_depth)})),
            "bank_full": Out(1),
            "bank_free": In(1),
            "waits_load": Out(1),
            "waits_drain": Out(1),
        })

    @staticmethod
    def feed_cycles(rows):
        """Cycles from one wave's beginning to the next's, at least.

        Weights take one a row, and a place of the accumulators takes a sum every
        ``Accumulator.DISTANCE`` cycles.
        """
        return max(rows, Accumulator.DISTANCE)

    def elaborate(self, platform):
        m = Module()

        begins, fed = self._elaborate_waves(m)
        self._elaborate_feed(m, begins, fed)

        return m

    def _elaborate_feed(self, m, begins, fed):
        """Feed an entry as soon as the one before has taken over in the first PE."""
        conv = self.conv
        m.submodules.entries = nest = LoopNest(
            loops={"x": 8, "y": 8, "c": 16, "position": 16, "block": 16, "tile": 16},
            quantities={})
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_x.eq(conv.s_count),
            nest.count_y.eq(conv.r_count),
            nest.count_c.eq(conv.c_count),
            nest.count_position.eq(conv.position_tiles),
            nest.count_block.eq(conv.block_count),
            nest.count_tile.eq(conv.tile_count),
        ]

        cycles = self.feed_cycles(self.rows)
        feeding = Signal()
        step    = Signal(range(cycles))
        issue, ends = Signal(), Signal()
        m.d.comb += [
            issue.eq(feeding & ((step != 0) | ~fed | begins)),
            ends.eq(issue & (step == cycles - 1)),
            nest.advance.eq(ends),
        ]
        with m.If(issue):
            m.d.sync += step.eq(Mux(ends, 0, step + 1))
        with m.If(ends):
            m.d.sync += fed.eq(1)
        with m.Elif(begins):
            m.d.sync += fed.eq(0)

        # Entries of a block follow each other, and are used again by the next position tile.
        entry, block_entry = Signal(16), Signal(16)
        last_entry = nest.last_x & nest.last_y & nest.last_c
        with m.If(self.start):
            m.d.sync += [
                feeding.eq(1), fed.eq(0), step.eq(0),
                entry.eq(conv.filter_base), block_entry.eq(conv.filter_base),
            ]
        with m.Elif(ends):
            m.d.sync += entry.eq(entry + 1)
            with m.If(last_entry & ~nest.last_position):
                m.d.sync += entry.eq(block_entry)
            with m.Elif(last_entry):
                m.d.sync += block_entry.eq(entry + 1)
                with m.If(nest.last_block & nest.last_tile):
                    m.d.sync += feeding.eq(0)

        idle = cycles - self.rows
        m.d.comb += [
            self.feed.valid.eq(issue & (step >= idle) if idle else issue),
            self.feed.entry.eq(entry),
            self.feed.step.eq(step - idle),
            self.feed.row_count.eq(Mux(nest.last_c, conv.row_count_last, conv.row_count)),
            self.feed.columns.eq(used_columns(nest, conv)),
            self.feed.diagonal.eq(conv.diagonal),
        ]

    def _elaborate_waves(self, m):
        """Send the positions; return whether a wave begins, and the flag it waits for."""
        conv = self.conv
        m.submodules.positions = nest = LoopNest(
            loops={"q": 16, "p": 16, "x": 8, "y": 8, "c": 16, "q_tile": 16, "p_tile": 16,
                   "block": 16, "tile": 16},
            quantities={
                "address": (24, ["q", "p", "x", "y", "c", "q_tile", "p_tile", "tile"]),
                "row": (signed(18), ["p", "y", "p_tile"]),
                "column": (signed(26), ["q", "x", "c", "q_tile"]),
            }, alternatives=["q", "p"])
        m.d.comb += [
            nest.start.eq(self.start),
            *walk_positions(nest, conv),
            nest.count_x.eq(conv.s_count),
            nest.count_y.eq(conv.r_count),
            nest.count_c.eq(conv.c_count),

            nest.origin_address.eq(conv.in_base + conv.x_origin),
            nest.step_address_q.eq(conv.q_step),
            nest.step_address_p.eq(conv.p_step),
            nest.step_address_x.eq(conv.x_stride),
            nest.step_address_y.eq(conv.y_stride),
            nest.step_address_c.eq(conv.c_step),
            nest.step_address_q_tile.eq(conv.q_tile_step),
            nest.step_address_p_tile.eq(conv.p_tile_step),
            nest.step_address_tile.eq(conv.tile_step),

            nest.origin_row.eq(conv.y_origin),
            nest.step_row_p.eq(conv.p_rows),
            nest.step_row_y.eq(1),
            nest.step_row_p_tile.eq(conv.p_tile_rows),

            nest.origin_column.eq(conv.x_origin),
            nest.step_column_q.eq(conv.q_step),
            nest.step_column_x.eq(conv.x_stride),
            nest.step_column_c.eq(Mux(conv.fold, conv.c_step, 0)),
            nest.step_column_q_tile.eq(conv.q_tile_step),
        ]

        # When a wave may begin.
        fed, wave_first = Signal(), Signal(init=1)
        full_banks, bank = Signal(range(3)), Signal()
        bank_ready, issue, begins = Signal(), Signal(), Signal()
        tile_first, tile_last, wave_last = Signal(), Signal(), Signal()
        m.d.comb += [
            tile_first.eq(nest.first_x & nest.first_y & nest.first_c),
            tile_last.eq(nest.last_x & nest.last_y & nest.last_c),
            wave_last.eq(nest.last_q & nest.last_p),
            bank_ready.eq(~tile_first | (full_banks != 2)),
            issue.eq(self.busy & (~wave_first | (fed & bank_ready))),
            begins.eq(issue & wave_first),
            nest.advance.eq(issue),
            self.waits_load.eq(self.busy & wave_first & ~fed),
            self.waits_drain.eq(self.busy & wave_first & fed & ~bank_ready),
            self.bank_full.eq(issue & wave_last & tile_last & ~conv.hold),
        ]
        m.d.sync += full_banks.eq(full_banks + self.bank_full - self.bank_free)
        position = Signal(range(self.accumulator_depth))
        with m.If(issue):
            m.d.sync += [wave_first.eq(wave_last), position.eq(Mux(wave_last, 0, position + 1))]
            with m.If(wave_last & tile_last & nest.last_q_tile & nest.last_p_tile
                      & nest.last_block & nest.last_tile):
                m.d.sync += self.busy.eq(0)
        with m.If(self.bank_full):
            m.d.sync += bank.eq(~bank)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)

        m.d.comb += [
            self.wave.valid.eq(issue),
            self.wave.first.eq(wave_first),
            self.wave.address.eq(nest.value_address),
            self.wave.row.eq(nest.value_row),
            self.wave.column.eq(nest.value_column),
            self.wave.accumulate.valid.eq(issue),
            self.wave.accumulate.first.eq(tile_first & ~conv.keep),
            self.wave.accumulate.place.bank.eq(bank),
            self.wave.accumulate.place.position.eq(position),
        ]
        return begins, fed
