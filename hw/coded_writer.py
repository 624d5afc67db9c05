"""Blocks of activations, run-length coded or not, into the global buffer."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .global_buffer import ADDRESS_WIDTH, HOST_WRITE
from .run_length_decoder import CODED_WORD, RunLengthDecoder


__all__ = ["CodedWriter"]


class CodedWriter(wiring.Component):
    """Write the words that a block of docs/run-length-coding.md stands for.

    Whatever comes in, the block is taken to its end, nothing is written behind the buffer's, and
    what was wrong is reported.

    Parameters
    ----------
    size_bytes : :class:`int`
        Size of the global buffer, a multiple of 4.

    Members
    -------
    address : ``In(24)``
        Byte address of the first word, a multiple of 4; stable from before a block's first word
        until ``done``.
    zero_point : ``In(8)``
        The byte that stands for zero; likewise.
    i : ``In(stream.Signature(CODED_WORD))``
        Blocks.
    write : ``Out(stream.Signature(HOST_WRITE))``
        Words, as :class:`~oarlock.hw.global_buffer.GlobalBuffer` takes them from the host.
    done : ``Out(1)``
        For one cycle: the block is at its end, its last word was written.
    malformed : ``Out(1)``
        Beside ``done``: the block means nothing.
    overflow : ``Out(1)``
        Beside ``done``: words went beyond the buffer, and were dropped.
    """

    def __init__(self, *, size_bytes):
        if not (0 < size_bytes <= 1 << ADDRESS_WIDTH and size_bytes % 4 == 0):
            raise ValueError(f"Size must be a multiple of 4 bytes up to {1 << ADDRESS_WIDTH}, "
                             f"not {size_bytes!r}")
        self.size_bytes = size_bytes

        super().__init__({
            "address": In(ADDRESS_WIDTH),
            "zero_point": In(8),
            "i": In(stream.Signature(CODED_WORD)),
            "write": Out(stream.Signature(HOST_WRITE)),
            "done": Out(1),
            "malformed": Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.decoder = decoder = RunLengthDecoder()
        m.d.comb += [
            decoder.zero_point.eq(self.zero_point),
            decoder.i.payload.eq(self.i.payload),
            decoder.i.valid.eq(self.i.valid),
            self.i.ready.eq(decoder.i.ready),
        ]

        # A block has fewer words than an address has values, so this never wraps.
        offset  = Signal(isa.CODED_COUNT_WIDTH + 2)
        place   = Signal(ADDRESS_WIDTH + 3)
        beyond  = Signal()
        too_far = Signal()
        taken   = Signal()
        m.d.comb += [
            place.eq(self.address + offset),
            beyond.eq(place >= self.size_bytes),
            self.write.payload.addr.eq(place),
            self.write.payload.data.eq(decoder.o.payload),
            self.write.valid.eq(decoder.o.valid & ~beyond),
            decoder.o.ready.eq(self.write.ready | beyond),
            taken.eq(decoder.o.valid & decoder.o.ready),
            self.done.eq(decoder.done),
            self.malformed.eq(decoder.error),
            self.overflow.eq(decoder.done & too_far),
        ]
        with m.If(decoder.done):
            m.d.sync += [offset.eq(0), too_far.eq(0)]
        with m.Elif(taken):
            m.d.sync += [offset.eq(offset + 4), too_far.eq(too_far | beyond)]

        return m
