"""Addresses of the positions of a row, and which of their bytes lie in the image."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["PositionStream"]

#: Bits of a byte's distance from the left edge of an image.
COLUMN_WIDTH = 20


class PositionStream(wiring.Component):
    """Read a word for every position of an output row, one a cycle.

    Members
    -------
    value : ``In(32)``
        What is loaded by the next ones, and the number of positions with ``start``.
    load_address, load_column, load_step, load_limit, load_fold : ``In(1)``
        Not while ``busy``. See :class:`~oarlock.hw.micro_word.Strobe`.
    in_rows : ``In(1)``
        The row lies in the image; a register, which may change when not ``busy``.
    advance : ``In(1)``
        Step the address. Not while ``busy``.
    start : ``In(1)``
    busy : ``Out(1)``
        From the cycle after ``start`` on, as many cycles as there are positions.
    address : ``Out(17)``
        To be read while ``busy``, and to be written otherwise.
    inside : ``Out(4)``
        A cycle later: which bytes lie in the image.
    valid : ``Out(1)``
        A cycle later.
    """

    value: In(32)
    load_address: In(1)
    load_column: In(1)
    load_step: In(1)
    load_limit: In(1)
    load_fold: In(1)
    in_rows: In(1)
    advance: In(1)
    start: In(1)
    busy: Out(1)
    address: Out(17)
    inside: Out(4)
    valid: Out(1)

    def elaborate(self, platform):
        m = Module()

        left   = Signal(10)
        column = Signal(signed(COLUMN_WIDTH))
        step   = Signal(COLUMN_WIDTH)
        limit  = Signal(COLUMN_WIDTH)
        fold   = Signal()
        with m.If(self.busy):
            m.d.sync += left.eq(left - 1)
        with m.If(self.busy | self.advance):
            m.d.sync += [self.address.eq(self.address + step), column.eq(column + step)]
        for enable, register in ((self.load_address, self.address), (self.load_column, column),
                                 (self.load_step, step), (self.load_limit, limit),
                                 (self.load_fold, fold)):
            with m.If(enable):
                m.d.sync += register.eq(self.value)
        # One more bit than there are positions at most: it is set as long as some are left.
        with m.If(self.start):
            m.d.sync += left.eq(self.value[:9] + 511)
        m.d.comb += self.busy.eq(left[9])

        # Byte n of a word lies in the image if that many bytes on the column does.
        right = Signal(signed(COLUMN_WIDTH))
        m.d.comb += right.eq(limit - column)
        near  = column[2:].all()
        far   = right[2:].any()
        m.d.sync += self.valid.eq(self.busy)
        for n in range(4):
            beyond_left  = ~column[-1] | (near & (column[:2] + n >= 4)) if n else ~column[-1]
            before_right = ~right[-1] & (far | (right[:2] > n))
            if n == 0:
                first = beyond_left & before_right & self.in_rows
                m.d.sync += self.inside[n].eq(first)
            else:
                m.d.sync += self.inside[n].eq(
                    Mux(fold, beyond_left & before_right & self.in_rows, first))

        return m
