"""The Verilated accelerator behind its UART, as a library in this process."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Self

from ..gen import cache
from ..gen.config import ArrayConfig
from ..gen.verilog import verilog_of
from ..hw.link_isa import uart_divisor
from .simulator import build
from .toolchain import ToolError


__all__ = ["SerialSimulator", "build_serial"]

HARNESS = Path(__file__).with_name("serial_harness.cpp")
OUTPUT_BYTES = 4096


def build_serial(config: ArrayConfig, *, clock_hz: float, baud: float,
                 progress: cache.Progress = cache.no_progress) -> Path:
    """Return the library of an accelerator with a UART, built if it is not in the cache.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    ValueError
        If the baud rate cannot be made of the clock.
    """
    divisor = uart_divisor(clock_hz=clock_hz, baud=baud)
    verilog = verilog_of(config, divisor=divisor, progress=progress)
    return build(verilog, harness=HARNESS, progress=progress)


class SerialSimulator:
    """A simulated board, just started, and the far end of its line.

    Parameters
    ----------
    library : :class:`~pathlib.Path`
        What :func:`build_serial` returned.
    cycles_per_bit : :class:`float`
        Cycles of a bit of the far end's UART, which need not be whole.

    Members
    -------
    cycles : :class:`int`
        Cycles since the beginning.
    """

    def __init__(self, library: Path, *, cycles_per_bit: float) -> None:
        self.cycles = 0
        self._handle: int | None = None
        self._library = _load(library)
        self._handle = self._library.oarlock_serial_create(cycles_per_bit)
        self._output = ctypes.create_string_buffer(OUTPUT_BYTES)
        self.reset()

    def reset(self) -> None:
        """Start the board again; memories keep what they hold."""
        self._library.oarlock_serial_reset(self._handle)

    def run(self, data: bytes, max_cycles: int) -> tuple[int, bytes]:
        """Send bytes and receive others for a while.

        Parameters
        ----------
        data : :class:`bytes`
            What to send; ends before ``max_cycles`` when all of it is sent, if it is any.
        max_cycles : :class:`int`
            For how long.

        Returns
        -------
        :class:`int`, :class:`bytes`
            How many bytes were taken (the last may still be under way), and what was received.
        """
        sent, received = ctypes.c_uint64(), ctypes.c_uint64()
        self.cycles += self._library.oarlock_serial_run(
            self._handle, data, len(data), self._output, OUTPUT_BYTES, max_cycles,
            ctypes.byref(sent), ctypes.byref(received))
        return sent.value, self._output.raw[:received.value]

    def close(self) -> None:
        """Free the simulation; may be called twice."""
        if self._handle is not None:
            self._library.oarlock_serial_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(f"simulator cannot be loaded, delete {path.parent}: {error}") from error
    size, handle, count = ctypes.c_uint64, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64)
    library.oarlock_serial_create.argtypes = [ctypes.c_double]
    library.oarlock_serial_create.restype = handle
    library.oarlock_serial_destroy.argtypes = library.oarlock_serial_reset.argtypes = [handle]
    library.oarlock_serial_destroy.restype = library.oarlock_serial_reset.restype = None
    library.oarlock_serial_run.argtypes = [
        handle, ctypes.c_char_p, size, ctypes.c_char_p, size, size, count, count]
    library.oarlock_serial_run.restype = size
    return library
