"""What the command line shows to a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import cache
from .compare import ACCESSES
from .config import PRESETS, ArrayConfig
from .network import Network
from .runner import RunResult


__all__ = [
    "build_table", "compare_table", "devices_table", "inspect_table", "presets_table", "run_tables",
    "show_progress",
]


@contextmanager
def show_progress(console: Console) -> Iterator[cache.Progress]:
    """Show what is being done, as a bar on a terminal, else as a line at the start of each stage.

    Nothing stays on a terminal afterwards.
    """
    if not console.is_terminal:
        seen: set[str] = set()

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in seen:
                seen.add(stage)
                console.print(f"{stage} ...", highlight=False, soft_wrap=True)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("Starting", total=None)
        current = ""

        def show(stage: str, done: int, total: int) -> None:
            nonlocal current
            if stage != current:
                current = stage
                bars.reset(task, description=stage, total=total or None)
            bars.update(task, completed=done, total=total or None)

        yield show


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left",
                         no_wrap=column in right)
    return table


def _size(count: int) -> str:
    return f"{count:,}"


def run_tables(console: Console, result: RunResult) -> None:
    """Print a table per layer, totals, latency and whether all was bit-exact."""
    report = result.report
    numbers = ("MACs", "cycles", "bound", "util.")
    table = _table(
        f"{report['model']} on {report['preset']}: {report['rows']}x{report['cols']} PEs, "
        f"{report['dataflow']}",
        "layer", "op", "runs on", *numbers, "mapping", right=numbers)
    for layer in result.layers:
        on_device = layer["cycles"] > 0
        table.add_row(
            layer["name"], layer["op"], layer["runs_on"].replace("none", "-"),
            _size(layer["macs"]) if layer["macs"] else "-",
            _size(layer["cycles"]) if on_device else "-",
            _size(layer["bound_cycles"]) if layer["bound_cycles"] else "-",
            f"{layer['utilization']:.0%}" if on_device and layer["macs"] else "-",
            layer["mapping"])
    table.add_section()
    table.add_row("total", "", "", _size(report["macs"]), _size(report["cycles"]),
                  _size(report["bound_cycles"]), f"{report['utilization']:.0%}", "", style="bold")
    console.print(table)
    clock = result.cycles / result.latency / 1e6 if result.latency else 0
    counters = report["counters"]
    gated = counters.get("macs_gated", 0)
    executed = gated + counters.get("macs_done", 0)
    lines = [
        f"latency     {result.latency * 1e6:,.0f} µs at the preset's {clock:g} MHz "
        f"({_size(result.cycles)} cycles)",
        *([f"skipped     {_size(report['macs_skipped'])} MACs of channels that only zero weights "
           f"read"] if "macs_skipped" in report else []),
        "gated MACs  " + (f"{gated / executed:.0%} of {_size(executed)} (zero activations)"
                          if executed else "not counted by this configuration"),
        f"link        {_size(report['link_bytes_in'])} bytes in, "
        f"{_size(report['link_bytes_out'])} bytes out per inference",
        f"inputs      {report['inferences']}" + (
            "" if result.seed is None else f", random with seed {result.seed}"),
    ]
    for line in lines:
        console.print(line, highlight=False)
    verdict = "[green]yes[/]" if result.bit_exact else f"[red]NO[/]: {result.mismatch}"
    console.print(f"bit-exact   {verdict} (reference with {report['rounding']} rounding)",
                  highlight=False, soft_wrap=True)


def compare_table(console: Console, found: dict[str, Any]) -> None:
    """Print what :func:`oarlock.gen.compare.compare` found: every layer once a dataflow."""
    numbers = ("cycles", "util.", *(f"{level}\n{access}" for level, access, _ in ACCESSES))
    first = found["dataflows"][0]
    table = _table(f"{found['model']} on {found['preset']}: {first['rows']}x{first['cols']} PEs",
                   "layer", "dataflow", *numbers, right=numbers)
    for column in table.columns:
        column.no_wrap = True

    def rows(name: str, entries: list[dict[str, Any]], style: str | None = None) -> None:
        for report, entry in zip(found["dataflows"], entries, strict=True):
            counters = entry["counters"]
            table.add_row(
                name, report["dataflow"], _size(entry["cycles"]),
                f"{entry['utilization']:.0%}" if entry["macs"] else "-",
                *(_size(counters.get(counter, 0)) for _, _, counter in ACCESSES), style=style)
            name = ""

    for layers in zip(*(report["layers"] for report in found["dataflows"]), strict=True):
        if any(layer["cycles"] for layer in layers):
            rows(layers[0]["name"], list(layers))
    table.add_section()
    rows("total", found["dataflows"], "bold")
    console.print(table)
    console.print(
        "buffer: words of the global buffer; ifmap, filter, psum: entries of the scratchpads and "
        "accumulators of all PEs;\nhops: values moved to a PE from a bus or from its neighbour.",
        highlight=False)
    verdict = "[green]yes[/]" if found["bit_exact"] else "[red]NO[/]"
    console.print(f"bit-exact   {verdict} (reference with {found['rounding']} rounding)",
                  highlight=False)


def inspect_rows(network: Network) -> list[dict[str, Any]]:
    """Return what there is to know about each layer of a network."""
    rows = []
    for layer in network.layers:
        weights = 0 if layer.weights is None else layer.weights.size
        rows.append({
            "name": layer.name, "op": layer.op,
            "inputs": [list(network.tensors[name].shape[1:]) for name in layer.inputs],
            "output": list(network.tensors[layer.output].shape[1:]),
            "kernel": list(_kernel(layer)), "stride": list(layer.stride),
            "macs": layer.macs(network.tensors), "weight_bytes": weights,
            "zero_weights": 0 if layer.weights is None else int((layer.weights == 0).sum()),
        })
    return rows


def _zero_share(rows: Sequence[dict[str, Any]]) -> float:
    """Return which share of all weights is zero."""
    weights = sum(row["weight_bytes"] for row in rows)
    return sum(row["zero_weights"] for row in rows) / weights if weights else 0.0


def _kernel(layer: Any) -> tuple[int, ...]:
    match layer.op:
        case "conv":
            return layer.weights.shape[1:3]
        case "depthwise_conv":
            return layer.weights.shape[:2]
        case "average_pool" | "max_pool":
            return layer.window
    return ()


def inspect_table(console: Console, network: Network) -> None:
    """Print a network's layers."""
    def shape(sizes: Sequence[int]) -> str:
        return "x".join(map(str, sizes))

    numbers = ("MACs", "weights", "zero")
    table = _table(network.name, "layer", "op", "input", "output", "kernel", "stride", *numbers,
                   right=numbers)
    rows = inspect_rows(network)
    for row in rows:
        kernel = row["kernel"]
        table.add_row(
            row["name"], row["op"], " + ".join(map(shape, row["inputs"])), shape(row["output"]),
            shape(kernel) or "-", shape(row["stride"]) if kernel else "-",
            _size(row["macs"]) if row["macs"] else "-",
            _size(row["weight_bytes"]) if row["weight_bytes"] else "-",
            f"{row['zero_weights'] / row['weight_bytes']:.1%}" if row["weight_bytes"] else "-")
    table.add_section()
    table.add_row("total", "", "", "", "", "", _size(network.macs),
                  _size(sum(row["weight_bytes"] for row in rows)),
                  f"{_zero_share(rows):.1%}", style="bold")
    console.print(table)
    for what, name in (("input ", network.input), ("output", network.output)):
        tensor = network.tensors[name]
        console.print(f"{what}  {name}: {tensor.dtype} {shape(tensor.shape)}", highlight=False,
                      markup=False)


