"""Frames in plain Python: what is encoded is found again, whatever surrounds it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oarlock.hw import link_isa
from oarlock.hw.link_isa import Frame, FrameDecoder, encode, parse, uart_divisor


FRAMES = st.builds(Frame, words=st.lists(st.integers(0, 2**32 - 1), max_size=8).map(tuple), **{
    name: st.integers(0, 2**width - 1)
    for name, width in link_isa.FRAME_FIELDS if name != "count"})


@given(FRAMES)
def test_a_frame_is_found_again(frame: Frame) -> None:
    data = encode(frame)
    assert data[0] == data[-1] == link_isa.FLAG
    assert link_isa.FLAG not in data[1:-1]
    assert parse(data[1:-1]) == frame
    assert [*FrameDecoder().feed(data)] == [frame]


@given(st.lists(FRAMES, max_size=5), st.binary(max_size=20), st.integers(1, 9))
@settings(max_examples=50)
def test_frames_are_found_after_garbage_and_in_pieces(
        frames: list[Frame], garbage: bytes, piece: int) -> None:
    data = garbage + b"".join(map(encode, frames))
    decoder = FrameDecoder()
    found = [frame for n in range(0, len(data), piece) for frame in decoder.feed(data[n:n + piece])]
    assert found == frames


def test_damage_is_counted_and_nothing_is_believed() -> None:
    rng = random.Random(1)
    frame = encode(Frame(words=(1, 2, 3)))
    for _ in range(2000):
        wrong = bytearray(frame)
        for _ in range(rng.randint(1, 4)):
            wrong[rng.randrange(1, len(wrong) - 1)] ^= 1 << rng.randrange(8)
        if wrong == frame:
            continue
        decoder = FrameDecoder()
        assert [*decoder.feed(wrong)] == []
        assert decoder.damaged
        assert [*decoder.feed(frame)] == [Frame(words=(1, 2, 3))]


def test_a_body_without_end_takes_no_memory() -> None:
    decoder = FrameDecoder()
    for _ in range(100):
        assert [*decoder.feed(b"~" + bytes(10000))] == []
    assert len(decoder._body) <= FrameDecoder.MAX_BODY + 1
    assert [*decoder.feed(encode(Frame()))] == [Frame()]


def test_wrong_fields() -> None:
    with pytest.raises(ValueError, match=r"^Field session must be 16 bits, not 65536$"):
        encode(Frame(session=65536))
    with pytest.raises(ValueError, match=r"^Field count must be 8 bits, not 256$"):
        encode(Frame(words=(0,) * 256))


@pytest.mark.parametrize(("clock", "baud", "divisor"), [
    (60e6, 3e6, 20), (80e6, 3e6, 27), (18e6, 3e6, 6), (12e6, 3e6, 4), (50e6, 115200, 434)])
def test_divisors(clock: float, baud: float, divisor: int) -> None:
    assert uart_divisor(clock_hz=clock, baud=baud) == divisor


@pytest.mark.parametrize(("clock", "baud"), [(10e6, 3e6), (20e6, 3e6), (13.5e6, 3e6)])
def test_impossible_rates(clock: float, baud: float) -> None:
    with pytest.raises(ValueError, match=r"^Baud rate must be within 2 % of the clock"):
        uart_divisor(clock_hz=clock, baud=baud)
