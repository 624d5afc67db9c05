"""A row of systolic PEs, and how many of them work."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shared import instantiate
from .systolic_element import SystolicElement, row_token, weight_layout


__all__ = ["SystolicRow"]


class SystolicRow(wiring.Component):
    """Chain ``cols`` PEs from left to right.

    Parameters
    ----------
    cols : :class:`int`
        PEs.
    psum_width, zero_gating
        See :class:`SystolicElement`.

    Members
    -------
    token : ``In(row_token)``
        For the leftmost PE; column ``n`` sees it ``n`` cycles later.
    weight, weight_next : ``In(weight_layout).array(cols)``, ``Out(weight_layout).array(cols)``
    sum_in, sum_out : ``In(signed(psum_width)).array(cols)``, ``Out(...)``
        See :class:`SystolicElement`.
    done, gated : ``Out(5)``
        Number of PEs that executed a MAC, that gated one, a cycle before.
    """

    def __init__(self, *, cols, psum_width, zero_gating):
        self.cols = cols
        self.psum_width = psum_width
        self.zero_gating = zero_gating

        super().__init__({
            "token": In(row_token),
            "weight": In(weight_layout).array(cols),
            "weight_next": Out(weight_layout).array(cols),
            "sum_in": In(signed(psum_width)).array(cols),
            "sum_out": Out(signed(psum_width)).array(cols),
            "done": Out(5),
            "gated": Out(5),
        })

    def elaborate(self, platform):
        m = Module()

        token, counts = self.token, {"done": [], "gated": []}
        for column in range(self.cols):
            pe = instantiate(m, f"pe_{column}", platform, SystolicElement,
                             psum_width=self.psum_width, zero_gating=self.zero_gating)
            m.d.comb += [
                pe.token.eq(token),
                pe.weight.eq(self.weight[column]),
                pe.sum_in.eq(self.sum_in[column]),
                self.weight_next[column].eq(pe.weight_next),
                self.sum_out[column].eq(pe.sum_out),
            ]
            token = pe.token_next
            for name, signals in counts.items():
                signals.append(getattr(pe, name))
        for name, signals in counts.items():
            total = Signal(5, name=f"{name}_total", reset_less=True)
            m.d.sync += total.eq(sum(signals))
            m.d.comb += getattr(self, name).eq(total)

        return m
