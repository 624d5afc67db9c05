"""From a board's name to its bitstream."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..gen import cache
from ..gen.errors import OarlockError
from ..gen.product import manifest
from ..gen.verilog import tool_versions, verilog_of
from .board import Board
from .families import FAMILIES
from .floorplan import Die, place_elements
from .tools import Tool, find_tool, run_tool
from .top import BoardTop


__all__ = ["BuildResult", "build", "read_commands", "twins"]

NAME = "top"

#: Modules with as many instances as the array has rows: synthesised once, and not dissolved before.
ROWS = ("array_row", "systolic_row")

#: What nextpnr prints when it begins something, and what we call that.
PHASES = {"Info: Packing": "Packing cells", "Info: Running main analytical placer": "Placing",
          "Info: Running simulated annealing placer": "Improving the placement",
          "Info: Routing": "Routing"}


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """What a build came to.

    Members
    -------
    report : dict
        What is in ``build.json``.
    bitstream : :class:`~pathlib.Path` or None
        None if no seed met the clock.
    """

    report: dict[str, Any]
    bitstream: Path | None

    @property
    def complaint(self) -> str:
        """Say by how much the clock was missed; empty if it was met."""
        declared, achieved = self.report["clock_hz"], self.report["achieved_hz"]
        if achieved >= declared:
            return ""
        return (f"{self.report['board']}: the clock was missed by "
                f"{100 * (1 - achieved / declared):.1f} %: {achieved / 1e6:.2f} MHz of "
                f"{declared / 1e6:.2f} MHz at best of {len(self.report['seeds'])} seed(s); "
                f"try more with --seeds")


def sources(board: Board) -> dict[str, str]:
    """Return the files that the tools read: the top level, the accelerator, the constraints."""
    family = FAMILIES[board.family]
    platform = board.platform()
    plan = platform.prepare(BoardTop(board), NAME)

    def text(suffix: str) -> str:
        content = plan.files[f"{NAME}.{suffix}"]
        return content if isinstance(content, str) else content.decode()

    constraints = text(family.constraints)
    return {f"{NAME}.il": text("il"), f"{NAME}.{family.constraints}": constraints}


def build(board: Board, folder: Path, *, seeds: int = 1,
          progress: cache.Progress = cache.no_progress) -> BuildResult:
    """Build a board's bitstream; write it, ``manifest.json`` and ``build.json`` into a folder.

    Everything between stands in ``work`` beside them. The first seed that meets the clock ends the
    search; without one there is no bitstream.

    Parameters
    ----------
    board : :class:`.Board`
        The board.
    folder : :class:`~pathlib.Path`
        Made if it is not there.
    seeds : :class:`int`
        How many placements to try.
    progress : callable
        See :data:`oarlock.gen.cache.Progress`.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    if seeds < 1:
        raise OarlockError(f"seeds must be at least 1, not {seeds}")
    family = FAMILIES[board.family]
    tools = [find_tool(name) for name in ("yosys", family.nextpnr, family.pack)]
    yosys, nextpnr, pack = tools
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    bitstream = folder / f"{board.name}.{family.bitstream}"
    for path in (bitstream, folder / "build.json"):
        # What is found after a failure must not be of the build before.
        path.unlink(missing_ok=True)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        seconds[stage] = round(seconds.get(stage, 0) + time.monotonic() - begin, 1)

    with timed("verilog"):
        verilog = verilog_of(board.config, divisor=board.divisor, progress=progress)
        files = sources(board) | {"oarlock.v": verilog} | twins(board.family, verilog)
        for name, text in files.items():
            (work / name).write_text(text, encoding="utf-8")
    with timed("synthesis"):
        progress(f"Synthesising {board.name}", 0, 0)
        _synthesise(yosys, board.family, verilog, work)
        if board.die:
            _floorplan(work / f"{NAME}.json", board.die)

    attempts = []
    for seed in range(1, seeds + 1):
        with timed("place_and_route"):
            attempts.append(_place_and_route(nextpnr, board, work, seed, progress))
        if attempts[-1]["achieved_hz"] >= board.clock_hz:
            break
    best = max(attempts, key=lambda attempt: attempt["achieved_hz"])
    met = best["achieved_hz"] >= board.clock_hz
    if met:
        with timed("pack"):
            progress("Packing the bitstream", 0, 0)
            packed = f"{NAME}.{family.bitstream}"
            run_tool(pack, [*family.pack_options, f"{NAME}.routed", packed], folder=work,
                     log=work / "pack.log")
            (work / packed).replace(bitstream)

    report = {
        "board": board.name, "preset": board.preset_name, "digest": f"{board.config.digest:016x}",
        "clock_hz": board.clock_hz, "achieved_hz": best["achieved_hz"], "met": met,
        "baud": board.baud, "divisor": board.divisor,
        **{kind: best["cells"][kind] for kind in family.resources},
        "available": best["available"],
        "bitstream": bitstream.name if met else None,
        "seeds": [{key: attempt[key] for key in ("seed", "achieved_hz")} for attempt in attempts],
        "seconds": seconds,
        "tools": {tool.name: tool.version for tool in tools if tool.version} | tool_versions(),
    }
    for name, value in (("manifest", manifest(board.config, verilog)), ("build", report)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return BuildResult(report=report, bitstream=bitstream if met else None)


def twins(family: str, verilog: str) -> dict[str, str]:
    """Return modules of the accelerator's Verilog as they are made of a family's own blocks."""
    folder = Path(__file__).parent / family
    return {f"{module}.v": (folder / f"{module}.v").read_text(encoding="utf-8")
            for module in _contained(FAMILIES[family].modules, verilog)}


def _contained(modules: Iterable[str], verilog: str) -> list[str]:
    """Return those of the modules that the Verilog has."""
    return [name for name in modules if re.search(rf"^module {name}\(", verilog, re.MULTILINE)]


def read_commands(family: str, verilog: str) -> list[str]:
    """Return the commands with which Yosys reads the accelerator and puts twins in their places."""
    commands = ["read_verilog -sv oarlock.v"]
    for file in twins(family, verilog):
        commands += [f"delete {Path(file).stem}", f"read_verilog {file}"]
    return commands


def _synthesise(yosys: Tool, family: str, verilog: str, work: Path) -> None:
    """Make the netlist; a design with combinational loops or two drivers of a wire is refused."""
    rows = _contained(ROWS, verilog)
    script = [
        *read_commands(family, verilog),
        f"read_rtlil {NAME}.il",
        f"hierarchy -top {NAME}",
        *(f"setattr -mod -set keep_hierarchy 1 {name}" for name in rows),
        *FAMILIES[family].synthesis(NAME),
        *(f"setattr -mod -unset keep_hierarchy {name}" for name in rows),
        "flatten",
        "opt_clean -purge",
        "check -assert",
        f"tee -o stat.json stat -json -top {NAME}",
        f"write_json {NAME}.json",
    ]
    (work / "synth.ys").write_text("\n".join(script) + "\n")
    run_tool(yosys, ["-q", "synth.ys"], folder=work, log=work / "synth.log")


def _floorplan(netlist: Path, die: Die) -> None:
    """Give the PEs of a netlist their places."""
    design = json.loads(netlist.read_text())
    place_elements(design["modules"][NAME]["cells"], die)
    netlist.write_text(json.dumps(design))


def _place_and_route(nextpnr: Tool, board: Board, work: Path, seed: int,
                     progress: cache.Progress) -> dict[str, Any]:
    """Run nextpnr and read its report."""
    family = FAMILIES[board.family]

    def follow(line: str) -> None:
        for prefix, phase in PHASES.items():
            if line.startswith(prefix):
                progress(f"{phase} (seed {seed})", 0, 0)

    progress(f"Reading the netlist (seed {seed})", 0, 0)
    run_tool(nextpnr, [
        *board.device, *family.options, "--seed", str(seed), "--json", f"{NAME}.json",
        f"--{family.constraints}", f"{NAME}.{family.constraints}",
        f"--{family.routed}", f"{NAME}.routed.{seed}", "--report", f"report.{seed}.json",
        # The result is judged by us, and says by how much.
        "--timing-allow-fail",
    ], folder=work, log=work / f"nextpnr.{seed}.log", line=follow)
    report = json.loads((work / f"report.{seed}.json").read_text())
    achieved = round(1e6 * _slowest(report["fmax"], board.target_hz))
    if achieved >= board.clock_hz or seed == 1:
        (work / f"{NAME}.routed").write_bytes((work / f"{NAME}.routed.{seed}").read_bytes())
    used = {kind: report["utilization"][cell] for kind, cell in family.resources.items()}
    return {"seed": seed, "achieved_hz": achieved,
            "cells": {kind: count["used"] for kind, count in used.items()},
            "available": {kind: count["available"] for kind, count in used.items()}}


def _slowest(fmax: dict[str, dict[str, float]], target_hz: int) -> float:
    """Return the frequency in MHz that the clock of the accelerator reaches."""
    ours = [clock["achieved"] for clock in fmax.values()
            if abs(clock["constraint"] * 1e6 / target_hz - 1) < 0.01]
    if not ours:
        raise OarlockError(f"nextpnr must report a clock of {target_hz / 1e6:g} MHz, "
                           f"not {', '.join(fmax) or 'none'}")
    return min(ours)
