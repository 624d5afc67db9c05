"""Memory, array and position stream of the compact core against bytes and numpy."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from oarlock.hw.byte_memory import ByteMemory
from oarlock.hw.compact_array import COLUMNS, CompactArray
from oarlock.hw.position_stream import PositionStream


def simulate(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_memory_of_bytes():
    """Reads at any address, also across the end; what was read stays until the next access."""
    rng = random.Random(1)
    dut, model = ByteMemory(), bytearray(ByteMemory.BYTES)
    spots = [0, 1000, ByteMemory.BYTES - 16]

    async def testbench(ctx):
        for spot in spots:
            for address in range(spot, spot + 16, 4):
                await access(ctx, "write_word", address)
        for _ in range(600):
            kind = rng.choice(["write_word", "write_byte", "read", "read"])
            address = rng.choice(spots) + rng.randrange(16)
            await access(ctx, kind, address & ~3 if kind == "write_word" else address)

    async def access(ctx, kind, address):
        value = rng.randrange(1 << 32)
        ctx.set(dut.address, address)
        ctx.set(dut.data_in, value)
        ctx.set(getattr(dut, kind), 1)
        await ctx.tick()
        ctx.set(getattr(dut, kind), 0)
        ctx.set(dut.address, rng.randrange(ByteMemory.BYTES))
        if kind == "read":
            wanted = bytes(model[(address + n) % len(model)] for n in range(4))
            for _ in range(2):
                assert ctx.get(dut.data_out).to_bytes(4, "little") == wanted, address
                await ctx.tick()
        elif kind == "write_byte":
            model[address] = value & 0xFF
        else:
            model[address:address + 4] = value.to_bytes(4, "little")

    simulate(dut, testbench)


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("extreme", [False, True])
def test_array_adds_up(depth, extreme):
    """Waves over all positions, with weights from -128 on, and what a drain reads."""
    rng = np.random.default_rng(depth)

    def draw(*shape):
        return (np.full(shape, -128, np.int8) if extreme else
                rng.integers(-128, 128, shape).astype(np.int8))

    def word(values):
        return int.from_bytes(np.ascontiguousarray(values).tobytes(), "little")

    waves = [(draw(COLUMNS, 4), draw(depth, 4)) for _ in range(5)]
    wanted = sum(x.astype(np.int64) @ w.T.astype(np.int64) for w, x in waves)
    dut = CompactArray(depth=depth)

    async def seek(ctx, position=0):
        ctx.set(dut.seek, 1)
        ctx.set(dut.at, position)
        await ctx.tick()
        ctx.set(dut.seek, 0)

    async def drain(ctx, clear):
        await seek(ctx)
        found = []
        for _ in range(depth):
            await ctx.tick()
            found.append([ctx.get(dut.sums[n]) for n in range(COLUMNS)])
            ctx.set(dut.clear, clear)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            ctx.set(dut.next, 1)
            await ctx.tick()
            ctx.set(dut.next, 0)
        return np.array(found, np.uint32).view(np.int32)

    async def testbench(ctx):
        await drain(ctx, clear=1)
        for weights, activations in waves:
            for column in range(COLUMNS):
                ctx.set(dut.weights, word(weights[column]))
                ctx.set(dut.load, 1 << column)
                await ctx.tick()
            ctx.set(dut.load, 0)
            await seek(ctx)
            # A word comes with the cycle in which its position is read.
            ctx.set(dut.valid, 1)
            for position in range(depth):
                ctx.set(dut.word, word(activations[position]))
                await ctx.tick()
            ctx.set(dut.valid, 0)
            await ctx.tick().repeat(3)
        for clear in (0, 1):
            np.testing.assert_array_equal(await drain(ctx, clear), wanted)
        np.testing.assert_array_equal(await drain(ctx, 0), 0 * wanted)

    simulate(dut, testbench)


@pytest.mark.parametrize("fold", [0, 1])
def test_positions_and_their_edges(fold):
    rng = random.Random(fold)
    dut = PositionStream()

    async def testbench(ctx):
        async def load(name, value):
            ctx.set(dut.value, value & 0xFFFFFFFF)
            ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            ctx.set(getattr(dut, name), 0)

        for _ in range(150):
            address, step = rng.randrange(1 << 17), rng.randrange(1, 12)
            column, limit = rng.randrange(-20, 10), rng.randrange(1, 40)
            count, in_rows = rng.choice([1, 2, 7, 256]), rng.random() < 0.8
            await load("load_address", address)
            await load("load_column", column)
            await load("load_step", step)
            await load("load_limit", limit)
            await load("load_fold", fold)
            ctx.set(dut.in_rows, in_rows)
            await load("start", count)
            for n in range(count):
                assert ctx.get(dut.busy)
                assert ctx.get(dut.address) == (address + n * step) % (1 << 17)
                await ctx.tick()
                first = column + n * step
                assert ctx.get(dut.valid)
                assert ctx.get(dut.inside) == sum(
                    (in_rows and 0 <= (first + byte if fold else first) < limit) << byte
                    for byte in range(4))
            assert not ctx.get(dut.busy)
            # Between rows the address steps on demand.
            await load("advance", 0)
            assert ctx.get(dut.address) == (address + (count + 1) * step) % (1 << 17)
            assert not ctx.get(dut.valid)

    simulate(dut, testbench)
