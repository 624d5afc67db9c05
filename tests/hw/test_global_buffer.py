# amaranth: UnusedElaboratable=no
"""Directed tests of the global buffer; random ones against a byte array are in tests/sim."""

from __future__ import annotations

import random

import pytest
from amaranth.back import verilog
from amaranth.sim import Simulator
from oarlock.hw.global_buffer import GlobalBuffer


def simulate(dut, testbench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


async def write(ctx, dut, addr, values):
    ctx.set(dut.write_en, 1)
    ctx.set(dut.write_addr, addr)
    ctx.set(dut.write_count, len(values))
    ctx.set(dut.write_data, [*values, *[0xEE] * (dut.word_bytes - len(values))])
    await ctx.tick()
    ctx.set(dut.write_en, 0)


async def read(ctx, dut, addr):
    ctx.set(dut.read_en, 1)
    ctx.set(dut.read_addr, addr & 0xFFFFFF)
    await ctx.tick()
    ctx.set(dut.read_en, 0)
    ctx.set(dut.read_addr, 0)
    await ctx.tick().repeat(dut.LATENCY - 1)
    return [ctx.get(byte) for byte in dut.read_data]


async def fill(ctx, dut, contents):
    for addr in range(0, dut.size_bytes, dut.word_bytes):
        await write(ctx, dut, addr, contents[addr:addr + dut.word_bytes])


@pytest.mark.parametrize("word_bytes", [0, 1, 2, 3, 12, -4])
def test_wrong_word(word_bytes):
    with pytest.raises(ValueError, match=rf"^Word must be a power of two of at least 4 bytes, "
                                         rf"not {word_bytes}$"):
        GlobalBuffer(size_bytes=96, word_bytes=word_bytes)


@pytest.mark.parametrize("size_bytes", [0, 8, 24, -16, (1 << 24) + 16])
def test_wrong_size(size_bytes):
    with pytest.raises(ValueError, match=rf"^Size must be a multiple of 16 bytes up to 16777216, "
                                         rf"not {size_bytes}$"):
        GlobalBuffer(size_bytes=size_bytes, word_bytes=8)


def test_parameters():
    dut = GlobalBuffer(size_bytes=96, word_bytes=8)
    assert (dut.size_bytes, dut.word_bytes, dut.LATENCY) == (96, 8, 3)


@pytest.mark.parametrize(("size_bytes", "word_bytes"), [(8, 4), (64, 4), (96, 8), (80, 8),
                                                        (64, 32)])
def test_every_address_and_count(size_bytes, word_bytes):
    dut = GlobalBuffer(size_bytes=size_bytes, word_bytes=word_bytes)
    ceiling = 1 << (size_bytes - 1).bit_length()

    async def testbench(ctx):
        contents = bytearray(random.Random(1).randbytes(size_bytes))
        await fill(ctx, dut, contents)
        for addr in range(size_bytes):
            count = 1 + addr * 5 % min(word_bytes, size_bytes - addr)
            values = [(addr + 7 * n) & 255 for n in range(count)]
            await write(ctx, dut, addr, values)
            contents[addr:addr + count] = bytes(values)
            for around in (addr - word_bytes, addr - 1, addr, addr + count - 1):
                found = await read(ctx, dut, around)
                for lane, byte in enumerate(found):
                    if (around + lane) % ceiling < size_bytes:
                        assert byte == contents[(around + lane) % ceiling]

    simulate(dut, testbench)


def test_a_negative_address_wraps():
    # Padding on the left of the first pixel: lanes 3 on must still be bytes 0 on.
    dut = GlobalBuffer(size_bytes=80, word_bytes=8)

    async def testbench(ctx):
        await fill(ctx, dut, bytes(range(80)))
        assert (await read(ctx, dut, -3))[3:] == [0, 1, 2, 3, 4]

    simulate(dut, testbench)


def test_data_is_kept_until_the_next_read():
    dut = GlobalBuffer(size_bytes=64, word_bytes=4)

    async def testbench(ctx):
        await fill(ctx, dut, bytes(range(64)))
        assert await read(ctx, dut, 9) == [9, 10, 11, 12]
        await ctx.tick().repeat(5)
        assert [ctx.get(byte) for byte in dut.read_data] == [9, 10, 11, 12]

    simulate(dut, testbench)


def test_the_host_waits():
    dut = GlobalBuffer(size_bytes=64, word_bytes=4)

    async def testbench(ctx):
        ctx.set(dut.host_write.valid, 1)
        ctx.set(dut.host_write.payload, {"addr": 8, "data": 0x44332211})
        ctx.set(dut.host_read.valid, 1)
        ctx.set(dut.host_read.payload, 8)
        for _ in range(3):
            ctx.set(dut.read_en, 1)
            await write(ctx, dut, 20, [5, 6, 7])
            assert not ctx.get(dut.host_read_valid)
        ctx.set(dut.write_en, 1)
        assert not ctx.get(dut.host_write.ready)
        assert not ctx.get(dut.host_read.ready)

        ctx.set(dut.write_en, 0)
        assert ctx.get(dut.host_write.ready)
        await ctx.tick()
        ctx.set(dut.host_write.valid, 0)
        # What was written is read from two cycles later on.
        await ctx.tick()

        ctx.set(dut.read_en, 0)
        assert ctx.get(dut.host_read.ready)
        await ctx.tick()
        ctx.set(dut.host_read.valid, 0)
        assert not ctx.get(dut.host_read_valid)
        await ctx.tick().repeat(dut.LATENCY - 1)
        assert ctx.get(dut.host_read_valid)
        assert ctx.get(dut.host_read_data) == 0x44332211
        await ctx.tick()
        assert not ctx.get(dut.host_read_valid)
        assert (await read(ctx, dut, 20))[:3] == [5, 6, 7]

    simulate(dut, testbench)


@pytest.mark.parametrize(("word_bytes", "banks"), [(4, 2), (4, 8), (16, 4), (32, 2)])
def test_the_banks_are_memories(word_bytes, banks):
    dut = GlobalBuffer(size_bytes=640, word_bytes=word_bytes, banks=banks)
    text = verilog.convert(dut, emit_src=False, strip_internal_attrs=True)
    for bank in range(banks):
        assert (f"reg [{16 * word_bytes // banks - 1}:0] bank_{bank} [{320 // word_bytes - 1}:0];"
                in text)


@pytest.mark.parametrize("banks", [0, 1, 3, 32, -2])
def test_wrong_banks(banks):
    with pytest.raises(ValueError, match=rf"^Banks must be a power of two from 2 to 16, "
                                         rf"not {banks}$"):
        GlobalBuffer(size_bytes=96, word_bytes=8, banks=banks)
