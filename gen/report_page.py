"""A report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from . import report_charts as charts
from .report import BATTERY_WH, CLOCK_STATED


__all__ = ["page"]

MODELLED, COUNTED = "modelled", "counted"


def page(reports: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return the page of runs of one network, the first in detail.

    Parameters
    ----------
    reports : sequence
        What :func:`oarlock.gen.report.measure` returned, one for each dataflow.
    command : :class:`str`
        What made it, and stands in it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count=_count, share=_share, si=_si)
    report = reports[0]
    drawn = {
        "roofline": charts.roofline(report, "roofline"),
        "levels": charts.energy_by(report, 0, "levels"),
        "operands": charts.energy_by(report, 1, "operands"),
        "time": charts.time_by_cause(report, "time"),
        "dataflows": charts.dataflows(reports, "dataflows"),
    }
    return environment.get_template("report.html.j2").render(
        report=report, reports=reports, command=command, metrics=_metrics(report),
        charts={name: jinja2.utils.markupsafe.Markup(svg) for name, svg in drawn.items()})


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _si(value: float, unit: str) -> str:
    """Return a value with a prefix that makes it readable."""
    for factor, prefix in ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e-12:.3g} p{unit}" if value else f"0 {unit}"


def _metrics(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and where it is from of what a serious report states (Sze et al.)."""
    run, energy, storage = report["run"], report["energy"], report["storage"]
    link, weights = report["link"], report["weights"]
    runs_on: dict[str, int] = {}
    for layer in report["layers"]:
        runs_on[layer["runs_on"]] = runs_on.get(layer["runs_on"], 0) + 1
    bytes_out = run["link_bytes_in"] + run["link_bytes_out"]
    seconds = report["latency_s"]
    rows = [
        ("Accuracy", "not part of this run: no data set; every output is bit-exact to the "
         "reference" if run["bit_exact"] else "NOT bit-exact to the reference",
         "compared in this run"),
        ("Latency, batch 1", f"{_si(seconds, 's')} ({_count(run['cycles'])} cycles), input and "
         "weights on the device", COUNTED),
        ("Latency with the link", f"{_si(report['latency_with_link_s'], 's')}, activations at one "
         "word a cycle", MODELLED),
        ("Throughput, batch 1", f"{1 / seconds:,.0f} inferences/s" if seconds else "-", COUNTED),
        ("Energy per inference, device", _si(energy["device_j"], "J"), MODELLED),
        ("Energy per inference, link", f"{_si(energy['link_j'], 'J')} ({_count(bytes_out)} bytes "
         f"at {energy['link_pj_per_bit']:g} pJ/bit)", f"bytes {COUNTED}, energy {MODELLED}"),
        ("Power while computing, device", _si(energy["power_w"], "W"), MODELLED),
        (f"{BATTERY_WH:g} Wh battery at {energy['rate']:g} inferences/s",
         "-" if energy["battery_hours"] is None else
         f"{_count(energy['battery_hours'])} h, device and link, nothing for idling", MODELLED),
        ("Bytes over the chip's edge", f"{_count(run['link_bytes_in'])} in, "
         f"{_count(run['link_bytes_out'])} out per inference, commands included", COUNTED),
        ("External bandwidth", f"{_si(bytes_out / seconds if seconds else 0, 'B/s')}", COUNTED),
        ("PEs", f"{run['rows']} x {run['cols']} = {run['pes']}", "configuration"),
        ("Storage", f"{_count(storage['total_bytes'])} bytes: {_count(storage['pe_bytes'])} a PE, "
         f"{_count(storage['buffer_bytes'])} global buffer", "configuration"),
        ("FPGA area", "not part of this run; see the boards' build reports", "-"),
        ("Precision", "int8 weights and activations, int32 sums; multiplications 8 x 9 bits",
         "configuration"),
        ("Clock", f"{report['clock_hz'] / 1e6:g} MHz: {CLOCK_STATED}", "configuration"),
        ("PE utilization", f"{run['utilization']:.1%} (MACs of the network / PE-cycles)", COUNTED),
        ("Layers run on", ", ".join(f"{where}: {n}" for where, n in runs_on.items()),
         "configuration"),
        ("Zero weights", f"{_count(weights['zeros'])} of {_count(weights['count'])} "
         f"({weights['zeros'] / max(1, weights['count']):.1%})", "counted in the model file"),
        ("Activations over the link", f"{_count(4 * link['raw_words'])} bytes raw, "
         f"{_count(4 * link['coded_words'])} run-length coded",
         "coded counted, raw modelled" if link["run_length"] else "raw counted, coded modelled"),
        ("Made from", "one inference on the Verilated Verilog, cycle by cycle"
         + (", random input" if report["random_input"] else ""), "simulation, before synthesis"),
    ]
    return rows
