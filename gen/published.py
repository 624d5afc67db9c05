"""The models of Eyeriss held against the published figures, one row a figure."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .energy import load_table
from .errors import OarlockError
from .eyeriss import MAC_PJ, PRINTED, ChipLayer, choose
from .isca_dataflows import DATAFLOWS, counts, energy_per_mac
from .row_stationary import Layer, RowStationary


__all__ = ["NETWORKS", "Figure", "PublishedDataError", "as_json", "chip_figures",
           "dataflow_figures", "network_layers"]

#: Topology, measurements and batch of a network.
NETWORKS = {
    "AlexNet": ("topologies/alexnet_conv_eyeriss.csv", "eyeriss/alexnet_measured.csv", 4),
    "VGG-16": ("topologies/vgg16_conv.csv", "eyeriss/vgg16_measured.csv", 3),
}
COMPARISON = "eyeriss/isca16_dataflow_comparison.csv"
PES, BATCHES = (256, 512, 1024), (1, 16)


class PublishedDataError(OarlockError, ValueError):
    """A folder without the published figures."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the model and the one that was published.

    Members
    -------
    of : :class:`str`
        What the figure is of.
    name : :class:`str`
        The figure, with its unit.
    model, published : :class:`float`
        Its two values.
    detail : :class:`str`
        The mapping.
    """

    of: str
    name: str
    model: float
    published: float
    detail: str = ""

    @property
    def ratio(self) -> float:
        """Return the model's value as a share of the published one."""
        return self.model / self.published


def as_json(figures: list[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain values."""
    return [asdict(figure) | {"ratio": figure.ratio} for figure in figures]


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    try:
        with open(folder / name, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(line for line in file if not line.startswith("#")))
    except FileNotFoundError as error:
        raise PublishedDataError(f"{folder}: holds no {name}") from error


def network_layers(folder: Path, network: str) -> list[Layer]:
    """Return the convolutions of a network."""
    found = []
    for row in _rows(folder, NETWORKS[network][0]):
        groups, padding = int(row["groups"]), int(row["pad_t"]) + int(row["pad_b"])
        found.append(Layer(
            name=row["name"], h=int(row["H"]) + padding, h_stored=int(row["H"]), r=int(row["R"]),
            e=int(row["E"]), c=int(row["C"]) // groups, m=int(row["M"]) // groups, groups=groups,
            stride=int(row["stride"])))
    return found


def chip_figures(folder: Path, network: str, *, printed: bool = False) -> list[Figure]:
    """Return the figures of every layer of a network on the chip, and of all together.

    Parameters
    ----------
    folder : :class:`pathlib.Path`
        Holds ``eyeriss/`` and ``topologies/``.
    network : :class:`str`
        One of :data:`NETWORKS`.
    printed : :class:`bool`
        Use the mapping that the paper prints instead of the search's; for AlexNet only.
    """
    _, measured, batch = NETWORKS[network]
    rows = {row["layer"]: row for row in _rows(folder, measured)}
    layers = network_layers(folder, network)
    table = load_table("isca16")
    zeros = [float(rows[layer.name]["zeros_pct"]) / 100 for layer in layers]
    figures: list[Figure] = []
    sums = dict.fromkeys(("processing", "total", "buffer", "dram", "energy"), 0.0)
    # What leaves the chip are the next layer's zeros; of the last layer's nothing is published, so
    # its input's stand for them.
    for layer, share, after in zip(layers, zeros, [*zeros[1:], zeros[-1]], strict=True):
        mapping = (RowStationary(layer=layer, batch=batch, **PRINTED[layer.name]) if printed
                   else choose(layer, batch))
        it = ChipLayer(mapping=mapping, zeros=share, zeros_out=after)
        megabytes = sum(it.dram_bytes.values()) / 1e6
        power = it.power_mw(table)
        for name, key, value in (
                ("active PEs", "active_pes", mapping.active_pes),
                ("processing, ms", "proc_ms", it.processing_ms),
                ("total, ms", "total_ms", it.total_ms),
                ("global buffer, MB", "glb_mb", it.buffer_bytes / 1e6),
                ("DRAM, MB", "dram_mb", megabytes),
                ("power, mW", "power_mw", power)):
            figures.append(Figure(of=layer.name, name=name, model=float(value),
                                  published=float(rows[layer.name][key]), detail=mapping.text))
        for key, value in (("processing", it.processing_ms), ("total", it.total_ms),
                           ("buffer", it.buffer_bytes / 1e6), ("dram", megabytes),
                           ("energy", power * it.total_ms)):
            sums[key] += value
    for name, key, value in (
            ("processing, ms", "proc_ms", sums["processing"]),
            ("total, ms", "total_ms", sums["total"]),
            ("global buffer, MB", "glb_mb", sums["buffer"]),
            ("DRAM, MB", "dram_mb", sums["dram"]),
            ("power, mW", "power_mw", sums["energy"] / sums["total"])):
        figures.append(Figure(of="total", name=name, model=value,
                              published=float(rows["total"][key])))
    return figures


def dataflow_figures(folder: Path) -> Iterator[Figure]:
    """Yield the normalised energy of every dataflow, then of each of its levels."""
    published = {(int(row["PEs"]), row["dataflow"], int(row["batch_N"])): row
                 for row in _rows(folder, COMPARISON)
                 if row["figure"] == "Fig12" and row["panel"] in "abc"}
    table, layers = load_table("isca16"), network_layers(folder, "AlexNet")
    unit = None
    for pes in PES:
        for batch in BATCHES:
            for dataflow in DATAFLOWS:
                found = counts(dataflow, layers, batch, pes, table)
                assert found is not None
                levels = energy_per_mac(found, table)
                # Everything is relative to the first: RS, 256 PEs, N = 1.
                unit = unit or sum(levels.values())
                row = published[pes, dataflow, batch]
                of = f"{pes} PEs, N = {batch}: {dataflow}"
                yield Figure(of=of, name="energy", model=sum(levels.values()) / unit,
                             published=float(row["total"]))
                names = ("mac", "dram", "buffer", "array", "scratchpad")
                for n, level in enumerate(names, 1):
                    if row[f"seg{n}"]:
                        yield Figure(of=of, name=level, model=levels.get(level, 0) / unit,
                                     published=float(row[f"seg{n}"]))


def constants() -> str:
    """Return in words what was fitted."""
    return f"one fitted constant: {MAC_PJ} pJ for the energy of a 16-bit MAC"
