"""A component beside a model of its docstring, compared cycle by cycle, on Amaranth's simulator."""

from collections import Counter
from operator import attrgetter

from amaranth import *
from amaranth.sim import Simulator


__all__ = ["compare", "simulate", "wrapped"]


def simulate(dut, testbench):
    """Run ``testbench`` to its end."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def compare(dut, model, stimulus):
    """Assert that a component shows what its model shows, in every cycle.

    Parameters
    ----------
    dut : :class:`~amaranth.lib.wiring.Component`
        What is compared.
    model : object
        Its method ``cycle`` takes the inputs of a cycle, returns the outputs that are known in it,
        and goes on to the next one. Either are a dict by name of the member; of an output, also
        of a field: ``o.valid``.
    stimulus : iterable of dict
        Inputs of every cycle, a list for an array of members; ``model`` has seen one when the next
        is asked for. What is left out stays.

    Returns
    -------
    :class:`collections.Counter`
        For every output, in how many cycles it was known and not zero.
    """
    seen = Counter()

    async def testbench(ctx):
        inputs = {}
        for cycle, changed in enumerate(stimulus):
            inputs |= changed
            for name, value in changed.items():
                member = getattr(dut, name)
                many = isinstance(value, list)
                for signal, item in zip(member if many else [member], value if many else [value],
                                        strict=True):
                    ctx.set(signal, item)
            for name, value in model.cycle(inputs).items():
                member = attrgetter(name)(dut)
                assert ctx.get(member) == value, f"{name} in cycle {cycle}"
                seen[name] += ctx.get(Value.cast(member)) != 0
            await ctx.tick()

    simulate(dut, testbench)
    return seen


def wrapped(value, width):
    """Keep ``width`` bits of an integer, or of an array of them, as two's complement."""
    half = 1 << width - 1
    return (value + half) % (2 * half) - half
