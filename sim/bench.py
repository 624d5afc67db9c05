"""Runs a component's Verilog under cocotb: build and run from pytest, drivers and checkers inside.

A bench is a function in a module of :mod:`oarlock.sim.benches`::

    @bench_test(cycles=20_000, p_idle=[0, .5], p_stall=[0, .5])
    async def words_pass(bench, p_idle, p_stall):
        board = bench.scoreboard("o")
        source = bench.source("i", p_idle=p_idle)
        bench.sink("o", p_stall=p_stall)
        bench.monitor("i", lambda word: board.expect(word + 1))
        bench.monitor("o", board.see)
        source.send(*(bench.rng("words").getrandbits(8) for _ in range(1000)))

and a test calls ``run_bench(Component(...), test_module="oarlock.sim.benches.component")``.
"""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cocotb
import cocotb_tools
from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from ..gen.cache import cached, key_of
from .toolchain import find_verilator


__all__ = [
    "Bench", "BenchFailure", "Monitor", "ProtocolError", "Scoreboard", "ScoreboardError", "Sink",
    "Source", "bench_test", "run_bench",
]

TOPLEVEL  = "top"
PERIOD_NS = 10
TIMESCALE = ("1ns", "1ps")

#: Cycles without anything expected after which nothing extra is assumed to come.
QUIET_CYCLES = 50

BUILD_ARGS = (
    "-Wno-fatal",       # Amaranth's Verilog leaves widths to the rules of the language.
    "-CFLAGS", "-O0",   # Most of a bench's time is Python's, or else the compiler's.
)


class BenchFailure(AssertionError):
    """A bench failed; the text is the end of its log."""


class ProtocolError(AssertionError):
    """A stream broke its promise: ``valid`` dropped or the payload changed before a transfer."""


class ScoreboardError(AssertionError):
    """Something came that was not expected, or did not come."""


# Outside of the simulation

def run_bench(component: wiring.Component, *, test_module: str, only: str | None = None,
              parameters: Mapping[str, object] | None = None,
              env: Mapping[str, str] | None = None) -> None:
    """Build a component (from the cache, if unchanged) and run a module of benches on it.

    Parameters
    ----------
    component : :class:`~amaranth.lib.wiring.Component`
        What is tested.
    test_module : :class:`str`
        Module with functions made by :func:`bench_test`.
    only : :class:`str`
        Regular expression of the names to run; by default all.
    parameters : mapping
        Available as :attr:`Bench.parameters`.
    env : mapping
        Variables for the simulation. ``OARLOCK_SEED`` is passed on from the outside.

    Raises
    ------
    BenchFailure
        If a bench failed or none ran.
    """
    text = verilog.convert(component, name=TOPLEVEL, emit_src=False, strip_internal_attrs=True)
    folder, runner = _built(text), get_runner("verilator")
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as scratch:
        log, results = Path(scratch) / "bench.log", Path(scratch) / "results.xml"
        variables = {
            "OARLOCK_BENCH": json.dumps(parameters or {}),
            # Not also Amaranth's: rewriting those takes longer than most benches.
            "COCOTB_REWRITE_ASSERTION_FILES": f"{test_module.rpartition('.')[2]}.py",
        }
        try:
            runner.test(
                test_module=test_module, hdl_toplevel=TOPLEVEL, hdl_toplevel_lang="verilog",
                build_dir=folder, test_dir=scratch, results_xml=str(results), log_file=log,
                test_filter=only, timescale=TIMESCALE, extra_env=variables | dict(env or {}))
            run, failed = get_results(results)
        except (SystemExit, RuntimeError) as error:
            raise BenchFailure(f"{test_module} failed:\n{_tail(log)}") from error
        if failed or not run:
            what = "failed" if failed else "ran nothing"
            raise BenchFailure(f"{test_module} {what}:\n{_tail(log)}")


