"""The counters against dictionaries."""

import random

from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.counters import Counters


def test_counters():
    dut, rng = Counters(), random.Random(1)
    model = dict.fromkeys(isa.COUNTERS, 0)

    async def testbench(ctx):
        for cycle in range(120):
            clear = cycle in (50, 51)
            ctx.set(dut.clear, clear)
            for name in isa.COUNTERS:
                events = rng.choice([0, 1, 256, 4095, rng.randrange(4096)])
                ctx.set(getattr(dut, f"add_{name}"), events)
                model[name] = 0 if clear else model[name] + events
            await ctx.tick()
            assert list(ctx.get(dut.counts)) == list(model.values())
        assert min(model.values()) > 10_000

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
