"""Copy the parameters of a filter tile from their memory to the lanes that need them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .descriptor import layout
from .loop_nest import LoopNest


__all__ = ["ParameterLoader"]


class ParameterLoader(wiring.Component):
    """Walk the parameters of a CONV descriptor with ``local`` set, one entry a cycle.

    The parameter memory delivers those of one channel a cycle. Where array columns carry different
    filters, a slot of the chain brings a different channel to every lane; so the lanes have a
    scratchpad each, of two banks: one tile's parameters are in use while the next one's arrive.

    Parameters
    ----------
    cols, lanes, lane_depth : :class:`int`
        Of the array and of post-processing; ``lane_depth`` entries to a bank.

    Members
    -------
    conv : ``In(layout(CONV_FIELDS))``
    beats : ``In(layout(BEAT_FIELDS)).array(cols)``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        Entries are left to copy.
    tile_drained : ``In(1)``
        Nothing needs the parameters of the oldest tile any more.
    tile_loaded : ``Out(1)``
        The last entry of a tile is on its way.
    load_en, load_lanes, load_entry, load_address : ``Out``
        For :class:`PostProcessor`. Registered.
    """

    def __init__(self, *, cols, lanes, lane_depth):
        self.cols = cols
        self.lanes = lanes
        self.lane_depth = lane_depth

        super().__init__({
            "conv": In(layout(isa.CONV_FIELDS)),
            "beats": In(layout(isa.BEAT_FIELDS)).array(cols),
            "start": In(1),
            "busy": Out(1),
            "tile_drained": In(1),
            "tile_loaded": Out(1),
            "load_en": Out(1),
            "load_lanes": Out(lanes),
            "load_entry": Out(16),
            "load_address": Out(range(2 * lane_depth)),
        })

    def elaborate(self, platform):
        m = Module()
        conv = self.conv

        m.submodules.nest = nest = LoopNest(
            loops={"slot": 16, "block": 8, "tile": 16},
            quantities={"entry": (16, ["slot", "tile"])}, indexed=["slot", "block"])
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_slot.eq(conv.run_full),
            nest.count_block.eq(conv.beat_count),
            nest.count_tile.eq(conv.tile_count),
            nest.origin_entry.eq(conv.parameter_base),
            nest.step_entry_slot.eq(1),
            nest.step_entry_tile.eq(conv.parameter_step),
        ]

        # At most two tiles are in the lanes.
        held, side = Signal(range(3)), Signal()
        copies, tile_last = Signal(), Signal()
        m.d.comb += [
            copies.eq(self.busy & (held != 2)),
            nest.advance.eq(copies),
            tile_last.eq(nest.last_slot & nest.last_block),
            self.tile_loaded.eq(copies & tile_last),
        ]
        with m.If(self.start):
            m.d.sync += [self.busy.eq(conv.local), held.eq(0), side.eq(0)]
        with m.Else():
            m.d.sync += held.eq(held + self.tile_loaded - self.tile_drained)
            with m.If(self.tile_loaded):
                m.d.sync += [side.eq(~side), self.busy.eq(~nest.last_tile)]

        beat = Signal(layout(isa.BEAT_FIELDS))
        with m.Switch(nest.index_block):
            for n, word in enumerate(self.beats):
                with m.Case(n):
                    m.d.comb += beat.eq(word)
        m.d.sync += [
            self.load_en.eq(copies),
            self.load_lanes.eq(beat.mask),
            self.load_entry.eq(nest.value_entry + beat.parameter_offset),
            self.load_address.eq(Cat(nest.index_slot[:(self.lane_depth - 1).bit_length()], side)),
        ]

        return m
