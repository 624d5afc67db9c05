# amaranth: UnusedElaboratable=no
"""The sequencer: descriptors in order, their ends on record, the host beside it."""

import random

import pytest
from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.sequencer import Sequencer


ROWS, COLS, DEPTH = 1, 1, 256
LENGTHS = isa.descriptor_lengths(isa.Dataflow.ROW_STATIONARY, ROWS, COLS)
CONV, VECTOR = LENGTHS.values()
FIRST_CYCLE = (5 << 32) - 40  # the 32 bits of done_cycle overflow on the way


def descriptor(kind, rng):
    """Return random words of a descriptor of this kind."""
    words = [rng.getrandbits(32) for _ in range(CONV if kind == 1 else VECTOR)]
    words[0] = words[0] & ~15 | kind
    return words


class Bench:
    """A sequencer, an engine that is busy for as long as it is told, and a clock."""

    def __init__(self, busy_cycles):
        self.dut = Sequencer(lengths=LENGTHS, program_depth=DEPTH)
        self.busy_cycles = list(busy_cycles)
        self.starts = []
        self.ends = []
        self.time = FIRST_CYCLE

    async def clock(self, ctx):
        """Count, and be the engine."""
        dut, left = self.dut, 0
        ctx.set(dut.cycle, self.time)
        async for _, _, conv, vector, *words in ctx.tick().sample(
                *dut.start, *dut.words):
            if left == 0 and ctx.get(dut.engine_busy) == 0 and self.starts and not self.ends[-1]:
                self.ends[-1] = self.time
            self.time += 1
            left = max(0, left - 1)
            if conv or vector:
                assert not (conv and vector) and left == 0
                self.starts.append(("conv" if conv else "vector", list(words)))
                left = self.busy_cycles.pop(0)
                self.ends.append(0)
            ctx.set(dut.cycle, self.time)
            ctx.set(dut.engine_busy, left > 0)

    def run(self, testbench, cycles=3000):
        """Run until the testbench ends, at most ``cycles``."""
        async def watchdog(ctx):
            await ctx.delay(cycles * 1e-6)
            raise AssertionError("the test does not end")

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.clock, background=True)
        simulator.add_testbench(watchdog, background=True)
        simulator.add_testbench(testbench)
        simulator.run()

    async def write(self, ctx, address, words):
        for n, word in enumerate(words):
            ctx.set(self.dut.write_en, 1)
            ctx.set(self.dut.write_addr, address + n)
            ctx.set(self.dut.write_data, word)
            while True:
                _, _, ready = await ctx.tick().sample(self.dut.write_ready)
                if ready:
                    break
        ctx.set(self.dut.write_en, 0)

    async def read(self, ctx, address, count):
        words = []
        for n in range(count):
            ctx.set(self.dut.read_valid, 1)
            ctx.set(self.dut.read_addr, address + n)
            while True:
                _, _, ready = await ctx.tick().sample(self.dut.read_ready)
                if ready:
                    break
            words.append(ctx.get(self.dut.read_data))
        ctx.set(self.dut.read_valid, 0)
        return words

    async def start(self, ctx, address, count):
        ctx.set(self.dut.run_start, 1)
        ctx.set(self.dut.run_address, address)
        ctx.set(self.dut.run_count, count)
        await ctx.tick()
        ctx.set(self.dut.run_start, 0)

    async def wait(self, ctx):
        while ctx.get(self.dut.busy):
            await ctx.tick()


def shown(words):
    """Return what the engine sees of a descriptor: not all registers belong to it."""
    return ("conv" if words[0] & 15 == 1 else "vector"), words


def check_starts(bench, program):
    assert len(bench.starts) == len(program)
    for (engine, words), descriptor in zip(bench.starts, program, strict=True):
        kind, expected = shown(descriptor)
        # Word 1 is where the end of an earlier run may stand.
        assert (engine, words[0], words[2:len(expected)]) == (kind, expected[0], expected[2:])


