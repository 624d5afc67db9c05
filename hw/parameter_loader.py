"""Copy the parameters of a filter tile from their memory to the lanes that need them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .loop_nest import LoopNest


__all__ = ["ParameterLoader"]


class ParameterLoader(wiring.Component):
    """Walk the parameters of a descriptor's filter tiles, one entry a cycle.

    The parameter memory delivers those of one channel a cycle. Where lanes work on different
    channels at a time, each needs its own; so the lanes have a scratchpad each, of two banks: one
    tile's parameters are in use while the next one's arrive.

    A tile has ``blocks`` of ``slots`` entries. A slot of all blocks is what the lanes need at a
    time: the engine says which ``lanes`` take those of a ``block``, and their ``offset``.

    Parameters
    ----------
    lanes, lane_depth : :class:`int`
        Of post-processing; ``lane_depth`` entries to a bank.

    Members
    -------
    start : ``In(1)``
        Begin, if ``local`` is set. What follows is stable until the last tile has drained.
    local : ``In(1)``
    slots, blocks, tiles, groups : ``In(16)``, ``In(8)``, ``In(16)``, ``In(16)``
        Of a block; of a tile; of a group of tiles; all.
    base, slot_step, tile_step, group_step : ``In(16)``
        Where the first entry is; from an entry to that of the next slot, tile, group.
    block : ``Out(8)``
    block_lanes, block_offset : ``In(lanes)``, ``In(16)``
    busy : ``Out(1)``
        Entries are left to copy.
    tile_drained : ``In(1)``
        Nothing needs the parameters of the oldest tile any more.
    tile_loaded : ``Out(1)``
        The last entry of a tile is on its way.
    load_en, load_lanes, load_entry, load_address : ``Out``
        For :class:`~oarlock.hw.post_processor.PostProcessor`. Registered.
    """

    def __init__(self, *, lanes, lane_depth):
        self.lanes = lanes
        self.lane_depth = lane_depth

        super().__init__({
            "start": In(1),
            "local": In(1),
            "slots": In(16),
            "blocks": In(8),
            "tiles": In(16),
            "groups": In(16),
            "base": In(16),
            "slot_step": In(16),
            "tile_step": In(16),
            "group_step": In(16),
            "block": Out(8),
            "block_lanes": In(lanes),
            "block_offset": In(16),
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

        m.submodules.nest = nest = LoopNest(
            loops={"slot": 16, "block": 8, "tile": 16, "group": 16},
            quantities={"entry": (16, ["slot", "tile", "group"])}, indexed=["slot", "block"])
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_slot.eq(self.slots),
            nest.count_block.eq(self.blocks),
            nest.count_tile.eq(self.tiles),
            nest.count_group.eq(self.groups),
            nest.origin_entry.eq(self.base),
            nest.step_entry_slot.eq(self.slot_step),
            nest.step_entry_tile.eq(self.tile_step),
            nest.step_entry_group.eq(self.group_step),
            self.block.eq(nest.index_block),
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
            m.d.sync += [self.busy.eq(self.local), held.eq(0), side.eq(0)]
        with m.Else():
            m.d.sync += held.eq(held + self.tile_loaded - self.tile_drained)
            with m.If(self.tile_loaded):
                m.d.sync += [side.eq(~side), self.busy.eq(~(nest.last_tile & nest.last_group))]

        m.d.sync += [
            self.load_en.eq(copies),
            self.load_lanes.eq(self.block_lanes),
            self.load_entry.eq(nest.value_entry + self.block_offset),
            self.load_address.eq(Cat(nest.index_slot[:(self.lane_depth - 1).bit_length()], side)),
        ]

        return m
