"""Activations that arrive run-length coded, back as raw words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import isa


__all__ = ["CODED_HEADER", "CODED_WORD", "RunLengthDecoder", "ones"]

#: A word of a block; ``last`` is set with the last of the block.
CODED_WORD = data.StructLayout({"data": 32, "last": 1})

#: The first word of a block. Source: docs/run-length-coding.md.
CODED_HEADER = data.StructLayout({
    "count": isa.CODED_COUNT_WIDTH, "reserved": 31 - isa.CODED_COUNT_WIDTH, "coded": 1})

#: Bytes that wait to be decoded: one step takes up to five, a word brings four.
WINDOW = 12


def ones(bits):
    """Return the number of ones in up to four bits."""
    return sum((bits[n] for n in range(1, len(bits))), bits[0])


class RunLengthDecoder(wiring.Component):
    """Turn blocks of docs/run-length-coding.md into the raw words that they stand for.

    A word a cycle comes out if enough come in; a run of zeros begins with a cycle without one.
    Whatever comes in, the block is taken to its end and reported: a malformed one as an error,
    after as many words as were decoded until the fault was met.

    Members
    -------
    zero_point : ``In(8)``
        The byte that stands for zero; stable during a block.
    i : ``In(stream.Signature(CODED_WORD))``
        Blocks, one after the other.
    o : ``Out(stream.Signature(32))``
        Raw words.
    count : ``Out(24)``
        Raw words that the block's header announces; valid from its first word until the next
        block's.
    done : ``Out(1)``
        For one cycle: the block is at its end and its last raw word was taken.
    error : ``Out(1)``
        Beside ``done``: the block was malformed.
    """

    #: From the word that completes a group's half to that half.
    LATENCY = 2

    zero_point: In(8)
    i: In(stream.Signature(CODED_WORD))
    o: Out(stream.Signature(32))
    count: Out(isa.CODED_COUNT_WIDTH)
    done: Out(1)
    error: Out(1)

    def elaborate(self, platform):
        m = Module()

        header  = data.View(CODED_HEADER, self.i.payload.data)
        left    = Signal(isa.CODED_COUNT_WIDTH)  # raw words still to come out
        fault   = Signal()
        taken   = Signal()
        advance = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            advance.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def emit(word):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(word), left.eq(left - 1)]

        # Bytes that arrived and were not decoded yet, the oldest in the lowest place.
        window = Signal(8 * WINDOW)
        level  = Signal(range(WINDOW + 1))
        ended  = Signal()
        used   = Signal(range(6))
        refill = Signal()
        kept   = Signal.like(window)
        stays  = Signal.like(level)
        m.d.comb += [
            kept.eq(window >> (used << 3)),
            stays.eq(level - used),
        ]
        m.d.sync += [window.eq(kept), level.eq(stays)]
        with m.If(refill):
            m.d.sync += [
                window.eq(kept | (self.i.payload.data << (stays << 3))),
                level.eq(stays + 4),
                ended.eq(self.i.payload.last),
            ]

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [window.eq(0), level.eq(0), ended.eq(0)]
                with m.If(taken):
                    m.d.sync += [self.count.eq(header.count), left.eq(header.count), fault.eq(0)]
                    with m.If((header.reserved != 0)
                              | ((header.count == 0) != self.i.payload.last)):
                        m.d.sync += fault.eq(1)
                        m.next = "SKIP"
                        with m.If(self.i.payload.last):
                            m.next = "DONE"
                    with m.Elif(self.i.payload.last):
                        m.next = "DONE"
                    with m.Elif(header.coded):
                        m.next = "CODED"
                    with m.Else():
                        m.next = "RAW"

            with m.State("RAW"):
                m.d.comb += self.i.ready.eq(advance)
                with m.If(taken):
                    emit(self.i.payload.data)
                    with m.If((left == 1) != self.i.payload.last):
                        m.d.sync += fault.eq(1)
                        m.next = "SKIP"
                    with m.If(self.i.payload.last):
                        m.next = "DONE"

            with m.State("CODED"):
                m.d.comb += [
                    self.i.ready.eq((level <= WINDOW - 4) & ~ended),
                    refill.eq(taken),
                ]
                malformed = self._elaborate_group(m, window, level, ended, left, used, advance,
                                                  emit)
                with m.If(malformed):
                    m.d.sync += fault.eq(1)
                    m.next = "SKIP"
                    with m.If(ended | (taken & self.i.payload.last)):
                        m.next = "DONE"
                with m.Elif(left == 0):
                    # Nothing but the zeros that fill the last word may be left.
                    m.d.comb += self.i.ready.eq(0)
                    m.next = "DONE"
                    with m.If(~ended | (level >= 4) | (window != 0)):
                        m.d.sync += fault.eq(1)
                        with m.If(~ended):
                            m.next = "SKIP"

            with m.State("SKIP"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(taken & self.i.payload.last):
                    m.next = "DONE"

            with m.State("DONE"):
                with m.If(~self.o.valid):
                    m.d.comb += [self.done.eq(1), self.error.eq(fault)]
                    m.next = "HEADER"

        return m

    def _elaborate_group(self, m, window, level, ended, left, used, advance, emit):
        """Decode half a group a cycle; return whether the block is malformed."""
        upper     = Signal(4)    # mask of the group's second half
        in_upper  = Signal()
        zeros     = Signal(isa.CODED_COUNT_WIDTH)  # words of zeros still to come
        malformed = Signal()
        short     = Signal()

        # What the next half needs, if it is no run.
        mask   = Signal(4)
        need   = Signal(range(6))
        begins = window[:8]
        m.d.comb += [
            mask.eq(Mux(in_upper, upper, begins[:4])),
            need.eq(ones(mask) + ~in_upper),
        ]
        literals = Signal(32)
        m.d.comb += literals.eq(Mux(in_upper, window, window >> 8))
        word = Signal(32)
        for n in range(4):
            place = ones(mask[:n]) if n else 0
            m.d.comb += word.word_select(n, 8).eq(
                Mux(mask[n], literals.word_select(place, 8) if n else literals[:8],
                    self.zero_point))

        groups = Signal(9)
        m.d.comb += groups.eq(window[8:16] + 1)
        with m.If(left == 0):
            m.d.sync += [in_upper.eq(0), zeros.eq(0)]
        with m.Elif(zeros != 0):
            with m.If(advance):
                emit(self.zero_point.replicate(4))
                m.d.sync += zeros.eq(zeros - 1)
        with m.Elif(~in_upper & (level != 0) & (begins == 0)):
            m.d.comb += short.eq(level < 2)
            with m.If(~short):
                # Half a group may stand at the end of an odd number of words.
                m.d.comb += [
                    used.eq(2),
                    malformed.eq(groups > (left + 1) >> 1),
                ]
                m.d.sync += zeros.eq(Mux(groups << 1 > left, left, groups << 1))
        with m.Else():
            m.d.comb += short.eq(level < need)
            with m.If(~short & advance):
                emit(word)
                m.d.comb += used.eq(need)
                m.d.sync += [upper.eq(begins[4:]), in_upper.eq(~in_upper & (left != 1))]
                with m.If(~in_upper & (left == 1)):
                    m.d.comb += malformed.eq(begins[4:] != 0)
        with m.If(short & ended):
            m.d.comb += malformed.eq(1)
        with m.If(malformed):
            m.d.sync += [in_upper.eq(0), zeros.eq(0)]

        return malformed
