"""The models of Eyeriss against what was published: the chip, and six dataflows."""

from __future__ import annotations

import io
import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from oarlock.gen import eyeriss, isca_dataflows
from oarlock.gen.cli import main
from oarlock.gen.energy import load_table
from oarlock.gen.eyeriss import CHIP, MAC_PJ, PRINTED, ChipLayer, choose, coded_share
from oarlock.gen.published import (
    BATCHES,
    PES,
    Figure,
    PublishedDataError,
    chip_figures,
    dataflow_figures,
    network_layers,
)
from oarlock.gen.published_tables import show
from oarlock.gen.row_stationary import Layer, RowStationary
from rich.console import Console
from shared_data import shared_file


ALEXNET_LAYERS = [f"CONV{n}" for n in range(1, 6)]


def folder() -> Path:
    for name in ("eyeriss/alexnet_measured.csv", "eyeriss/vgg16_measured.csv",
                 "eyeriss/isca16_dataflow_comparison.csv", "topologies/vgg16_conv.csv"):
        shared_file(name)
    return shared_file("topologies/alexnet_conv_eyeriss.csv").parents[1]


@cache
def alexnet() -> dict[tuple[str, str], Figure]:
    return {(figure.of, figure.name): figure for figure in chip_figures(folder(), "AlexNet")}


@cache
def comparison() -> dict[tuple[str, str], Figure]:
    return {(figure.of, figure.name): figure for figure in dataflow_figures(folder())}


@pytest.mark.parametrize("layer", ALEXNET_LAYERS)
def test_alexnet(layer):
    figures = alexnet()
    assert figures[layer, "active PEs"].ratio == 1
    assert figures[layer, "processing, ms"].ratio == pytest.approx(1, abs=0.1)
    assert figures[layer, "global buffer, MB"].ratio == pytest.approx(1, abs=0.25)
    assert figures[layer, "DRAM, MB"].ratio == pytest.approx(1, abs=0.25)
    assert 0.7 <= figures[layer, "power, mW"].ratio <= 1.3


def test_printed_mappings():
    """Also with the printed parameters, but for one figure that contradicts them."""
    figures = chip_figures(folder(), "AlexNet", printed=True)
    limits = {"active PEs": 0, "processing, ms": 0.1, "global buffer, MB": 0.25, "DRAM, MB": 0.25,
              "power, mW": 0.3}
    wrong = {(figure.of, figure.name) for figure in figures
             if abs(figure.ratio - 1) > limits.get(figure.name, 0.1)}
    assert wrong == {("CONV3", "global buffer, MB")}


def test_search_finds_the_printed_mappings():
    """Three of five to the letter; CONV2 but for m and p, CONV3 but for q, r and t."""
    found = {layer.name: choose(layer, 4) for layer in network_layers(folder(), "AlexNet")}
    for name, mapping in found.items():
        printed = RowStationary(layer=mapping.layer, batch=4, **PRINTED[name])
        assert printed.fits(CHIP)
        assert mapping.active_pes == printed.active_pes
        dram = ("dram", "ifmap"), ("dram", "weight")
        assert [mapping.counts[key] for key in dram] == [printed.counts[key] for key in dram]
    assert [name for name, mapping in found.items()
            if any(getattr(mapping, key) != value for key, value in PRINTED[name].items())
            ] == ["CONV2", "CONV3"]


def test_vgg_active_pes():
    figures = [figure for figure in chip_figures(folder(), "VGG-16")
               if figure.name == "active PEs"]
    assert len(figures) == 13
    assert [figure.model for figure in figures] == [figure.published for figure in figures]


def test_the_constant_is_the_chips_energy():
    """MAC_PJ is what its comment says, not what suits a layer."""
    figure = alexnet()["total", "power, mW"]
    energy = figure.model * alexnet()["total", "total, ms"].model
    measured = figure.published * alexnet()["total", "total, ms"].published
    assert measured / energy * MAC_PJ == pytest.approx(MAC_PJ, abs=0.005)


@pytest.mark.parametrize(("name", "value", "figure", "limit"), [
    ("PSUM_BUS", 2, "processing, ms", 0.1), ("IFMAP_BUS", 0.25, "processing, ms", 0.1),
    ("RUN_MAX", 0, "DRAM, MB", 0.25), ("MAC_PJ", 8, "power, mW", 0.3),
])
def test_wrong_facts_show(monkeypatch, name, value, figure, limit):
    """Negative control: another chip is not within the limits."""
    monkeypatch.setattr(eyeriss, name, value)
    monkeypatch.setattr(ChipLayer.power_mw, "__defaults__", (eyeriss.MAC_PJ,))
    figures = [found for found in chip_figures(folder(), "AlexNet")
               if found.name == figure and found.of in ALEXNET_LAYERS]
    assert any(abs(found.ratio - 1) > limit for found in figures)


