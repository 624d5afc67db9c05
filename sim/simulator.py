"""The Verilated accelerator as a library in this process: fast enough for whole networks."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..gen import cache
from .design import HANDLE, SIZE, SimulatedDesign
from .toolchain import ToolError, VerilatorTool, find_verilator


__all__ = ["WAVE_FORMATS", "Exchange", "Simulator", "build"]

HARNESS = Path(__file__).with_name("harness.cpp")
PREFIX = "Voarlock"
LIBRARY = "liboarlock.so"

#: Endings of wave files, and what Verilator is told for them.
WAVE_FORMATS = {".fst": "--trace-fst", ".vcd": "--trace-vcd"}

VERILATOR_FLAGS = (
    "--cc", "--exe", "--prefix", PREFIX, "--top-module", "oarlock", "--Mdir", ".",
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    # Files of a size that two compilers can share and that need little memory.
    "--output-split", "20000", "--output-split-cfuncs", "2000",
    # Amaranth's Verilog is full of what lint dislikes.
    "-Wno-fatal", "-Wno-lint", "-Wno-style",
)
#: Modules whose code is kept apart, once for all of their instances: twelve rows of PEs are too
#: much code for a processor's instruction cache, one is not (docs/testing.md has the figures).
APART = ("array_row", "requantizer")

# Two of these libraries can be in one process: nothing of one may bind to the other.
COMPILER_FLAGS = ("-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-w")
LINKER_FLAGS = ("-shared", "-Wl,-Bsymbolic")
OPTIMIZATION = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
JOBS = 2

#: Cycles between two looks at signals and at the progress: fractions of a second.
CHUNK = 16384


@dataclass(frozen=True)
class Exchange:
    """What an exchange did: words taken by the device, words received from it, cycles."""

    sent: int
    words: np.ndarray
    cycles: int


class Simulator(SimulatedDesign):
    """A simulated accelerator, just reset.

    Parameters
    ----------
    library : :class:`~pathlib.Path`
        What :func:`build` returned.
    waves : :class:`~pathlib.Path`, optional
        File for the waves of all signals, in the format that the library was built for. Complete
        only after :meth:`close`.

    Members are those of :class:`~oarlock.sim.design.SimulatedDesign`.
    """

    CREATE = ctypes.c_char_p
    RUN = ("oarlock_exchange", [HANDLE, SIZE, HANDLE, SIZE, SIZE, ctypes.POINTER(SIZE),
                                ctypes.POINTER(SIZE)])

    def __init__(self, library: Path, *, waves: Path | None = None) -> None:
        if waves is not None:
            # Verilator would only abort the process.
            with open(waves, "wb"):
                pass
        super().__init__(library, None if waves is None else os.fsencode(waves.resolve()))

    def exchange(self, words: np.ndarray, count: int, max_cycles: int,
                 tick: Callable[[int], None] | None = None) -> Exchange:
        """Send words while receiving ``count`` words, a word a cycle each way if the device can.

        Parameters
        ----------
        words : uint32 array
            What to send; offered in every cycle until all is taken.
        count : :class:`int`
            How many words to receive; accepted in every cycle until all are there.
        max_cycles : :class:`int`
            Give up after so many cycles.
        tick : callable, optional
            Called now and then with the cycles so far.
        """
        source = np.ascontiguousarray(words, dtype=np.uint32)
        target = np.zeros(count, dtype=np.uint32)
        sent_now, received_now = ctypes.c_uint64(), ctypes.c_uint64()
        sent = received = cycles = 0
        while cycles < max_cycles and (sent < len(source) or received < count):
            # In pieces, so that Ctrl-C is heard.
            cycles += self._library.oarlock_exchange(
                self._handle, source[sent:].ctypes.data, len(source) - sent,
                target[received:].ctypes.data, count - received, min(CHUNK, max_cycles - cycles),
                ctypes.byref(sent_now), ctypes.byref(received_now))
            sent += sent_now.value
            received += received_now.value
            if tick is not None:
                tick(cycles)
        self.cycles += cycles
        return Exchange(sent, target[:received], cycles)


def build(verilog: str, *, waves: str = "", harness: Path = HARNESS,
          progress: cache.Progress = cache.no_progress) -> Path:
    """Return the library of a design, built if it is not in the cache.

    Parameters
    ----------
    verilog : :class:`str`
        Text with a module ``oarlock`` that has the accelerator's ports.
    waves : :class:`str`
        Ending of :data:`WAVE_FORMATS` for a (slower) build that can write such a file.
    harness : :class:`~pathlib.Path`
        C++ source of the library's functions.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what is being done, from this thread.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tool = find_verilator()
    flags = list(VERILATOR_FLAGS)
    settings = _settings(verilog)
    if settings:
        # That pass too replaces inputs by what drives them.
        flags.append("-fno-dfg")
    defines: list[str] = []
    if waves:
        flags.append(WAVE_FORMATS[waves])
        defines.append(f"-DOARLOCK_{waves[1:].upper()}")
        _check_headers(waves)
    key = cache.key_of(verilog, settings, tool.version, harness.read_bytes(), *flags, *defines,
                       *COMPILER_FLAGS, *LINKER_FLAGS, *OPTIMIZATION, platform.machine())

    def make(folder: Path) -> None:
        _build(folder, tool, verilog, settings, harness, flags, defines, progress)

    return cache.cached("simulator", key, make, progress=progress) / LIBRARY


