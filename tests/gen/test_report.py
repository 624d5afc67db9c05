"""Reports: one page that needs nothing else, and whose sums are what the hardware counted."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from oarlock.gen.cli import main
from oarlock.gen.config import DATAFLOWS, PRESETS, load_config
from oarlock.gen.energy import EnergyTable, load_table
from oarlock.gen.errors import OarlockError
from oarlock.gen.report import actions_of, measure
from oarlock.gen.report_page import page
from oarlock.hw import isa


DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"
VOID = {"meta", "link", "br", "img"}


@pytest.fixture(scope="module")
def report():
    return measure(DIGITS, table=load_table("accelergy_45nm"), preset="tiny", rate=5)


class Page(HTMLParser):
    """Collects what a browser would fetch, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.ids, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.fetched += [values[name] for name in ("src", "href", "xlink:href", "data", "poster")
                         if name in values]
        self.fetched += re.findall(r"url\(([^)]*)\)", " ".join(filter(None, values.values())))
        if "id" in values:
            self.ids.append(values["id"])
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "style":
            assert "@import" not in data and "url(" not in data


def check(text):
    """Assert that a page is complete in itself; return what it says."""
    found = Page(text)
    assert not found.open
    assert all(target.startswith("#") or target == "data:," for target in found.fetched)
    anchors = {target[1:] for target in found.fetched if target.startswith("#")}
    assert anchors <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    return " ".join(found.text)


def test_page(report):
    text = page([report, report], "oarlock report <digits>")
    said = check(text)
    assert text.count("<svg") == 5
    assert "oarlock report <digits>" in said
    for layer in report["layers"]:
        assert layer["name"] in said
    for words in ("inferences/s", "10 Wh battery", "Zero weights", "PE utilization", "Precision",
                  "Latency with the link", "External bandwidth", "waiting for ifmap",
                  "scratchpad", "counted", "modelled"):
        assert words in said, words
    assert "DIFFERENT" not in said
    # The same run gives the same page.
    assert page([report, report], "oarlock report <digits>") == text


@pytest.mark.parametrize("broken", [
    "<img src='https://example.org/x.png'>", "<script>x</script>", "<p>",
    "<b id='time-figure_1'></b>", "<style>@import 'x';</style>",
    "<i style='background: url(x.png)'></i>", "<a href='#none'></a>"])
def test_a_bad_page_is_noticed(report, broken):
    """Negative control of the check above."""
    text = page([report], "oarlock report")
    check(text)
    with pytest.raises(AssertionError):
        check(text.replace("</body>", broken + "</body>"))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_counts_are_the_devices(report, dataflow):
    if dataflow != "row-stationary":
        report = measure(DIGITS, table=load_table("accelergy_45nm"), preset="tiny",
                         config=load_config("tiny", dataflow=dataflow))
    assert report["run"]["bit_exact"] and report["run"]["dataflow"] == dataflow
    # All but what the link and the sequencer see.
    assert {row["counter"] for row in report["checks"]} == set(isa.COUNTERS) - {
        "cycles", "busy_cycles", "filter_writes"}
    assert all(row["equal"] and row["layers_equal"] for row in report["checks"])
    for field in ("equal", "layers_equal"):
        wrong = copy.deepcopy(report)
        wrong["checks"][0][field] = False
        assert "DIFFERENT" in page([wrong], "oarlock report")


def test_sums(report):
    energy = report["energy"]
    layers = sum(sum(layer["energy_pj"].values()) for layer in report["layers"])
    assert energy["device_j"] == pytest.approx(layers * 1e-12)
    assert energy["total_j"] == pytest.approx(energy["device_j"] + energy["link_j"])
    assert energy["power_w"] == pytest.approx(energy["device_j"] / report["latency_s"])
    assert energy["battery_hours"] == pytest.approx(10 / (energy["total_j"] * 5))
    assert energy["device_ungated_j"] > energy["device_j"]
    for layer in report["layers"]:
        assert sum(layer["cycles_by_cause"].values()) == layer["busy_cycles"]
        assert min(layer["cycles_by_cause"].values()) >= 0
    link = report["link"]
    assert link["raw_words"] == sum(row["raw_words"] for row in link["tensors"])
    assert all(row["coded_words"] <= row["raw_words"] + row["pieces"] for row in link["tensors"])


def test_energy_by_hand():
    """A table of one cost at a time picks out one action."""
    config = PRESETS["tiny"]
    counts = {"macs_done": 10, "macs_gated": 3, "ifmap_writes": 7, "ifmap_reads": 13,
              "filter_reads": 10, "psum_reads": 9, "psum_writes": 8, "ifmap_hops": 6,
              "filter_hops": 1, "psum_hops": 5, "outputs": 11, "buffer_reads": 20,
              "buffer_writes": 6}
    wide = config.psum_width / 16
    expected = {
        "mac_done": 10, "mac_gated": 3, "scratchpad_ifmap": 20 / 2, "scratchpad_weight": 5,
        "scratchpad_psum": 17 * wide, "array": 7 / 2 + 5 * wide,
        "buffer_read": 20 * config.word_bytes / 2, "buffer_write": 11 / 2}
    for action, value in expected.items():
        costs = dict.fromkeys(expected, 0) | {action: 1}
        table = EnergyTable(source="test", node_nm=1, bits=16, unit="pJ", costs=costs)
        for vector in (False, True):
            assert sum(count * table.cost(name, bits)
                       for actions in actions_of(counts, config, vector=vector).values()
                       for name, count, bits in actions) == value
    assert ("buffer", "ifmap") not in actions_of(counts, config, vector=True)


@pytest.mark.parametrize(("options", "message"), [
    ({"table": load_table("isca16")}, "needs an energy table in pJ, not one in MAC"),
    ({"rate": 0.0}, "rate must be positive, not 0.0"),
    ({"link_pj_per_bit": -1.0}, "link energy must be at least 0 pJ a bit, not -1.0"),
])
def test_bad_options(options, message):
    with pytest.raises(OarlockError, match=message):
        measure(DIGITS, preset="tiny", **{"table": load_table("accelergy_45nm")} | options)


def test_command(tmp_path, capsys):
    html, found = tmp_path / "r.html", tmp_path / "r.json"
    arguments = ["report", str(DIGITS), "--preset", "tiny", "-o", str(html), "--json", str(found)]
    assert main(arguments) == 0
    check(html.read_text(encoding="utf-8"))
    assert [entry["run"]["dataflow"] for entry in json.loads(found.read_text())] == [*DATAFLOWS]
    assert capsys.readouterr().out == ""
    assert main([*arguments[:4], "--energy", "none"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("oarlock: energy table must be one of") and error.count("\n") == 1
    assert main(["report", str(DIGITS), "-o", str(tmp_path / "no" / "r.html")]) == 2