def _built(text: str) -> Path:
    """Return the folder with the simulation of a Verilog text."""
    tool = find_verilator()
    versions = (*BUILD_ARGS, tool.path, tool.version, cocotb.__version__,
                cocotb_tools.config.libs_dir)

    def verilate(text: str, objects: Sequence[Path], folder: Path) -> None:
        source, log = folder / f"{TOPLEVEL}.v", folder / "build.log"
        source.write_text(text)
        args, env = [*BUILD_ARGS], dict(tool.env)
        if objects:
            args += ["-LDFLAGS", " ".join(map(str, objects))]
            env["MAKEFLAGS"] += " VM_GLOBAL_FAST= VM_GLOBAL_SLOW="
        with mock.patch.dict(os.environ, env):
            try:
                get_runner("verilator").build(
                    sources=[source], hdl_toplevel=TOPLEVEL, build_dir=folder, build_args=args,
                    timescale=TIMESCALE, log_file=log)
            except (SystemExit, subprocess.CalledProcessError) as error:
                raise BenchFailure(f"{source.name} was not built:\n{_tail(log)}") from error

    def make(folder: Path) -> None:
        # Verilator's own library takes the longest and is the same for all: compiled only once.
        library = cached("bench-library", key_of(*versions),
                         partial(verilate, f"module {TOPLEVEL}; endmodule\n", ()))
        verilate(text, sorted(library.glob("verilated*.o")), folder)

    return cached("benches", key_of(text, *versions), make)


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


# Inside the simulation

def bench_test(*, cycles: int, **parameters: Iterable[object]) -> Callable[[Any], Any]:
    """Make a cocotb test of ``async def bench(bench, **parameters)``, for each combination.

    The clock runs and the component has been reset when it is called. When it returns, the test
    goes on until all sources are drained and all scoreboards are empty, and then for
    :data:`QUIET_CYCLES` more. After ``cycles`` in all it fails.
    """
    def decorate(function: Callable[..., Awaitable[None]]) -> Any:
        @functools.wraps(function)
        async def test(dut: Any, **values: object) -> None:
            bench = Bench(dut, name=f"{function.__name__}{sorted(values.items())}")
            await bench.reset()
            await function(bench, **values)
            await bench.finish()

        timed = cocotb.test(timeout_time=cycles * PERIOD_NS, timeout_unit="ns")
        return timed(cocotb.parametrize(**parameters)(test))
    return decorate


class Bench:
    """A component in a simulation, and all that is attached to it.

    Everything samples just before a rising edge of the clock and drives just after it.
    """

    def __init__(self, dut: Any, *, name: str) -> None:
        self.dut = dut
        self.parameters: dict[str, Any] = json.loads(os.environ.get("OARLOCK_BENCH", "{}"))
        self.seed = os.environ.get("OARLOCK_SEED", "1")
        self._name = name
        self._edge = RisingEdge(dut.clk)
        self._sources: list[Source] = []
        self._scoreboards: list[Scoreboard] = []
        dut._log.info("OARLOCK_SEED=%s %s", self.seed, name)

    def rng(self, purpose: str) -> random.Random:
        """Return a generator that depends on the seed, the test and the purpose."""
        return random.Random(f"{self.seed} {self._name} {purpose}")

    async def cycle(self, count: int = 1) -> None:
        """Wait for rising edges of the clock."""
        for _ in range(count):
            await self._edge

    async def reset(self) -> None:
        """Start the clock and pulse the reset, all inputs at 0."""
        self.dut.rst.value = 1
        Clock(self.dut.clk, PERIOD_NS, unit="ns").start()
        await self.cycle(2)
        self.dut.rst.value = 0

    async def finish(self) -> None:
        """Wait until nothing is left to send or expected, then for what should not come."""
        while any(source.pending for source in self._sources) \
                or any(board.pending for board in self._scoreboards):
            await self.cycle()
        await self.cycle(QUIET_CYCLES)

    def source(self, name: str, *, p_idle: float = 0) -> Source:
        """Drive the input stream ``name``."""
        self._sources.append(Source(self, name, p_idle=p_idle))
        return self._sources[-1]

    def sink(self, name: str, *, p_stall: float = 0) -> Sink:
        """Drive ``ready`` of the output stream ``name``."""
        return Sink(self, name, p_stall=p_stall)

    def monitor(self, name: str, see: Callable[[int], object]) -> Monitor:
        """Check the protocol of stream ``name`` and hand its transfers to ``see``."""
        return Monitor(self, name, see)

    def scoreboard(self, name: str) -> Scoreboard:
        """Make a scoreboard that must be empty in the end."""
        self._scoreboards.append(Scoreboard(name))
        return self._scoreboards[-1]


