"""The link of a whole board, frame by frame, as docs/protocol.md promises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from oarlock.hw import isa
from oarlock.hw.isa import Memory, Opcode
from oarlock.hw.link_isa import LINK_VERSION, Flags, Frame, FrameDecoder, encode
from oarlock.sim.serial_simulator import SerialSimulator, build_serial
from serial_board import BAUD, CLOCK, CONFIG


DEPTH = 256
CHUNK = 400  # Cycles of ten bytes.


class FarEnd:
    """Sends frames to a board and collects what it says."""

    def __init__(self, board: SerialSimulator) -> None:
        self.board = board
        self.decoder = FrameDecoder()
        self.number = 0

    def send(self, *data: bytes | Frame, quiet: int = 8000) -> list[Frame]:
        """Send frames or bytes; return the frames that come until the line has been quiet."""
        raw = b"".join(encode(item) if isinstance(item, Frame) else item for item in data)
        found: list[Frame] = []
        left = quiet
        while raw or left > 0:
            taken, received = self.board.run(raw, CHUNK)
            raw = raw[taken:]
            found += self.decoder.feed(received)
            left = quiet if raw or received else left - CHUNK
        assert not self.decoder.damaged
        return found

    def open(self, session: int) -> Frame:
        """Open a session; return the answer."""
        answer, = self.send(Frame(flags=Flags.OPEN, number=1, session=session))
        return answer

    def command(self, opcode: Opcode, position: int, *, number: int = 2, session: int = 7,
                data: tuple[int, ...] = (), **fields: int) -> list[Frame]:
        """Send a command in one frame."""
        words = (*isa.command(opcode, **fields), *data)
        return self.send(Frame(number=number, session=session, position=position, words=words))


@pytest.fixture
def end() -> Iterator[FarEnd]:
    library = build_serial(CONFIG, clock_hz=CLOCK, baud=BAUD)
    with SerialSimulator(library, cycles_per_bit=CLOCK / BAUD) as board:
        board.run(b"", 500)
        yield FarEnd(board)


def words_of(frames: list[Frame]) -> tuple[int, ...]:
    return tuple(word for frame in frames for word in frame.words)


def test_information(end: FarEnd) -> None:
    assert end.open(7) == Frame(number=1, session=7, limit=DEPTH)
    frames = end.command(Opcode.INFO, 0)
    # The frame is acknowledged at once; the answer comes behind it.
    assert frames[0] == Frame(number=2, session=7, ack=3, limit=DEPTH)
    count = len(isa.INFO_FIELDS)
    assert words_of(frames) == (isa.RESPONSE_SYNC << 24 | Opcode.INFO << 20 | count,
                                *CONFIG.info().values())
    assert frames[-1].limit == DEPTH + 3


def test_nothing_is_said_unasked(end: FarEnd) -> None:
    assert end.send(b"", quiet=50_000) == []
    end.open(7)
    # An acknowledgement is not acknowledged.
    assert end.send(Frame(number=2, session=7), quiet=50_000) == []
    assert len(end.send(Frame(number=3, flags=Flags.POLL, session=7), quiet=50_000)) == 1


def test_without_a_session_nothing_reaches_the_accelerator(end: FarEnd) -> None:
    answer, = end.command(Opcode.INFO, 0)
    assert answer == Frame(limit=DEPTH)
    # Nor with one that is not this.
    end.open(7)
    answer, = end.command(Opcode.INFO, 0, session=8, number=99)
    assert answer == Frame(number=1, session=7, limit=DEPTH)


def test_opening_twice_is_opening_once(end: FarEnd) -> None:
    end.open(7)
    end.command(Opcode.CLEAR, 0)
    answer = end.open(7)
    assert (answer.session, answer.ack, answer.position) == (7, 3, 1)
    # Another one begins from the beginning, and nothing of the first is left.
    assert end.open(8) == Frame(number=1, session=8, limit=DEPTH)
    assert end.send(Frame(number=2, flags=Flags.REWIND, session=8)) == [
        Frame(number=2, session=8, limit=DEPTH)]
    # Session 0 is none.
    assert end.open(0) == Frame(limit=DEPTH, number=1)
    assert end.command(Opcode.INFO, 0, session=0) == [Frame(limit=DEPTH, number=1)]


def test_a_new_session_stops_what_the_accelerator_was_doing(end: FarEnd) -> None:
    end.open(7)
    # Half of a WRITE: whatever came next would be its data.
    end.command(Opcode.WRITE, 0, memory=Memory.PROGRAM, count=100, data=(1, 2, 3))
    end.open(8)
    assert len(words_of(end.command(Opcode.INFO, 0, session=8))) == 1 + len(isa.INFO_FIELDS)


def test_a_frame_out_of_order_is_refused_and_told(end: FarEnd) -> None:
    end.open(7)
    clear = tuple(isa.command(Opcode.CLEAR))
    first, second = (Frame(number=n, session=7, position=3 * n - 6, words=clear) for n in (2, 3))
    # The second alone: acknowledged is its number, but none of its words.
    assert end.send(second) == [Frame(number=3, session=7, limit=DEPTH)]
    frames = end.send(first, second._replace(number=5), second._replace(number=6))
    assert frames[-1].ack == 6
    assert frames[-1].number == 6
    assert len(words_of(frames)) == 2


def test_words_are_sent_again_until_they_are_acknowledged(end: FarEnd) -> None:
    end.open(7)
    info = words_of(end.command(Opcode.INFO, 0))
    for number in (3, 4):
        assert words_of(end.send(Frame(number=number, flags=Flags.REWIND, session=7))) == info
    again = end.send(Frame(number=5, flags=Flags.REWIND, session=7, ack=10))
    assert (again[0].position, words_of(again)) == (10, info[10:])
    # An acknowledgement of what was never sent, or was acknowledged before, changes nothing.
    for ack in (len(info) + 1, 9, 40_000):
        again = end.send(Frame(number=6, flags=Flags.REWIND, session=7, ack=ack))
        assert (again[0].position, words_of(again)) == (10, info[10:])
    last, = end.send(Frame(number=7, flags=Flags.REWIND, session=7, ack=len(info)))
    assert (last.position, last.words) == (len(info), ())


def test_what_does_not_fit_is_refused_and_room_is_told(end: FarEnd) -> None:
    end.open(7)
    # The answer of a READ that nobody acknowledges blocks the decoder, and then the window fills.
    read = isa.command(Opcode.READ, memory=Memory.PROGRAM, count=256)
    end.send(Frame(number=2, session=7, words=tuple(read)))
    end.send(Frame(number=3, session=7, position=3, words=tuple(read)))
    position, number = 6, 4
    clears = tuple(isa.command(Opcode.CLEAR)) * 20
    while True:
        answer = end.send(Frame(number=number, session=7, position=position, words=clears))[-1]
        if answer.ack == position:
            break
        position, number = position + 60, number + 1
    assert answer.limit - answer.ack < 60
    assert answer.ack == position <= 6 + DEPTH
    # Acknowledged step by step, all comes; and the device says on its own that there is room.
    received: list[int] = []
    start, limits = 0, set()
    for _ in range(30):
        frames = end.send(Frame(number=number, flags=Flags.REWIND, session=7, position=position,
                                ack=len(received)))
        for frame in frames:
            start = len(received) - frame.position
            received += frame.words[start:]
            limits.add(frame.limit)
    assert len(received) == 2 * 257 + (position - 6) // 3
    assert max(limits) == position + DEPTH
    assert received[0] == received[257] == isa.RESPONSE_SYNC << 24 | Opcode.READ << 20 | 256


def test_another_version_of_the_link_is_told_ours(end: FarEnd) -> None:
    end.open(7)
    answer, = end.send(Frame(version=LINK_VERSION + 1, number=5, flags=Flags.OPEN, session=9))
    assert answer == Frame(number=1, session=7, limit=DEPTH)


def test_garbage_is_counted_and_forgotten(end: FarEnd) -> None:
    rng = np.random.default_rng(1)
    end.open(7)
    good = Frame(number=2, flags=Flags.POLL, session=7)
    assert [frame.errors for frame in end.send(rng.bytes(300).replace(b"~", b""), good)] == [1]
    broken = encode(Frame(number=3, session=7, words=(1, 2, 3)))[:-9]
    assert [frame.errors for frame in end.send(broken, good)] == [2]
    assert [frame.ack for frame in end.send(broken + broken, good)] == [0]


def test_started_again_in_the_middle(end: FarEnd) -> None:
    end.open(7)
    end.board.reset()
    answer, = end.command(Opcode.INFO, 0)
    assert answer == Frame(limit=DEPTH)
    assert end.open(9).session == 9
    # Half a frame was under way.
    end.send(encode(Frame(number=2, session=9, words=(1, 2, 3)))[:20], quiet=0)
    end.board.reset()
    assert end.open(10).session == 10


def test_positions_begin_again_after_65536(end: FarEnd) -> None:
    end.open(7)
    words = tuple(isa.command(Opcode.WRITE, memory=Memory.GLOBAL_BUFFER, count=237))
    words += tuple(range(237))
    position, answers = 0, 0
    for number in range(2, 2 + 290):
        frames = end.send(Frame(number=number & 0xFF, session=7, position=position & 0xFFFF,
                                ack=answers & 0xFFFF, words=words), quiet=1600)
        position += 240
        answers += len(words_of(frames))
        assert frames[-1].ack == position & 0xFFFF
    assert position > 65536
    assert answers == 290
