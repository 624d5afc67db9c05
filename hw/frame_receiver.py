"""Finds frames in a stream of bytes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import link_isa
from .crc32 import Crc32


__all__ = ["HEADER", "FrameReceiver"]

#: Fields of a frame, in the order in which they are sent.
HEADER = data.StructLayout(dict(link_isa.FRAME_FIELDS))


class FrameReceiver(wiring.Component):
    """Take frames of :mod:`link_isa` apart and tell good ones from damaged ones.

    Whatever came before, a FLAG begins a frame. The payload is handed on while it arrives; only at
    the end it is known whether it was good.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Bytes, at least 16 cycles apart; always ready.
    error : ``In(1)``
        A byte was lost: the frame is damaged.
    header : ``Out(HEADER)``
        Fields of the frame, from ``start`` until the next frame begins.
    start : ``Out(1)``
        A pulse when the header is complete; it may still turn out to be damaged.
    word_valid, word : ``Out(1)``, ``Out(32)``
        A pulse with each word of the payload, ``header.count`` at most.
    good, bad : ``Out(1)``
        A pulse at the end of each frame: CRC and length are right, or are not.
    """

    i: In(stream.Signature(8))
    error: In(1)
    header: Out(HEADER)
    start: Out(1)
    word_valid: Out(1)
    word: Out(32)
    good: Out(1)
    bad: Out(1)

    def elaborate(self, platform):
        m = Module()

        m.submodules.crc = crc = Crc32()
        m.d.sync += [
            self.start.eq(0),
            self.word_valid.eq(0),
            self.good.eq(0),
            self.bad.eq(0),
        ]

        escaped = Signal()
        octet   = Signal(8)
        flag    = Signal()
        taken   = Signal()
        escape  = self.i.payload == link_isa.ESCAPE
        m.d.comb += [
            self.i.ready.eq(1),
            octet.eq(self.i.payload ^ Mux(escaped, link_isa.ESCAPE_XOR, 0)),
            flag.eq(self.i.valid & (self.i.payload == link_isa.FLAG)),
            taken.eq(self.i.valid & ~flag & (escaped | ~escape)),
            crc.i.payload.eq(octet),
            crc.i.valid.eq(taken),
            crc.clear.eq(flag),
        ]
        with m.If(self.i.valid):
            m.d.sync += escaped.eq(~escaped & escape)

        damaged = Signal()  # Whatever the CRC says.
        intact  = Signal()
        m.d.comb += intact.eq((crc.crc == link_isa.CRC_RESIDUE) & ~escaped & ~damaged)
        with m.If(self.error):
            m.d.sync += damaged.eq(1)

        index = Signal(range(link_isa.HEADER_BYTES))  # Of the byte in header, word or CRC.
        words = Signal(8)                             # Of the payload, still to come.
        fields = self.header.as_value()
        with m.If(taken):
            m.d.sync += index.eq(index + 1)
        with m.FSM():
            with m.State("HUNT"):
                with m.If(flag):
                    m.next = "HEADER"

            with m.State("HEADER"):
                with m.If(taken):
                    m.d.sync += fields.eq(Cat(fields[8:], octet))
                    with m.If(index == link_isa.HEADER_BYTES - 1):
                        m.d.sync += [
                            index.eq(0),
                            # The count has moved to its place but for this last byte.
                            words.eq(data.View(HEADER, Cat(fields[8:], octet)).count),
                            self.start.eq(1),
                        ]
                        m.next = "BODY"
                with m.If(flag):
                    # Nothing between two FLAGs is no frame, not a damaged one.
                    m.d.sync += self.bad.eq((index != 0) | escaped | damaged)

            with m.State("BODY"):
                with m.If(taken):
                    m.d.sync += self.word.eq(Cat(self.word[8:], octet))
                    with m.If(index == 3):
                        m.d.sync += index.eq(0)
                        with m.If(words == 0):
                            m.next = "END"
                        with m.Else():
                            m.d.sync += [
                                words.eq(words - 1),
                                self.word_valid.eq(1),
                            ]
                with m.If(flag):
                    m.d.sync += self.bad.eq(1)
                    m.next = "HEADER"

            with m.State("END"):
                with m.If(taken):
                    m.d.sync += damaged.eq(1)
                with m.If(flag):
                    m.d.sync += [
                        self.good.eq(intact),
                        self.bad.eq(~intact),
                    ]
                    m.next = "HEADER"

        with m.If(flag):
            m.d.sync += [
                index.eq(0),
                escaped.eq(0),
                damaged.eq(0),
            ]

        return m