class _Stream:
    """The three ports of a stream, and a task that runs along with it."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.name = name
        self._bench = bench
        self._rng = bench.rng(f"{type(self).__name__} {name}")
        self._valid = getattr(bench.dut, f"{name}__valid")
        self._ready = getattr(bench.dut, f"{name}__ready")
        self._payload = getattr(bench.dut, f"{name}__payload")
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        raise NotImplementedError


class Source(_Stream):
    """Sends words, with gaps of random length; in the gaps the payload is noise."""

    def __init__(self, bench: Bench, name: str, *, p_idle: float = 0) -> None:
        self.p_idle = p_idle
        self._queue: deque[int] = deque()
        super().__init__(bench, name)

    @property
    def pending(self) -> int:
        """Number of words not yet transferred."""
        return len(self._queue)

    def send(self, *words: int) -> None:
        """Queue words."""
        self._queue.extend(words)

    async def _run(self) -> None:
        width = len(self._payload)
        while True:
            valid = bool(self._queue) and self._rng.random() >= self.p_idle
            self._valid.value = valid
            self._payload.value = self._queue[0] if valid else self._rng.getrandbits(width)
            await self._bench.cycle()
            while valid and not int(self._ready.value):
                await self._bench.cycle()
            if valid:
                self._queue.popleft()


class Sink(_Stream):
    """Is ready or not at random, whatever ``valid`` is."""

    def __init__(self, bench: Bench, name: str, *, p_stall: float = 0) -> None:
        self.p_stall = p_stall
        super().__init__(bench, name)

    async def _run(self) -> None:
        while True:
            self._ready.value = self._rng.random() >= self.p_stall
            await self._bench.cycle()


class Monitor(_Stream):
    """Watches a stream of either direction.

    Raises
    ------
    ProtocolError
        If ``valid`` drops or the payload changes before the transfer.
    """

    def __init__(self, bench: Bench, name: str, see: Callable[[int], object]) -> None:
        self._see = see
        super().__init__(bench, name)

    async def _run(self) -> None:
        held: int | None = None
        while True:
            await self._bench.cycle()
            valid, payload = int(self._valid.value), int(self._payload.value)
            if held is not None and not valid:
                raise ProtocolError(f"{self.name}: valid dropped before the transfer")
            if held is not None and payload != held:
                raise ProtocolError(f"{self.name}: payload changed before the transfer, from "
                                    f"{held:#x} to {payload:#x}")
            held = payload if valid else None
            if valid and int(self._ready.value):
                held = None
                self._see(payload)


class Scoreboard:
    """Compares what comes with what is expected, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = 0
        self._expected: deque[object] = deque()

    @property
    def pending(self) -> int:
        """Number of items that are expected and have not come."""
        return len(self._expected)

    def expect(self, *items: object) -> None:
        """Append to what is expected."""
        self._expected.extend(items)

    def see(self, item: object) -> None:
        """Take an item.

        Raises
        ------
        ScoreboardError
            If it is not the next one expected, or none is.
        """
        if not self._expected:
            raise ScoreboardError(f"{self.name}: item {self.seen} is extra: {item!r}")
        expected = self._expected.popleft()
        if item != expected:
            raise ScoreboardError(f"{self.name}: item {self.seen} must be {expected!r}, "
                                  f"not {item!r}")
        self.seen += 1
