"""How parts of tensors cross the link: run-length coded where that is worth it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..hw import isa
from .run_length import encode


__all__ = ["box_words", "coded_operand", "read_pieces"]

READ_LIMIT = 0xFFFF
#: Words from which on a read is worth its length being asked for: the host waits for it.
CODED_READ_LEAST = 32


def coded_operand(zero: int) -> int:
    """Return the operand of a command that moves a block with this zero point."""
    return isa.CODED_OPERAND | zero & 0xFF


def box_words(values: np.ndarray, zero: int | None) -> tuple[np.ndarray, int]:
    """Return the words that write int8 values, and the command's operand.

    Parameters
    ----------
    values : int8 array
        What to write.
    zero : :class:`int`, optional
        The zero point, if a block may be sent; it is if that is shorter.
    """
    data = values.tobytes()
    data += bytes([(zero or 0) & 0xFF]) * (-len(data) % 4)
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    if zero is not None:
        block = encode(words, zero)
        if len(block) < len(words):
            return block.astype(np.uint32), coded_operand(zero)
    return words, 0


def read_pieces(size: int, *, coded: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield first word, words and whether as a block, of the commands that read ``size`` bytes."""
    whole, words = size // 4, -(-size // 4)
    done = 0
    if coded and whole >= CODED_READ_LEAST:
        # A block may have a word more.
        for done in range(0, whole, READ_LIMIT - 1):
            yield done, min(READ_LIMIT - 1, whole - done), True
        # Of the last word, bytes belong to something else: what they are must not change lengths.
        done = whole
    for start in range(done, words, READ_LIMIT):
        yield start, min(READ_LIMIT, words - start), False
