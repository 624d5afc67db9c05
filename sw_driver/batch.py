"""Commands that go out together, and the answers that are expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..hw import isa
from .errors import DeviceError, LinkTimeout, ProtocolError


__all__ = ["Batch", "Handler", "answer_header", "check_header"]

Handler = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class _Answer:
    """Expected first words, one a command, and the payload after the last of them.

    With a ``limit`` the payload has 1 to so many words, which the first word tells.
    """

    headers: np.ndarray
    payload: int = 0
    then: Handler | None = None
    limit: int = 0


def answer_header(opcode: int, payload: int = 0) -> int:
    """Return the first word of a good answer."""
    return isa.RESPONSE_SYNC << 24 | opcode << 20 | isa.Status.OK << 16 | payload


def _name(opcode: int) -> str:
    return isa.Opcode(opcode).name if opcode in [*isa.Opcode] else f"opcode {opcode}"


def check_header(word: int, expected: int) -> None:
    """Raise what is wrong with the first word of an answer, if anything is."""
    sync, opcode, status, payload = isa.response_fields(word)
    _, wanted, _, wanted_payload = isa.response_fields(expected)
    if sync != isa.RESPONSE_SYNC:
        raise ProtocolError(f"Answer to {_name(wanted)} begins with {word:#010x}, which is none")
    if status != isa.Status.OK:
        raise DeviceError(_name(wanted), status)
    if opcode != wanted:
        raise ProtocolError(f"Answer to {_name(wanted)} came as one to {_name(opcode)}")
    if payload != wanted_payload:
        raise ProtocolError(f"Answer to {_name(wanted)} has {payload} words, "
                            f"not {wanted_payload}")


class _Stage:
    """Commands up to one whose answer is of a length that only its first word tells."""

    def __init__(self) -> None:
        self.words: list[np.ndarray] = []
        self.answers: list[_Answer] = []
        self.wanted = 0


class Batch:
    """Commands that go out together, and what is expected in return.

    Members
    -------
    sent, received : :class:`int`
        Words to be sent; words that have come.
    posted : :class:`bool`
        The words are on their way already.
    """

    def __init__(self) -> None:
        self.stages = [_Stage()]
        self.sent = 0
        self.received = 0
        self.posted = False

    @property
    def words(self) -> np.ndarray:
        """All words to be sent."""
        return np.concatenate([words for stage in self.stages for words in stage.words])

    def add(self, words: np.ndarray, opcodes: np.ndarray, payload: int = 0,
            then: Handler | None = None, *, limit: int = 0) -> None:
        """Append commands; only the last may have a payload, of up to ``limit`` words if given."""
        headers = answer_header(0) | opcodes.astype(np.uint32) << 20
        headers[-1] |= payload
        stage = self.stages[-1]
        stage.words.append(words)
        stage.answers.append(_Answer(headers, payload, then, limit))
        stage.wanted += len(headers) + payload
        self.sent += len(words)
        if limit:
            self.stages.append(_Stage())

    def command(self, opcode: isa.Opcode, payload: int = 0, then: Handler | None = None, *,
                memory: int = 0, operand: int = 0, address: int = 0, count: int = 0,
                data: np.ndarray | None = None, limit: int = 0) -> None:
        """Append one command; see :meth:`add`."""
        words = np.array(isa.command(opcode, memory=memory, operand=operand, address=address,
                                     count=count), dtype=np.uint32)
        if data is not None:
            words = np.concatenate([words, data])
        self.add(words, np.array([opcode]), payload, then, limit=limit)

    def exchange(self, exchange: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Send all, compare what comes with what is expected, and hand payloads on.

        Parameters
        ----------
        exchange : callable
            Sends words and returns so many, or fewer if it gave up.
        """
        # The payload that the stage before has announced.
        size, then = 0, None
        for stage in self.stages:
            words = np.concatenate([np.zeros(0, np.uint32), *([] if self.posted else stage.words)])
            wanted = size + stage.wanted
            if not wanted:
                break
            received = exchange(words, wanted)
            self.received += len(received)
            if len(received) < size:
                raise _missing(isa.Opcode.READ, len(received), size)
            if then is not None:
                then(received[:size])
            size, then = _check(stage, received[size:])


def _missing(opcode: int, found: int, wanted: int) -> LinkTimeout:
    return LinkTimeout(f"Answer to {_name(opcode)} did not come: {found} of {wanted} words did")


def _check(stage: _Stage, received: np.ndarray) -> tuple[int, Handler | None]:
    """Check a stage's answers; return the words that its last announces, and what takes them."""
    position, size, then = 0, 0, None
    for answer in stage.answers:
        headers = received[position:position + len(answer.headers)]
        expected = answer.headers[:len(headers)]
        if answer.limit and len(headers):
            size, then = int(headers[0]) & 0xFFFF, answer.then
            expected = expected | (size if 0 < size <= answer.limit else answer.limit)
        wrong = np.flatnonzero(headers != expected)
        if wrong.size:
            check_header(int(headers[wrong[0]]), int(expected[wrong[0]]))
        position += len(answer.headers)
        payload = received[position:position + answer.payload]
        position += answer.payload
        if position > len(received):
            missing = answer.headers[min(len(headers), len(answer.headers) - 1)]
            raise _missing(isa.response_fields(int(missing))[1], len(received), stage.wanted)
        if answer.then is not None and not answer.limit:
            answer.then(payload)
    return size, then
