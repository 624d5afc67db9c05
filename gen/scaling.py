"""What the tools cost, and how that grows with the array and with the network."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import cache
from .config import WORD_BYTES, ArrayConfig
from .runner import compile_model, run_model
from .verilog import verilog_of


__all__ = ["SIDES", "measure", "per_pe", "report", "square"]

#: PEs down and across of the arrays that are measured unless others are named.
SIDES = (4, 8, 12, 16)

#: Cycles to simulate at least for a speed: about a second of the largest array.
SPEED_CYCLES = 100_000

T = TypeVar("T")


def square(config: ArrayConfig, side: int) -> ArrayConfig:
    """Return a square array with as many lanes and buffer bytes a cycle for a column.

    Words of the buffer are the next larger that there are; everything else is the same.

    Raises
    ------
    ConfigError
        If there is no such array.
    """
    share = side / config.cols
    word = next((size for size in WORD_BYTES if size >= share * config.word_bytes), WORD_BYTES[-1])
    lanes = max(1, min(round(share * config.lanes), 16, word))
    return replace(config, rows=side, cols=side, word_bytes=word, lanes=lanes,
                   buffer_banks=min(config.buffer_banks, 2 * word))


def measure(models: Sequence[Path], preset: str, configs: Sequence[ArrayConfig], *,
            progress: cache.Progress = cache.no_progress) -> dict[str, Any]:
    """Make arrays from nothing, run networks on them, and return what took how long.

    Nothing comes from the user's cache, and nothing of what is made stays. Seconds are those of
    this machine, and of what else it did: nothing should pass or fail by them.

    Parameters
    ----------
    models : list of :class:`pathlib.Path`
        int8 ``.tflite`` files. The first also is what the speed of simulation is taken from.
    preset : :class:`str`
        Name of what the arrays are derived from.
    configs : list of :class:`~oarlock.gen.config.ArrayConfig`
        What :func:`square` returned; the first is what the others are compared with.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what takes its time.

    Returns
    -------
    dict
        ``preset``, ``dataflow``, ``cpus``, and ``arrays``: a list of dict with ``rows``, ``cols``,
        ``pes``, ``lanes``, ``word_bytes``; ``verilog``: seconds, ``bytes``, ``modules``;
        ``simulator``: seconds of its build, ``bytes``; ``simulation``: ``model``, ``cycles``,
        seconds, ``cycles_per_cpu_second``; ``networks``: a list of dict with ``model``, ``layers``,
        ``cycles``, ``bit_exact``, and ``compile`` and ``run`` (with everything in the cache):
        seconds. Seconds are two: ``seconds`` on the clock, ``cpu_seconds`` of all processes.

    Raises
    ------
    OarlockError
        With a text of one line.
    """
    # What Python imports for the first array it has for the others.
    from amaranth.back import rtlil, verilog  # noqa: F401

    from ..hw import serial_module  # noqa: F401

    arrays = []
    for array in configs:
        def tell(stage: str, done: int, total: int,
                 name: str = f"{array.rows}x{array.cols}") -> None:
            progress(f"{name}: {stage}", done, total)

        with cache.cold():
            arrays.append(_measure_array(models, preset, array, tell))
    return {"preset": preset, "dataflow": configs[0].dataflow, "cpus": os.cpu_count(),
            "arrays": arrays}


def per_pe(found: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return what :func:`measure` found as cost of a PE in every array, that in the first being 1.

    What grows linearly stays at 1, what has a fixed part falls below. By CPU seconds, as other
    users of the machine disturb those on the clock most.
    """
    costs = [
        {"Verilog, time": array["verilog"]["cpu_seconds"],
         "Verilog, size": array["verilog"]["bytes"],
         "simulator, build": array["simulator"]["cpu_seconds"],
         "simulator, size": array["simulator"]["bytes"],
         "a simulated cycle": array["simulation"]["cpu_seconds"] / array["simulation"]["cycles"],
         } | {f"compiling {network['model']}": network["compile"]["cpu_seconds"]
              for network in array["networks"]}
        for array in found["arrays"]]
    pes = [array["pes"] for array in found["arrays"]]
    return [{name: cost * pes[0] / (count * costs[0][name]) for name, cost in row.items()}
            for row, count in zip(costs, pes, strict=True)]


