"""The adder of the partial-sum chain, as a module of its own: a board may have a better one."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["ChainAdder"]


class ChainAdder(wiring.Component):
    """Add what one of two banks holds to a sum passing by; the other bank's operand is 0.

    An adder with a selection in front of it is twice the logic cells on an FPGA. Where the cells of
    a carry chain can do both, ``boards/ecp5`` has this module made of them.

    Parameters
    ----------
    width : :class:`int`
        Bits of a sum.

    Members
    -------
    passing, bank_0, bank_1 : ``In(width)``
        Operands.
    o : ``Out(width)``
        ``passing + (bank_0 | bank_1)``, modulo ``2**width``, in the same cycle.
    """

    def __init__(self, *, width):
        self.width = width
        super().__init__({
            "passing": In(width), "bank_0": In(width), "bank_1": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.passing + (self.bank_0 | self.bank_1))
        return m
