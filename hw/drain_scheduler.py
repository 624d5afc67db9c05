"""Move finished partial sums down the chain, slot by slot, and say where their outputs belong."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_row import drain_token
from .descriptor import layout
from .loop_nest import LoopNest


__all__ = ["DrainScheduler", "segment_job", "slot_sideband"]


def slot_sideband(*, cols, word_bytes):
    """Lay out what post-processing and collector need to know of a beat of a slot.

    ``index`` is the byte of the segment, ``last`` marks the last beat of a segment.
    """
    return data.StructLayout({
        "valid": 1, "mask": cols, "lane_group": 4, "entry": 16, "index": range(word_bytes),
        "last": 1})


def segment_job(*, cols, word_bytes):
    """Lay out where a segment of up to ``word_bytes`` outputs of every column goes."""
    return data.StructLayout({
        "address": 24, "whole": cols, "part": cols,
        "whole_count": range(word_bytes + 1), "part_count": range(word_bytes + 1)})


class DrainScheduler(wiring.Component):
    """Drain the banks of partial sums in the order in which they fill.

    Two segments end at least ``flush_count`` cycles apart, so that the collector has written the
    one when the other is complete: nothing downstream ever has to say stop.

    Parameters
    ----------
    cols, psum_depth, word_bytes, lane_depth : :class:`int`
        Of the array, the global buffer, and post-processing.

    Members
    -------
    conv : ``In(layout(CONV_FIELDS))``
    beats : ``In(layout(BEAT_FIELDS)).array(cols)``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        A bank is draining or waits for it.
    bank_full, full_bank, full_whole, full_part : ``In``
        From :class:`MacScheduler`.
    bank_free : ``Out(1)``
        The last slot of a bank is on its way: the bank may fill again.
    tile_loaded : ``In(1)``
        The parameters of one more tile will be in the lanes in time (counts if ``conv.local``).
    tile_drained : ``Out(1)``
        The last slot of a tile is on its way.
    drain : ``Out(drain_token(...))``, ``sideband`` : ``Out(slot_sideband(...))``
        For the array. Registered.
    job : ``Out(segment_job(...))``, ``job_valid`` : ``Out(1)``
        A segment's last beat leaves in this cycle with ``sideband.last``.
    """

    def __init__(self, *, cols, psum_depth, word_bytes, lane_depth):
        self.cols = cols
        self.lane_depth = lane_depth
        self.psum_depth = psum_depth
        self.word_bytes = word_bytes

        super().__init__({
            "conv": In(layout(isa.CONV_FIELDS)),
            "beats": In(layout(isa.BEAT_FIELDS)).array(cols),
            "start": In(1),
            "busy": Out(1),
            "bank_full": In(1),
            "full_bank": In(1),
            "full_whole": In(cols),
            "full_part": In(cols),
            "bank_free": Out(1),
            "tile_loaded": In(1),
            "tile_drained": Out(1),
            "drain": Out(drain_token(psum_depth=psum_depth)),
            "sideband": Out(slot_sideband(cols=cols, word_bytes=word_bytes)),
            "job": Out(segment_job(cols=cols, word_bytes=word_bytes)),
            "job_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        conv, W = self.conv, self.word_bytes

        # What each full bank holds.
        waiting = Signal(range(3))
        bank    = Signal()
        whole   = Array(Signal(self.cols, name=f"whole_{n}") for n in range(2))
        part    = Array(Signal(self.cols, name=f"part_{n}") for n in range(2))
        with m.If(self.bank_full):
            m.d.sync += [
                whole[self.full_bank].eq(self.full_whole),
                part[self.full_bank].eq(self.full_part),
            ]

        # The slots of a bank, and the beats of each.
        m.submodules.slots = slots = LoopNest(
            loops={"beat": 5, "group": 5, "u": 8}, quantities={}, indexed=["beat", "group", "u"])
        beat, beat_last = slots.index_beat, slots.last_beat
        index = Signal(range(W))
        slot  = Signal(16)
        slot_last, completes = Signal(), Signal()
        m.d.comb += [
            slots.start.eq(self.start),
            slots.count_beat.eq(Mux(conv.local, 1, conv.beat_count)),
            slots.count_group.eq(conv.group_count),
            slots.count_u.eq(conv.u_count),
            slot_last.eq(slots.last_u & slots.last_group),
            completes.eq(beat_last & ((index == W - 1) | slot_last)),
        ]

        # A beat in every cycle, but for those that would complete a segment too early.
        bank_first = Signal(init=1)
        to_wait, too_early = Signal(8), Signal()
        work, segment_last, bank_last = Signal(), Signal(), Signal()
        loaded, waits = Signal(range(3)), Signal()
        tile_first = Signal()
        m.d.comb += [
            self.busy.eq(~bank_first | (waiting != 0)),
            waits.eq(conv.local & bank_first & tile_first & (loaded == 0)),
            work.eq(self.busy & ~waits & ~(completes & too_early)),
            segment_last.eq(work & completes),
            bank_last.eq(segment_last & slot_last),
        ]
        m.d.comb += slots.advance.eq(work)
        m.d.sync += waiting.eq(waiting + self.bank_full - (work & bank_first))
        with m.If(segment_last):
            m.d.sync += [to_wait.eq(conv.flush_count), too_early.eq(conv.flush_count > 1)]
        with m.Elif(too_early):
            m.d.sync += [to_wait.eq(to_wait - 1), too_early.eq(to_wait > 2)]

        # A short step fills the bank anew while the last slot still has beats: the masks of its
        # columns are those of its first beat.
        whole_held, part_held = Signal(self.cols), Signal(self.cols)
        with m.If(work & bank_first):
            m.d.sync += [whole_held.eq(whole[bank]), part_held.eq(part[bank])]

        with m.If(work):
            m.d.sync += bank_first.eq(bank_last)
            with m.If(beat_last):
                m.d.sync += [
                    index.eq(Mux(segment_last, 0, index + 1)),
                    slot.eq(Mux(slot_last, 0, slot + 1)),
                ]

        # With parameters in the lanes, a tile waits for its own.
        with m.If(self.start):
            m.d.sync += loaded.eq(0)
        with m.Else():
            m.d.sync += loaded.eq(loaded + self.tile_loaded - (work & bank_first & tile_first))

        # Where this bank's outputs and parameters are; none fills as soon as the nest has begun.
        m.submodules.nest = nest = LoopNest(
            loops={"q": 16, "strip": 16, "tile": 16},
            quantities={"address": (24, ["q", "strip", "tile"]), "entry": (16, ["tile"])},
            ahead=True)
        m.d.comb += [
            nest.start.eq(self.start),
            nest.advance.eq(bank_last),
            nest.count_q.eq(conv.q_count),
            nest.count_strip.eq(conv.strip_count),
            nest.count_tile.eq(conv.tile_count),
            nest.origin_address.eq(conv.out_base),
            nest.step_address_q.eq(conv.out_q_step),
            nest.step_address_strip.eq(conv.out_strip_step),
            nest.step_address_tile.eq(conv.out_tile_step),
            nest.origin_entry.eq(conv.parameter_base),
            nest.step_entry_tile.eq(conv.parameter_step),
        ]
        side = Signal()
        m.d.comb += [
            tile_first.eq(nest.first_q & nest.first_strip),
            self.tile_drained.eq(bank_last & nest.last_q & nest.last_strip),
        ]
        with m.If(self.start):
            m.d.sync += side.eq(0)
        with m.Elif(self.tile_drained):
            m.d.sync += side.eq(~side)
        with m.If(bank_last):
            m.d.sync += bank.eq(~bank)

        beat_word = Signal(layout(isa.BEAT_FIELDS))
        with m.Switch(beat):
            for n, word in enumerate(self.beats):
                with m.Case(n):
                    m.d.comb += beat_word.eq(word)
        m.d.comb += self.bank_free.eq(work & (beat == 0) & slot_last)
        m.d.sync += [
            self.drain.valid.eq(work & (beat == 0)),
            self.drain.bank.eq(bank),
            self.drain.u.eq(slots.index_u),
            self.drain.group.eq(slots.index_group),
            self.sideband.valid.eq(work),
            self.sideband.mask.eq(beat_word.mask | conv.local.replicate(self.cols)),
            self.sideband.lane_group.eq(beat_word.lane_group),
            self.sideband.entry.eq(Mux(
                conv.local, Cat(slot[:(self.lane_depth - 1).bit_length()], side),
                nest.value_entry + beat_word.parameter_offset + slot)),
            self.sideband.index.eq(index),
            self.sideband.last.eq(segment_last),
        ]

        # The job of a segment: bytes left of a full and of the partial column.
        offset, segment_first = Signal(16), Signal(init=1)
        whole_left, part_left = Signal(17), Signal(17)

        def at_most_a_word(left):
            return Mux(left > W, W, left)

        def less_a_word(left):
            return Mux(left > W, left - W, 0)

        whole_now, part_now = Signal(17), Signal(17)
        m.d.comb += [
            whole_now.eq(Mux(segment_first, conv.run_full, whole_left)),
            part_now.eq(Mux(segment_first, conv.run_last, part_left)),
        ]
        with m.If(segment_last):
            m.d.sync += segment_first.eq(slot_last)
            with m.If(slot_last):
                m.d.sync += offset.eq(0)
            with m.Else():
                m.d.sync += [
                    offset.eq(offset + W),
                    whole_left.eq(less_a_word(whole_now)),
                    part_left.eq(less_a_word(part_now)),
                ]
        m.d.sync += [
            self.job_valid.eq(segment_last),
            self.job.address.eq(nest.value_address + offset),
            self.job.whole.eq(Mux(bank_first, whole[bank], whole_held)),
            self.job.part.eq(Mux(bank_first, part[bank], part_held)),
            self.job.whole_count.eq(at_most_a_word(whole_now)),
            self.job.part_count.eq(at_most_a_word(part_now)),
        ]

        return m
