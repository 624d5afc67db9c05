"""A board that is not there: the simulated accelerator and its UART behind a pseudo-terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from .serial_simulator import SerialSimulator


__all__ = ["Emulator", "Line"]

#: Cycles between two looks at the line.
CHUNK = 2048

#: Bytes taken from the line ahead of the simulation: the fewer, the more can still be discarded.
AHEAD = 4

#: A line that has been quiet for so many cycles: time stands still until a byte comes. Whoever
#: waits for an answer asks, so nothing that runs for longer is held up for long.
QUIET_CYCLES = 2_000_000

#: Seconds of one sleep.
SLEEP = 0.1


class Line(Protocol):
    """What the board is connected to; see :class:`~oarlock.sim.pty_line.PtyLine`."""

    def read(self, count: int) -> bytes:
        """Return up to so many bytes for the board."""

    def write(self, data: bytes) -> None:
        """Take bytes of the board."""

    def wait(self, seconds: float) -> None:
        """Wait until there may be something to read."""


class Emulator:
    """Run a board on a line: every bit of the UART takes its cycles.

    Parameters
    ----------
    library : :class:`~pathlib.Path`
        What :func:`~oarlock.sim.serial_simulator.build_serial` returned.
    line : :class:`Line`
        What the board is connected to; stays its owner's.
    clock_hz, baud : :class:`float`
        Clock of the board, and bits a second of the far end.

    Members
    -------
    cycles : :class:`int`
        Cycles since the beginning.
    bytes_in, bytes_out : :class:`int`
        What the board has received and sent.
    """

    def __init__(self, library: Path, line: Line, *, clock_hz: float, baud: float) -> None:
        self.line = line
        self.bytes_in = self.bytes_out = 0
        self._board = SerialSimulator(library, cycles_per_bit=clock_hz / baud)
        self._waiting = b""
        self._quiet = 0

    @property
    def cycles(self) -> int:
        """Cycles since the beginning."""
        return self._board.cycles

    def reset(self) -> None:
        """Start the board again, as its reset button does."""
        self._board.reset()

    def step(self) -> None:
        """Simulate a little, or sleep a little if nothing happens."""
        if len(self._waiting) < AHEAD:
            self._waiting += self.line.read(AHEAD - len(self._waiting))
        if not self._waiting and self._quiet >= QUIET_CYCLES:
            self.line.write(b"")
            self.line.wait(SLEEP)
            return
        before = self._board.cycles
        taken, received = self._board.run(self._waiting, CHUNK)
        self._waiting = self._waiting[taken:]
        self.bytes_in += taken
        self.bytes_out += len(received)
        self._quiet = 0 if taken or received else self._quiet + self._board.cycles - before
        self.line.write(received)

    def run(self, until: Callable[[], bool]) -> None:
        """Simulate until this is true."""
        while not until():
            self.step()

    def close(self) -> None:
        """Free the simulation; may be called twice."""
        self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
