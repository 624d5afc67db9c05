# amaranth: UnusedElaboratable=no
"""Blocks from and to the global buffer: through the real one, with the accelerator in the way."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.coded_reader import CodedReader
from oarlock.hw.coded_writer import CodedWriter
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.sw_driver.run_length import encode
from test_run_length import ZERO, malformed_blocks, values_of


SIZE = 512


class Both(wiring.Component):
    """A global buffer with a reader and a writer as its host."""

    def __init__(self):
        self.buffer = GlobalBuffer(size_bytes=SIZE, word_bytes=8)
        self.reader = CodedReader()
        self.writer = CodedWriter(size_bytes=SIZE)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer, m.submodules.reader = self.buffer, self.reader
        m.submodules.writer = self.writer
        connect(m, self.reader.read, self.buffer.host_read)
        connect(m, self.writer.write, self.buffer.host_write)
        m.d.comb += [
            self.reader.read_valid.eq(self.buffer.host_read_valid),
            self.reader.read_data.eq(self.buffer.host_read_data),
            self.reader.zero_point.eq(ZERO & 0xFF),
            self.writer.zero_point.eq(ZERO & 0xFF),
        ]
        return m


async def write(ctx, dut, address, block, wait):
    """Send a block; return what the writer says of it."""
    ctx.set(dut.writer.address, address)
    report = None
    for n, word in enumerate(block):
        while wait():
            await ctx.tick()
        ctx.set(dut.writer.i.payload, {"data": int(word), "last": n == len(block) - 1})
        ctx.set(dut.writer.i.valid, 1)
        while not (await ctx.tick().sample(dut.writer.i.ready))[2]:
            pass
        ctx.set(dut.writer.i.valid, 0)
    while report is None:
        _, _, done, *flags = await ctx.tick().sample(
            dut.writer.done, dut.writer.malformed, dut.writer.overflow)
        report = tuple(map(bool, flags)) if done else None
    return report


async def read(ctx, dut, address, count, wait):
    """Return the block that the reader makes; its length is known with the first word."""
    ctx.set(dut.reader.address, address)
    ctx.set(dut.reader.count, count)
    ctx.set(dut.reader.start, 1)
    await ctx.tick()
    ctx.set(dut.reader.start, 0)
    block, length = [], None
    while True:
        ctx.set(dut.reader.o.ready, not wait())
        _, _, valid, ready, payload, now, busy = await ctx.tick().sample(
            dut.reader.o.valid, dut.reader.o.ready, dut.reader.o.payload, dut.reader.length,
            dut.reader.busy)
        if valid:
            assert length in (None, now)
            length = now
        if valid and ready:
            block.append(payload.data)
            assert payload.last == (len(block) == length)
        if not busy:
            assert len(block) == length
            return block


def simulate(testbench, p_wait):
    """Run a testbench; the accelerator takes the buffer's ports in ``p_wait`` of the cycles."""
    dut, rng = Both(), random.Random(p_wait)

    async def accelerator(ctx):
        ctx.set(dut.buffer.write_addr, SIZE - 8)
        while True:
            ctx.set(dut.buffer.read_en, rng.random() < p_wait)
            ctx.set(dut.buffer.write_en, rng.random() < p_wait)
            ctx.set(dut.buffer.write_count, 1)
            await ctx.tick()

    async def watchdog(ctx):
        await ctx.delay(0.06)
        raise AssertionError("the test does not end")

    async def run(ctx):
        await testbench(ctx, dut, lambda: rng.random() < p_wait)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.add_testbench(accelerator, background=True)
    simulator.add_testbench(watchdog, background=True)
    simulator.run()


@pytest.mark.parametrize("p_wait", [0, 0.5])
def test_there_and_back(p_wait):
    rng = random.Random(7)

    async def testbench(ctx, dut, wait):
        for zeros in (0, 0.3, 0.6, 1):
            for count in (0, 1, 2, 7, 40, 63):
                words = values_of(rng, count, zeros)
                address = 4 * rng.randrange(126 - count)
                form = rng.choice([True, False, None])
                report = await write(ctx, dut, address, encode(words, ZERO, coded=form), wait)
                assert report == (False, False)
                block = await read(ctx, dut, address, count, wait)
                assert block == encode(words, ZERO).tolist()

    simulate(testbench, p_wait)


def test_what_is_wrong_is_reported():
    rng = random.Random(8)
    good = values_of(rng, 20, 0.5)
    keep = values_of(rng, 9, 0.2)

    async def testbench(ctx, dut, wait):
        assert await write(ctx, dut, 0, encode(keep, ZERO), wait) == (False, False)
        for name, block in malformed_blocks(rng):
            if not name.startswith("noise"):
                malformed, _ = await write(ctx, dut, 64, block, wait)
                assert malformed, name
        # The last word that fits, the first that does not, and far beyond: nothing wraps.
        for address, overflow in ((SIZE - 80, False), (SIZE - 76, True), (SIZE, True),
                                  ((1 << 24) - 4, True)):
            report = await write(ctx, dut, address, encode(good, ZERO), wait)
            assert report == (False, overflow)
        long = np.array([isa.CODED_FLAG | 0x1FF, *[0x0000FF00] * 2])
        assert (await write(ctx, dut, SIZE - 4, long, wait))[1]
        assert await read(ctx, dut, 0, 9, wait) == encode(keep, ZERO).tolist()
        assert await read(ctx, dut, SIZE - 76, 18, wait) == encode(good[:18], ZERO).tolist()

    simulate(testbench, 0)


@pytest.mark.parametrize("size", [0, -4, 6, (1 << 24) + 4])
def test_wrong_size(size):
    with pytest.raises(ValueError, match=rf"^Size must be a multiple of 4 bytes up to 16777216, "
                                         rf"not {size}$"):
        CodedWriter(size_bytes=size)
