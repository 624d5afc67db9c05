# amaranth: UnusedElaboratable=no
"""CRC, frame receiver and frame sender against zlib and against the frames of link_isa."""

import random
import zlib

import pytest
from amaranth.sim import Simulator
from oarlock.hw import link_isa
from oarlock.hw.crc32 import Crc32
from oarlock.hw.frame_receiver import FrameReceiver
from oarlock.hw.frame_sender import FrameSender
from oarlock.hw.link_isa import Frame, FrameDecoder, encode
from oarlock.sim.benches.frame_noise import damage, random_frame


def simulate(dut, *testbenches):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(50))])
def test_crc(data):
    dut = Crc32()

    async def testbench(ctx):
        async def feed(data):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for byte in data:
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload, byte)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(Crc32.LATENCY - 1)
            assert ctx.get(dut.i.ready)
            return ctx.get(dut.crc)

        assert await feed(data) ^ 0xFFFFFFFF == zlib.crc32(data)
        good = data + zlib.crc32(data).to_bytes(4, "little")
        assert await feed(good) == link_isa.CRC_RESIDUE
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good + b"\0", good[1:]):
            assert await feed(bad) != link_isa.CRC_RESIDUE

    simulate(dut, testbench)


def receive(items):
    """Return the good frames that a receiver finds, and how many bad ones; None is a lost byte."""
    dut, frames = FrameReceiver(), []
    bad = 0

    async def testbench(ctx):
        nonlocal bad
        words = []
        for item in [*items, *[0] * 2]:
            ctx.set(dut.i.valid, item is not None)
            ctx.set(dut.error, item is None)
            ctx.set(dut.i.payload, item or 0)
            for _ in range(16):
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
                ctx.set(dut.error, 0)
                if ctx.get(dut.start):
                    words.clear()
                if ctx.get(dut.word_valid):
                    words.append(ctx.get(dut.word))
                assert not ctx.get(dut.good & dut.bad)
                bad += ctx.get(dut.bad)
                if ctx.get(dut.good):
                    header = ctx.get(dut.header)
                    fields = {name: header[name] for name, _ in link_isa.FRAME_FIELDS}
                    assert fields.pop("count") == len(words)
                    frames.append(Frame(**fields, words=tuple(words)))

    simulate(dut, testbench)
    return frames, bad


@pytest.mark.parametrize("seed", range(4))
def test_good_damaged_and_invented_frames(seed):
    rng = random.Random(seed)
    stream = b""
    for _ in range(25):
        data = encode(random_frame(rng))
        match rng.randrange(6):
            case 0:
                data = rng.randbytes(rng.randrange(30)) + data
            case 1 | 2:
                data = damage(rng, data)
            case 3:
                data = data[1:]  # One FLAG between two frames is enough.
        stream += data
    stream += encode(Frame(words=(1, 2)))
    decoder = FrameDecoder()
    expected = [*decoder.feed(stream)]
    assert len(expected) >= 5
    assert receive(stream) == (expected, decoder.damaged)


def test_a_lost_byte_is_a_damaged_frame():
    frame = encode(Frame(words=(5, 6)))
    for where in (5, 14, len(frame) - 3):
        assert receive([*frame[:where], None, *frame[where:], *frame]) == (
            [Frame(words=(5, 6))], 1)
    # Between frames nothing is lost.
    assert receive([*frame, None, *frame])[0] == [Frame(words=(5, 6))] * 2


def test_each_single_wrong_bit_is_noticed():
    frame = encode(Frame(number=9, session=0x1234, position=7, words=(0xDEADBEEF,)))
    stream, count = b"", 0
    for bit in range(8, 8 * (len(frame) - 1)):
        wrong = bytearray(frame)
        wrong[bit // 8] ^= 1 << bit % 8
        stream, count = stream + wrong, count + 1
    frames, bad = receive(stream + encode(Frame()))
    assert frames == [Frame()]
    # A new FLAG makes two of one; a new ESCAPE takes the next byte along, not the frame.
    assert bad >= count


def send(frames, *, rng, p_stall=0.0, reset_at=()):
    """Return the bytes of a sender."""
    dut, stream = FrameSender(), bytearray()

    async def control(ctx):
        for frame in frames:
            ctx.set(dut.header, {name: len(frame.words) if name == "count" else getattr(frame, name)
                                 for name, _ in link_isa.FRAME_FIELDS})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert ctx.get(dut.busy)
            words = [*frame.words]
            ctx.set(dut.word, words.pop(0) if words else 0)
            done = False
            while not done:
                *_, proceed, done = await ctx.tick().sample(dut.next, dut.done)
                if proceed:
                    ctx.set(dut.word, words.pop(0) if words else rng.getrandbits(32))
            assert not ctx.get(dut.busy)
            assert not words

    async def take(ctx):
        held = None
        while True:
            ctx.set(dut.o.ready, rng.random() >= p_stall)
            *_, valid, ready, byte = await ctx.tick().sample(dut.o.valid, dut.o.ready,
                                                            dut.o.payload)
            assert held is None or (valid and byte == held)
            held = byte if valid and not ready else None
            if valid and ready:
                stream.append(byte)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(control)
    sim.add_testbench(take, background=True)
    sim.run()
    return bytes(stream)


@pytest.mark.parametrize("p_stall", [0, 0.5, 0.95])
def test_frames_are_sent(p_stall):
    rng = random.Random(7)
    frames = [random_frame(rng) for _ in range(12)]
    assert send(frames, rng=rng, p_stall=p_stall) == b"".join(map(encode, frames))
