"""Nested loops in hardware: counters, and quantities that step with them."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["LoopNest"]


class LoopNest(wiring.Component):
    """Walk nested loops, one iteration of the innermost a cycle.

    A quantity starts at ``origin_<quantity>`` and is that plus, for every loop it steps with, index
    times step. No multiplier: each loop keeps the value at the start of its current iteration.

    The outputs ``first`` and ``last`` are registers (``last`` of a loop with an alternative count
    is chosen from two), counted down rather than compared: they decide everything else in the cycle
    in which they are seen.

    A nest of many loops may count ``ahead``: while an iteration is seen, the counters stand at the
    next one, and registers hold what an advance will move. So neither an output nor what an
    advance does is more than a few gates behind a register.

    Parameters
    ----------
    loops : dict of :class:`str` to :class:`int`
        Name and counter width of every loop, innermost first.
    quantities : dict of :class:`str` to (shape, list of :class:`str`)
        Name, shape of the value, and the loops it steps with.
    indexed : collection of :class:`str`
        Loops whose index is wanted.
    alternatives : collection of :class:`str`
        Loops that have a second count.
    ahead : :class:`bool`
        Count ahead.

    Members
    -------
    start : ``In(1)``
        Go to the first iteration; origins are sampled. Wins over ``advance``. The iteration is seen
        from the next cycle on; if ``ahead``, from the one after, and in the next ``advance`` is 0.
    advance : ``In(1)``
        Go to the next iteration; after the last one the nest starts over, with the old origins.
    count_<loop> : ``In``
        Iterations, at least 1. Constant from ``start`` on.
    other_<loop>, choose_<loop> : ``In``, ``In(1)``
        Of the loops in ``alternatives``: ``other`` counts instead of ``count`` while ``choose`` is
        set. ``choose`` may change with the indices of outer loops, not within an iteration of them.
        If ``ahead``, it is that of the iteration which ``next_first`` and ``next_last`` tell about.
    step_<quantity>_<loop> : ``In``
        What one iteration adds.
    origin_<quantity> : ``In``
    value_<quantity> : ``Out``
    first_<loop>, last_<loop> : ``Out(1)``
        The loop is at its first, its last iteration.
    next_first_<loop>, next_last_<loop> : ``Out(1)``
        If ``ahead``: likewise, in the next iteration.
    begins : ``Out(1)``
        If ``ahead``: ``start`` was set in the cycle before.
    index_<loop> : ``Out``
        Of the loops in ``indexed``.
    """

    def __init__(self, *, loops, quantities, indexed=(), alternatives=(), ahead=False):
        self.loops = dict(loops)
        self.quantities = dict(quantities)
        self.indexed = tuple(indexed)
        self.alternatives = tuple(alternatives)
        self.ahead = ahead

        members = {"start": In(1), "advance": In(1)}
        if ahead:
            members |= {"begins": Out(1)}
        for loop, width in self.loops.items():
            members |= {f"count_{loop}": In(width), f"first_{loop}": Out(1), f"last_{loop}": Out(1)}
            if ahead:
                members |= {f"next_first_{loop}": Out(1), f"next_last_{loop}": Out(1)}
        for loop in self._known(self.indexed):
            members |= {f"index_{loop}": Out(self.loops[loop])}
        for loop in self._known(self.alternatives):
            members |= {f"other_{loop}": In(self.loops[loop]), f"choose_{loop}": In(1)}
        for name, (shape, with_loops) in self.quantities.items():
            members |= {f"origin_{name}": In(shape), f"value_{name}": Out(shape)}
            members |= {f"step_{name}_{loop}": In(shape) for loop in self._known(with_loops)}
        super().__init__(members)

    def _known(self, loops):
        unknown = set(loops) - set(self.loops)
        if unknown:
            raise ValueError(f"Loop must be one of {', '.join(self.loops)}, "
                             f"not {unknown.pop()!r}")
        return loops

    def elaborate(self, platform):
        m = Module()

        # The iteration that is seen may be one behind that of the counters.
        counts = Signal()
        m.d.comb += counts.eq(self.advance)
        if self.ahead:
            m.d.sync += self.begins.eq(self.start)
            m.d.comb += counts.eq(self.advance | self.begins)

        def seen(value, name):
            if not self.ahead:
                return value
            held = Signal.like(value, name=f"seen_{name}")
            with m.If(counts):
                m.d.sync += held.eq(value)
            return held

        # carry[n]: every loop inside loop n is at its last iteration, so an advance moves loop n or
        # one outside.
        carry, steps, inner_last = {}, {}, C(1, 1)
        for loop in self.loops:
            carries = Signal(name=f"carry_{loop}")
            m.d.comb += carries.eq(inner_last)
            first, last, index = self._elaborate_loop(m, loop, counts & carries)
            carry[loop] = seen(carries, f"carry_{loop}")
            steps[loop] = seen(carries & ~last, f"steps_{loop}")
            inner_last = inner_last & last
            m.d.comb += [
                getattr(self, f"first_{loop}").eq(seen(first, f"first_{loop}")),
                getattr(self, f"last_{loop}").eq(seen(last, f"last_{loop}")),
            ]
            if self.ahead:
                m.d.comb += [
                    getattr(self, f"next_first_{loop}").eq(first),
                    getattr(self, f"next_last_{loop}").eq(last),
                ]
            if index is not None:
                m.d.comb += getattr(self, f"index_{loop}").eq(seen(index, f"index_{loop}"))
        # After the very last iteration all start over.
        wraps = seen(inner_last, "wraps")

        for name, (shape, with_loops) in self.quantities.items():
            self._elaborate_quantity(m, name, shape, with_loops, carry, steps, wraps)

        return m

    def _elaborate_loop(self, m, loop, moves):
        """Count a loop; return whether it is at its first, its last, and at which iteration."""
        first, last = Signal(name=f"{loop}_first"), Signal(name=f"{loop}_last")
        with m.If(self.start):
            m.d.sync += first.eq(1)
        with m.Elif(moves):
            m.d.sync += first.eq(last)

        def count_down(count, name):
            left    = Signal(self.loops[loop], name=f"left_{name}")
            is_last = Signal(name=f"is_last_{name}")
            with m.If(self.start | (moves & last)):
                m.d.sync += [left.eq(count), is_last.eq(count == 1)]
            with m.Elif(moves):
                m.d.sync += [left.eq(left - 1), is_last.eq(left == 2)]
            return is_last

        is_last = count_down(getattr(self, f"count_{loop}"), loop)
        if loop in self.alternatives:
            # Which of them counts is known only once the loops outside have moved.
            other = count_down(getattr(self, f"other_{loop}"), f"other_{loop}")
            is_last = Mux(getattr(self, f"choose_{loop}"), other, is_last)
        m.d.comb += last.eq(is_last)

        if loop not in self.indexed:
            return first, last, None
        index = Signal(self.loops[loop], name=f"{loop}_index")
        with m.If(self.start):
            m.d.sync += index.eq(0)
        with m.Elif(moves):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        return first, last, index

    def _elaborate_quantity(self, m, name, shape, with_loops, carry, steps, wraps):
        """Step a quantity: one loop steps, those inside it begin anew from there."""
        origin = Signal(shape, name=f"{name}_origin")
        with m.If(self.start):
            m.d.sync += origin.eq(getattr(self, f"origin_{name}"))

        here = {loop: Signal(shape, name=f"{name}_at_{loop}")
                for loop in self.loops if loop in with_loops}

        def gated(enable, value):
            return Value.cast(value) & enable.replicate(len(value))

        # Where the loop that steps stands, and what it adds. A loop that the quantity does not step
        # with begins its iterations where the next one outside it that does stands.
        bases, addends, outside = [], [], origin
        enables = {}
        for loop in reversed(self.loops):
            outside = here.get(loop, outside)
            enables.setdefault(id(outside), (outside, []))[1].append(steps[loop])
            if loop in here:
                addends.append(gated(steps[loop], getattr(self, f"step_{name}_{loop}")))
        enables.setdefault(id(origin), (origin, []))[1].append(wraps)
        bases = [gated(reduce(or_, terms), value) for value, terms in enables.values()]

        moved = Signal(shape, name=f"{name}_moved")
        m.d.comb += moved.eq(reduce(or_, bases) + (reduce(or_, addends) if addends else 0))
        for loop, value in here.items():
            with m.If(self.start):
                m.d.sync += value.eq(getattr(self, f"origin_{name}"))
            with m.Elif(self.advance & carry[loop]):
                m.d.sync += value.eq(moved)
        innermost = next((here[loop] for loop in self.loops if loop in here), origin)
        m.d.comb += getattr(self, f"value_{name}").eq(innermost)
