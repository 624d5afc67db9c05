"""CRC-32, a bit a cycle."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from . import link_isa


__all__ = ["Crc32"]


class Crc32(wiring.Component):
    """Compute the CRC-32 of Ethernet over bytes, in 14 exclusive-ors instead of hundreds.

    A byte takes :attr:`LATENCY` cycles, during which no other is taken.

    Members
    -------
    clear : ``In(1)``
        Begins anew; takes precedence over a byte.
    i : ``In(stream.Signature(8))``
        Bytes.
    crc : ``Out(32)``
        The register, while ``i.ready``: the complement of the CRC. After bytes and their CRC, least
        significant byte first, it is :data:`link_isa.CRC_RESIDUE`.
    """

    #: Cycles from a byte to its CRC.
    LATENCY = 9

    i: In(stream.Signature(8))
    clear: In(1)
    crc: Out(32, init=link_isa.CRC_INIT)

    def elaborate(self, platform):
        m = Module()

        byte = Signal(8)
        left = Signal(range(9))
        m.d.comb += self.i.ready.eq(left == 0)
        with m.If(left != 0):
            m.d.sync += [
                self.crc.eq(self.crc[1:] ^ Mux(self.crc[0] ^ byte[0],
                                               link_isa.CRC_POLYNOMIAL, 0)),
                byte.eq(byte[1:]),
                left.eq(left - 1),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                byte.eq(self.i.payload),
                left.eq(8),
            ]
        with m.If(self.clear):
            m.d.sync += [
                self.crc.eq(link_isa.CRC_INIT),
                left.eq(0),
            ]

        return m
