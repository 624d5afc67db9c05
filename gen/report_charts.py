"""The charts of a report as SVG, in shades of grey and hatches: a print says all."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure


__all__ = ["dataflows", "energy_by", "roofline", "time_by_cause"]

#: Fill and hatch of the parts of a bar, in order.
STYLES = [("0.25", ""), ("0.85", "///"), ("0.60", "..."), ("1.00", "xxx"), ("0.45", "\\\\\\"),
          ("0.92", "---"), ("0.75", "+++"), ("1.00", "")]

#: Same bytes on every machine; text stays text.
SETTINGS = {"svg.hashsalt": "oarlock", "svg.fonttype": "none", "font.family": "sans-serif",
            "font.size": 9, "hatch.linewidth": 0.6, "axes.spines.top": False,
            "axes.spines.right": False}


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as an element of a page; its identifiers begin with ``name``."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)


def _bars(axes: Axes, labels: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """Draw horizontal stacked bars, the first on top."""
    left = [0.0] * len(labels)
    for (name, values), (shade, hatch) in zip(parts.items(), STYLES, strict=False):
        axes.barh(range(len(labels)), values, left=left, label=name, color=shade, hatch=hatch,
                  edgecolor="black", linewidth=0.5, height=0.75)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _figure(rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 1.3 + 0.24 * rows), layout="constrained")
    return figure, figure.subplots()


def _busy(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [layer for layer in report["layers"] if layer["busy_cycles"]]


def roofline(report: Mapping[str, Any], name: str) -> str:
    """Draw MACs a cycle over MACs a byte from the global buffer, a point for every layer."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        axes = figure.subplots()
        layers = [layer for layer in _busy(report) if layer["macs"] and layer["buffer_bytes_read"]]
        peak, bandwidth = report["run"]["pes"], report["config"]["word_bytes"]
        x = [layer["macs_per_byte"] for layer in layers]
        low, high = min([*x, peak / bandwidth]) / 2, max([*x, peak / bandwidth]) * 2
        corner = peak / bandwidth
        axes.plot([low, corner, high], [low * bandwidth, peak, peak], color="black")
        axes.annotate(f"{peak} PEs", (high, peak), ha="right", va="bottom")
        axes.annotate(f"{bandwidth} bytes a cycle", (low, low * bandwidth), va="top",
                      xytext=(12, 0), textcoords="offset points")
        kinds: dict[str, list[int]] = {}
        for n, layer in enumerate(layers):
            kinds.setdefault(layer["op"], []).append(n)
        for (kind, members), marker in zip(kinds.items(), "os^Dv<>p", strict=False):
            axes.plot([x[n] for n in members],
                      [layers[n]["macs_per_cycle"] for n in members], linestyle="none",
                      marker=marker, markerfacecolor="0.8", markeredgecolor="black", label=kind)
        for n, layer in enumerate(layers):
            axes.annotate(layer["name"].split("_")[0], (x[n], layer["macs_per_cycle"]), fontsize=7,
                          xytext=(4, 3), textcoords="offset points")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("MACs per byte read from the global buffer")
        axes.set_ylabel("MACs per cycle")
        axes.legend(loc="lower right", frameon=False)
        return _svg(figure, name)


def energy_by(report: Mapping[str, Any], index: int, name: str) -> str:
    """Draw the energy of every layer by level (``index`` 0) or by operand (1)."""
    layers = _busy(report)
    names = list(dict.fromkeys(key.split()[index] for layer in layers
                               for key in layer["energy_pj"]))
    parts = {part: [sum(value for key, value in layer["energy_pj"].items()
                        if key.split()[index] == part) / 1e6 for layer in layers]
             for part in names}
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(len(layers))
        _bars(axes, [layer["name"] for layer in layers], parts)
        axes.set_xlabel("energy of one inference, µJ")
        return _svg(figure, name)


def time_by_cause(report: Mapping[str, Any], name: str) -> str:
    """Draw the cycles of every layer: computing, waiting for what, begin and end."""
    layers = _busy(report)
    labels = {"MAC": "array at work", "stall_load": "waiting for ifmap",
              "stall_drain": "waiting for drain", "begin and end": "begin, end, vector unit"}
    parts = {label: [layer["cycles_by_cause"][cause] for layer in layers]
             for cause, label in labels.items()}
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(len(layers))
        _bars(axes, [layer["name"] for layer in layers], parts)
        for n, layer in enumerate(layers):
            if layer["macs"]:
                share = layer["macs_per_cycle"] / report["run"]["pes"]
                axes.annotate(f"{share:.0%}", (layer["busy_cycles"], n), va="center",
                              xytext=(3, 0), textcoords="offset points", fontsize=7)
        axes.set_xlabel("cycles; at the bar's end: share of PE-cycles that did a MAC of the layer")
        return _svg(figure, name)


def dataflows(reports: Sequence[Mapping[str, Any]], name: str) -> str:
    """Draw the energy of several runs of one network side by side, by level."""
    levels = list(dict.fromkeys(key.split()[0] for report in reports
                                for layer in report["layers"] for key in layer["energy_pj"]))
    parts = {level: [sum(value for layer in report["layers"]
                         for key, value in layer["energy_pj"].items()
                         if key.split()[0] == level) / 1e6 for report in reports]
             for level in levels}
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(len(reports) + 1)
        _bars(axes, [report["run"]["dataflow"] for report in reports], parts)
        axes.set_xlabel("energy of one inference, µJ")
        return _svg(figure, name)
