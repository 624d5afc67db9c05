"""The frame receiver against frames that are cut short, damaged, or none at all."""

from __future__ import annotations

import os

from ...hw import link_isa
from ...hw.frame_receiver import HEADER
from ...hw.link_isa import FLAG, Frame, FrameDecoder, encode
from ..bench import Bench, bench_test
from .frame_noise import damage, random_frame
from .packing import fields_of


__all__ = ["damaged_frames", "noise", "truncated_frames"]

#: The receiver is promised so many cycles from a byte to the next.
SPACING = 16


class Receiver:
    """The component, and a decoder of link_isa that gets the same bytes.

    With ``OARLOCK_SABOTAGE`` the decoder gets others, to show that the bench would notice.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench, self.dut = bench, bench.dut
        self.rng = bench.rng("bytes")
        self.frames = bench.scoreboard("frames")
        self.decoder = FrameDecoder()
        self.sabotage = os.environ.get("OARLOCK_SABOTAGE")
        self.words: list[int] = []
        self.bad = 0
        self.dut.error.value = 0
        self.dut.i__valid.value = 0

    async def feed(self, data: bytes) -> None:
        """Send bytes, some close together and some not."""
        for byte in data:
            seen = byte
            if self.sabotage == "flip" and self.rng.random() < 0.01:
                seen ^= 1
            for frame in self.decoder.feed(bytes([seen])):
                self.frames.expect(frame)
            self.dut.i__valid.value = 1
            self.dut.i__payload.value = byte
            await self.watch(1)
            self.dut.i__valid.value = 0
            self.dut.i__payload.value = self.rng.getrandbits(8)
            await self.watch(SPACING - 1 + self.rng.choice([0, 0, 0, 5]))

    async def watch(self, cycles: int) -> None:
        """Take what the receiver says."""
        for _ in range(cycles):
            await self.bench.cycle()
            if int(self.dut.start.value):
                self.words.clear()
            if int(self.dut.word_valid.value):
                self.words.append(int(self.dut.word.value))
            self.bad += int(self.dut.bad.value)
            if int(self.dut.good.value):
                fields = fields_of(HEADER, int(self.dut.header.value))
                assert fields.pop("count") == len(self.words)
                self.frames.see(Frame(**fields, words=tuple(self.words)))

    async def finish(self) -> None:
        """See whether a good frame still is found, and all bad ones were counted."""
        await self.feed(bytes([FLAG]) + encode(Frame(words=(1, 2, 3))))
        await self.watch(4)
        assert self.bad == self.decoder.damaged + (self.sabotage == "count")
        assert self.frames.seen


@bench_test(cycles=80_000)
async def truncated_frames(bench: Bench) -> None:
    """Cut frames anywhere, at either end, and put whole ones between."""
    receiver, rng = Receiver(bench), bench.rng("cuts")
    for _ in range(30):
        frame = encode(random_frame(rng))
        where = rng.randrange(len(frame) + 1)
        await receiver.feed(rng.choice([frame, frame[:where], frame[where:], frame[1:]]))
    await receiver.finish()


@bench_test(cycles=120_000)
async def damaged_frames(bench: Bench) -> None:
    """Change, lose, double and insert bytes, in most frames at least once."""
    receiver, rng = Receiver(bench), bench.rng("damage")
    for _ in range(40):
        frame = encode(random_frame(rng))
        await receiver.feed(damage(rng, frame) if rng.random() < 0.7 else frame)
    await receiver.finish()


@bench_test(cycles=120_000)
async def noise(bench: Bench) -> None:
    """Send random bytes, of which many are FLAG or ESCAPE."""
    receiver, rng = Receiver(bench), bench.rng("noise")
    for _ in range(15):
        await receiver.feed(bytes(rng.choice([FLAG, link_isa.ESCAPE, rng.randrange(256)])
                                  for _ in range(rng.randrange(100))))
        await receiver.feed(bytes([FLAG]) + encode(random_frame(rng)))
    await receiver.finish()
