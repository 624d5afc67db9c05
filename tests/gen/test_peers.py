"""Our figures beside published ones: the README has what the hardware counts."""

import csv
from pathlib import Path

import pytest
from oarlock.gen import peers
from oarlock.gen.bench import compare_with_peers
from oarlock.gen.cli import app
from oarlock.gen.config import load_config
from oarlock.gen.errors import OarlockError
from shared_data import shared_file
from typer.testing import CliRunner


ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.tflite"


def test_the_readme_is_what_it_says_it_is(tmp_path: Path) -> None:
    """Cycles, or the model of energy, must not change without the README."""
    models = [shared_file(f"models/{name}.tflite") for name in peers.NETWORKS]
    page = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text()
    page.write_text(peers.insert(text, "", page))
    assert page.read_text() != text
    compare_with_peers(models, ("ulx3s-85f", load_config("ulx3s-85f")), page)
    assert page.read_text() == text


def report(model: str, cycles: int) -> dict:
    return {"run": {"model": model, "rows": 12, "cols": 12, "pes": 144, "macs": 7 * cycles,
                    "dataflow": "row-stationary", "cycles": cycles},
            "clock_hz": 50_000_000, "latency_s": cycles / 50e6, "table": {"source": "S"},
            "energy": {"device_j": 5e-6}}


def test_tables_by_hand() -> None:
    text = peers.comparison([report("kws_ref_model", 1000), report("other", 1)], "command")
    assert "| ms per inference, batch 1 | KWS |" in text
    assert "row-stationary**, 50 MHz ¹ | 0.020 |" in text
    assert "144 at most | 7.0 |" in text
    assert "modelled ² | 5.0 |" in text
    assert "| GAP9, 370 MHz (ASIC) | 0.476 |" in text


def test_published_figures_are_those_of_the_logs() -> None:
    """Each stands in the official table, to the digits that are quoted."""
    with open(shared_file("benchmarks/mlperf_tiny_results.csv"), encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["division"] == "closed"]
    for system in peers.systems():
        version, name = system["entry"].split("/")
        logged = {row["bench"].upper(): row for row in rows
                  if (row["round"], row["system"]) == (version, name)}
        for key, column in (("milliseconds", "latency_ms"), ("microjoules", "energy_uJ")):
            for network, value in system.get(key, {}).items():
                half = 0.5 / 10 ** len(str(value).partition(".")[2])
                assert float(logged[network][column]) == pytest.approx(value, abs=1.001 * half)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(OarlockError, match="none of the models is named kws_ref_model, "):
        peers.comparison([report("other", 1)], "command")
    page = tmp_path / "page.md"
    page.write_text(peers.END + peers.BEGIN)
    with pytest.raises(OarlockError, match=r"page\.md: has no lines <!-- how it compares: begin"):
        peers.insert(page.read_text(), "", page)
    result = CliRunner().invoke(app, ["bench", str(DIGITS), "--preset", "tiny",
                                      "--compare", str(tmp_path / "none.md")])
    assert isinstance(result.exception, OarlockError)
