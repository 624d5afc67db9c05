# amaranth: UnusedElaboratable=no
"""Run-length coding: the device's decoder and encoder against the driver's."""

from __future__ import annotations

import inspect
import random
import sys
import types

import numpy as np
import pytest
from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.run_length_decoder import RunLengthDecoder
from oarlock.hw.run_length_encoder import RunLengthEncoder
from oarlock.sw_driver.run_length import RunLengthError, decode, encode


ZERO = -5
WAITS = [(idle, stall) for idle in (0, 0.5) for stall in (0, 0.5)]


def values_of(rng, count, zeros):
    """Return ``count`` words; a share of the values is zero, more or less in runs."""
    values, is_zero = [], False
    for _ in range(4 * count):
        if rng.random() < rng.choice([0.05, 0.5]):
            is_zero = rng.random() < zeros
        values.append(ZERO & 0xFF if is_zero else rng.choice([0, 1, 255, rng.randrange(256)]))
    return np.array(values, np.uint8).view("<u4")


def blocks_of_all_kinds(rng):
    """Yield raw words of all lengths that matter, sparse, dense, and with the longest runs."""
    for count in (0, 1, 2, 3, 4, 5, 8, 31):
        for zeros in (0, 0.3, 0.6, 0.9, 1):
            yield values_of(rng, count, zeros)
    # A word of code fills up with a half that is not the last, but has nothing behind it.
    zero = ZERO & 0xFF
    yield np.array([1, 2, 3, zero, zero, zero, zero, zero], np.uint8).view("<u4")
    for groups in (256, 257):
        words = np.full(2 * groups, 0x01010101 * (ZERO & 0xFF), "<u4")
        yield words
        yield np.concatenate([words[1:], values_of(rng, 2, 0.2)])


class StreamBench:
    """A component whose input and output wait at random, and a watchdog."""

    def __init__(self, dut, p_idle, p_stall, seed=1):
        self.dut, self.p_idle, self.p_stall = dut, p_idle, p_stall
        self.rng = random.Random(f"{p_idle} {p_stall} {seed}")
        self.seen = []

    async def feed(self, ctx, payloads):
        """Offer payloads; a word that is offered stays."""
        for payload in payloads:
            while self.rng.random() < self.p_idle:
                await ctx.tick()
            ctx.set(self.dut.i.payload, payload)
            ctx.set(self.dut.i.valid, 1)
            # Not until(): a bench that is cut off cannot close that one's generator.
            while not (await ctx.tick().sample(self.dut.i.ready))[2]:
                pass
            ctx.set(self.dut.i.valid, 0)

    async def drain(self, ctx):
        """Take what comes, and check that what waits does not change."""
        held = None
        while True:
            ctx.set(self.dut.o.ready, self.rng.random() >= self.p_stall)
            _, _, valid, ready, payload = await ctx.tick().sample(
                self.dut.o.valid, self.dut.o.ready, self.dut.o.payload)
            payload = payload if isinstance(payload, int) else (payload.data, payload.last)
            if held is not None:
                assert valid and payload == held
            held = payload if valid and not ready else None
            if valid and ready:
                self.seen.append(payload)

    def run(self, *testbenches, cycles=60_000):
        """Run until the first testbench ends, at most ``cycles``."""
        async def watchdog(ctx):
            await ctx.delay(cycles * 1e-6)
            raise AssertionError("the test does not end")

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.add_testbench(self.drain, background=True)
        simulator.add_testbench(watchdog, background=True)
        simulator.run()


def decoded(blocks, p_idle=0, p_stall=0, dut=None):
    """Return for every block the words that came out, and whether it was reported as malformed."""
    bench = StreamBench(dut or RunLengthDecoder(), p_idle, p_stall)
    results = []

    async def source(ctx):
        ctx.set(bench.dut.zero_point, ZERO & 0xFF)
        for block in blocks:
            last = len(block) - 1
            await bench.feed(ctx, [{"data": int(word), "last": n == last}
                                   for n, word in enumerate(block)])
        await ctx.tick().repeat(20)

    async def reports(ctx):
        first = 0
        while len(results) < len(blocks):
            _, _, done, error, count = await ctx.tick().sample(
                bench.dut.done, bench.dut.error, bench.dut.count)
            if done:
                results.append((bench.seen[first:], bool(error), count))
                first = len(bench.seen)

    bench.run(source, reports)
    assert sum(len(words) for words, *_ in results) == len(bench.seen)
    return results


