"""Makes frames of fields and words."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from . import link_isa
from .crc32 import Crc32
from .frame_receiver import HEADER


__all__ = ["FrameSender"]


class FrameSender(wiring.Component):
    """Send a frame of :mod:`link_isa`: FLAG, header, payload, CRC, FLAG, with escapes.

    A reset gives up the frame: what has been sent of it is damaged for the other side.

    Members
    -------
    start : ``In(1)``
        Begins a frame, if none is being sent.
    busy : ``Out(1)``
        A frame is being sent; set in the cycle after ``start``.
    header : ``In(HEADER)``
        Its fields; they must not change while ``busy``.
    word : ``In(32)``
        The next word of the payload; the first two cycles after ``start`` at the latest, each
        further one two cycles after ``next``.
    next : ``Out(1)``
        A pulse when a word has been sent.
    done : ``Out(1)``
        A pulse in the last cycle of ``busy``: the frame is sent.
    o : ``Out(stream.Signature(8))``
        Bytes.
    """

    start: In(1)
    busy: Out(1)
    header: In(HEADER)
    word: In(32)
    next: Out(1)
    done: Out(1)
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()

        m.submodules.crc = crc = Crc32()
        index = Signal(range(link_isa.HEADER_BYTES))  # Of the byte in header, word or CRC.
        words = Signal(8)                             # Of the payload, still to be sent.

        # One byte of the body; the CRC takes it as it is, the stream as one or two. It is chosen a
        # cycle before: words come out of a block RAM. Lines are slower than that.
        body     = Signal()  # In a state in which bytes are escaped and counted by the CRC.
        chosen   = Signal(8)
        octet    = Signal(8)
        settled  = Signal()  # ``octet`` is what this state and index choose.
        special  = Signal()
        escaping = Signal()  # The ESCAPE is out.
        moved    = Signal()
        m.d.comb += special.eq((octet == link_isa.FLAG) | (octet == link_isa.ESCAPE))
        with m.If(body):
            m.d.comb += [
                self.o.valid.eq(settled),
                self.o.payload.eq(Mux(special, Mux(escaping, octet ^ link_isa.ESCAPE_XOR,
                                                   link_isa.ESCAPE), octet)),
                moved.eq(self.o.valid & self.o.ready & (~special | escaping)),
            ]
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += escaping.eq(special & ~escaping)
        with m.If(moved):
            m.d.sync += index.eq(index + 1)
        m.d.sync += [octet.eq(chosen), settled.eq(body & crc.i.ready & ~moved)]
        m.d.comb += crc.i.payload.eq(octet)

        def end_after(count):
            """Return whether this is the last of so many bytes that moves now."""
            last = moved & (index == count - 1)
            with m.If(last):
                m.d.sync += index.eq(0)
            return last

        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.busy.eq(0),
                    crc.clear.eq(1),
                ]
                m.d.sync += [
                    index.eq(0),
                    escaping.eq(0),
                ]
                with m.If(self.start):
                    m.next = "FLAG"

            with m.State("FLAG"):
                m.d.sync += words.eq(self.header.count)
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(link_isa.FLAG),
                ]
                with m.If(self.o.ready):
                    m.next = "HEADER"

            with m.State("HEADER"):
                m.d.comb += [
                    body.eq(1),
                    crc.i.valid.eq(moved),
                    chosen.eq(self.header.as_value().word_select(index, 8)),
                ]
                with m.If(end_after(link_isa.HEADER_BYTES)):
                    m.next = "PAYLOAD"
                    with m.If(words == 0):
                        m.next = "CRC"

            with m.State("PAYLOAD"):
                m.d.comb += [
                    body.eq(1),
                    crc.i.valid.eq(moved),
                    chosen.eq(self.word.word_select(index[:2], 8)),
                ]
                with m.If(end_after(4)):
                    m.d.comb += self.next.eq(1)
                    m.d.sync += words.eq(words - 1)
                    with m.If(words == 1):
                        m.next = "CRC"

            with m.State("CRC"):
                m.d.comb += [
                    body.eq(1),
                    chosen.eq(~crc.crc.word_select(index[:2], 8)),
                ]
                with m.If(end_after(link_isa.TRAILER_BYTES)):
                    m.next = "END"

            with m.State("END"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(link_isa.FLAG),
                ]
                with m.If(self.o.ready):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

        return m
