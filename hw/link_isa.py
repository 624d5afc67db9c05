"""Frames of the serial link: the contract of gateware and driver; see ``docs/protocol.md``.

Plain Python, standard library only. Nothing outside this file states a field or a special byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import IntFlag
from typing import NamedTuple


__all__ = [
    "CRC_INIT", "CRC_POLYNOMIAL", "CRC_RESIDUE", "ESCAPE", "ESCAPE_XOR", "FLAG", "FRAME_FIELDS",
    "HEADER_BYTES", "LINK_VERSION", "MAX_COUNT", "NO_SESSION", "POSITIONS", "TRAILER_BYTES",
    "Flags", "Frame", "FrameDecoder", "encode", "parse", "uart_divisor",
]

LINK_VERSION = 1

FLAG       = 0x7E  #: Before and after each frame, and nowhere inside.
ESCAPE     = 0x7D  #: Announces that the next byte was exclusive-ored with ESCAPE_XOR.
ESCAPE_XOR = 0x20

#: Name and bits; packed in this order from bit 0 of the first byte up, little-endian.
FRAME_FIELDS = (
    ("flags", 4),
    ("version", 4),    # LINK_VERSION
    ("number", 8),     # host: of this frame; device: of the last good frame of this session
    ("count", 8),      # words of payload
    ("errors", 8),     # host: 0; device: damaged frames since it was started, modulo 256
    ("session", 16),   # chosen by the host; device: NO_SESSION if there is none
    ("position", 16),  # of the first word of the payload in the stream, modulo 2**16
    ("ack", 16),       # position of the next word expected from the other side
    ("limit", 16),     # device: position of the first word that may not be sent yet; host: 0
)
HEADER_BYTES  = sum(width for _, width in FRAME_FIELDS) // 8
TRAILER_BYTES = 4
MAX_COUNT     = 255
POSITIONS     = 1 << 16
NO_SESSION    = 0

# CRC-32 of Ethernet and zip: reflected, all ones at first, complemented in the end.
CRC_POLYNOMIAL = 0xEDB88320
CRC_INIT       = 0xFFFFFFFF
CRC_RESIDUE    = 0xDEBB20E3  #: What the register holds after a good frame with its CRC.


class Flags(IntFlag):
    """What a frame of the host asks for; frames of the device have none."""

    POLL = 1    #: Answer this frame, even though it has no payload.
    REWIND = 2  #: Send everything from ``ack`` on again; implies POLL.
    OPEN = 4    #: Reset the accelerator and begin ``session``, unless it is that already.


class Frame(NamedTuple):
    """Fields of :data:`FRAME_FIELDS`, and the words of the payload."""

    flags: int = 0
    version: int = LINK_VERSION
    number: int = 0
    errors: int = 0
    session: int = NO_SESSION
    position: int = 0
    ack: int = 0
    limit: int = 0
    words: tuple[int, ...] = ()


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame, from FLAG to FLAG."""
    header = offset = 0
    for name, width in FRAME_FIELDS:
        value = len(frame.words) if name == "count" else getattr(frame, name)
        if not 0 <= value < 1 << width:
            raise ValueError(f"Field {name} must be {width} bits, not {value!r}")
        header |= value << offset
        offset += width
    body = header.to_bytes(HEADER_BYTES, "little")
    body += b"".join(word.to_bytes(4, "little") for word in frame.words)
    body += zlib.crc32(body).to_bytes(TRAILER_BYTES, "little")
    # The escape first: what escaping a FLAG adds must not be escaped again.
    for special in (ESCAPE, FLAG):
        body = body.replace(bytes([special]), bytes([ESCAPE, special ^ ESCAPE_XOR]))
    return bytes([FLAG]) + body + bytes([FLAG])


def parse(body: bytes) -> Frame | None:
    """Return the frame between two FLAGs, or None if it is damaged."""
    first, *others = body.split(bytes([ESCAPE]))
    if not all(others):
        return None
    plain = first + b"".join(bytes([part[0] ^ ESCAPE_XOR]) + part[1:] for part in others)
    content, crc = plain[:-TRAILER_BYTES], plain[-TRAILER_BYTES:]
    if len(content) < HEADER_BYTES or zlib.crc32(content).to_bytes(TRAILER_BYTES, "little") != crc:
        return None
    header = int.from_bytes(content[:HEADER_BYTES], "little")
    fields: dict[str, int] = {}
    for name, width in FRAME_FIELDS:
        fields[name] = header & (1 << width) - 1
        header >>= width
    payload = content[HEADER_BYTES:]
    if len(payload) != 4 * fields.pop("count"):
        return None
    words = tuple(int.from_bytes(payload[n:n + 4], "little") for n in range(0, len(payload), 4))
    return Frame(**fields, words=words)


class FrameDecoder:
    """Finds frames in a stream of bytes that may hold anything.

    Members
    -------
    damaged : :class:`int`
        Number of damaged frames so far; what comes before the first FLAG counts as none.
    """

    #: A frame with every byte escaped; what is longer is none.
    MAX_BODY = 2 * (HEADER_BYTES + 4 * MAX_COUNT + TRAILER_BYTES)

    def __init__(self) -> None:
        self.damaged = 0
        self._body = bytearray()
        self._inside = False

    def feed(self, data: bytes) -> Iterable[Frame]:
        """Yield the good frames that end in ``data``."""
        *ended, rest = data.split(bytes([FLAG]))
        for part in ended:
            body = bytes(self._body + part)
            self._body.clear()
            if self._inside and body:
                frame = parse(body)
                if frame is not None:
                    yield frame
                else:
                    self.damaged += 1
            self._inside = True
        # A byte more than any frame has is enough to know that this is none.
        self._body += rest[:self.MAX_BODY + 1 - len(self._body)]


def uart_divisor(*, clock_hz: float, baud: float, tolerance: float = 0.02) -> int:
    """Return the cycles of a bit.

    Raises
    ------
    ValueError
        If a whole number of cycles is off by more than ``tolerance``, or too small.
    """
    divisor = round(clock_hz / baud)
    if divisor < 4 or abs(divisor * baud / clock_hz - 1) > tolerance:
        raise ValueError(f"Baud rate must be within {100 * tolerance:g} % of the clock "
                         f"({clock_hz:,.0f} Hz) by a whole number from 4 on, not {baud:,.0f}")
    return divisor