@pytest.mark.parametrize(("p_idle", "p_stall"), WAITS)
def test_decoder(p_idle, p_stall):
    rng = random.Random(2)
    raw = list(blocks_of_all_kinds(rng))
    forms = [rng.choice([True, False, None]) for _ in raw]
    blocks = [encode(words, ZERO, coded=form) for words, form in zip(raw, forms, strict=True)]
    for words, (seen, error, count) in zip(raw, decoded(blocks, p_idle, p_stall), strict=True):
        assert (seen, error, count) == (words.tolist(), False, len(words))


def encoded(raw, forms, p_idle=0, p_stall=0, dut=None):
    """Return the blocks that the encoder makes."""
    bench = StreamBench(dut or RunLengthEncoder(), p_idle, p_stall)
    dut = bench.dut

    async def source(ctx):
        ctx.set(dut.zero_point, ZERO & 0xFF)
        for words, form in zip(raw, forms, strict=True):
            ctx.set(dut.count, len(words))
            ctx.set(dut.coded, form)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await bench.feed(ctx, words.tolist())
            while ctx.get(dut.busy):
                await ctx.tick()
        await ctx.tick().repeat(20)

    bench.run(source)
    blocks = [[]]
    for word, last in bench.seen:
        blocks[-1].append(word)
        if last:
            blocks.append([])
    assert blocks.pop() == []
    return blocks


@pytest.mark.parametrize(("p_idle", "p_stall"), WAITS)
def test_encoder(p_idle, p_stall):
    rng = random.Random(3)
    raw = list(blocks_of_all_kinds(rng))
    forms = [rng.random() < 0.8 for _ in raw]
    expected = [encode(words, ZERO, coded=form).tolist()
                for words, form in zip(raw, forms, strict=True)]
    assert encoded(raw, forms, p_idle, p_stall) == expected


def test_throughput():
    """A word a cycle, one more for each run, an eighth more where all values need their mask."""
    words = values_of(random.Random(4), 400, 0.5)
    block = encode(words, ZERO)
    assert len(block) < 0.8 * len(words)
    groups = (words.view(np.uint8).reshape(-1, 8) != ZERO & 0xFF).any(axis=1)
    runs = np.count_nonzero(np.diff(groups.astype(int)) == -1) + (not groups[0])
    assert 0 < runs < 0.2 * len(words)
    cycles = {}

    async def count(ctx):
        async for _ in ctx.tick():
            cycles["now"] = cycles.get("now", 0) + 1

    for dut, payloads in (
            (RunLengthDecoder(), [{"data": int(word), "last": n == len(block) - 1}
                                  for n, word in enumerate(block)]),
            (RunLengthEncoder(), words.tolist())):
        bench = StreamBench(dut, 0, 0)
        cycles.clear()

        async def source(ctx, bench=bench, payloads=payloads):
            ctx.set(bench.dut.zero_point, ZERO & 0xFF)
            if isinstance(bench.dut, RunLengthEncoder):
                ctx.set(bench.dut.count, len(words))
                ctx.set(bench.dut.coded, 1)
                ctx.set(bench.dut.start, 1)
                await ctx.tick()
                ctx.set(bench.dut.start, 0)
            await bench.feed(ctx, payloads)
            cycles["end"] = cycles["now"]

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(source)
        simulator.add_testbench(bench.drain, background=True)
        simulator.add_testbench(count, background=True)
        simulator.run()
        assert cycles["end"] <= len(words) * 9 // 8 + runs + 10, type(dut)


