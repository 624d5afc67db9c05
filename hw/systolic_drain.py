"""Read finished sums of the systolic array position by position, and say where they belong."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .accumulator import sum_address
from .descriptor import layout
from .loop_nest import LoopNest
from .systolic_walk import used_columns, walk_positions


__all__ = ["SystolicDrain"]


class SystolicDrain(wiring.Component):
    """Drain the banks in the order in which they fill, ``lanes`` outputs of a position a cycle.

    Parameters
    ----------
    lanes, lane_depth, accumulator_depth : :class:`int`
        Of post-processing and of the array.

    Members
    -------
    conv : ``In(layout(SYSTOLIC_FIELDS))``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        A bank is draining or waits for it.
    bank_full : ``In(1)``
        One more bank can be read from the next cycle on.
    bank_free : ``Out(1)``
        A bank's last sums are read in this cycle.
    tile_loaded : ``In(1)``
        The parameters of one more filter tile will be in the lanes in time.
    tile_drained : ``Out(1)``
        The last sums of a filter tile are read in this cycle.
    drain : ``Out(sum_address(...))``
        For the array; counts if ``beat.valid``.
    beat : ``Out(StructLayout)``
        ``valid``; ``group``: which columns, ``lanes`` at a time; ``entry`` in the lanes'
        scratchpads; ``address`` and ``count`` of the outputs.
    """

    def __init__(self, *, lanes, lane_depth, accumulator_depth):
        self.lanes = lanes
        self.lane_depth = lane_depth
        self.accumulator_depth = accumulator_depth

        super().__init__({
            "conv": In(layout(isa.SYSTOLIC_FIELDS)),
            "start": In(1),
            "busy": Out(1),
            "bank_full": In(1),
            "bank_free": Out(1),
            "tile_loaded": In(1),
            "tile_drained": Out(1),
            "drain": Out(sum_address(depth=accumulator_depth)),
            "beat": Out(data.StructLayout({
                "valid": 1, "group": 4, "entry": range(2 * lane_depth), "address": 24,
                "count": range(lanes + 1)})),
        })

    def elaborate(self, platform):
        m = Module()
        conv = self.conv

        m.submodules.nest = nest = LoopNest(
            loops={"group": 8, "q": 16, "p": 16, "q_tile": 16, "p_tile": 16, "block": 16,
                   "tile": 16},
            quantities={
                "address": (24, ["group", "q", "p", "q_tile", "p_tile", "block", "tile"]),
                "column": (6, ["group"]),
            }, indexed=["group"], alternatives=["q", "p"])
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_group.eq(conv.group_count),
            *walk_positions(nest, conv),
            nest.origin_address.eq(conv.out_base),
            nest.step_address_group.eq(self.lanes),
            nest.step_address_q.eq(conv.out_q_step),
            nest.step_address_p.eq(conv.out_p_step),
            nest.step_address_q_tile.eq(conv.out_q_tile_step),
            nest.step_address_p_tile.eq(conv.out_p_tile_step),
            nest.step_address_block.eq(conv.out_block_step),
            nest.step_address_tile.eq(conv.out_tile_step),
            nest.origin_column.eq(0),
            nest.step_column_group.eq(self.lanes),
        ]

        # A beat in every cycle, once the parameters of the filter tile are in the lanes.
        waiting, loaded = Signal(range(3)), Signal(range(3))
        bank_first, work = Signal(init=1), Signal()
        tile_first, bank_last = Signal(), Signal()
        m.d.comb += [
            tile_first.eq(nest.first_q_tile & nest.first_p_tile),
            bank_last.eq(work & nest.last_group & nest.last_q & nest.last_p),
            self.busy.eq(~bank_first | (waiting != 0)),
            work.eq(self.busy & ~(bank_first & tile_first & (loaded == 0))),
            nest.advance.eq(work),
            self.bank_free.eq(bank_last),
            self.tile_drained.eq(bank_last & nest.last_q_tile & nest.last_p_tile),
        ]
        m.d.sync += waiting.eq(waiting + self.bank_full - (work & bank_first))
        with m.If(work):
            m.d.sync += bank_first.eq(bank_last)
        with m.If(self.start):
            m.d.sync += loaded.eq(0)
        with m.Else():
            m.d.sync += loaded.eq(loaded + self.tile_loaded - (work & bank_first & tile_first))

        # Banks change for as long as the array works, lane scratchpads begin anew.
        bank, side = Signal(), Signal()
        with m.If(bank_last):
            m.d.sync += bank.eq(~bank)
        with m.If(self.start):
            m.d.sync += side.eq(0)
        with m.Elif(self.tile_drained):
            m.d.sync += side.eq(~side)

        position = Signal(range(self.accumulator_depth))
        with m.If(work & nest.last_group):
            m.d.sync += position.eq(Mux(bank_last, 0, position + 1))

        columns = Signal(8)
        left    = Signal(signed(9))
        m.d.comb += [
            columns.eq(used_columns(nest, conv)),
            left.eq(columns - nest.value_column),
            self.drain.bank.eq(bank),
            self.drain.position.eq(position),
            self.beat.valid.eq(work),
            self.beat.group.eq(nest.index_group),
            self.beat.entry.eq(Cat(nest.index_group[:(self.lane_depth - 1).bit_length()], side)),
            self.beat.address.eq(nest.value_address),
            self.beat.count.eq(Mux(left < 0, 0, Mux(left > self.lanes, self.lanes, left))),
        ]

        return m
