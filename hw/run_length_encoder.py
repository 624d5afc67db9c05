"""Raw words on their way out, run-length coded."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .run_length_decoder import CODED_HEADER, CODED_WORD, ones


__all__ = ["RunLengthEncoder"]

#: Bytes that wait for their word to fill: one step adds up to five.
PACK, STEP = 12, 5


class RunLengthEncoder(wiring.Component):
    """Write a block of docs/run-length-coding.md for a number of raw words.

    Takes a word a cycle, but for one cycle a run, and where the code is longer than the words.
    Writes what :func:`oarlock.sw_driver.run_length.encode` writes, bit for bit.

    Members
    -------
    start : ``In(1)``
        Begins a block; ignored unless ``busy`` is low.
    count : ``In(24)``
        Its raw words; taken with ``start``.
    coded : ``In(1)``
        Whether to code them, or to send them as they are; taken with ``start``.
    zero_point : ``In(8)``
        The byte that stands for zero; stable while ``busy``.
    busy : ``Out(1)``
        The last word of the block was not taken yet.
    i : ``In(stream.Signature(32))``
        Raw words; ``count`` of them are taken.
    o : ``Out(stream.Signature(CODED_WORD))``
        The block.
    """

    #: From the second word of a group, taken, to the first of its bytes in the packer.
    LATENCY = 2

    start: In(1)
    count: In(isa.CODED_COUNT_WIDTH)
    coded: In(1)
    zero_point: In(8)
    busy: Out(1)
    i: In(stream.Signature(32))
    o: Out(stream.Signature(CODED_WORD))

    def elaborate(self, platform):
        m = Module()

        header = Signal(CODED_HEADER)
        left   = Signal(isa.CODED_COUNT_WIDTH)  # raw words still to be taken
        taken  = Signal()
        m.d.comb += taken.eq(self.i.valid & self.i.ready)
        with m.If(taken):
            m.d.sync += left.eq(left - 1)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

            with m.State("IDLE"):
                m.d.sync += [header.count.eq(self.count), header.coded.eq(self.coded),
                             left.eq(self.count)]
                with m.If(self.start):
                    m.next = "HEADER"

            with m.State("HEADER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(header),
                    self.o.payload.last.eq(header.count == 0),
                ]
                with m.If(self.o.ready):
                    m.next = "RAW"
                    with m.If(header.count == 0):
                        m.next = "IDLE"
                    with m.Elif(header.coded):
                        m.next = "CODED"

            with m.State("RAW"):
                m.d.comb += [
                    self.i.ready.eq(self.o.ready),
                    self.o.valid.eq(self.i.valid),
                    self.o.payload.data.eq(self.i.payload),
                    self.o.payload.last.eq(left == 1),
                ]
                with m.If(taken & (left == 1)):
                    m.next = "IDLE"

            with m.State("CODED"):
                self._elaborate_code(m, left, taken)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.next = "IDLE"

        return m

    def _elaborate_code(self, m, left, taken):
        """Collect groups of two words, code them, pack the bytes."""
        # Collect. A group waits until the one before is coded.
        first    = Signal(32)
        half     = Signal()      # ``first`` is there
        group    = Signal(64)
        lone     = Signal()      # a group of one word, at the end
        waiting  = Signal()      # a group is there
        finished = Signal()
        free     = Signal()
        m.d.comb += [
            free.eq(~waiting | finished),
            self.i.ready.eq((left != 0) & Mux(half | (left == 1), free, 1)),
        ]
        with m.If(finished):
            m.d.sync += waiting.eq(0)
        with m.If(taken):
            m.d.sync += [first.eq(self.i.payload), half.eq(~half & (left != 1))]
            with m.If(half | (left == 1)):
                m.d.sync += [
                    group.eq(Mux(half, Cat(first, self.i.payload), self.i.payload)),
                    lone.eq(~half),
                    waiting.eq(1),
                ]

        # Code: a pair for the run of zeros before, then the mask with the first half, the second.
        mask     = Signal(8)
        in_upper = Signal()
        run      = Signal(9)
        added    = Signal(range(STEP + 1))
        bytes_in = Signal(8 * STEP)
        room     = Signal()
        for n in range(8):
            m.d.comb += mask[n].eq(
                (group.word_select(n, 8) != self.zero_point) & (C(n < 4) | ~lone))
        at_end = (left == 0) & ~half & ~waiting
        half_mask, half_word = Signal(4), Signal(32)
        m.d.comb += [
            half_mask.eq(Mux(in_upper, mask[4:], mask[:4])),
            half_word.eq(Mux(in_upper, group[32:], group[:32])),
        ]
        literals = Signal(32)
        m.d.comb += literals.eq(sum(
            (Mux(half_mask[n], half_word.word_select(n, 8), 0)
             << ((ones(half_mask[:n]) if n else C(0, 1)) << 3)
             for n in range(1, 4)),
            Mux(half_mask[0], half_word[:8], 0)))
        with m.If(room):
            with m.If((run == 256) | (run != 0) & (at_end | waiting & (mask != 0))):
                m.d.comb += [added.eq(2), bytes_in.eq((run - 1)[:8] << 8)]
                m.d.sync += run.eq(0)
            with m.Elif(waiting & (mask == 0)):
                m.d.comb += finished.eq(1)
                m.d.sync += run.eq(run + 1)
            with m.Elif(waiting):
                m.d.comb += [
                    added.eq(ones(half_mask) + ~in_upper),
                    bytes_in.eq(Mux(in_upper, literals, Cat(mask, literals))),
                    finished.eq(in_upper | lone),
                ]
                m.d.sync += in_upper.eq(~in_upper & ~lone)

        # Pack. A whole word waits for a byte behind it: else it might be the last.
        pack  = Signal(8 * PACK)
        level = Signal(range(PACK + 1))
        ended = Signal()
        sent  = Signal()
        kept, stays = Signal.like(pack), Signal.like(level)
        m.d.comb += [
            room.eq(level <= PACK - STEP),
            ended.eq(at_end & (run == 0)),
            self.o.valid.eq((level > 4) | (ended & (level != 0))),
            self.o.payload.data.eq(pack[:32]),
            self.o.payload.last.eq(ended & (level <= 4)),
            sent.eq(self.o.valid & self.o.ready),
            kept.eq(Mux(sent, pack >> 32, pack)),
            stays.eq(Mux(sent, Mux(level > 4, level - 4, 0), level)),
        ]
        m.d.sync += [
            pack.eq(kept | (bytes_in << (stays << 3))),
            level.eq(stays + added),
        ]
