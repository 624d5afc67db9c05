"""The host's side of the serial link, without a port and without a clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..hw import link_isa
from ..hw.link_isa import Flags, Frame
from .errors import DeviceReset, ProtocolError, WrongVersion


__all__ = ["Link"]

#: Words of a frame: 18 other bytes are 7 % of it, and a damaged one is soon sent again.
FRAME_WORDS = 64

#: A lost frame halves the next ones, for the sake of very bad lines; each that arrives adds words.
CHUNK_GROWTH = 4

#: Answers are asked for before the 8-bit numbers of frames become ambiguous.
ASK_AFTER, STOP_AFTER = 100, 250

#: Seconds after which the host asks: at first, at least, usually at most, and of the dead.
FIRST_ASK, LEAST_ASK, MOST_ASK, RARE_ASK = 0.1, 0.02, 0.25, 2.0


@dataclass
class _Sent:
    """A frame with words that are not acknowledged."""

    number: int
    end: int


class Link:
    """Turn words into bytes for the device and its bytes into words; see ``docs/protocol.md``.

    Whoever uses it moves the bytes: :meth:`output` when the port can take some, :meth:`feed` with
    what came, both with the time in seconds. Positions and numbers count on here; only in frames
    they are cut to their bits.

    Parameters
    ----------
    session : :class:`int`
        The session to open, 1 to 65535, not used lately.

    Members
    -------
    is_open : :class:`bool`
        The device has answered.
    stale : :class:`bool`
        The device is in a session of this very number already: another must be opened.
    frames : :class:`int`
        Good frames received, of whatever session.
    damaged, echoes : :class:`int`
        Damaged frames received; frames that only a host sends.
    errors : :class:`int`
        Damaged frames that the device has received, modulo 256.
    resent : :class:`int`
        How often words had to be sent again, or asked for again.
    progress : :class:`int`
        Grows with every word that has arrived on either side.
    """

    def __init__(self, session: int) -> None:
        if not 0 < session < link_isa.POSITIONS:
            raise ValueError(f"Session must be 1 to 65535, not {session!r}")
        self.session = session
        self.is_open = self.stale = False
        self.frames = self.echoes = self.errors = self.resent = self.progress = 0
        self._decoder = link_isa.FrameDecoder()

        # Words to the device, from position _acked on.
        self._words = np.zeros(0, np.uint32)
        self._acked = self._next = self._limit = 0
        self._chunk = self._full = 0  # Words of a frame: now, and at best.
        self._under_way: deque[_Sent] = deque()
        self._number = self._echo = 0
        self._asked: dict[int, float] = {}  # When frames went out that are to be answered.

        # Words from the device, up to position _expected.
        self._received: list[Sequence[int]] = []
        self._expected = self._taken = self._told = 0
        self._rewind = False
        self._rewound = 0  # Number of the frame that asked last.

        # When to ask if nothing comes.
        self._ask_at = 0.0
        self._delay, self._deviation = FIRST_ASK, 0.0
        self._measured = False
        self._patience = 1.0

    @property
    def damaged(self) -> int:
        """Damaged frames received."""
        return self._decoder.damaged

    @property
    def unsent(self) -> int:
        """Words that the device has not acknowledged."""
        return len(self._words)

    @property
    def available(self) -> int:
        """Words that can be taken."""
        return self._expected - self._taken

    def send(self, words: np.ndarray) -> None:
        """Queue words for the device."""
        self._words = np.concatenate([self._words, words.astype(np.uint32)])

    def take(self, count: int) -> np.ndarray:
        """Return up to ``count`` words that have come."""
        words = np.array([word for part in self._received for word in part], dtype=np.uint32)
        self._received = [tuple(words[count:].tolist())]
        self._taken += len(words[:count])
        return words[:count]

    # Sending

    def output(self, now: float, *, waiting: bool) -> bytes:
        """Return the next frame, or nothing if there is none to be sent now.

        Parameters
        ----------
        now : :class:`float`
            The time.
        waiting : :class:`bool`
            Words are expected: ask for them from time to time.
        """
        late = now >= self._ask_at
        if not self.is_open:
            return self._frame(now, Flags.OPEN) if late else b""
        flags = Flags(0)
        if self._rewind:
            flags |= Flags.REWIND
        if late and (waiting or len(self._words)):
            flags |= Flags.POLL
        words = self._payload()
        if len(words):
            flags &= ~Flags.POLL  # It is answered anyway.
        elif not flags:
            if self._expected - self._told < self._full:
                return b""
            if self._number - self._echo >= ASK_AFTER:
                flags |= Flags.POLL
        # So many frames without any answer: whoever waits has a deadline.
        if self._number - self._echo >= STOP_AFTER:
            return b""
        return self._frame(now, flags, words)

    @property
    def wake(self) -> float:
        """The time from which :meth:`output` may have something, even if nothing is received."""
        return self._ask_at

    def _payload(self) -> np.ndarray:
        """Return the words that may be sent now: a full frame's, or all that there are."""
        start = self._next - self._acked
        allowed = self._limit - self._next
        words = self._words[start:start + self._chunk]
        # A small part of a frame only if nothing else is under way that makes room.
        if len(words) > allowed:
            words = words[:0] if self._under_way else words[:allowed]
        return words

    def _frame(self, now: float, flags: Flags, words: np.ndarray | None = None) -> bytes:
        payload = () if words is None else tuple(words.tolist())
        self._number += 1
        position = self._next
        if payload:
            self._next += len(payload)
            self._under_way.append(_Sent(self._number, self._next))
        if flags & Flags.REWIND:
            self._rewind = False
            self._rewound = self._number
        if payload or flags:
            self._asked[self._number] = now
            self._ask_at = now + self._interval()
            if flags & Flags.POLL:
                self._patience = min(2 * self._patience, 64.0)
        self._told = self._expected
        return link_isa.encode(Frame(
            flags=int(flags), number=self._number & 0xFF, session=self.session,
            position=position & 0xFFFF, ack=self._expected & 0xFFFF, words=payload))

    def _interval(self) -> float:
        """Return how long to wait for an answer: longer than the last ones took, then more."""
        base = max(LEAST_ASK, self._delay + 4 * self._deviation)
        most = RARE_ASK if self._number - self._echo >= ASK_AFTER else MOST_ASK
        # Never rarer than this for a line whose delays only vary: asking costs 36 bytes.
        return min(base * self._patience, max(most, 2 * self._delay))

    # Receiving

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes from the device.

        Raises
        ------
        WrongVersion
            If the device speaks another version of the link.
        DeviceReset
            If it is no longer in this session.
        ProtocolError
            If a frame is good and cannot be.
        """
        for frame in self._decoder.feed(data):
            self.frames += 1
            if frame.version != link_isa.LINK_VERSION:
                raise WrongVersion(f"Device speaks version {frame.version} of the link, "
                                   f"this driver {link_isa.LINK_VERSION}")
            if frame.flags:
                self.echoes += 1  # No device has any: this is a frame of ours.
            elif self.is_open:
                self._take_frame(frame, now)
            elif frame.session == self.session:
                # Whatever came before this is of another session, whatever comes now is of this.
                fresh = not (frame.position or frame.ack or frame.words)
                self.stale = not fresh
                self.is_open = fresh
                if fresh:
                    self._chunk = self._full = max(1, min(FRAME_WORDS, frame.limit // 4))
                    self._take_frame(frame, now)

    def _take_frame(self, frame: Frame, now: float) -> None:
        if frame.session != self.session:
            raise DeviceReset("Device was reset, or opened by another host, during the session")
        echo = self._echo + (frame.number - self._echo & 0xFF)
        ack = self._acked + (frame.ack - self._acked & 0xFFFF)
        limit = ack + (frame.limit - ack & 0xFFFF)
        if echo > self._number or ack > self._next:
            raise ProtocolError("Device acknowledges what was never sent")
        self.errors = frame.errors
        self._note_echo(echo, now)
        self._limit = limit
        self._note_ack(ack, echo)
        self._take_words(frame, echo)

    def _note_echo(self, echo: int, now: float) -> None:
        """Learn how long answers take."""
        self._echo = echo
        taken = self._asked.pop(echo, None)
        for number in [number for number in self._asked if number < echo]:
            del self._asked[number]
        if taken is not None:
            delay = now - taken
            if not self._measured:
                self._delay, self._deviation, self._measured = delay, delay / 2, True
            self._deviation += (abs(delay - self._delay) - self._deviation) / 4
            self._delay += (delay - self._delay) / 8
        self._ask_at = max(self._ask_at, now + self._interval())

    def _note_ack(self, ack: int, echo: int) -> None:
        if ack > self._acked:
            self._words = self._words[ack - self._acked:]
            self.progress += ack - self._acked
            self._acked = ack
            self._patience = 1.0
            while self._under_way and self._under_way[0].end <= ack:
                self._under_way.popleft()
                self._chunk = min(self._full, self._chunk + CHUNK_GROWTH)
        # The line keeps the order: this frame, or a later one, has arrived and was of no use.
        if self._under_way and self._under_way[0].number <= echo:
            self._under_way.clear()
            self._next = self._acked
            self._chunk = max(1, self._chunk // 2)
            self.resent += 1

    def _take_words(self, frame: Frame, echo: int) -> None:
        ahead = (frame.position - self._expected) & 0xFFFF
        if ahead >= link_isa.POSITIONS // 2:
            # Sent again from further back than needed.
            known = link_isa.POSITIONS - ahead
            words = frame.words[known:]
        elif ahead == 0:
            words = frame.words
        else:
            # Something is missing: ask, unless this was sent before the device could know.
            if echo >= self._rewound and not self._rewind:
                self._rewind = True
                self.resent += 1
            return
        if words:
            self._received.append(words)
            self._expected += len(words)
            self.progress += len(words)
            self._patience = 1.0