def build_table(console: Console, report: dict[str, Any], folder: Path) -> None:
    """Print what a board's build came to."""
    table = _table(report["board"], "", "used", "of", right=["used", "of"])
    for kind, name in (("lut", "LUTs"), ("ff", "flip-flops"), ("dsp", "multipliers"),
                       ("bram", "block RAMs")):
        table.add_row(name, f"{report[kind]:,}", f"{report['available'][kind]:,}")
    table.add_row("MHz", f"{report['achieved_hz'] / 1e6:.2f}", f"{report['clock_hz'] / 1e6:.2f}")
    console.print(table)
    if report["bitstream"] is not None:
        console.print(f"{folder / report['bitstream']}: built in "
                      f"{sum(report['seconds'].values()) / 60:.1f} min", highlight=False,
                      markup=False, soft_wrap=True)


def presets_table(console: Console, presets: dict[str, ArrayConfig]) -> None:
    """Print the presets side by side."""
    table = _table("Presets", "", *presets, right=[*presets])

    def row(name: str, *values: object) -> None:
        table.add_row(name, *map(str, values))

    configs = presets.values()
    row("PEs", *(f"{config.rows}x{config.cols} = {config.pes}" for config in configs))
    row("dataflow", *(config.dataflow for config in configs))
    row("clock", *(f"{config.clock_hz / 1e6:g} MHz" for config in configs))
    row("peak", *(f"{config.pes * config.clock_hz / 1e9:.2f} GMAC/s" for config in configs))
    row("global buffer", *(f"{_size(config.buffer_bytes)} B" for config in configs))
    row("words of it", *(f"{config.word_bytes} B" for config in configs))
    row("filter scratchpad", *(f"{_size(config.filter_depth)} B a PE" for config in configs))
    row("ifmap scratchpad", *(f"{config.ifmap_depth} entries" for config in configs))
    row("partial sums", *(f"2 x {config.psum_depth}" for config in configs))
    row("output lanes", *(config.lanes for config in configs))
    row("digest", *(f"{config.digest:016x}" for config in configs))
    console.print(table)


def devices_table(console: Console, found: Sequence[Any]) -> None:
    """Print what :mod:`oarlock.sw_driver.ports` found."""
    if not found:
        console.print("No serial port with a board that may be ours (--all: all ports).",
                      highlight=False, markup=False)
        return
    names = {config.digest: name for name, config in PRESETS.items()}
    table = _table("Serial ports", "port", "USB", "board", "serial number", "answers")
    for device in found:
        answer = device.problem or "not asked (--probe)"
        if device.info is not None:
            digest = device.info["digest_high"] << 32 | device.info["digest_low"]
            answer = (f"Oarlock, {names.get(digest, 'no preset')}, {device.info['rows']}x"
                      f"{device.info['cols']} PEs, digest {digest:016x}")
        table.add_row(device.port, device.usb_id or "", device.board or "",
                      device.serial_number or "", answer)
    console.print(table)