def report(found: Mapping[str, Any], command: str) -> str:
    """Return what :func:`measure` found as a section of a Markdown page.

    ``command`` made it, and stands in it.
    """
    arrays, costs = found["arrays"], per_pe(found)
    names = [f"{array['rows']}×{array['cols']}" for array in arrays]
    networks = [[array["networks"][index] for array in arrays]
                for index in range(len(arrays[0]["networks"]))]

    def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
        return [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|",
                *(f"| {' | '.join(row)} |" for row in rows), ""]

    def seconds(entries: Iterable[Mapping[str, Any]], step: str) -> list[str]:
        return [f"{entry[step]['cpu_seconds']:.2f}" for entry in entries]

    return "\n".join([
        "## Speed of the tools", "",
        f"Made by `{command}`.",
        f"Square arrays derived from {found['preset']}, {found['dataflow']}, with lanes and buffer",
        "words in proportion, made from nothing. Seconds are CPU time of all processes, on a",
        f"machine of {found['cpus']} cores that may have had other work, which slows these too:",
        "compare them with each other, not with those of other machines.", "",
        *table(
            ["array", "PEs", "lanes", "word", "Verilog, s", "MB", "modules", "simulator, s", "MB",
             "cycles a second"],
            ([name, str(array["pes"]), str(array["lanes"]), f"{array['word_bytes']} B",
              f"{array['verilog']['cpu_seconds']:.1f}", f"{array['verilog']['bytes'] / 1e6:.2f}",
              str(array["verilog"]["modules"]), f"{array['simulator']['cpu_seconds']:.1f}",
              f"{array['simulator']['bytes'] / 1e6:.2f}",
              f"{array['simulation']['cycles_per_cpu_second']:,.0f}"]
             for name, array in zip(names, arrays, strict=True))),
        f"What a PE costs, relative to the {names[0]} array: 1 is linear growth, and what has a",
        "fixed part falls below.", "",
        *table(
            ["a PE's share", *names],
            ([name, *(f"{row[name]:.2f}" for row in costs)] for name in costs[0])),
        "Compiling networks, which includes the search for mappings:", "",
        *table(
            ["network", "layers", *(f"{name}, s" for name in names),
             *(f"{name}, ms a layer" for name in names)],
            ([row[0]["model"], str(row[0]["layers"]), *seconds(row, "compile"),
              *(f"{1e3 * entry['compile']['cpu_seconds'] / entry['layers']:.0f}" for entry in row)]
             for row in networks)),
        "`oarlock run` once everything is in the cache, but for the start of Python:", "",
        *table(
            ["network", *(f"{name}, s" for name in names), *(f"{name}, cycles" for name in names),
             "bit-exact"],
            ([row[0]["model"], *seconds(row, "run"), *(f"{entry['cycles']:,}" for entry in row),
              "yes" if all(entry["bit_exact"] for entry in row) else "NO"]
             for row in networks)),
    ])


def _measure_array(models: Sequence[Path], preset: str, config: ArrayConfig,
                   progress: cache.Progress) -> dict[str, Any]:
    """Measure everything of one array; nothing of it is in the cache yet."""
    from ..sim.simulator import build

    text, verilog = _timed(lambda: verilog_of(config, progress=progress))
    library, simulator = _timed(lambda: build(text, progress=progress))
    networks = []
    for model in models:
        progress(f"Compiling {model.stem}", 0, 0)
        layers, compiling = _in_new_process(_compile, model, config)
        # Once, so that the run finds everything.
        compile_model(model, config)
        result, running = _timed(lambda model=model: run_model(
            model, preset=preset, config=config, progress=progress))
        networks.append({
            "model": result.report["model"], "layers": layers, "cycles": result.cycles,
            "bit_exact": result.bit_exact, "compile": compiling, "run": running})
    progress("Timing the simulator", 0, 0)
    return {
        "rows": config.rows, "cols": config.cols, "pes": config.pes, "lanes": config.lanes,
        "word_bytes": config.word_bytes,
        "verilog": verilog | {"bytes": len(text.encode()),
                              "modules": len(re.findall(r"^module ", text, re.MULTILINE))},
        "simulator": simulator | {"bytes": library.stat().st_size},
        "simulation": _simulate(models[0], config, library),
        "networks": networks,
    }


def _simulate(model: Path, config: ArrayConfig, library: Path) -> dict[str, Any]:
    """Return the speed of a simulator that runs a network again and again."""
    from ..sim.simulator import Simulator
    from ..sim.transport import SimTransport
    from ..sw_driver.session import Session

    program = compile_model(model, config)
    x = np.random.default_rng(1).integers(-128, 128, program.input.shape, np.int8)
    with (Simulator(library) as simulator,
          Session(SimTransport(simulator), program) as session):
        session.load()
        before = simulator.cycles

        def infer() -> int:
            while simulator.cycles < before + SPEED_CYCLES:
                session.infer(x)
            return simulator.cycles - before

        cycles, spent = _timed(infer)
    return spent | {"model": program.model, "cycles": cycles,
                    "cycles_per_cpu_second": cycles / spent["cpu_seconds"]}


def _in_new_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function where nothing is remembered: mappings that were searched for once are."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _compile(model: Path, config: ArrayConfig) -> tuple[int, dict[str, float]]:
    """Return the layers of a network, and the seconds that compiling takes."""
    from .program import compile_network
    from .tflite_import import load

    network = load(model)
    _, spent = _timed(lambda: compile_network(network, config))
    return len(network.layers), spent


def _timed(function: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Return what a function returns, and the seconds that it took."""
    def cpu() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    began, cpu_began = time.perf_counter(), cpu()
    result = function()
    return result, {"seconds": time.perf_counter() - began, "cpu_seconds": cpu() - cpu_began}
