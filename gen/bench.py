"""Benchmarks: networks on presets, as figures for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import cache
from .config import ArrayConfig
from .errors import OarlockError
from .runner import run_model


__all__ = ["compare_with_peers", "measure", "report"]

#: Counters that say where cycles went which no MAC took.
STALLS = ("stall_load", "stall_drain")


def measure(models: Sequence[Path], arrays: Iterable[tuple[str, ArrayConfig]], *,
            progress: cache.Progress = cache.no_progress) -> list[dict[str, Any]]:
    """Run networks on presets; return the JSON of each run, with latency, clock and layer counters.

    Cycles are exact and the same on every machine; nothing here is a time of this one.

    Parameters
    ----------
    models : list of :class:`pathlib.Path`
        int8 ``.tflite`` files.
    arrays : list of :class:`str` and :class:`~oarlock.gen.config.ArrayConfig`
        Names of presets, and their configurations.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what takes its time.
    """
    found = []
    for preset, config in arrays:
        if not config.counters:
            raise OarlockError(f"preset {preset} leaves out the counters, which this needs")
        clock = config.clock_hz
        for model in models:
            result = run_model(model, preset=preset, config=config, profile=True,
                               progress=progress)
            found.append(result.report | {"layers": result.layers, "clock_hz": clock,
                                          "latency_s": result.latency})
    return found


def compare_with_peers(models: Sequence[Path], array: tuple[str, ArrayConfig], page: Path, *,
                       progress: cache.Progress = cache.no_progress) -> None:
    """Write our figures beside published ones, between the markers of a Markdown page.

    Raises
    ------
    OarlockError
        If the page has none, or nothing is published of these models.
    """
    from .energy import load_table
    from .peers import NETWORKS, comparison, insert
    from .report import measure as measure_energy

    preset, config = array

    def with_section(section: str) -> str:
        try:
            return insert(page.read_text(encoding="utf-8"), section, page)
        except (OSError, ValueError) as error:
            raise OarlockError(f"{page}: {error}") from error

    # Before the first is run, which takes its time; and read again after it, which took its time.
    with_section("")
    table = load_table("accelergy_45nm")
    reports = [measure_energy(model, table=table, preset=preset, config=config, progress=progress)
               for model in models if model.stem in NETWORKS]
    names = " ".join(model.name for model in models if model.stem in NETWORKS)
    section = comparison(reports, f"oarlock bench {names} --preset {preset} "
                                  f"--dataflow {config.dataflow} --compare {page.name}")
    page.write_text(with_section(section), encoding="utf-8")


def report(results: Iterable[dict[str, Any]], command: str) -> str:
    """Return a Markdown page of what :func:`measure` found.

    ``command`` made it, and stands in it.
    """
    results = list(results)
    lines = [
        "# Benchmarks", "",
        f"Made by `{command}`; int8, batch 1, random inputs, rounding `single`.",
        "Cycles are those of the Verilated Verilog, from start to done, counted by the device; the",
        "clock is what the preset aims at.", "",
    ]
    arrays = dict.fromkeys((result["preset"], result["dataflow"]) for result in results)
    for preset, dataflow in arrays:
        runs = [result for result in results
                if (result["preset"], result["dataflow"]) == (preset, dataflow)]
        first = runs[0]
        lines += [
            f"## {preset}: {first['rows']}×{first['cols']}, {first['dataflow']}", "",
            "| network | MACs | bound | cycles | PE-cycles used | gated MACs | waiting for ifmap "
            "| waiting for drain | bit-exact | at {:.0f} MHz |".format(first["clock_hz"] / 1e6),
            "|---|" + "---:|" * 7 + "---|---:|",
        ]
        for run in runs:
            counters = run["counters"]
            stalls = " | ".join(f"{counters[name]:,}" for name in STALLS)
            lines.append(
                f"| {run['model']} | {run['macs']:,} | {run['bound_cycles']:,} "
                f"| {run['cycles']:,} | {run['utilization']:.0%} "
                f"| {counters['macs_gated'] / run['macs']:.0%} | {stalls} "
                f"| {'yes' if run['bit_exact'] else 'NO'} | {run['latency_s'] * 1e3:.3f} ms |")
        for run in runs:
            lines += ["", f"### {run['model']}", "",
                      "| layer | MACs | bound | cycles | PE-cycles used | waiting for ifmap "
                      "| waiting for drain | mapping |",
                      "|---|" + "---:|" * 6 + "---|"]
            for layer in run["layers"]:
                if layer["cycles"]:
                    mapping = layer["mapping"].replace("|", "\\|")
                    stalls = " | ".join(f"{layer['counters'][name]:,}" for name in STALLS)
                    lines.append(
                        f"| {layer['name']} | {layer['macs']:,} | {layer['bound_cycles']:,} "
                        f"| {layer['cycles']:,} | {layer['utilization']:.0%} | {stalls} "
                        f"| {mapping} |")
        lines.append("")
    return "\n".join(lines)