def test_a_floor_between_86_and_92_percent_gives_the_same(monkeypatch):
    layers = network_layers(folder(), "AlexNet") + network_layers(folder(), "VGG-16")[:1]
    expected = [choose(layer, 4).active_pes for layer in layers]
    for floor in (0.86, 0.92):
        monkeypatch.setattr(eyeriss, "FLOOR", floor)
        assert [choose(layer, 4).active_pes for layer in layers] == expected


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("pes", PES)
def test_dataflows(pes, batch):
    of = {name: f"{pes} PEs, N = {batch}: {name}" for name in isca_dataflows.DATAFLOWS}
    energy = {name: comparison()[key, "energy"] for name, key in of.items()}
    for name, figure in energy.items():
        assert figure.ratio == pytest.approx(1, abs=0.2), name
        # And not by errors that cancel: no level is off by a tenth of the whole.
        for level in ("mac", "dram", "buffer", "array", "scratchpad"):
            part = comparison().get((of[name], level))
            assert part is None or abs(part.model - part.published) < 0.1 * figure.published
    order = sorted(energy, key=lambda name: energy[name].published)
    for less, more in pairwise(order):
        # Bars closer than 0.2 % (OSA and OSB, 512 PEs, N = 1) have no order in a drawing.
        if energy[more].published / energy[less].published > 1.002:
            assert energy[less].model < energy[more].model, (less, more)


def test_weight_stationary_cannot_hold_a_large_batch():
    """The paper has no bar there: 64 images' partial sums do not fit 256 PEs' buffer."""
    layers = network_layers(folder(), "AlexNet")
    table = load_table("isca16")
    assert isca_dataflows.counts("WS", layers, 64, 256, table) is None
    assert isca_dataflows.counts("WS", layers, 64, 512, table) is not None


def test_wrong_dataflows_show(monkeypatch):
    """Negative control: dataflows without the larger buffer are not those of the paper."""
    monkeypatch.setattr(isca_dataflows, "BUFFER_GAIN", 0.25)
    isca_dataflows._best.cache_clear()
    table, layers = load_table("isca16"), network_layers(folder(), "AlexNet")
    unit = 1 / 0.156
    published = {"OSA": 1.329, "OSB": 1.357, "OSC": 1.640}
    off = []
    for name, value in published.items():
        found = isca_dataflows.counts(name, layers, 16, 256, table)
        energy = None if found is None else isca_dataflows.energy_per_mac(found, table)
        off.append(energy is None or abs(sum(energy.values()) / unit / value - 1) > 0.2)
    isca_dataflows._best.cache_clear()
    assert any(off)


LAYER = Layer(name="drawn", h=9, h_stored=7, r=3, e=7, c=4, m=6, groups=1, stride=1)


def test_counts_by_walking():
    """Accesses of a small mapping, counted one by one."""
    mapping = RowStationary(layer=LAYER, batch=2, m=4, n=1, e=3, p=2, q=2, r=1, t=1)
    dram, ifmap, psum, received = 0, 0, 0, 0
    for _ in range(2):                                   # images, one at a time
        for rows in (3, 3, 1):                           # strips
            for first in range(0, LAYER.m, mapping.m):   # filters held by the buffer
                for _ in range(0, LAYER.c, mapping.q):   # channels of a pass
                    dram += mapping.q * (rows + 2) * LAYER.h
                    for _ in range(first, min(first + mapping.m, LAYER.m), mapping.p):
                        ifmap += mapping.q * (rows + 2) * LAYER.h
                        psum += 2 * mapping.p * rows * LAYER.e
                        received += LAYER.r * rows * mapping.q * LAYER.h
    counts = mapping.counts
    assert counts["dram", "ifmap"] == dram
    assert counts["buffer", "ifmap"] == ifmap
    assert counts["buffer", "psum"] == psum
    assert counts["array", "ifmap"] == received
    assert counts["mac", "mac"] == 2 * LAYER.macs == 2 * 7 * 7 * 3 * 3 * 4 * 6


@pytest.mark.parametrize(("zeros", "share"), [
    (0, 1), (0.25, 1), (0.5, 0.5 * 4 / 3), (1, 4 / 3 / 32)])
def test_coded_share(zeros, share):
    assert coded_share(zeros) == pytest.approx(share)


def test_command(tmp_path, capsys):
    """The documented command prints every figure, and has them as JSON."""
    found = tmp_path / "figures.json"
    assert main(["eyeriss", "--data", str(folder()), "--json", str(found)]) == 0
    figures = json.loads(found.read_text())
    assert list(figures) == ["AlexNet", "AlexNet, printed mapping", "VGG-16", "dataflows"]
    assert len(figures["dataflows"]) == 3 * 2 * (5 * 6 + 5)
    for entry in figures["AlexNet"]:
        assert entry["ratio"] == pytest.approx(entry["model"] / entry["published"])
    console = Console(record=True, width=200, file=io.StringIO())
    show(console, {"AlexNet": chip_figures(folder(), "AlexNet")})
    text = console.export_text()
    assert "154 | 154 | 1.00" in text and "3.6 pJ" in text
    assert main(["eyeriss", "--data", str(tmp_path)]) == 2
    assert "holds no eyeriss" in capsys.readouterr().err


def test_missing_data(tmp_path):
    with pytest.raises(PublishedDataError, match=r"holds no eyeriss/alexnet_measured\.csv"):
        chip_figures(tmp_path, "AlexNet")