def malformed_blocks(rng):
    """Yield blocks that mean nothing, by what is wrong with them."""
    coded = encode(values_of(rng, 9, 0.5), ZERO, coded=True)
    raw = encode(values_of(rng, 5, 0.5), ZERO, coded=False)
    flag = isa.CODED_FLAG
    yield "reserved bit", np.array([1 << 24 | 1, 7])
    yield "reserved bit, alone", np.array([1 << 30])
    yield "no words announced", np.array([0, 1, 2])
    yield "nothing after the header", np.array([flag | 3])
    yield "raw, too short", raw[:-1]
    yield "raw, too long", np.append(raw, 5)
    yield "coded, too short", coded[:-1]
    yield "coded, too long", np.append(coded, 0)
    yield "coded, two words too long", np.append(coded, [0, 0])
    # One raw word of zeros is the byte 0 and the byte 0.
    yield "run past the end", np.array([flag | 1, 0x00000100])
    yield "run past an odd end", np.array([flag | 3, 0x00000200])
    yield "mask past the end", np.array([flag | 1, 0x00000010])
    yield "filling is not zero", np.array([flag | 1, 0x00010000])
    yield "values missing", np.array([flag | 2, 0x030201FF])
    yield "second half missing", np.array([flag | 2, 0x030201F7])
    yield "run without its length", np.array([flag | 4, 0x00CCBB03])
    for n in range(40):
        yield f"noise {n}", np.array(
            [flag | rng.randrange(1, 40), *(rng.getrandbits(32) for _ in range(rng.randrange(9)))])


def test_malformed_blocks():
    """Each is reported, none hangs, and the good block after each comes out whole."""
    rng = random.Random(5)
    good = values_of(rng, 7, 0.5)
    cases, blocks = [], []
    for name, block in malformed_blocks(rng):
        try:
            words = decode(block, ZERO)
            assert name.startswith("noise"), name
        except RunLengthError:
            words = None
        cases += [(name, words), ("good", good)]
        blocks += [block, encode(good, ZERO)]
    assert sum(words is None for _, words in cases) > 40
    for p_idle, p_stall in ((0, 0), (0.5, 0.5)):
        for (name, words), (seen, error, _) in zip(
                cases, decoded(blocks, p_idle, p_stall), strict=True):
            assert error == (words is None), name
            assert words is None or seen == words.tolist(), name


MUTANTS = [
    (RunLengthDecoder, "need.eq(ones(mask) + ~in_upper)", "need.eq(ones(mask) + 1)"),
    (RunLengthDecoder, "malformed.eq(groups > (left + 1) >> 1)", "malformed.eq(0)"),
    (RunLengthDecoder, "(level <= WINDOW - 4)", "(level <= WINDOW - 3)"),
    (RunLengthDecoder, "self.i.ready.eq(advance)", "self.i.ready.eq(1)"),
    (RunLengthDecoder, "malformed.eq(begins[4:] != 0)", "malformed.eq(0)"),
    (RunLengthEncoder, "(run == 256) | ", ""),
    (RunLengthEncoder, "room.eq(level <= PACK - STEP)", "room.eq(1)"),
    (RunLengthEncoder, "(level > 4) | (ended", "(level >= 4) | (ended"),
    (RunLengthEncoder, "| ~lone", "| 1"),
]


@pytest.mark.parametrize(("cls", "old", "new"), MUTANTS)
def test_a_mutant_is_noticed(cls, old, new):
    """Negative control: the tests above fail if a line is broken."""
    module = sys.modules[cls.__module__]
    source = inspect.getsource(module)
    assert source.count(old) == 1
    mutant = types.ModuleType(module.__name__)
    mutant.__package__ = module.__package__
    exec(compile(source.replace(old, new), "mutant", "exec", dont_inherit=True), vars(mutant))
    rng = random.Random(6)
    raw = list(blocks_of_all_kinds(rng))
    bad = [block for _, block in malformed_blocks(rng)]
    wrong = False
    try:
        if cls is RunLengthDecoder:
            blocks = [encode(words, ZERO, coded=n % 3 != 0) for n, words in enumerate(raw)]
            for words, (seen, error, _) in zip(
                    raw, decoded(blocks, 0, 0.5, mutant.RunLengthDecoder()), strict=True):
                wrong |= seen != words.tolist() or error
            expected = []
            for block in bad:
                try:
                    decode(block, ZERO)
                    expected.append(False)
                except RunLengthError:
                    expected.append(True)
            found = decoded(bad, 0, 0.5, mutant.RunLengthDecoder())
            wrong |= [error for _, error, _ in found] != expected
        else:
            found = encoded(raw, [True] * len(raw), 0, 0.5, mutant.RunLengthEncoder())
            wrong = found != [encode(words, ZERO, coded=True).tolist() for words in raw]
    except (AssertionError, ValueError):
        wrong = True
    assert wrong
