"""A simulated design as a library in this process: what all harnesses have in common."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .toolchain import ToolError


__all__ = ["HANDLE", "SIZE", "SimulatedDesign"]

SIZE, HANDLE = ctypes.c_uint64, ctypes.c_void_p


class SimulatedDesign:
    """An instance of a design, just reset; freed when closed.

    Parameters
    ----------
    library : :class:`~pathlib.Path`
        What :func:`oarlock.sim.simulator.build` returned.
    argument
        What ``oarlock_create`` takes, of the ctypes type :attr:`CREATE`.

    Members
    -------
    cycles : :class:`int`
        Cycles since the beginning.

    Raises
    ------
    ToolError
        If the library cannot be loaded.
    """

    #: The type of the argument of ``oarlock_create``.
    CREATE: Any
    #: The harness's own function that runs the design, and the types of its arguments after the
    #: instance; it returns cycles.
    RUN: tuple[str, list[Any]]

    #: None where there is nothing to free.
    _handle: int | None = None

    def __init__(self, library: Path, argument: Any) -> None:
        self.cycles = 0
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise ToolError(
                f"simulator cannot be loaded, delete {library.parent}: {error}") from error
        for name, result, arguments in (
            ("oarlock_create", HANDLE, [self.CREATE]),
            ("oarlock_reset", None, [HANDLE]),
            ("oarlock_destroy", None, [HANDLE]),
            (self.RUN[0], SIZE, [HANDLE, *self.RUN[1]]),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.oarlock_create(argument)
        self.reset()

    def reset(self) -> None:
        """Bring the design into its first state; memories keep what they hold."""
        self._library.oarlock_reset(self._handle)

    def close(self) -> None:
        """Free the simulation; may be called twice."""
        if self._handle is not None:
            self._library.oarlock_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
