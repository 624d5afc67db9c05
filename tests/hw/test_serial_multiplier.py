"""The serial multiplier against integer Python, and its cycles."""

import random

import pytest
from amaranth.sim import Simulator
from oarlock.hw.serial_multiplier import SerialMultiplier


MIN, MAX = -(1 << 31), (1 << 31) - 1
EDGES = [0, 1, -1, 2, 3, MIN, MIN + 1, MAX, MAX - 1, 0x2AAAAAAA, 0x55555555, -0x55555556]


def expected(value, left, factor, digits):
    value = max(MIN, min(value << left, MAX))
    product = 2 * value * factor
    return product >> 2 * digits, product >> 2 * digits - 1 & 1


def run(cases):
    """Return (product, half, cycles of shifting, cycles of multiplying) of every case."""
    dut = SerialMultiplier()
    results = []

    async def strobe(ctx, name, operand):
        ctx.set(dut.operand, operand)
        ctx.set(getattr(dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(dut, name), 0)
        cycles = 0
        while ctx.get(dut.busy):
            cycles += 1
            await ctx.tick()
        return cycles

    async def testbench(ctx):
        for value, left, factor, digits in cases:
            await strobe(ctx, "load_value", value & 0xFFFFFFFF)
            shifting = await strobe(ctx, "shift", left)
            await strobe(ctx, "load_factor", factor)
            # The lowest bit is not looked at.
            working = await strobe(ctx, "start", 2 * digits + random.randrange(2))
            results.append((ctx.get(dut.product), ctx.get(dut.half), shifting, working))
            # The same at once.
            cycles = await strobe(ctx, "repeat", value & 0xFFFFFFFF)
            assert (ctx.get(dut.product), ctx.get(dut.half)) == results[-1][:2]
            assert cycles == shifting + working + (shifting > 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return results


def check(cases):
    for case, (product, half, shifting, working) in zip(cases, run(cases), strict=True):
        _, left, _, digits = case
        assert (product, half) == expected(*case), case
        assert (shifting, working) == (left // 4 + left % 4, -(-digits // 2)), case


def test_edges_times_edges():
    check([(value, 0, factor, 16) for value in EDGES for factor in EDGES if factor >= 0])


@pytest.mark.parametrize("digits", [1, 2, 3, 15, 17, 31])
def test_any_number_of_digits(digits):
    """The factor may have a bit less than its digits; 32 bits at most."""
    random.seed(digits)
    most = min(1 << 2 * digits - 1, 1 << 32) - 1
    check([(random.choice([*EDGES, random.randint(MIN, MAX)]), 0,
            random.choice([most, random.randint(0, most)]), digits) for _ in range(100)])


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4, 5, 20, 31, 32, 63])
def test_shifts_saturate(left):
    random.seed(left)
    check([(value, left, random.randrange(1 << 31), 16)
           for value in [*EDGES, *(random.randint(MIN, MAX) >> random.randrange(32)
                                   for _ in range(50))]])


def test_a_wrong_digit_is_noticed(monkeypatch):
    """The check can fail: -1 in place of 3 without the carry to the next digit."""
    right = SerialMultiplier._elaborate_digit

    def wrong(self, *arguments):
        total, _ = right(self, *arguments)
        return total, 0

    monkeypatch.setattr(SerialMultiplier, "_elaborate_digit", wrong)
    with pytest.raises(AssertionError, match="assert"):
        test_edges_times_edges()
