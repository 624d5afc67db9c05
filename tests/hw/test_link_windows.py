# amaranth: UnusedElaboratable=no
"""Both windows of the link against lists, with random frames, stalls and acknowledgements."""

import random

import pytest
from amaranth.sim import Simulator
from oarlock.hw.receive_window import ReceiveWindow
from oarlock.hw.send_window import SendWindow


def simulate(dut, testbench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("depth", [8, 32])
@pytest.mark.parametrize("p_stall", [0, 0.9])
def test_receive_window(depth, p_stall):
    rng = random.Random(depth)
    dut = ReceiveWindow(depth=depth)
    committed, taken = [], []
    outcomes = set()

    async def testbench(ctx):
        held = None

        async def cycle(**values):
            nonlocal held
            for name, value in values.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.o.ready, rng.random() >= p_stall)
            *_, valid, ready, word = await ctx.tick().sample(dut.o.valid, dut.o.ready,
                                                            dut.o.payload)
            assert held is None or (valid and word == held)
            held = word if valid and not ready else None
            if valid and ready:
                assert word == committed[len(taken)]
                taken.append(word)
            for name in values:
                ctx.set(getattr(dut, name), 0)

        while len(committed) < 300:
            # A word that waits at the output has left the window.
            left = len(taken) + ctx.get(dut.o.valid)
            room = depth - (len(committed) - left)
            right = rng.random() < 0.8
            count = rng.choice([0, 1, depth // 2, depth, depth, depth + 1, 255])
            position = len(committed) + (0 if right else rng.choice([-1, 1, depth, 0x8000]))
            assert ctx.get(dut.committed) == len(committed) % 65536
            assert ctx.get(dut.limit) == (left + depth) % 65536
            await cycle(start=1, position=position % 65536, count=count)
            await cycle()
            words = [rng.getrandbits(32) for _ in range(count)]
            complete = rng.random() < 0.8
            for word in words if complete else words[:count // 2]:
                await cycle(word_valid=1, word=word)
                if rng.random() < 0.3:
                    await cycle()
            good = right and count <= room
            if complete:
                outcomes.add((right, count <= room))
                await cycle(commit=1)
                if good:
                    committed.extend(words)
            # What was taken of the frame while it was judged makes room only for the next.
        while len(taken) < len(committed):
            await cycle()
        await cycle(clear=1)
        await cycle()
        assert ctx.get(dut.committed) == 0
        assert ctx.get(dut.limit) == depth
        assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)
    assert outcomes >= {(True, True), (False, True), (True, False)}
    assert taken == committed


@pytest.mark.parametrize(("depth", "max_words"), [(8, 3), (32, 255), (16, 16)])
@pytest.mark.parametrize("p_idle", [0, 0.95])
def test_send_window(depth, max_words, p_idle):
    rng = random.Random(depth)
    dut = SendWindow(depth=depth, max_words=max_words)
    given, seen = [], set()
    acked = sent = 0

    async def testbench(ctx):
        nonlocal acked, sent

        async def cycle(**values):
            for name, value in values.items():
                ctx.set(getattr(dut, name), value)
            if rng.random() >= p_idle:
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload, 1_000_003 * len(given) % 2**32)
            *_, valid, ready, word = await ctx.tick().sample(dut.i.valid, dut.i.ready,
                                                            dut.i.payload)
            if valid and ready:
                given.append(word)
                ctx.set(dut.i.valid, 0)
            assert len(given) - acked <= depth
            for name in values:
                ctx.set(getattr(dut, name), 0)

        async def acknowledge(position):
            nonlocal acked
            await cycle(ack_valid=1, ack=position % 65536)
            seen.add(acked <= position <= sent)
            if acked <= position <= sent:
                acked = position

        while acked < 200:
            assert ctx.get(dut.position) == sent % 65536
            count = ctx.get(dut.count)
            assert count <= max_words
            assert count == min(len(given) - sent, max_words)
            if not count:
                await cycle()
            else:
                await cycle(start=1)
                await cycle()
                await cycle()
                for index in range(count):
                    assert ctx.get(dut.word) == given[sent + index]
                    if rng.random() < 0.2:
                        # Of what was sent before; what is being sent can't be acknowledged yet.
                        await acknowledge(rng.randint(acked, sent + 1))
                    await cycle(next=1)
                    await cycle()
                    await cycle()
                await cycle(done=1)
                sent += count
            match rng.randrange(8):
                case 0 | 1 | 2 | 3:
                    await acknowledge(rng.randint(acked, sent))
                case 4:
                    await acknowledge(rng.choice([acked - 1, sent + 1, acked + 0x8000]))
                case 5:
                    await cycle(rewind=1)
                    sent = acked
                case 6:
                    # Both at once, as the link may do.
                    position = rng.randint(acked, sent)
                    ctx.set(dut.rewind, 1)
                    await acknowledge(position)
                    ctx.set(dut.rewind, 0)
                    sent = acked
        await cycle(clear=1)
        await cycle()
        assert ctx.get(dut.position) == 0

    simulate(dut, testbench)
    assert seen == {True, False}


@pytest.mark.parametrize("depth", [4, 24, 32768, 8.0])
def test_wrong_depths(depth):
    with pytest.raises(ValueError, match=r"^Depth must be a power of two from 8 to 16384, not"):
        ReceiveWindow(depth=depth)
    with pytest.raises(ValueError, match=r"^Depth must be a power of two from 8 to 16384, not"):
        SendWindow(depth=depth, max_words=1)


@pytest.mark.parametrize("max_words", [0, 256])
def test_wrong_frames(max_words):
    with pytest.raises(ValueError, match=r"^Words of a frame must be 1 to 255, not"):
        SendWindow(depth=8, max_words=max_words)
