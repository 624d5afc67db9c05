"""The Verilated accelerator behind its UART, as a library in this process."""

from __future__ import annotations

import ctypes
from pathlib import Path

from ..gen import cache
from ..gen.config import ArrayConfig
from ..gen.verilog import verilog_of
from ..hw.link_isa import uart_divisor
from .design import SIZE, SimulatedDesign
from .simulator import build


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


class SerialSimulator(SimulatedDesign):
    """A simulated board, just started, and the far end of its line.

    Parameters
    ----------
    library : :class:`~pathlib.Path`
        What :func:`build_serial` returned.
    cycles_per_bit : :class:`float`
        Cycles of a bit of the far end's UART, which need not be whole.

    Members are those of :class:`~oarlock.sim.design.SimulatedDesign`.
    """

    CREATE = ctypes.c_double
    RUN = ("oarlock_run", [ctypes.c_char_p, SIZE, ctypes.c_char_p, SIZE, SIZE,
                           ctypes.POINTER(SIZE), ctypes.POINTER(SIZE)])

    def __init__(self, library: Path, *, cycles_per_bit: float) -> None:
        super().__init__(library, cycles_per_bit)
        self._output = ctypes.create_string_buffer(OUTPUT_BYTES)

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
        self.cycles += self._library.oarlock_run(
            self._handle, data, len(data), self._output, OUTPUT_BYTES, max_cycles,
            ctypes.byref(sent), ctypes.byref(received))
        return sent.value, self._output.raw[:received.value]
