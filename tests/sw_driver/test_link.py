"""The host's side of the link against a device made of Python, in time that is only a number."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest
from oarlock.hw import link_isa
from oarlock.hw.link_isa import Flags, Frame, FrameDecoder, encode
from oarlock.sw_driver.errors import DeviceReset, ProtocolError, WrongVersion
from oarlock.sw_driver.link import Link


SESSION = 0x4321
STEP = 0.001


class Device:
    """Says what docs/protocol.md promises; its accelerator adds one to each word."""

    def __init__(self, depth: int = 256, max_words: int = 64) -> None:
        self.depth, self.max_words = depth, max_words
        self.session = self.number = self.told = 0
        self.decoder = FrameDecoder()
        self.reply = self.rewind = False
        self.opened = 0
        self.begin(0)

    def begin(self, session: int) -> None:
        self.session = session
        self.committed = self.taken = 0
        self.incoming: deque[int] = deque()
        self.outgoing: list[int] = []
        self.base = self.position = 0
        self.told = self.depth

    def feed(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            known = frame.version == link_isa.LINK_VERSION
            if known and frame.flags & Flags.OPEN and frame.session != self.session:
                self.begin(frame.session)
                self.number = frame.number
                self.opened += 1
                self.reply = True
            elif known and frame.session == self.session != 0:
                self.number = frame.number
                if (frame.ack - self.base) % 65536 <= self.position - self.base:
                    ahead = (frame.ack - self.base) % 65536
                    del self.outgoing[:ahead]
                    self.base += ahead
                if frame.flags & Flags.REWIND:
                    self.position = self.base
                room = self.depth - (self.committed - self.taken)
                assert len(frame.words) <= room or frame.position != self.committed % 65536
                if frame.position == self.committed % 65536:
                    self.incoming.extend(frame.words)
                    self.committed += len(frame.words)
                self.reply |= bool(frame.flags or frame.words)
            else:
                self.reply = True

    def work(self, count: int) -> None:
        """Let the accelerator take up to so many words."""
        while count and self.incoming and len(self.outgoing) < self.depth:
            self.outgoing.append((self.incoming.popleft() + 1) % 2**32)
            self.taken += 1
            count -= 1

    def output(self) -> bytes:
        """Return a frame, or nothing."""
        words = self.outgoing[self.position - self.base:][:self.max_words]
        limit = self.taken + self.depth
        if not (self.reply or words or limit - self.told >= self.depth // 4):
            return b""
        self.reply, self.told = False, limit
        frame = Frame(number=self.number, errors=self.decoder.damaged % 256, session=self.session,
                      position=self.position % 65536, ack=self.committed % 65536,
                      limit=limit % 65536, words=tuple(words))
        self.position += len(words)
        return encode(frame)


class Line:
    """Loses and damages bytes, each way after a delay; keeps the order."""

    def __init__(self, rng: random.Random, rate: float, delay: int) -> None:
        self.rng, self.rate, self.delay = rng, rate, delay
        self.under_way: deque[tuple[int, bytes]] = deque()

    def send(self, data: bytes, time: int) -> None:
        damaged = bytearray()
        for byte in data:
            if self.rng.random() >= self.rate:
                damaged.append(byte)
                continue
            match self.rng.randrange(4):
                case 0:
                    damaged.append(byte ^ 1 << self.rng.randrange(8))
                case 1:
                    damaged += bytes([byte, byte])
                case 2:
                    damaged += self.rng.randbytes(3)
        self.under_way.append((time + self.delay, bytes(damaged)))

    def receive(self, time: int) -> bytes:
        data = b""
        while self.under_way and self.under_way[0][0] <= time:
            data += self.under_way.popleft()[1]
        return data


def transfer(seed: int, *, rate: float, delay: int, words: int, speed: int = 40, depth: int = 256,
             max_words: int = 64, reset_at: int | None = None) -> tuple[Link, Device, int]:
    """Send words until as many have come back; return both sides and the steps that it took."""
    rng = random.Random(seed)
    device, link = Device(depth, max_words), Link(SESSION)
    there, back = Line(rng, rate, delay), Line(rng, rate, delay)
    data = np.random.default_rng(seed).integers(0, 2**32, words, np.uint32)
    link.send(data)
    received = np.zeros(0, np.uint32)
    step = busy = 0
    while len(received) < words:
        step += 1
        assert step < 100_000 + 300 * words
        now = step * STEP
        link.feed(back.receive(step), now)
        received = np.concatenate([received, link.take(10_000)])
        if step >= busy and (out := link.output(now, waiting=True)):
            there.send(out, step)
            busy = step + len(out) // 300  # 3 Mbaud.
        device.feed(there.receive(step))
        device.work(rng.randrange(speed))
        if step == reset_at:
            device.begin(0)
        back.send(device.output(), step)
    assert np.array_equal(received, data + np.uint32(1))
    assert link.available == 0
    return link, device, step


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rate", "delay"), [(0, 1), (0.001, 1), (0.003, 20), (0.01, 5)])
def test_words_arrive_once_and_in_order(seed: int, rate: float, delay: int) -> None:
    link, device, _ = transfer(seed, rate=rate, delay=delay, words=3000)
    assert device.opened == 1
    assert bool(link.resent) == bool(rate)


@pytest.mark.parametrize(("depth", "max_words"), [(8, 1), (16, 255), (1024, 200)])
def test_windows_of_other_sizes(depth: int, max_words: int) -> None:
    transfer(1, rate=0.001, delay=2, words=1000, depth=depth, max_words=max_words)


def test_positions_begin_again_after_65536() -> None:
    transfer(1, rate=0.0002, delay=1, words=140_000, speed=300)


def test_a_line_as_slow_as_a_simulation_is_not_asked_all_the_time() -> None:
    """Answers take a second: words are sent once, and questions are few."""
    link, _, steps = transfer(1, rate=0, delay=500, words=3000)
    assert link.resent == 0
    assert steps < 20_000
    assert link.frames < 200


def test_a_good_line_is_kept_busy() -> None:
    _, _, steps = transfer(1, rate=0, delay=1, words=20_000, speed=300)
    # 18 bytes more for 64 words, at 300 bytes a step, and a few steps to begin.
    assert steps < 1.15 * 20_000 * 4 * (1 + 18 / 256) / 300 + 20


def test_a_device_that_starts_again_is_told_by_name() -> None:
    with pytest.raises(DeviceReset, match="Device was reset, or opened by another host"):
        transfer(1, rate=0, delay=3, words=3000, reset_at=100)


def opened() -> Link:
    link = Link(SESSION)
    assert link.output(0, waiting=True) == encode(
        Frame(flags=Flags.OPEN, number=1, session=SESSION))
    link.feed(encode(Frame(number=1, session=SESSION, limit=256)), 0)
    assert link.is_open
    return link


def test_frames_of_the_session_before_are_nobodys() -> None:
    link = Link(SESSION)
    link.output(0, waiting=True)
    link.feed(encode(Frame(session=99, position=5, words=(1, 2))), 0)
    assert not link.is_open
    assert link.output(0.05, waiting=True) == b""
    assert link.output(0.11, waiting=True) == encode(
        Frame(flags=Flags.OPEN, number=2, session=SESSION))


def test_the_number_of_the_session_before_is_not_taken() -> None:
    link = Link(SESSION)
    link.output(0, waiting=True)
    link.feed(encode(Frame(session=SESSION, number=1, ack=7, limit=263)), 0)
    assert link.stale
    assert not link.is_open


def test_another_version() -> None:
    link = Link(SESSION)
    with pytest.raises(WrongVersion, match=r"^Device speaks version 2 of the link, this driver 1$"):
        link.feed(encode(Frame(version=2)), 0)


@pytest.mark.parametrize("frame", [Frame(number=1, session=SESSION, ack=1, limit=256),
                                   Frame(number=2, session=SESSION, limit=256)])
def test_what_cannot_be(frame: Frame) -> None:
    with pytest.raises(ProtocolError, match=r"^Device acknowledges what was never sent$"):
        opened().feed(encode(frame), 0)


def test_a_dead_line_is_asked_less_and_less() -> None:
    link = opened()
    link.send(np.arange(10, dtype=np.uint32))
    times = [n * STEP for n in range(120_000) if link.output(n * STEP, waiting=True)]
    assert times[0] == 0
    assert len(times) < 200
    gaps = np.diff(times)
    assert gaps[0] < 0.3
    assert gaps[-1] > 1


def test_wrong_sessions() -> None:
    for session in (0, 65536):
        with pytest.raises(ValueError, match=rf"^Session must be 1 to 65535, not {session}$"):
            Link(session)
