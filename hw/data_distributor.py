"""Data words of a command, on their way to the memory that it addresses."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .command_check import COMMAND
from .global_buffer import ADDRESS_WIDTH, HOST_WRITE
from .isa import Memory


__all__ = ["PROGRAM_WRITE", "DataDistributor", "write_ports"]

PROGRAM_WRITE = data.StructLayout({"addr": 16, "data": 32})


def write_ports(*, cols, parameter_depth, filter_depth):
    """Return the members that write parameters and filters: no handshake, a word a cycle."""
    return {
        "parameter_en":    Out(1),
        "parameter_entry": Out(range(parameter_depth)),
        "parameter_word":  Out(range(3)),
        "parameter_data":  Out(32),
        "filter_en":       Out(1),
        "filter_columns":  Out(cols),
        "filter_block":    Out(2),
        "filter_addr":     Out(range(filter_depth)),
        "filter_data":     Out(data.ArrayLayout(signed(8), 4)),
    }


class DataDistributor(wiring.Component):
    """Write the data words of a ``WRITE`` where they belong, and keep the address.

    Parameters
    ----------
    cols, parameter_depth, filter_depth : :class:`int`
        As those of :class:`.CommandDecoder`.

    Members
    -------
    start : ``In(1)``
        A command begins; in the cycle of its first data word at the latest.
    header, address, coded, drop : ``In(...)``
        The command, whether its data are a block, whether they are only to be taken; valid with
        ``start``.
    advance : ``In(1)``
        Counts the address up, for a command that reads.
    pointer : ``Out(24)``
        The address in the memory's words, of the word that is next.
    i : ``In(stream.Signature(32))``
        Data words. ``ready`` depends on that of the outputs.
    buffer_write, program_write, block : ``Out(stream.Signature(...))``
        To the global buffer, to the program memory, to the codec.
    parameter_en, parameter_entry, parameter_word, parameter_data : ``Out(...)``
        As those of :class:`.CommandDecoder`.
    filter_en, filter_columns, filter_block, filter_addr, filter_data : ``Out(...)``
        Likewise.
    """

    #: From a word to the write that it makes.
    LATENCY = 1

    def __init__(self, *, cols, parameter_depth, filter_depth):
        super().__init__({
            "start":   In(1),
            "header":  In(COMMAND),
            "address": In(32),
            "coded":   In(1),
            "drop":    In(1),
            "advance": In(1),
            "pointer": Out(ADDRESS_WIDTH),
            "i":       In(stream.Signature(32)),

            "buffer_write":  Out(stream.Signature(HOST_WRITE)),
            "program_write": Out(stream.Signature(PROGRAM_WRITE)),
            "block":         Out(stream.Signature(32)),

            **write_ports(cols=cols, parameter_depth=parameter_depth, filter_depth=filter_depth),
        })

    def elaborate(self, platform):
        m = Module()

        pointer = self.pointer
        valid   = Signal()
        word    = Signal(32)
        third   = Signal(range(3))
        coded   = len(Memory)     # the target beside the memories
        target  = Signal(coded + 1)
        m.d.sync += pointer.eq(pointer + self.advance)
        with m.If(self.start):
            m.d.sync += [
                pointer.eq(Mux(self.header.memory == Memory.GLOBAL_BUFFER, self.address >> 2,
                               self.address)),
                third.eq(0),
                target.eq(Mux(self.drop, 0,
                              Mux(self.coded, 1 << coded, 1 << self.header.memory))),
                self.filter_columns.eq(self.header.operand),
                self.filter_block.eq(self.address[24:]),
            ]

        m.d.comb += self.i.ready.eq(~((self.buffer_write.valid & ~self.buffer_write.ready)
                                      | (self.program_write.valid & ~self.program_write.ready)
                                      | (self.block.valid & ~self.block.ready)))
        with m.If(self.i.ready):
            m.d.sync += [
                valid.eq(self.i.valid),
                word.eq(self.i.payload),
            ]
            with m.If(valid):
                m.d.sync += third.eq(Mux(third == 2, 0, third + 1))
                with m.If(~target[Memory.PARAMETERS] | (third == 2)):
                    m.d.sync += pointer.eq(pointer + 1)

        m.d.comb += [
            self.buffer_write.valid.eq(valid & target[Memory.GLOBAL_BUFFER]),
            self.buffer_write.payload.addr.eq(pointer << 2),
            self.buffer_write.payload.data.eq(word),
            self.program_write.valid.eq(valid & target[Memory.PROGRAM]),
            self.program_write.payload.addr.eq(pointer),
            self.program_write.payload.data.eq(word),
            self.block.valid.eq(valid & target[coded]),
            self.block.payload.eq(word),
            self.parameter_en.eq(valid & target[Memory.PARAMETERS]),
            self.parameter_entry.eq(pointer),
            self.parameter_word.eq(third),
            self.parameter_data.eq(word),
            self.filter_en.eq(valid & target[Memory.FILTER]),
            self.filter_addr.eq(pointer),
            self.filter_data.eq(word),
        ]

        return m
