"""Multiplication by four bits a cycle: the scaling of sums where logic is scarce."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["SerialMultiplier"]


class SerialMultiplier(wiring.Component):
    """Multiply an int32 value by the lowest digits, of two bits each, of a factor, and shift.

    With ``n`` digits, :attr:`product` is ``(2 * value * factor) >> 2 * n``, rounded down, and
    :attr:`half` the bit below its lowest: a product to be shifted by ``e`` more needs
    ``(e + 1) // 2`` digits more, which are zero, and twice the factor if ``e`` is odd. The factor
    must be less than ``2**(2 * n - 1)``, or the product is that of its digits less than a digit's
    carry.

    Digits are -1, 0, 1, 2: a 3 is -1 and one more in the next digit.

    Members
    -------
    operand : ``In(32)``
        What the next ones load.
    load_value, load_factor : ``In(1)``
        Not while ``busy``.
    shift : ``In(1)``
        Shift the value to the left as often as ``operand`` says, 0 to 63 times, saturating at
        int32. Not while ``busy``.
    start : ``In(1)``
        Multiply, ``operand // 2`` digits. Not while ``busy``.
    repeat : ``In(1)``
        Load the value, shift it and multiply it with the factor, as often and with as many digits
        as last. Not while ``busy``.
    busy : ``Out(1)``
        From the cycle after ``shift`` or ``start`` on: a cycle for every two digits; for every four
        shifts, and for each of those that remain. After ``repeat`` both, and a cycle between if
        there are shifts.
    product, half : ``Out(signed(32))``, ``Out(1)``
    """

    operand: In(32)
    load_value: In(1)
    load_factor: In(1)
    shift: In(1)
    start: In(1)
    repeat: In(1)
    busy: Out(1)
    product: Out(signed(32))
    half: Out(1)

    def elaborate(self, platform):
        m = Module()

        left, shifts, odd = Signal(6), Signal(), Signal()
        value, factor = Signal(signed(32)), Signal(32)
        carry = Signal()
        total = Signal(signed(34))
        m.d.comb += self.product.eq(total)

        # What was loaded last, to be loaded again.
        last_factor, last_digits, last_shifts = Signal(32), Signal(6), Signal(6)
        with m.If(self.load_factor):
            m.d.sync += last_factor.eq(self.operand)
        with m.If(self.start):
            m.d.sync += last_digits.eq(self.operand[1:7])
        with m.If(self.shift):
            m.d.sync += last_shifts.eq(self.operand)
        pending, again = Signal(), Signal()
        m.d.comb += [
            self.busy.eq((left != 0) | pending),
            again.eq(Mux(self.repeat, last_shifts == 0, pending & (left == 0))),
        ]
        digits = Mux(again, last_digits, self.operand[1:7])
        far = Signal()
        m.d.comb += far.eq(shifts & left[2:].any())
        with m.If(left != 0):
            m.d.sync += left.eq(left - Mux(far, 4, 1))
        with m.If(self.shift):
            m.d.sync += [left.eq(self.operand), shifts.eq(1)]
        with m.If(self.repeat):
            m.d.sync += [left.eq(last_shifts), shifts.eq(1), pending.eq(1)]
        with m.If(self.start | again):
            m.d.sync += [
                left.eq((digits + 1) >> 1), odd.eq(digits[0]), shifts.eq(0), carry.eq(0),
                total.eq(0), pending.eq(0),
            ]

        with m.If(self.load_value | self.repeat):
            m.d.sync += value.eq(self.operand)
        with m.Elif((left != 0) & shifts):
            # What would become another sign saturates, and stays so.
            sign = value[31]
            with m.If((value[30] != sign) | (far & (value[27:30] != sign.replicate(3)))):
                m.d.sync += value.eq(Cat((~sign).replicate(31), sign))
            with m.Else():
                m.d.sync += value.eq(Mux(far, value << 4, value << 1))

        # Of an odd number of digits, the last cycle has one.
        first,  first_carry  = self._elaborate_digit(m, "first", total, value, factor[:2], carry)
        second, second_carry = self._elaborate_digit(
            m, "second", first >> 2, value, factor[2:4], first_carry)
        with m.If((left != 0) & ~shifts):
            m.d.sync += [carry.eq(second_carry), factor.eq(factor >> 4)]
            with m.If(odd & (left == 1)):
                m.d.sync += [total.eq(first >> 2), self.half.eq(first[1])]
            with m.Else():
                m.d.sync += [total.eq(second >> 2), self.half.eq(second[1])]
        with m.If(self.load_factor):
            m.d.sync += factor.eq(self.operand)
        with m.If(again):
            m.d.sync += factor.eq(last_factor)

        return m

    def _elaborate_digit(self, m, name, total, value, bits, carry):
        """Return a total and a digit's product, added, and the carry to the next digit."""
        # 3 is -1, and 4, that is 3 and a carry, is 0: both carry.
        digit = Signal(2, name=f"{name}_digit")
        m.d.comb += digit.eq(bits + carry)
        negative = digit == 3
        double   = value << 1
        addend   = Signal(signed(35), name=f"{name}_addend")
        with m.Switch(digit):
            with m.Case(1):
                m.d.comb += addend.eq(double)
            with m.Case(2):
                m.d.comb += addend.eq(double << 1)
            with m.Case(3):
                m.d.comb += addend.eq(~double)
        added = Signal(signed(36), name=f"{name}_added")
        # The bit below carries the 1 of a subtraction into the same adder.
        m.d.comb += added.eq((Cat(1, total).as_signed() + Cat(negative, addend).as_signed()) >> 1)
        return added, negative | bits.all()
