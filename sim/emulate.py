"""What ``oarlock emulate`` does: a board that is simulated until somebody ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..gen import cache
from ..gen.config import ArrayConfig
from ..gen.errors import OarlockError
from .emulator import Emulator, Line
from .faults import FaultyLine
from .pty_line import PtyLine
from .serial_simulator import build_serial


__all__ = ["emulate"]


def emulate(config: ArrayConfig, *, name: str, clock_hz: int, baud: int,
            link: Path | None = None, faults: float = 0, seed: int = 1,
            progress: cache.Progress = cache.no_progress,
            say: Callable[[str], None] = print,
            until: Callable[[], bool] = lambda: False) -> None:
    """Simulate a board behind a pseudo-terminal.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The accelerator.
    name : :class:`str`
        Name of its preset, for the announcement.
    clock_hz, baud : :class:`int`
        Clock and UART of the board.
    link : :class:`~pathlib.Path`, optional
        A symbolic link to be made to the port.
    faults : :class:`float`
        Bytes between faults on the way, on average; 0: none.
    seed : :class:`int`
        Of the faults.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what has to be built.
    say : callable
        Takes the announcement when the port is there, and lines of what happened after the end.
    until : callable
        Whether to end.

    Raises
    ------
    OarlockError
        If the baud rate cannot be made of the clock, or a tool is missing.
    """
    if faults < 0:
        raise OarlockError(f"faults must be a number of bytes, or 0, not {faults:g}")
    try:
        library = build_serial(config, clock_hz=clock_hz, baud=baud, progress=progress)
    except ValueError as error:
        raise OarlockError(str(error)) from error
    with ExitStack() as stack:
        pty = stack.enter_context(PtyLine(link))
        bad = FaultyLine(pty, seed=seed, spacing=faults) if faults else None
        line: Line = pty if bad is None else bad
        emulator = stack.enter_context(Emulator(library, line, clock_hz=clock_hz, baud=baud))
        if bad is not None:
            bad.on_reset = emulator.reset
        say(f"{name}: {config.rows}x{config.cols} PEs at {clock_hz / 1e6:g} MHz, {baud:,} baud, "
            f"simulated, on {pty.port}\n"
            f"oarlock run MODEL.tflite --preset {name} --target serial:{pty.port}")
        try:
            emulator.run(until)
        finally:
            say(f"{emulator.cycles:,} cycles, {emulator.bytes_in:,} bytes in, "
                f"{emulator.bytes_out:,} bytes out")
            if bad is not None:
                say(f"{bad.total:,} faults: " + ", ".join(
                    f"{count} {kind}" for kind, count in sorted(bad.counts.items())))
