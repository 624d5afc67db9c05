"""Two int8 multiplications: what an SB_MAC16 of an iCE40 does in a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["DualMultiplier"]


class DualMultiplier(wiring.Component):
    """Two products of int8, each added to 16 bits.

    This is the portable twin: a board may have a module of the same name and ports made of its
    FPGA's own blocks (``boards/ice40/dual_multiplier.v``).

    Members
    -------
    a : ``In(16)``
        Two int8, taken in every cycle.
    b, b_enable : ``In(16)``, ``In(1)``
        Two more, taken when enabled.
    low_addend, high_addend : ``In(16)``
    low, high : ``Out(16)``
        ``a * b + addend`` of the lower and the upper bytes taken last, modulo 2**16.
    """

    a: In(16)
    b: In(16)
    b_enable: In(1)
    low_addend: In(16)
    high_addend: In(16)
    low: Out(16)
    high: Out(16)

    def elaborate(self, platform):
        m = Module()

        a, b = Signal(16, reset_less=True), Signal(16, reset_less=True)
        m.d.sync += a.eq(self.a)
        with m.If(self.b_enable):
            m.d.sync += b.eq(self.b)
        m.d.comb += [
            self.low.eq(a[:8].as_signed() * b[:8].as_signed() + self.low_addend.as_signed()),
            self.high.eq(a[8:].as_signed() * b[8:].as_signed() + self.high_addend.as_signed()),
        ]

        return m
