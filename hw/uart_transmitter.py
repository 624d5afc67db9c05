"""The sending half of a UART."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .uart_receiver import check_divisor


__all__ = ["UartTransmitter"]


class UartTransmitter(wiring.Component):
    """Send bytes of 8 bits without parity and with one stop bit, one right after the other.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Bytes.
    tx : ``Out(1)``
        The line, a register, high when idle and after reset.
    """

    def __init__(self, *, divisor):
        check_divisor(divisor)
        self.divisor = divisor
        super().__init__({
            "i": In(stream.Signature(8)),
            "tx": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()

        timer = Signal(range(self.divisor))
        rest  = Signal(9, init=0x1FF)  # What follows the bit on the line.
        bits  = Signal(range(10))      # How many of them, the stop bit included.
        m.d.comb += self.i.ready.eq((timer == 0) & (bits == 0))
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [
                self.tx.eq(rest[0]),
                rest.eq(Cat(rest[1:], 1)),
                bits.eq(bits - 1),
                timer.eq(self.divisor - 1),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                self.tx.eq(0),
                rest.eq(Cat(self.i.payload, 1)),
                bits.eq(9),
                timer.eq(self.divisor - 1),
            ]

        return m
