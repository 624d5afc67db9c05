# amaranth: UnusedElaboratable=no
"""Both halves of the UART against a line drawn and read in Python."""

import random

import pytest
from amaranth.sim import Simulator
from oarlock.hw.uart_receiver import UartReceiver
from oarlock.hw.uart_transmitter import UartTransmitter


DIVISORS = (4, 5, 6, 20, 27)


def wave(data, bit, *, pause=0.0, stop=1):
    """Return the line cycle by cycle, for bits of a length that need not be whole."""
    levels, edge = [1] * 7, 7.0
    for byte in data:
        for level in (0, *(byte >> n & 1 for n in range(8)), stop):
            edge += bit
            levels += [level] * (round(edge) - len(levels))
        edge += pause
        levels += [1] * (round(edge) - len(levels))
    return levels + [1] * round(12 * bit)


def receive(divisor, levels):
    """Return what the receiver makes of a line: bytes, and None for errors."""
    dut, found = UartReceiver(divisor=divisor), []

    async def testbench(ctx):
        ctx.set(dut.rx, 1)
        for level in levels:
            ctx.set(dut.rx, level)
            *_, valid, byte, error = await ctx.tick().sample(dut.o.valid, dut.o.payload, dut.error)
            assert not (valid and error)
            found.extend([byte] * valid + [None] * error)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
    return found


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("error", [-1, 0, 1])
@pytest.mark.parametrize("pause", [0, 3.3])
def test_bytes_are_received(divisor, error, pause):
    data = [0x00, 0xFF, 0x55, 0xAA, 0x7E, *random.Random(divisor).randbytes(30)]
    error *= 0.03 if divisor >= 6 else 0.02
    assert receive(divisor, wave(data, divisor * (1 + error), pause=pause)) == data


def test_a_line_of_another_rate_is_not_received():
    # The negative control: 10 % off, the stop bit is read where another bit is.
    data = [0x55, 0xAA, 0x0F] * 5
    assert receive(20, wave(data, 20 * 1.1)) != data


def test_a_low_stop_bit_is_an_error_and_the_next_byte_is_good():
    levels = wave([0x12], 8) + wave([0x34], 8, stop=0)[:-96] + [1] * 20 + wave([0x56], 8)
    assert receive(8, levels) == [0x12, None, 0x56]


def test_a_broken_line_is_one_error():
    assert receive(8, [1] * 10 + [0] * 1000 + wave([0x56], 8)) == [None, 0x56]


def test_a_glitch_is_no_byte():
    assert receive(16, [1] * 10 + [0] * 5 + [1] * 40 + wave([0x56], 16)) == [0x56]


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("p_idle", [0, 0.9])
def test_bytes_are_sent(divisor, p_idle):
    rng = random.Random(divisor)
    data = [0x00, 0xFF, 0x55, *rng.randbytes(20)]
    dut, levels = UartTransmitter(divisor=divisor), []

    async def feed(ctx):
        for byte in data:
            while rng.random() < p_idle:
                await ctx.tick().repeat(divisor)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, byte)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(11 * divisor)

    async def watch(ctx):
        while True:
            *_, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_process(watch)
    sim.run()
    start = levels.index(0)
    if not p_idle:
        assert levels[start:start + 10 * divisor * len(data)] == [
            level for byte in data
            for level in (0, *(byte >> n & 1 for n in range(8)), 1) for _ in range(divisor)]
    assert set(levels[:start]) <= {1}
    assert receive(divisor, levels) == data


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("divisor", [3, 65536, 4.5])
def test_wrong_divisors(component, divisor):
    with pytest.raises(ValueError, match=r"^Divisor must be a whole number from 4 to 65535, not"):
        component(divisor=divisor)
