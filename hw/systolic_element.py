"""One PE of the systolic array: a weight in use, the next one behind it, a gated multiplier."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .pipelined_multiplier import PipelinedMultiplier
from .shared import instantiate


__all__ = ["SystolicElement", "row_token", "weight_layout"]


#: A weight on its way down a column; ``used`` if there is a filter and a channel for it.
weight_layout = data.StructLayout({"value": signed(8), "used": 1})

#: What moves to the right along a row: an activation; whether it is the ``first`` that meets the
#: next weights; and, independent of it, whether those weights move down a row.
row_token = data.StructLayout({"valid": 1, "first": 1, "shift": 1, "activation": signed(9)})


class SystolicElement(wiring.Component):
    """Multiply the activation passing to the right with a weight that stays, add to the sum above.

    One MAC a cycle. While one weight is in use the next one is shifted in from above; it takes over
    in the cycle of an activation marked ``first``. Nothing here needs a reset.

    Parameters
    ----------
    psum_width : :class:`int`
        Bits of a partial sum.
    zero_gating : :class:`bool`
        Whether a zero activation keeps the multiplier still.

    Members
    -------
    token, token_next : ``In(row_token)``, ``Out(row_token)``
        From the left; to the right, a cycle later.
    weight, weight_next : ``In(weight_layout)``, ``Out(weight_layout)``
        The shift register of weights. ``weight`` is taken in the cycle after a token with
        ``shift``.
    sum_in, sum_out : ``In(signed(psum_width))``, ``Out(signed(psum_width))``
        Partial sums on their way down: the sum that leaves :attr:`LATENCY` cycles after a token
        entered has that token's product, and ``sum_in`` of one cycle before.
    done, gated : ``Out(1)``
        For the counters: a MAC was executed; a MAC was gated.
    """

    #: From a token to its sum.
    LATENCY = 4

    def __init__(self, *, psum_width, zero_gating):
        self.psum_width = psum_width
        self.zero_gating = zero_gating

        super().__init__({
            "token": In(row_token),
            "token_next": Out(row_token),
            "weight": In(weight_layout),
            "weight_next": Out(weight_layout),
            "sum_in": In(signed(psum_width)),
            "sum_out": Out(signed(psum_width)),
            "done": Out(1),
            "gated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        here = Signal(row_token, reset_less=True)
        m.d.sync += here.eq(self.token)
        m.d.comb += self.token_next.eq(here)

        # The next weight, and the one in use.
        waiting = Signal(weight_layout, reset_less=True)
        held    = Signal(weight_layout, reset_less=True)
        weight  = Signal(weight_layout)
        with m.If(here.shift):
            m.d.sync += waiting.eq(self.weight)
        with m.If(here.valid & here.first):
            m.d.comb += weight.eq(waiting)
        with m.Else():
            m.d.comb += weight.eq(held)
        m.d.sync += held.eq(weight)
        m.d.comb += self.weight_next.eq(waiting)

        # A gated MAC multiplies with 0.
        works = here.valid & weight.used
        fires = here.activation != 0 if self.zero_gating else C(1)
        m.d.comb += [self.done.eq(works & fires), self.gated.eq(works & ~fires)]

        multiplier = instantiate(m, "multiplier", platform, PipelinedMultiplier)
        product    = Signal(signed(17))
        s3_sum     = Signal(signed(self.psum_width), reset_less=True)
        m.d.comb += [
            multiplier.activation.eq(Mux(self.done, here.activation, 0)),
            multiplier.weight.eq(weight.value),
            product.eq(multiplier.o),
        ]
        m.d.sync += s3_sum.eq(self.sum_in + product)
        m.d.comb += self.sum_out.eq(s3_sum)

        return m
