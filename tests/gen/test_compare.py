"""Dataflows side by side: what the hardware counted, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oarlock.gen.cli import main
from oarlock.gen.compare import ACCESSES
from oarlock.gen.config import DATAFLOWS
from oarlock.hw import isa


DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("compare") / "found.json"
    assert main(["compare", str(DIGITS), "--preset", "tiny", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_both_are_exact_and_use_the_same_buffers(found: dict[str, Any]) -> None:
    assert found["bit_exact"] is True
    assert (found["model"], found["preset"], found["rounding"]) == ("digits", "tiny", "single")
    assert tuple(report["dataflow"] for report in found["dataflows"]) == DATAFLOWS
    first, second = found["dataflows"]
    assert (first["macs"], first["pes"]) == (second["macs"], second["pes"])
    # What crosses the chip's edge is the network's own.
    for name in ("link_bytes_in", "link_bytes_out"):
        assert first[name] == pytest.approx(second[name], abs=200)


@pytest.mark.parametrize("dataflow", range(len(DATAFLOWS)))
def test_layers_add_up(found: dict[str, Any], dataflow: int) -> None:
    report = found["dataflows"][dataflow]
    total = report["counters"]
    own = [layer["counters"] for layer in report["layers"] if layer["counters"]]
    assert [layer["name"] for layer in report["layers"] if layer["counters"]] == [
        layer["name"] for layer in report["layers"] if layer["cycles"]]
    # What depends on how runs follow each other is different layer by layer.
    for name in set(isa.COUNTERS) - {"cycles", "busy_cycles", "link_words_in", "link_words_out",
                                     "filter_writes"}:
        assert sum(counters[name] for counters in own) == total[name], name
    for layer in report["layers"]:
        counters = layer["counters"]
        if counters:
            assert counters["macs_done"] + counters["macs_gated"] == layer["macs"]


def test_what_a_dataflow_has_not_stays_zero(found: dict[str, Any]) -> None:
    rows, weights = (report["counters"] for report in found["dataflows"])
    assert weights["ifmap_reads"] == weights["ifmap_writes"] == 0 == rows["filter_hops"]
    assert all(rows[counter] or weights[counter] for _, _, counter in ACCESSES
               if counter != "filter_writes")
    # Row-stationary reads the buffer less, which is what it is for.
    assert rows["buffer_reads"] < weights["buffer_reads"]


def test_the_table(capsys: pytest.CaptureFixture[str], found: dict[str, Any]) -> None:
    assert main(["compare", str(DIGITS), "--preset", "tiny"]) == 0
    text = capsys.readouterr().out
    for report in found["dataflows"]:
        assert text.count(report["dataflow"]) == 1 + sum(
            layer["cycles"] > 0 for layer in report["layers"])
        assert f"{report['counters']['psum_reads']:,}" in text
    assert "bit-exact   yes" in text


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compare", str(tmp_path / "none.tflite")]) == 2
    assert main(["compare", str(DIGITS), "--preset", "none"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("oarlock: ")]) == 2
