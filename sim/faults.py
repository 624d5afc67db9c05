"""A bad cable: damages, loses and invents bytes between a board and its port, from a seed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping

from .pty_line import PtyLine


__all__ = ["KINDS", "FaultyLine"]

#: Kinds of faults, and how often each is chosen among them.
KINDS: Mapping[str, float] = {
    "flip": 20,     # a bit of a byte is another
    "drop": 20,     # a byte is lost
    "double": 12,   # a byte comes twice
    "insert": 12,   # bytes come that nobody sent
    "noise": 8,     # up to 40 bytes in a row are others
    "stall": 10,    # nothing moves for a while, in either direction
    "cut": 6,       # what is sent for a while is lost, in both directions
    "reset": 4,     # the board starts again
    "unplug": 4,    # the port disappears and comes back
}

#: Seconds of a stall, of a cut line, of an unplugged port, at most.
STALL, CUT, UNPLUGGED = 0.05, 0.05, 0.1


class FaultyLine:
    """A line that misbehaves now and then.

    Parameters
    ----------
    line : :class:`~oarlock.sim.pty_line.PtyLine`
        The good one, which stays its owner's.
    seed : :class:`int`
        Which bytes are hit, and how. Everything but the timing is the same for the same bytes.
    spacing : :class:`float`
        Bytes between faults, on average.
    kinds : mapping of :class:`str` to :class:`float`
        Weights by :data:`KINDS`.

    Members
    -------
    on_reset : callable
        Called for a ``reset``.
    counts : :class:`~collections.Counter`
        Faults so far, by their kind.
    """

    def __init__(self, line: PtyLine, *, seed: int, spacing: float,
                 kinds: Mapping[str, float] = KINDS) -> None:
        if unknown := {*kinds} - {*KINDS}:
            raise ValueError(f"Faults must be of {', '.join(KINDS)}, not {sorted(unknown)[0]!r}")
        if spacing < 0:
            raise ValueError(f"Spacing must be positive or 0, not {spacing!r}")
        self.line = line
        self.spacing = spacing
        self.kinds = dict(kinds)
        self.on_reset: Callable[[], None] = lambda: None
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._left = self._gap()
        self._noise = 0
        self._stalled = self._cut = self._unplugged = 0.0  # Until when.
        self._held = b""

    def calm(self) -> None:
        """Be a good line from now on, or as soon as what is wrong is over."""
        self.spacing = 0
        self._left = float("inf")
        self._noise = 0

    def storm(self, spacing: float) -> None:
        """Be a bad line from now on."""
        self.spacing = spacing
        self._left = self._gap()

    @property
    def is_settled(self) -> bool:
        """Whether the port is there and bytes pass."""
        return (not self._unplugged and not self._noise
                and time.monotonic() > max(self._stalled, self._cut))

    @property
    def total(self) -> int:
        """Number of faults so far."""
        return sum(self.counts.values())

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes of the user, or what became of them."""
        now = time.monotonic()
        if self._unplugged and now >= self._unplugged:
            self.line.plug_in()
            self._unplugged = 0.0
        if now < self._stalled:
            return b""
        data = self.line.read(count)
        return b"" if now < self._cut else self._damaged(data)

    def write(self, data: bytes) -> None:
        """Give bytes of the board, or what becomes of them, to the user."""
        now = time.monotonic()
        if now < self._cut:
            data = b""
        self._held += self._damaged(data)
        if now >= self._stalled:
            data, self._held = self._held, b""
            self.line.write(data)

    def wait(self, seconds: float) -> None:
        """Wait for the user, or for the end of what is wrong."""
        self.line.wait(0.01 if self._unplugged or self._held else seconds)

    def _gap(self) -> float:
        return self._rng.expovariate(1 / self.spacing) if self.spacing else float("inf")

    def _damaged(self, data: bytes) -> bytes:
        result = bytearray()
        for byte in data:
            if self._noise:
                self._noise -= 1
                result.append(self._rng.randrange(256))
                continue
            self._left -= 1
            if self._left > 0:
                result.append(byte)
                continue
            self._left = self._gap()
            result += self._fault(byte)
        return bytes(result)

    def _fault(self, byte: int) -> bytes:
        """Do something bad; return what takes the place of the byte."""
        rng, now = self._rng, time.monotonic()
        kind = rng.choices([*self.kinds], [*self.kinds.values()])[0]
        self.counts[kind] += 1
        match kind:
            case "flip":
                byte ^= 1 << rng.randrange(8)
            case "drop":
                return b""
            case "double":
                return bytes([byte, byte])
            case "insert":
                return rng.randbytes(rng.randint(1, 4)) + bytes([byte])
            case "noise":
                self._noise = rng.randrange(40)
                byte ^= 0xFF
            case "stall":
                self._stalled = now + rng.uniform(0, STALL)
            case "cut":
                self._cut = now + rng.uniform(0, CUT)
            case "reset":
                self.on_reset()
            case "unplug":
                self._unplugged = now + rng.uniform(0, UNPLUGGED)
                self._held = b""
                self.line.pull()
        return bytes([byte])
