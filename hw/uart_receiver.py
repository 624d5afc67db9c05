"""The receiving half of a UART."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


__all__ = ["UartReceiver", "check_divisor"]


def check_divisor(divisor):
    """Raise if ``divisor`` is no possible number of cycles of a bit."""
    if not (isinstance(divisor, int) and 4 <= divisor <= 65535):
        raise ValueError(f"Divisor must be a whole number from 4 to 65535, not {divisor!r}")


class UartReceiver(wiring.Component):
    """Receive bytes of 8 bits without parity, each bit sampled once, in its middle.

    The other side's bits may be up to 3 % longer or shorter, 2 % if ``divisor`` is below 6. A stop
    bit that is low is an error; after it the line has to be high before another byte begins.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535.

    Members
    -------
    rx : ``In(1)``
        The line, synchronous to the clock, high when idle.
    o : ``Out(stream.Signature(8, always_ready=True))``
        Bytes; at least 9.5 bits apart.
    error : ``Out(1)``
        A pulse in place of a byte whose stop bit was low.
    """

    def __init__(self, *, divisor):
        check_divisor(divisor)
        self.divisor = divisor
        super().__init__({
            "rx": In(1),
            "o": Out(stream.Signature(8, always_ready=True)),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        timer = Signal(range(self.divisor))
        bits  = Signal(range(8))
        m.d.sync += timer.eq(timer - 1)
        sample = Signal()
        m.d.comb += sample.eq(timer == 0)
        with m.If(sample):
            m.d.sync += timer.eq(self.divisor - 1)

        m.d.sync += [
            self.o.valid.eq(0),
            self.error.eq(0),
        ]
        with m.FSM():
            with m.State("IDLE"):
                # This sees the edge half a cycle late on average, and is in the next state one
                # cycle after it.
                m.d.sync += [
                    timer.eq((self.divisor - 1) // 2 - 1),
                    bits.eq(0),
                ]
                with m.If(~self.rx):
                    m.next = "START"

            with m.State("START"):
                with m.If(sample):
                    m.next = "DATA"
                    with m.If(self.rx):
                        m.next = "IDLE"

            with m.State("DATA"):
                with m.If(sample):
                    m.d.sync += [
                        self.o.payload.eq(Cat(self.o.payload[1:], self.rx)),
                        bits.eq(bits + 1),
                    ]
                    with m.If(bits == 7):
                        m.next = "STOP"

            with m.State("STOP"):
                with m.If(sample):
                    m.d.sync += [
                        self.o.valid.eq(self.rx),
                        self.error.eq(~self.rx),
                    ]
                    m.next = "IDLE"
                    with m.If(~self.rx):
                        m.next = "BREAK"

            with m.State("BREAK"):
                with m.If(self.rx):
                    m.next = "IDLE"

        return m
