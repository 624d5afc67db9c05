# amaranth: UnusedElaboratable=no
"""The loop nest against nested loops."""

import itertools
import random

import pytest
from amaranth import *
from amaranth.sim import Simulator
from oarlock.hw.loop_nest import LoopNest


def nest(counts, steps, origins, prefix=()):
    """Yield (indices, lasts, values), outermost index first; counts are functions of the outer.

    ``steps`` is by quantity and loop number, the outermost loop being 0.
    """
    if len(prefix) < len(counts):
        for index in range(counts[len(prefix)](*prefix)):
            yield from nest(counts, steps, origins, (*prefix, index))
        return
    lasts = tuple(index == counts[n](*prefix[:n]) - 1 for n, index in enumerate(prefix))
    yield prefix, lasts, {
        name: origins[name] + sum(index * steps[name].get(n, 0) for n, index in enumerate(prefix))
        for name in origins}


def test_the_model_is_itertools_product():
    counts = (2, 1, 3)
    indices = [i for i, _, _ in nest([lambda *_, n=n: n for n in counts], {}, {})]
    assert indices == list(itertools.product(*map(range, counts)))


def run(dut, drive, watch, *, cycles, rng, p_idle, restart_at=()):
    """Advance at random; call ``drive(ctx)`` after every change, ``watch(ctx)`` in every cycle."""
    async def testbench(ctx):
        ctx.set(dut.start, 1)
        drive(ctx, first=True)
        await ctx.tick()
        restart = dut.ahead
        ctx.set(dut.start, 0)
        for cycle in range(cycles):
            if restart and dut.ahead:
                # Nothing is seen yet, but counted.
                ctx.set(dut.start, 0)
                ctx.set(dut.advance, 0)
                drive(ctx, first=True)
                await ctx.tick()
            drive(ctx)
            restart, advance = cycle in restart_at, rng.random() >= p_idle
            ctx.set(dut.start, restart)
            ctx.set(dut.advance, advance)
            watch(ctx, restart, advance)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


LOOPS = {"a": 4, "b": 3, "c": 8, "d": 2}  # innermost first
OUTER = list(reversed(LOOPS))
QUANTITIES = {
    "all": (8, list(LOOPS)),
    "ends": (signed(12), ["a", "d"]),
    "middle": (24, ["c", "b"]),
    "outer": (5, ["d"]),
    "none": (6, []),
}


def width(shape):
    return Shape.cast(shape).width


def wrapped(value, shape):
    shape = Shape.cast(shape)
    value %= 1 << shape.width
    return value - (1 << shape.width) if shape.signed and value >> shape.width - 1 else value


def counts_of(seed):
    """Return, for loops outermost first, (count, other count, when the other one counts)."""
    rng = random.Random(seed)
    fixed = [rng.randint(1, 3) for _ in OUTER]
    if seed == 0:
        fixed = [1] * len(OUTER)

    def never(*_):
        return False

    chooses = [never] * 4
    if seed % 2:
        chooses = [
            never,
            lambda d: d == fixed[0] - 1,
            lambda d, c: (c + d) % 2 == 1,
            # Of the loop just outside and the outermost, as the loader's y and x.
            lambda d, c, b: b == 0 or d == 1,
        ]
    return [(count, rng.randint(1, 4), choose)
            for count, choose in zip(fixed, chooses, strict=True)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("p_idle", [0, 0.5])
@pytest.mark.parametrize("ahead", [False, True])
def test_nested_loops(seed, p_idle, ahead):
    rng, counts = random.Random(seed), counts_of(seed)
    actual = [lambda *outer, count=count, other=other, choose=choose:
              other if choose(*outer) else count for count, other, choose in counts]
    steps, origins = {}, {}
    for name, (shape, loops) in QUANTITIES.items():
        origins[name] = rng.getrandbits(width(shape))
        steps[name] = {OUTER.index(loop): rng.getrandbits(width(shape)) for loop in loops}
    expected = list(nest(actual, steps, origins))
    assert len(expected) == len({indices for indices, _, _ in expected})

    alternatives = LOOPS if seed % 2 else ()
    dut = LoopNest(loops=LOOPS, quantities=QUANTITIES, indexed=["a", "c", "d"],
                   alternatives=alternatives, ahead=ahead)
    position, checked = 0, 0
    # Once in the middle; starting over at the end comes by itself.
    restart_at = {len(expected) + len(expected) // 2}

    def drive(ctx, first=False):
        indices = expected[(position + (ahead and not first)) % len(expected)][0]
        for n, loop in enumerate(OUTER):
            count, other, choose = counts[n]
            ctx.set(getattr(dut, f"count_{loop}"), count)
            if loop in alternatives:
                ctx.set(getattr(dut, f"other_{loop}"), other)
                ctx.set(getattr(dut, f"choose_{loop}"), choose(*indices[:n]))
        for name, (shape, _) in QUANTITIES.items():
            # Origins are sampled by start; after that they may be anything.
            origin = origins[name] if first else rng.getrandbits(width(shape))
            ctx.set(getattr(dut, f"origin_{name}"), wrapped(origin, shape))
            for n, step in steps[name].items():
                ctx.set(getattr(dut, f"step_{name}_{OUTER[n]}"), wrapped(step, shape))

    def watch(ctx, restart, advance):
        nonlocal position, checked
        indices, lasts, values = expected[position]
        next_indices, next_lasts, _ = expected[(position + 1) % len(expected)]
        for n, loop in enumerate(OUTER):
            if loop in dut.indexed:
                assert ctx.get(getattr(dut, f"index_{loop}")) == indices[n]
            assert ctx.get(getattr(dut, f"first_{loop}")) == (indices[n] == 0)
            assert ctx.get(getattr(dut, f"last_{loop}")) == lasts[n]
            if ahead:
                assert ctx.get(getattr(dut, f"next_first_{loop}")) == (next_indices[n] == 0)
                assert ctx.get(getattr(dut, f"next_last_{loop}")) == next_lasts[n]
        for name, (shape, _) in QUANTITIES.items():
            assert ctx.get(getattr(dut, f"value_{name}")) == wrapped(values[name], shape)
        checked += 1
        if restart:
            for name, (shape, _) in QUANTITIES.items():
                ctx.set(getattr(dut, f"origin_{name}"), wrapped(origins[name], shape))
            position = 0
        elif advance:
            position = (position + 1) % len(expected)

    run(dut, drive, watch, cycles=min(3 * len(expected) + 5, 250), rng=rng, p_idle=p_idle,
        restart_at=restart_at)
    assert checked > len(expected) or checked == 250


def test_one_loop_to_its_limit():
    dut = LoopNest(loops={"a": 3}, quantities={"x": (4, ["a"])})
    seen = []

    def drive(ctx, first=False):
        ctx.set(dut.count_a, 7)
        ctx.set(dut.step_x_a, 15)
        ctx.set(dut.origin_x, 2)

    run(dut, drive, lambda ctx, *_: seen.append(ctx.get(dut.value_x)), cycles=15,
        rng=random.Random(1), p_idle=0)
    assert seen == [(2 - n % 7) % 16 for n in range(15)]


def test_unknown_loop():
    with pytest.raises(ValueError, match=r"^Loop must be one of a, b, not 'c'$"):
        LoopNest(loops={"a": 1, "b": 1}, quantities={"x": (1, ["a", "c"])})
    for keyword in ("indexed", "alternatives"):
        with pytest.raises(ValueError, match=r"^Loop must be one of a, b, not 'd'$"):
            LoopNest(loops={"a": 1, "b": 1}, quantities={}, **{keyword: ["d"]})
