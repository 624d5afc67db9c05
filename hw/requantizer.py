"""One lane of requantization."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .delay import delay


__all__ = ["Requantizer", "scale_layout"]


#: What an output channel is scaled by: the first three as in :func:`isa.pack_parameter`, and a
#: second shift to the left, by which ADD spreads its inputs.
scale_layout = data.StructLayout({
    "bias": signed(32), "multiplier": 31, "shift": signed(6), "left": 5})


class Requantizer(wiring.Component):
    """Scale an int32 sum by ``multiplier * 2**(shift - 31)`` and round to int32.

    One value a cycle; nothing stalls, so the parent keeps track of what is valid. SINGLE and DOUBLE
    are :func:`oarlock.sim.reference.scale_accumulator` of ``(acc + bias) << left``. With
    ``e = max(-shift, 0)``, ``v = (acc + bias) << (left + max(shift, 0))`` saturated to int32, and
    ``p = v * multiplier``, the result is

    * SINGLE: ``(p + 2**(30 + e)) >> (31 + e)``;
    * DOUBLE: ``a = (p + 2**30) >> 31``, and then ``(a + 2**(e - 1) - (a < 0)) >> e`` if ``e > 0``;
    * TRUNCATE: ``p >> (31 + e)`` for ``|acc|`` in place of ``acc``, with the sign of ``acc``.

    ``acc + bias`` wraps at 32 bits. Under TRUNCATE a ``v`` that saturates is 1 too large for a
    negative ``acc``. A shift of -32 is not allowed.

    Members
    -------
    acc : ``In(signed(32))``
        Sum.
    rule : ``In(isa.Rule)``
        How to round.
    scale : ``In(scale_layout)``
        Bias, multiplier and shifts.
    o : ``Out(signed(32))``
        Result, :attr:`LATENCY` cycles later.
    """

    LATENCY = 8

    acc: In(signed(32))
    rule: In(isa.Rule)
    scale: In(scale_layout)
    o: Out(signed(32))

    def elaborate(self, platform):
        m = Module()

        def register(shape, name):
            return Signal(shape, name=name, reset_less=True)

        # Instead of negating twice, a negative sum under TRUNCATE stays negative, the bias is
        # subtracted, and the quotient is rounded up: -(x >> n) == (-x + 2**n - 1) >> n.
        single   = self.rule == isa.Rule.SINGLE
        double   = self.rule == isa.Rule.DOUBLE
        truncate = self.rule == isa.Rule.TRUNCATE
        mirror   = truncate & self.acc[-1]
        right    = Signal(5)
        m.d.comb += right.eq(Mux(self.scale.shift < 0, -self.scale.shift, 0))

        # What rounds is added in two steps: below bit 31 of the product before the first shift, the
        # rest before the second, as 2**(below - 1) - 1 and a carry.
        below = Signal(6)
        with m.If(mirror):
            m.d.comb += below.eq(right + 1)
        with m.Elif(~truncate):
            m.d.comb += below.eq(right)

        # What later stages need. Lanes that share a scale share these registers after synthesis.
        s2_multiplier = delay(m, self.scale.multiplier, 3, name="multiplier")
        s3_half       = delay(m, single & (right == 0) | double | mirror, 4, name="half")
        s3_mirror     = delay(m, mirror, 4, name="mirror")
        s5_below      = delay(m, below, 6, name="below")
        s5_carry      = delay(m, ~truncate & (right != 0), 6, name="carry")
        s5_double     = delay(m, double, 6, name="double")
        s6_right      = delay(m, right, 7, name="right")

        # Bias. The bit below the sum carries the 1 of a subtraction into the same adder.
        s0_sum  = register(signed(32), "s0_sum")
        s0_left = register(6, "s0_left")
        m.d.sync += [
            s0_sum.eq((Cat(1, self.acc) + Cat(mirror, self.scale.bias ^ mirror.replicate(32)))[1:]),
            s0_left.eq(self.scale.left + Mux(self.scale.shift > 0, self.scale.shift, 0)),
        ]

        # Shift to the left, by powers of two. Every bit that leaves, and the one that becomes the
        # sign, must have been a copy of the sign.
        s1_shifted  = register(signed(32), "s1_shifted")
        s1_sign     = register(1, "s1_sign")
        s1_overflow = register(1, "s1_overflow")
        shifted, overflow = s0_sum, s0_left[5] & s0_sum.any()
        for n in reversed(range(5)):
            leaves    = shifted[31 - (1 << n):]
            overflow |= s0_left[n] & leaves.any() & ~leaves.all()
            shifted   = Mux(s0_left[n], shifted << (1 << n), shifted)[:32]
        m.d.sync += [
            s1_shifted.eq(shifted),
            s1_sign.eq(s0_sum[-1]),
            s1_overflow.eq(overflow),
        ]

        # Saturate.
        s2_value = register(signed(32), "s2_value")
        m.d.sync += s2_value.eq(
            Mux(s1_overflow, Cat((~s1_sign).replicate(31), s1_sign), s1_shifted))

        # Multiply, in pieces that fit the multipliers of an FPGA, 18 by 18 bits signed.
        s3_low, s3_high = register(34, "s3_low"), register(signed(29), "s3_high")
        s3_cross        = register(31, "s3_cross"), register(signed(32), "s3_cross_signed")
        low, high       = s2_value[:17], s2_value[17:].as_signed()
        m.d.sync += [
            s3_low.eq(low * s2_multiplier[:17]),
            s3_cross[0].eq(low * s2_multiplier[17:]),
            s3_cross[1].eq(high * s2_multiplier[:17]),
            s3_high.eq(high * s2_multiplier[17:]),
        ]

        # Add the cross products on one side, what rounds the first shift on the other.
        s4_cross = register(signed(33), "s4_cross")
        s4_outer = register(signed(64), "s4_outer")
        m.d.sync += [
            s4_cross.eq(s3_cross[0] + s3_cross[1]),
            s4_outer.eq(Cat(s3_low, s3_high).as_signed()
                        + Cat(s3_mirror.replicate(30), s3_half, C(0, 1)).as_signed()),
        ]
        s5_quotient = register(signed(33), "s5_quotient")
        m.d.sync += s5_quotient.eq((s4_outer + (s4_cross << 17)) >> 31)

        # The second rounding; that of DOUBLE is less by 1 for negative values. The bit below the
        # quotient takes the carry into the same adder. Masks are shifts, not comparisons bit by
        # bit: the same logic, and one operation in a simulator.
        s6_rounded = register(signed(33), "s6_rounded")
        carry      = s5_carry & ~(s5_double & s5_quotient[-1])
        mask       = ~(C(-1, signed(33)) << s5_below)[1:33]
        m.d.sync += s6_rounded.eq(
            (Cat(1, s5_quotient).as_signed() + Cat(carry, mask, C(0, 1)).as_signed())[1:])

        s7_result = register(signed(32), "s7_result")
        m.d.sync += s7_result.eq(s6_rounded >> s6_right)
        m.d.comb += self.o.eq(s7_result)

        return m
