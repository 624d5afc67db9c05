"""The requantizer against integer Python and against the reference in numpy."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from oarlock.hw.isa import Rule
from oarlock.hw.requantizer import Requantizer
from oarlock.sim.reference import scale_accumulator


MIN, MAX = -(1 << 31), (1 << 31) - 1


def wrap(value):
    """Read the low 32 bits as two's complement."""
    return (value - MIN) % (1 << 32) + MIN


def expected(acc, bias, multiplier, shift, left, rule):
    """Write numerics.md down in unbounded integers."""
    v = abs(acc) + bias if rule == Rule.TRUNCATE else wrap(acc + bias)
    v = max(MIN, min(v << left + max(shift, 0), MAX))
    p, e = v * multiplier, max(-shift, 0)
    if rule == Rule.SINGLE:
        return p + (1 << 30 + e) >> 31 + e
    if rule == Rule.DOUBLE:
        a = p + (1 << 30) >> 31
        return a + (1 << e - 1) - (a < 0) >> e if e else a
    return (p >> 31 + e) * (-1 if acc < 0 else 1)


def run(beats):
    """Pass beats through the component, one a cycle, and return as many results."""
    dut = Requantizer()
    results = []

    async def drive(ctx):
        for acc, bias, multiplier, shift, left, rule in beats:
            ctx.set(dut.acc, acc)
            ctx.set(dut.rule, rule)
            ctx.set(dut.scale,
                    {"bias": bias, "multiplier": multiplier, "shift": shift, "left": left})
            await ctx.tick()

    async def watch(ctx):
        await ctx.tick().repeat(dut.LATENCY)
        for _ in beats:
            *_, value = await ctx.tick().sample(dut.o)
            results.append(value)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(drive)
    sim.add_testbench(watch)
    sim.run()
    return results


def random_beats(seed, count):
    """Draw beats of every magnitude, ties included, under all rules."""
    rng = random.Random(seed)
    for _ in range(count):
        rule = rng.choice(list(Rule))
        acc = wrap(rng.getrandbits(rng.randint(1, 32)) * rng.choice((1, -1)))
        bias = wrap(rng.getrandbits(rng.randint(1, 32)) * rng.choice((0, 1, -1)))
        multiplier = rng.choice((0, 1, 1 << 30, MAX, rng.getrandbits(31), rng.getrandbits(31)))
        shift = rng.choice((0, rng.randint(-31, 31), rng.randint(-12, 2)))
        left = rng.choice((0, 0, 0, 20, 22, rng.randrange(32)))
        if rule == Rule.TRUNCATE:
            # Sums of pools: nothing near the ends of int32.
            acc, bias, left = acc >> 4, abs(bias) >> 5, 0
            shift = min(shift, 2)
        yield acc, bias, multiplier, shift, left, rule


def edge_beats():
    """Combine the ends of every range."""
    for rule in Rule:
        for acc in (MIN, MIN + 1, -1 << 24, -2, -1, 0, 1, 2, 1 << 24, MAX - 1, MAX):
            for multiplier in (0, 1, 1 << 30, (1 << 30) + 1, MAX):
                for shift in (-31, -30, -1, 0, 1, 7, 31):
                    if rule != Rule.TRUNCATE or MIN < acc << max(shift, 0) <= MAX:
                        yield acc, 0, multiplier, shift, 0, rule
    for left in range(32):
        for acc in (-256, -1, 0, 1, 255):
            for shift in (-31, 0, 9, 31):
                yield acc, 0, 1 << 30, shift, left, Rule.SINGLE


def test_edges():
    beats = list(edge_beats())
    assert run(beats) == [expected(*beat) for beat in beats]


def test_random():
    beats = list(random_beats(seed=1, count=2500))
    assert run(beats) == [expected(*beat) for beat in beats]


@pytest.mark.parametrize("rule", [Rule.SINGLE, Rule.DOUBLE])
def test_reference(rule):
    beats = [(acc, 0, multiplier, shift, 0, rule)
             for acc, _, multiplier, shift, _, _ in random_beats(seed=2, count=1000)]
    acc, _, multiplier, shift, _, _ = (np.array(column) for column in zip(*beats, strict=True))
    assert run(beats) == scale_accumulator(acc, multiplier, shift, rule.name.lower()).tolist()


def test_average_of_every_small_sum():
    # Truncation away from a half: (|t| + n // 2) // n with the sign of t.
    beats, want = [], []
    for n, (q, e) in ((3, (1431655766, 1)), (4, (1 << 30, 1)), (25, (1374389535, 4))):
        for t in range(-128 * n, 127 * n + 1, n // 3):
            beats.append((t, n // 2, q, -e, 0, Rule.TRUNCATE))
            want.append((abs(t) + n // 2) // n * (-1 if t < 0 else 1))
    assert run(beats) == want


@pytest.mark.parametrize("mutant", [
    lambda acc, bias, q, s, left, rule: expected(acc, bias, q, s, left, Rule.SINGLE),
    lambda acc, bias, q, s, left, rule: expected(acc, bias, q, s, left, Rule.DOUBLE),
    lambda acc, bias, q, s, left, rule: expected(acc, bias, q, min(s, 0), left, rule),
    lambda acc, bias, q, s, left, rule: expected(acc, bias, q, s, 0, rule),
    lambda acc, bias, q, s, left, rule: expected(acc, bias, q & ~1, s, left, rule),
    lambda acc, bias, q, s, left, rule: expected(acc, 0, q, s, left, rule),
])
def test_stimulus_tells_mutants_apart(mutant):
    beats = list(random_beats(seed=1, count=2500))
    assert [mutant(*beat) for beat in beats] != [expected(*beat) for beat in beats]