@pytest.mark.parametrize("busy", [[1, 1, 1, 1, 1], [100, 1, 40, 300, 2], [28, 61, 62, 63, 64]])
def test_descriptors_in_order_and_their_ends(busy):
    rng = random.Random(len(busy))
    program = [descriptor(kind, rng) for kind in (1, 2, 2, 1, 2)]
    words = [word for one in program for word in one]
    base, bench = 11, Bench(busy)

    async def testbench(ctx):
        await bench.write(ctx, base, words)
        await bench.start(ctx, base, len(program))
        assert ctx.get(bench.dut.busy)
        await bench.wait(ctx)
        assert not ctx.get(bench.dut.fault)
        check_starts(bench, program)
        assert ctx.get(bench.dut.done_cycles) == bench.ends[-1]
        # Let the last end be written.
        await ctx.tick()
        expected, position = list(words), 0
        for one, end in zip(program, bench.ends, strict=True):
            expected[position + 1] = end & 0xFFFFFFFF
            position += len(one)
        assert await bench.read(ctx, base, len(words)) == expected

    bench.run(testbench)


def test_the_next_starts_as_soon_as_promised():
    """With everything fetched, TURNAROUND cycles lie between an end and a start."""
    rng, bench = random.Random(1), Bench([200, 200])
    program = [descriptor(2, rng), descriptor(1, rng)]
    times = []

    async def testbench(ctx):
        await bench.write(ctx, 0, [word for one in program for word in one])
        await bench.start(ctx, 0, 2)
        while ctx.get(bench.dut.busy):
            if ctx.get(bench.dut.start[0]):
                times.append(bench.time)
            await ctx.tick()

    bench.run(testbench)
    assert times == [bench.ends[0] + Sequencer.TURNAROUND]


@pytest.mark.parametrize("bad", [0, 3, 15])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_kind_stops_the_run(bad, place):
    rng, bench = random.Random(bad), Bench([9] * 6)
    program = [descriptor(kind, rng) for kind in (2, 1, 2)]
    words = [word for one in program for word in one]
    position = sum(map(len, program[:place]))
    good = words[position]
    words[position] = good & ~15 | bad

    async def testbench(ctx):
        await bench.write(ctx, 0, words)
        await bench.start(ctx, 0, 3)
        await bench.wait(ctx)
        assert ctx.get(bench.dut.fault)
        await ctx.tick().repeat(100)
        assert not ctx.get(bench.dut.busy)
        check_starts(bench, program[:place])
        # And the next run is a good one again.
        bench.starts.clear()
        await bench.write(ctx, position, [good])
        await bench.start(ctx, 0, 3)
        await bench.wait(ctx)
        assert not ctx.get(bench.dut.fault)
        check_starts(bench, program)

    bench.run(testbench)


def test_count_and_address():
    rng, bench = random.Random(4), Bench([3] * 9)
    program = [descriptor(2, rng) for _ in range(4)]

    async def testbench(ctx):
        await bench.write(ctx, 7, [word for one in program for word in one])
        await bench.start(ctx, 7, 0)
        assert not ctx.get(bench.dut.busy)
        await bench.start(ctx, 7 + VECTOR, 1)
        await bench.wait(ctx)
        check_starts(bench, program[1:2])
        await bench.start(ctx, 7, 3)
        await bench.wait(ctx)
        check_starts(bench, program[1:2] + program[:3])

    bench.run(testbench)


def test_the_host_reads_and_writes_while_it_runs():
    rng, bench = random.Random(5), Bench([150, 4, 4, 90])
    program = [descriptor(kind, rng) for kind in (1, 2, 2, 2)]
    free = CONV + 3 * VECTOR

    async def testbench(ctx):
        await bench.write(ctx, 0, [word for one in program for word in one])
        await bench.start(ctx, 0, 4)
        expected = {}
        while ctx.get(bench.dut.busy):
            address, value = rng.randrange(free, DEPTH), rng.getrandbits(32)
            await bench.write(ctx, address, [value])
            expected[address] = value
            address = rng.choice(list(expected))
            assert await bench.read(ctx, address, 1) == [expected[address]]
        assert len(expected) > 20
        for address, value in expected.items():
            assert await bench.read(ctx, address, 1) == [value]
        check_starts(bench, program)
        position = 0
        for one, end in zip(program, bench.ends, strict=True):
            assert await bench.read(ctx, position + 1, 1) == [end & 0xFFFFFFFF]
            position += len(one)

    bench.run(testbench)
