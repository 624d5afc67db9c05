"""Event counters."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa


__all__ = ["Counters"]


class Counters(wiring.Component):
    """Count what happens, under the names of :data:`isa.COUNTERS`.

    48 bits at 100 MHz and 512 events a cycle last an hour and a half.

    Members
    -------
    clear : ``In(1)``
        All counts become zero; wins over counting.
    add_<name> : ``In(12)``
        Events of this cycle.
    counts : ``Out(data.ArrayLayout(unsigned(48), len(isa.COUNTERS)))``
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            **{f"add_{name}": In(12) for name in isa.COUNTERS},
            "counts": Out(data.ArrayLayout(unsigned(isa.COUNTER_WIDTH), len(isa.COUNTERS))),
        })

    def elaborate(self, platform):
        m = Module()

        with m.If(self.clear):
            m.d.sync += self.counts.eq(0)
        with m.Else():
            for n, name in enumerate(isa.COUNTERS):
                m.d.sync += self.counts[n].eq(self.counts[n] + getattr(self, f"add_{name}"))

        return m
