"""Run-length coding of activations on the link: what the device's encoder and decoder do.

The format is that of docs/run-length-coding.md.
"""

from __future__ import annotations

import numpy as np

from ..hw import isa
from .errors import DriverError


__all__ = ["GROUP", "RunLengthError", "decode", "encode"]

#: Values that share a mask.
GROUP = 8
#: Groups of zeros that one run covers.
RUN_MAX = 256


class RunLengthError(DriverError):
    """A block that is not what docs/run-length-coding.md describes."""


def encode(words: np.ndarray, zero_point: int, *, coded: bool | None = None) -> np.ndarray:
    """Return raw words as a block, by default the shorter of coded and raw.

    Parameters
    ----------
    words : array of uint32
        Four values each, the first in the lowest byte.
    zero_point : :class:`int`
        -128 to 127: the value that stands for zero.
    coded : :class:`bool`, optional
        Code in any case, or in none.
    """
    words = np.ascontiguousarray(words, dtype="<u4").ravel()
    if len(words) >> isa.CODED_COUNT_WIDTH:
        raise RunLengthError(f"Block must have fewer than {1 << isa.CODED_COUNT_WIDTH} words, "
                             f"not {len(words)}")
    raw = np.concatenate([np.array([len(words)], "<u4"), words])
    if coded is False:
        return raw
    block = _coded(words, zero_point & 0xFF)
    return block if coded or len(block) < len(raw) else raw


def _coded(words: np.ndarray, zero: int) -> np.ndarray:
    values = words.view(np.uint8)
    count = -(-len(values) // GROUP)
    groups = np.full((count, GROUP), zero, np.uint8)
    groups.ravel()[:len(values)] = values
    there = groups != zero
    masks = np.packbits(there, axis=1, bitorder="little").ravel()
    # Every group that is not zero: its mask, then its values. Every run of others: 0, length - 1.
    parts: list[np.ndarray] = []
    position = 0
    for index in [*np.flatnonzero(masks).tolist(), count]:
        run = index - position
        for length in [RUN_MAX] * (run // RUN_MAX) + [run % RUN_MAX] * (run % RUN_MAX > 0):
            parts.append(np.array([0, length - 1], np.uint8))
        if index < count:
            parts += [masks[index:index + 1], groups[index][there[index]]]
        position = index + 1
    body = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    body = np.pad(body, (0, -len(body) % 4))
    head = np.array([len(words) | isa.CODED_FLAG], "<u4")
    return np.concatenate([head, body.view("<u4")])


def decode(block: np.ndarray, zero_point: int) -> np.ndarray:
    """Return the raw words of a block.

    Raises
    ------
    RunLengthError
        If it is malformed.
    """
    block = np.ascontiguousarray(block, dtype="<u4").ravel()
    if not len(block):
        raise RunLengthError("Block must have a header")
    head = int(block[0])
    count = head & (1 << isa.CODED_COUNT_WIDTH) - 1
    if head & ~isa.CODED_FLAG != count:
        raise RunLengthError(f"Header of a block must have no reserved bits, not {head:#010x}")
    if not head & isa.CODED_FLAG or not count:
        if len(block) != count + 1:
            raise RunLengthError(f"Block must have {count} words, not {len(block) - 1}")
        return block[1:]
    body = block[1:].view(np.uint8)
    values = np.full(4 * count, zero_point & 0xFF, np.uint8)
    position, place = 0, 0
    while place < len(values):
        mask = int(body[position]) if position < len(body) else 0
        if not mask:
            if position + 2 > len(body):
                raise RunLengthError(f"Block ends after {place} of {len(values)} values")
            place += GROUP * (int(body[position + 1]) + 1)
            position += 2
            if place - GROUP >= len(values):
                raise RunLengthError(f"Run must end with the block, not {place} values in")
            continue
        places = place + np.flatnonzero([mask >> n & 1 for n in range(GROUP)])
        if places[-1] >= len(values):
            raise RunLengthError("Mask must have no bits behind the end of the block")
        found = body[position + 1:position + 1 + len(places)]
        if len(found) < len(places):
            raise RunLengthError(f"Block ends after {place} of {len(values)} values")
        values[places] = found
        position += 1 + len(places)
        place += GROUP
    if len(body) - position >= 4 or body[position:].any():
        raise RunLengthError("Block must end with its last value and zeros up to the word")
    return values.view("<u4")
