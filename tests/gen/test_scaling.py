"""``oarlock bench --scaling``: what is exact is exact, and times are only times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oarlock.gen import cache, scaling
from oarlock.gen.cli import app
from oarlock.gen.config import PRESETS, load_config
from oarlock.gen.errors import ConfigError, OarlockError
from oarlock.gen.verilog import verilog_of
from typer.testing import CliRunner


DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"

def test_squares() -> None:
    flagship = PRESETS["ulx3s-85f"]
    sizes = {side: scaling.square(flagship, side) for side in scaling.SIDES}
    assert sizes[12] == flagship
    assert {side: (array.rows, array.cols, array.lanes, array.word_bytes)
            for side, array in sizes.items()} == {
        4: (4, 4, 4, 8), 8: (8, 8, 8, 16), 12: (12, 12, 12, 16), 16: (16, 16, 16, 32)}
    # There are no more than 32 bytes, and no less than one lane.
    assert scaling.square(load_config("tiny", word_bytes=32), 16).word_bytes == 32
    assert scaling.square(PRESETS["tiny"], 1).lanes == 1
    # A word of four bytes has no more than eight banks.
    assert scaling.square(load_config("tiny", buffer_banks=16), 2).buffer_banks == 8
    with pytest.raises(ConfigError, match="rows must be 1 to 16, not 17"):
        scaling.square(flagship, 17)


def test_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays whose simulators other tests need too: making one takes most of a minute."""
    begun = []

    @contextmanager
    def warm() -> Iterator[None]:
        begun.append(len(begun))
        yield

    monkeypatch.setattr(cache, "cold", warm)
    configs = [PRESETS["tiny"], PRESETS["ulx3s-85f"]]
    stages = []
    found = scaling.measure([DIGITS], "mixed", configs,
                            progress=lambda stage, *_: stages.append(stage))
    # Each array begins with an empty cache, but for this test.
    assert len(begun) == 2
    for name in ("4x4", "12x12"):
        assert f"{name}: Compiling digits" in stages
        assert f"{name}: Timing the simulator" in stages

    assert json.loads(json.dumps(found)) == found
    assert [array["pes"] for array in found["arrays"]] == [16, 144]
    for config, array in zip(configs, found["arrays"], strict=True):
        assert {name: array[name] for name in ("rows", "cols", "lanes", "word_bytes")} == {
            "rows": config.rows, "cols": config.cols, "lanes": config.lanes,
            "word_bytes": config.word_bytes}
        text = verilog_of(config)
        assert array["verilog"]["bytes"] == len(text.encode())
        assert array["verilog"]["modules"] == text.count("endmodule")
        network, = array["networks"]
        assert network["bit_exact"]
        # Whole inferences, the words of the link included.
        assert array["simulation"]["cycles"] >= scaling.SPEED_CYCLES
        assert all(entry["seconds"] > 0 and entry["cpu_seconds"] > 0 for entry in (
            array["verilog"], array["simulator"], array["simulation"], network["compile"],
            network["run"]))
    small, large = (array["networks"][0]["cycles"] for array in found["arrays"])
    assert small > 2 * large

    page = scaling.report(found, "the command")
    assert "Made by `the command`" in page
    assert "| digits | 11 | " in page
    assert f" | {small:,} | {large:,} | yes |" in page
    found["arrays"][1]["networks"][0]["bit_exact"] = False
    assert f" | {small:,} | {large:,} | NO |" in scaling.report(found, "the command")


def entry(seconds: float, **more: object) -> dict[str, object]:
    return {"seconds": 99.0, "cpu_seconds": seconds, **more}


def test_shares_of_a_pe_by_hand() -> None:
    def array(pes: int, cost: float) -> dict[str, object]:
        return {"pes": pes, "verilog": entry(cost, bytes=100 + pes), "simulator": entry(
            cost, bytes=10 * pes), "simulation": entry(3 * cost, cycles=3), "networks": [
                {"model": "n", "compile": entry(7)}]}

    first, second = scaling.per_pe({"arrays": [array(16, 2), array(64, 10)]})
    assert set(first.values()) == {1}
    assert second == pytest.approx({
        "Verilog, time": 1.25, "Verilog, size": 164 / 116 / 4, "simulator, build": 1.25,
        "simulator, size": 1, "a simulated cycle": 1.25, "compiling n": 0.25})


def test_wrong_sizes_are_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cached", None)
    for more, error, message in ((["--scaling", "--side", "17"], ConfigError, "not 17"),
                                 (["--side", "4"], OarlockError, "--side needs --scaling")):
        result = CliRunner().invoke(app, ["bench", str(DIGITS), "--preset", "tiny", *more])
        assert isinstance(result.exception, error)
        assert message in str(result.exception)
