"""Random frames, and what may become of them on a line."""

from __future__ import annotations

import random

from ...hw import link_isa
from ...hw.link_isa import ESCAPE, FLAG, Frame


__all__ = ["damage", "random_frame"]


def random_frame(rng: random.Random, words: int = 6) -> Frame:
    """Return a frame of any fields and up to ``words`` words, rich in bytes to be escaped."""
    def value(width: int) -> int:
        part = rng.choice([FLAG, ESCAPE, FLAG ^ 0x20, 0x00, 0xFF, rng.randrange(256)])
        return (part * 0x01010101 if rng.random() < 0.5 else rng.getrandbits(32)) % (1 << width)

    fields = {name: value(width) for name, width in link_isa.FRAME_FIELDS if name != "count"}
    return Frame(**fields, words=tuple(value(32) for _ in range(rng.randint(0, words))))


def damage(rng: random.Random, data: bytes) -> bytes:
    """Change, lose, double and insert bytes, or lose all from some byte on."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not damaged:
            break
        where = rng.randrange(len(damaged))
        match rng.randrange(5):
            case 0:
                damaged[where] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[where]
            case 2:
                damaged.insert(where, damaged[where])
            case 3:
                damaged[where:where] = rng.randbytes(rng.randint(1, 6))
            case 4:
                del damaged[where:]
    return bytes(damaged)
