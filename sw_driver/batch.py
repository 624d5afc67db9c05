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
    """Expected first words, one a command, and the payload after the last of them."""

    headers: np.ndarray
    payload: int = 0
    then: Handler | None = None


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


class Batch:
    """Commands that go out together, and what is expected in return."""

    def __init__(self) -> None:
        self.words: list[np.ndarray] = []
        self.answers: list[_Answer] = []
        self.sent = 0
        self.wanted = 0
        self.posted = False

    def add(self, words: np.ndarray, opcodes: np.ndarray, payload: int = 0,
            then: Handler | None = None) -> None:
        """Append commands; only the last may have a payload."""
        headers = answer_header(0) | opcodes.astype(np.uint32) << 20
        headers[-1] |= payload
        self.words.append(words)
        self.answers.append(_Answer(headers, payload, then))
        self.sent += len(words)
        self.wanted += len(headers) + payload

    def command(self, opcode: isa.Opcode, payload: int = 0, then: Handler | None = None, *,
                memory: int = 0, address: int = 0, count: int = 0,
                data: np.ndarray | None = None) -> None:
        """Append one command."""
        words = np.array(isa.command(opcode, memory=memory, address=address, count=count),
                         dtype=np.uint32)
        if data is not None:
            words = np.concatenate([words, data])
        self.add(words, np.array([opcode]), payload, then)

    def check(self, received: np.ndarray) -> None:
        """Compare what came with what was expected, and hand payloads on."""
        position = 0
        for answer in self.answers:
            headers = received[position:position + len(answer.headers)]
            wrong = np.flatnonzero(headers != answer.headers[:len(headers)])
            if wrong.size:
                check_header(int(headers[wrong[0]]), int(answer.headers[wrong[0]]))
            position += len(answer.headers)
            payload = received[position:position + answer.payload]
            position += answer.payload
            if position > len(received):
                missing = answer.headers[min(len(headers), len(answer.headers) - 1)]
                raise LinkTimeout(f"Answer to {_name(isa.response_fields(int(missing))[1])} did "
                                  f"not come: {len(received)} of {self.wanted} words did")
            if answer.then is not None:
                answer.then(payload)
