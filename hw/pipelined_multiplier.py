"""The multiplier of a PE, as a module of its own: a board may put its registers into a block."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["PipelinedMultiplier"]


class PipelinedMultiplier(wiring.Component):
    """Multiply an activation and a weight, with registers before and after.

    Multiplier blocks of FPGAs have such registers, but few clock enables and resets for several
    blocks: here are none. A MAC that is gated enters as a 0. ``boards/ecp5`` has this module made
    of such a block.

    Members
    -------
    activation, weight : ``In(9)``, ``In(8)``
        Operands, two's complement.
    o : ``Out(17)``
        Their product two cycles later, two's complement.
    """

    activation: In(9)
    weight: In(8)
    o: Out(17)

    def elaborate(self, platform):
        m = Module()

        activation = Signal(signed(9), reset_less=True)
        weight     = Signal(signed(8), reset_less=True)
        product    = Signal(17, reset_less=True)
        m.d.sync += [
            activation.eq(self.activation),
            weight.eq(self.weight),
            # To a simulator with four states, 0 times a weight that was never read is unknown.
            product.eq(Mux(activation == 0, 0, activation * weight)),
        ]
        m.d.comb += self.o.eq(product)

        return m
