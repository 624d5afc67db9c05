"""Two int8 multiplications: what an SB_MAC16 of an iCE40 does in a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["DualMultiplier"]


class DualMultiplier(wiring.Component):
    """Two products of int8.

    This is the portable twin: a board may have a module of the same name and ports made of its
    FPGA's own blocks (``boards/ice40/dual_multiplier.v``).

    Members
    -------
    a : ``In(16)``
        Two int8, taken in every cycle.
    b, b_enable : ``In(16)``, ``In(1)``
        Two more, taken when enabled.
    low, high : ``Out(signed(16))``
        ``a * b`` of the lower and the upper bytes taken last.
    """

    a: In(16)
    b: In(16)
    b_enable: In(1)
    low: Out(signed(16))
    high: Out(signed(16))

    def elaborate(self, platform):
        m = Module()

        a, b = Signal(16, reset_less=True), Signal(16, reset_less=True)
        m.d.sync += a.eq(self.a)
        with m.If(self.b_enable):
            m.d.sync += b.eq(self.b)
        m.d.comb += [
            self.low.eq(a[:8].as_signed() * b[:8].as_signed()),
            self.high.eq(a[8:].as_signed() * b[8:].as_signed()),
        ]

        return m
