"""Dataflows side by side on the same buffers, from the hardware's own counters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..sim.reference import Rounding
from . import cache
from .config import DATAFLOWS, DEFAULT_PRESET, load_config
from .runner import run_model


__all__ = ["ACCESSES", "compare"]

#: What is compared, by column: level, access, counter.
ACCESSES = (
    ("buffer", "reads", "buffer_reads"), ("buffer", "writes", "buffer_writes"),
    ("ifmap", "reads", "ifmap_reads"), ("ifmap", "writes", "ifmap_writes"),
    ("filter", "reads", "filter_reads"),
    ("filter", "writes", "filter_writes"),
    ("psum", "reads", "psum_reads"), ("psum", "writes", "psum_writes"),
    ("ifmap", "hops", "ifmap_hops"), ("filter", "hops", "filter_hops"),
    ("psum", "hops", "psum_hops"),
)


def compare(path: str | Path, inputs: np.ndarray | None = None, *, preset: str = DEFAULT_PRESET,
            rounding: Rounding = "single", file: Path | None = None,
            dataflows: Iterable[str] = DATAFLOWS,
            progress: cache.Progress = cache.no_progress) -> dict[str, Any]:
    """Run a network with every dataflow and return what the hardware counted.

    Parameters
    ----------
    path : :class:`str` or :class:`pathlib.Path`
        An int8 ``.tflite`` file.
    inputs : array (N, ...), optional
        The first is used. Random by default; the same for all dataflows.
    preset : :class:`str`
        The accelerator, of which only the dataflow is replaced.
    rounding : :data:`oarlock.sim.reference.Rounding`
        Rounding rule of requantizations.
    file : :class:`pathlib.Path`, optional
        A TOML file that changes values of the preset.
    dataflows : list of :class:`str`
        Names of dataflows.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what takes its time.

    Returns
    -------
    dict
        ``model``, ``preset``, ``rounding``, ``bit_exact``, and ``dataflows``: for each the JSON of
        ``oarlock run``, whose layers have their ``counters`` too. A layer's link words are those
        sent for it; its cycles are those of the whole run, in which layers follow each other.
    """
    reports = []
    for dataflow in dataflows:
        result = run_model(
            path, None if inputs is None else inputs[:1], preset=preset, rounding=rounding,
            config=load_config(preset, file=file, dataflow=dataflow), profile=True,
            progress=progress)
        layers = [{key: value for key, value in layer.items() if key != "runs_on"}
                  for layer in result.layers]
        reports.append(result.report | {"layers": layers})
    return {
        "model": reports[0]["model"], "preset": preset, "rounding": rounding,
        "bit_exact": all(report["bit_exact"] for report in reports), "dataflows": reports,
    }
