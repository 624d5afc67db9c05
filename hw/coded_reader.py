"""A part of the global buffer as a block, run-length coded if that is shorter."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from . import isa
from .global_buffer import ADDRESS_WIDTH, GlobalBuffer
from .run_length_decoder import CODED_WORD
from .run_length_encoder import RunLengthEncoder


__all__ = ["CodedReader"]

#: Words that may be on their way from the buffer, so that one comes in every cycle: from an address
#: to its data, into the FIFO, and out of it.
DEPTH = GlobalBuffer.LATENCY + 2


class CodedReader(wiring.Component):
    """Read words of the global buffer twice: first to see how long their code is, then to send it.

    The length of an answer comes before its words, so it has to be known; and the form is chosen by
    it: coded if that is shorter than raw, else raw. So a block is never longer than its words and
    the header. See docs/run-length-coding.md.

    Members
    -------
    start : ``In(1)``
        Begins a block; ignored while ``busy``.
    address : ``In(24)``
        Byte address of the first word, a multiple of 4; taken with ``start``.
    count : ``In(24)``
        Words; taken with ``start``.
    zero_point : ``In(8)``
        The byte that stands for zero; stable while ``busy``.
    busy : ``Out(1)``
        The last word of the block was not taken yet.
    length : ``Out(25)``
        Words of the block with its header; valid from the first that comes until the next
        ``start``.
    read : ``Out(stream.Signature(24))``
        Addresses, as :class:`~oarlock.hw.global_buffer.GlobalBuffer` takes them from the host.
    read_valid, read_data : ``In(1)``, ``In(32)``
        What was read, in order, at any time after its address was taken.
    o : ``Out(stream.Signature(CODED_WORD))``
        The block.
    """

    start: In(1)
    address: In(ADDRESS_WIDTH)
    count: In(isa.CODED_COUNT_WIDTH)
    zero_point: In(8)
    busy: Out(1)
    length: Out(isa.CODED_COUNT_WIDTH + 1)
    read: Out(stream.Signature(ADDRESS_WIDTH))
    read_valid: In(1)
    read_data: In(32)
    o: Out(stream.Signature(CODED_WORD))

    def elaborate(self, platform):
        m = Module()

        m.submodules.encoder = encoder = RunLengthEncoder()
        m.submodules.words = words = SyncFIFO(width=32, depth=DEPTH)
        m.d.comb += [
            encoder.zero_point.eq(self.zero_point),
            words.w_data.eq(self.read_data),
            words.w_en.eq(self.read_valid),
            encoder.i.payload.eq(words.r_data),
            encoder.i.valid.eq(words.r_rdy),
            words.r_en.eq(encoder.i.ready),
        ]

        # Words are asked for as long as there is a place for them.
        first   = Signal(ADDRESS_WIDTH)
        count   = Signal(isa.CODED_COUNT_WIDTH)
        pointer = Signal(ADDRESS_WIDTH)
        left    = Signal(isa.CODED_COUNT_WIDTH)
        places  = Signal(range(DEPTH + 1), init=DEPTH)
        asked, used = Signal(), Signal()
        m.d.comb += [
            self.read.payload.eq(pointer),
            self.read.valid.eq((left != 0) & (places != 0)),
            asked.eq(self.read.valid & self.read.ready),
            used.eq(encoder.i.valid & encoder.i.ready),
        ]
        m.d.sync += places.eq(places - asked + used)
        with m.If(asked):
            m.d.sync += [pointer.eq(pointer + 4), left.eq(left - 1)]

        def encode(coded):
            m.d.comb += [
                encoder.start.eq(1),
                encoder.count.eq(count),
                encoder.coded.eq(coded),
            ]
            m.d.sync += [pointer.eq(first), left.eq(count)]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

            with m.State("IDLE"):
                m.d.sync += [first.eq(self.address), count.eq(self.count)]
                with m.If(self.start):
                    m.d.sync += self.length.eq(0)
                    m.next = "BEGIN-MEASURE"

            with m.State("BEGIN-MEASURE"):
                encode(1)
                m.next = "MEASURE"

            with m.State("MEASURE"):
                m.d.comb += encoder.o.ready.eq(1)
                with m.If(encoder.o.valid):
                    m.d.sync += self.length.eq(self.length + 1)
                with m.If(~encoder.busy):
                    m.next = "BEGIN-SEND"

            with m.State("BEGIN-SEND"):
                encode(self.length <= count)
                with m.If(self.length > count):
                    m.d.sync += self.length.eq(count + 1)
                m.next = "SEND"

            with m.State("SEND"):
                m.d.comb += [
                    self.o.payload.eq(encoder.o.payload),
                    self.o.valid.eq(encoder.o.valid),
                    encoder.o.ready.eq(self.o.ready),
                ]
                with m.If(~encoder.busy):
                    m.next = "IDLE"

        return m
