"""``oarlock bench``: figures as a page and as JSON."""

import json
from pathlib import Path

from oarlock.gen.bench import report
from oarlock.gen.cli import app
from typer.testing import CliRunner


DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


def test_bench_reports_what_a_run_counts(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["bench", str(DIGITS), "--preset", "tiny", "-o", str(page),
                                      "--json", str(figures)])
    assert result.exit_code == 0, result.output
    assert result.output == ""
    found = json.loads(figures.read_text())
    assert set(found) == {"runs"}
    run, = found["runs"]
    assert run["bit_exact"]
    assert run["latency_s"] == run["cycles"] / run["clock_hz"]
    text = page.read_text()
    assert f"| {run['cycles']:,} |" in text
    assert all(f"| {layer['name']} |" in text for layer in run["layers"] if layer["cycles"])
    for name in ("stall_load", "stall_drain"):
        assert (sum(layer["counters"].get(name, 0) for layer in run["layers"])
                == run["counters"][name])
    # What is not bit-exact stands out.
    assert "| NO |" not in text
    assert "| NO |" in report([run | {"bit_exact": False}], "nothing")
