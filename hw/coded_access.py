"""The command decoder's way to the global buffer: words as they are, and blocks."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from . import isa
from .coded_reader import CodedReader
from .coded_writer import CodedWriter
from .global_buffer import ADDRESS_WIDTH, HOST_WRITE
from .isa import Status
from .run_length_decoder import CODED_WORD


__all__ = ["CodedAccess"]


class CodedAccess(wiring.Component):
    """Join the codec to the command decoder's accesses to the global buffer.

    Words as they are pass without a register. They and blocks exclude each other: the decoder
    begins a block when the last word is gone, and sends words again after ``done``, or after the
    last word of ``o``.

    Parameters
    ----------
    size_bytes : :class:`int`
        Size of the global buffer, a multiple of 4.
    run_length : :class:`bool`
        Whether there is a codec. Without, words pass, and there must be no blocks.

    Members
    -------
    plain_write, plain_read : ``In(stream.Signature(...))``
        Words to be written, addresses of words to be read; as those of :class:`.GlobalBuffer`.
    plain_read_valid : ``Out(1)``
        The word that was read answers ``plain_read``.
    address, zero_point : ``In(24)``, ``In(8)``
        First byte of what a block stands for, and the byte that stands for zero; stable from before
        its first word, or ``start``, to its end.
    i : ``In(stream.Signature(CODED_WORD))``
        Blocks to be written.
    done, status : ``Out(1)``, ``Out(4)``
        For one cycle: the block is written; :class:`isa.Status` of it, ``BAD_CODE`` if it means
        nothing, ``BAD_ADDRESS`` if it means more than fits.
    start, count : ``In(1)``, ``In(24)``
        Begins to read ``count`` words as a block.
    length : ``Out(16)``
        Words of the block; valid from its first word on.
    o : ``Out(stream.Signature(CODED_WORD))``
        The block.
    write, read : ``Out(stream.Signature(...))``
        To the global buffer.
    read_valid, read_data : ``In(1)``, ``In(32)``
        What was read, in order, at any time.
    """

    def __init__(self, *, size_bytes, run_length):
        self.size_bytes = size_bytes
        self.run_length = run_length

        super().__init__({
            "plain_write":      In(stream.Signature(HOST_WRITE)),
            "plain_read":       In(stream.Signature(ADDRESS_WIDTH)),
            "plain_read_valid": Out(1),

            "address":    In(ADDRESS_WIDTH),
            "zero_point": In(8),
            "i":          In(stream.Signature(CODED_WORD)),
            "done":       Out(1),
            "status":     Out(4),
            "start":      In(1),
            "count":      In(isa.CODED_COUNT_WIDTH),
            "length":     Out(16),
            "o":          Out(stream.Signature(CODED_WORD)),

            "write":      Out(stream.Signature(HOST_WRITE)),
            "read":       Out(stream.Signature(ADDRESS_WIDTH)),
            "read_valid": In(1),
            "read_data":  In(32),
        })

    def elaborate(self, platform):
        m = Module()

        if not self.run_length:
            connect(m, flipped(self.plain_write), flipped(self.write))
            connect(m, flipped(self.plain_read), flipped(self.read))
            m.d.comb += self.plain_read_valid.eq(self.read_valid)
            return m

        m.submodules.writer = writer = CodedWriter(size_bytes=self.size_bytes)
        connect(m, flipped(self.i), writer.i)
        m.d.comb += [
            writer.address.eq(self.address),
            writer.zero_point.eq(self.zero_point),
            self.done.eq(writer.done),
            self.status.eq(Mux(writer.malformed, Status.BAD_CODE,
                               Mux(writer.overflow, Status.BAD_ADDRESS, Status.OK))),

            self.write.valid.eq(self.plain_write.valid | writer.write.valid),
            self.write.payload.eq(Mux(writer.write.valid, writer.write.payload.as_value(),
                                      self.plain_write.payload.as_value())),
            self.plain_write.ready.eq(self.write.ready),
            writer.write.ready.eq(self.write.ready),
        ]

        m.submodules.reader = reader = CodedReader()
        connect(m, reader.o, flipped(self.o))
        m.d.comb += [
            reader.start.eq(self.start),
            reader.address.eq(self.address),
            reader.count.eq(self.count),
            reader.zero_point.eq(self.zero_point),
            self.length.eq(reader.length),

            self.read.valid.eq(self.plain_read.valid | reader.read.valid),
            self.read.payload.eq(Mux(reader.busy, reader.read.payload, self.plain_read.payload)),
            self.plain_read.ready.eq(self.read.ready),
            reader.read.ready.eq(self.read.ready),
            reader.read_valid.eq(self.read_valid & reader.busy),
            reader.read_data.eq(self.read_data),
            self.plain_read_valid.eq(self.read_valid & ~reader.busy),
        ]

        return m
