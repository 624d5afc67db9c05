"""Nested loops in hardware: counters, and quantities that step with them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["LoopNest"]


class LoopNest(wiring.Component):
    """Walk nested loops, one iteration of the innermost a cycle.

    A quantity starts at ``origin_<quantity>`` and is that plus, for every loop it steps with, index
    times step. No multiplier: each loop keeps the value at the start of its current iteration.

    Parameters
    ----------
    loops : dict of :class:`str` to :class:`int`
        Name and counter width of every loop, innermost first.
    quantities : dict of :class:`str` to (shape, list of :class:`str`)
        Name, shape of the value, and the loops it steps with.

    Members
    -------
    start : ``In(1)``
        Go to the first iteration; origins are sampled. Wins over ``advance``.
    advance : ``In(1)``
        Go to the next iteration; after the last one the nest starts over, with the old origins.
    count_<loop> : ``In``
        Iterations, at least 1. May change with the indices of outer loops, not within an iteration
        of them.
    step_<quantity>_<loop> : ``In``
        What one iteration adds.
    origin_<quantity> : ``In``
    value_<quantity> : ``Out``
    first_<loop>, last_<loop> : ``Out(1)``
        The loop is at its first, its last iteration.
    index_<loop> : ``Out``
    """

    def __init__(self, *, loops, quantities):
        self.loops = dict(loops)
        self.quantities = dict(quantities)

        members = {"start": In(1), "advance": In(1)}
        for loop, width in self.loops.items():
            members |= {f"count_{loop}": In(width), f"first_{loop}": Out(1), f"last_{loop}": Out(1),
                        f"index_{loop}": Out(width)}
        for name, (shape, with_loops) in self.quantities.items():
            unknown = set(with_loops) - set(self.loops)
            if unknown:
                raise ValueError(f"Loop must be one of {', '.join(self.loops)}, "
                                 f"not {unknown.pop()!r}")
            members |= {f"origin_{name}": In(shape), f"value_{name}": Out(shape)}
            members |= {f"step_{name}_{loop}": In(shape) for loop in with_loops}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        # carry[n]: every loop inside loop n is at its last iteration, so an advance moves loop n or
        # one outside.
        carry, inner_last = {}, C(1, 1)
        for loop in self.loops:
            index, count = getattr(self, f"index_{loop}"), getattr(self, f"count_{loop}")
            last = getattr(self, f"last_{loop}")
            carry[loop] = inner_last
            m.d.comb += [
                last.eq(index == count - 1),
                getattr(self, f"first_{loop}").eq(index == 0),
            ]
            with m.If(self.start):
                m.d.sync += index.eq(0)
            with m.Elif(self.advance & inner_last):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
            inner_last = inner_last & last

        for name, (shape, with_loops) in self.quantities.items():
            origin = getattr(self, f"origin_{name}")
            # From the outside in: what the loops inside fall back to when the loop at hand or one
            # outside moves.
            reset = Signal(shape, name=f"{name}_origin")
            with m.If(self.start):
                m.d.sync += reset.eq(origin)
            value, moved = reset, reset
            for loop in reversed(self.loops):
                if loop not in with_loops:
                    continue
                here = Signal(shape, name=f"{name}_at_{loop}")
                next_here = Signal(shape, name=f"{name}_next_{loop}")
                # If this loop is at its end, the next value comes from outside; else it steps.
                m.d.comb += next_here.eq(Mux(getattr(self, f"last_{loop}"), moved,
                                             here + getattr(self, f"step_{name}_{loop}")))
                with m.If(self.start):
                    m.d.sync += here.eq(origin)
                with m.Elif(self.advance & carry[loop]):
                    m.d.sync += here.eq(next_here)
                value, moved = here, Mux(carry[loop], next_here, here)
            m.d.comb += getattr(self, f"value_{name}").eq(value)

        return m