def _settings(verilog: str) -> str:
    """Return what Verilator is told about modules of :data:`APART`, if the design has any.

    Left alone it puts them into what they are part of, and replaces their inputs by what drives
    them. That is another signal for each instance, and so would be the code; of public inputs it is
    not replaced.
    """
    lines = []
    for name in APART:
        for module in re.findall(rf"^module {name}\((?s:.*?)^endmodule", verilog, re.MULTILINE):
            inputs = re.findall(r"^  input (?:\[\d+:\d+\] )?(\w+);", module, re.MULTILINE)
            lines += [f'no_inline -module "{name}"',
                      *(f'public_flat_rd -module "{name}" -var "{port}"' for port in inputs
                        if port != "clk")]
    return "\n".join(["`verilator_config", *lines, ""]) if lines else ""


def _check_headers(waves: str) -> None:
    """Say what is missing before two minutes of work end in a message of the compiler."""
    if waves != ".fst":
        return
    test = "#include <lz4.h>\n#include <zlib.h>\n"
    found = subprocess.run(["g++", "-x", "c++", "-fsyntax-only", "-"], input=test, text=True,
                           capture_output=True, check=False)
    if found.returncode:
        raise ToolError("FST waves need lz4.h and zlib.h (or write .vcd instead); install them "
                        "with: apt-get install liblz4-dev zlib1g-dev")


def _build(folder: Path, tool: VerilatorTool, verilog: str, settings: str, harness: Path,
           flags: list[str], defines: list[str], progress: cache.Progress) -> None:
    work = folder / "build"
    work.mkdir()
    sources = {"oarlock.vlt": settings, "oarlock.v": verilog}
    for name, text in sources.items():
        (work / name).write_text(text, encoding="utf-8")
    shutil.copy(harness, work / "harness.cpp")
    progress("Verilating", 0, 0)
    _run([str(tool.path), *flags, "-CFLAGS", " ".join([*COMPILER_FLAGS, *defines]),
          "-LDFLAGS", " ".join(LINKER_FLAGS), "-o", LIBRARY,
          *(name for name, text in sources.items() if text), "harness.cpp"],
         work, tool, "Verilator")
    total = len([*work.glob("*.cpp")]) + 2  # And Verilator's own.
    done = 0

    def line(text: str) -> None:
        nonlocal done
        if " -c " in text:
            done = min(done + 1, total)
            progress("Compiling the simulator", done, total)

    progress("Compiling the simulator", 0, total)
    # Programs by name: the wheel remembers the paths of the machine it was built on.
    _run(["make", "-f", f"{PREFIX}.mk", f"-j{JOBS}", "CXX=g++", "LINK=g++", "AR=ar", "PERL=perl",
          f"PYTHON3={sys.executable}", "CFG_CXXFLAGS_PCH_I=-include", *OPTIMIZATION, LIBRARY],
         work, tool, "the C++ compiler", line)
    (work / LIBRARY).rename(folder / LIBRARY)
    shutil.rmtree(work)


def _run(command: list[str], folder: Path, tool: VerilatorTool, name: str,
         each: Callable[[str], None] | None = None) -> None:
    """Run a program; whatever ends this, neither it nor its children stay behind."""
    environ = tool.environ()
    # Of a make around us, whose job server is not for these.
    for variable in ("MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
        environ.pop(variable, None)
    lines: list[str] = []
    process = subprocess.Popen(command, cwd=folder, env=environ, text=True, errors="replace",
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            for text in process.stdout:
                lines.append(text)
                if each is not None:
                    each(text)
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        log = cache.cache_root() / "failure.log"
        log.write_text("".join(lines), encoding="utf-8")
        cause = next((text.strip() for text in lines if "rror" in text), "no message")
        raise ToolError(f"{name} failed: {cause[:300]} (all of it: {log})")
