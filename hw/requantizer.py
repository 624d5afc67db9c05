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

        # Masks are shifts, not comparisons bit by bit: the same logic, and one operation in a
        # simulator.
        def bit(n):
            return (C(1) << n)[:32]

        def bits_below(n):
            return ~(C(-1, signed(32)) << n)[:32]

        # Instead of negating twice, a negative sum under TRUNCATE stays negative, the bias is
        # subtracted, and the quotient is rounded up: -(x >> n) == (-x + 2**n - 1) >> n.
        mirror = (self.rule == isa.Rule.TRUNCATE) & self.acc[-1]
        right  = Signal(5)
        m.d.comb += right.eq(Mux(self.scale.shift < 0, -self.scale.shift, 0))

        # What later stages need. Lanes that share a scale share these registers after synthesis.
        s2_multiplier = delay(m, self.scale.multiplier, 3, name="multiplier")
        s3_single     = delay(m, self.rule == isa.Rule.SINGLE, 4, name="single")
        s3_double     = delay(m, self.rule == isa.Rule.DOUBLE, 4, name="double")
        s3_mirror     = delay(m, mirror, 4, name="mirror")
        s3_right      = delay(m, right, 4, name="right")
        s5_double     = delay(m, s3_double, 2, name="s3_double")
        s5_right      = delay(m, s3_right, 2, name="s3_right")
        s6_right      = delay(m, s5_right, 1, name="s5_right")

        # Bias. The bit below the sum carries the 1 of a subtraction into the same adder.
        s0_sum  = register(signed(32), "s0_sum")
        s0_left = register(6, "s0_left")
        m.d.sync += [
            s0_sum.eq((Cat(1, self.acc) + Cat(mirror, self.scale.bias ^ mirror.replicate(32)))[1:]),
            s0_left.eq(self.scale.left + Mux(self.scale.shift > 0, self.scale.shift, 0)),
        ]

        # Shift to the left. Every bit that leaves, and the one that becomes the sign, must have
        # been a copy of the sign.
        s1_shifted  = register(signed(32), "s1_shifted")
        s1_sign     = register(1, "s1_sign")
        s1_overflow = register(1, "s1_overflow")
        s0_sign     = s0_sum[-1]
        s0_lost     = (C(-1 << 31, signed(32)) >> s0_left) & (s0_sum ^ s0_sign.replicate(32))[:32]
        m.d.sync += [
            s1_shifted.eq(s0_sum << s0_left[:5]),
            s1_sign.eq(s0_sign),
            # -1 has no bit that differs, and may be shifted by no more than 31.
            s1_overflow.eq(s0_lost.any() | (s0_left[5] & s0_sign)),
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
        rounding = Signal(32)
        with m.If(s3_single):
            m.d.comb += rounding.eq(bit(s3_right))
        with m.Elif(s3_double):
            m.d.comb += rounding.eq(1)
        with m.Elif(s3_mirror):
            m.d.comb += rounding.eq(bits_below(s3_right + 1))
        m.d.sync += [
            s4_cross.eq(s3_cross[0] + s3_cross[1]),
            s4_outer.eq(Cat(s3_low, s3_high).as_signed()
                        + Cat(s3_mirror.replicate(30), rounding)),
        ]
        s5_quotient = register(signed(33), "s5_quotient")
        m.d.sync += s5_quotient.eq((s4_outer + (s4_cross << 17)) >> 31)

        # The second rounding of DOUBLE: 2**(e - 1), less 1 for negative values.
        s6_rounded  = register(signed(33), "s6_rounded")
        s5_negative = s5_quotient[-1]
        half = Mux(s5_negative, bits_below(s5_right), bit(s5_right))[1:]
        m.d.sync += s6_rounded.eq(s5_quotient + Mux(s5_double, half, 0))

        s7_result = register(signed(32), "s7_result")
        m.d.sync += s7_result.eq(s6_rounded >> s6_right)
        m.d.comb += self.o.eq(s7_result)

        return m
