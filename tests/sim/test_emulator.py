"""``oarlock emulate`` in a process of its own, and what becomes of it when its users die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from oarlock.gen import cli
from oarlock.gen.config import PRESETS, ArrayConfig
from oarlock.sw_driver import errors
from oarlock.sw_driver.ports import probe
from oarlock.sw_driver.serial_transport import SerialTransport
from oarlock.sw_driver.session import Session, identify
from serial_board import BAUD, CLOCK, CONFIG, CONFIGS, example, serial_board


DIGITS = str(Path(__file__).parents[2] / "examples/digits/digits.tflite")
OARLOCK = [sys.executable, "-m", "oarlock.gen.cli"]


@pytest.fixture
def config(request: pytest.FixtureRequest) -> ArrayConfig:
    """Return the board's configuration: of the dataflow that a test is parametrized with."""
    return CONFIGS[getattr(request, "param", "row-stationary")]


@pytest.fixture
def small(tmp_path: Path, config: ArrayConfig) -> Path:
    """Write what makes that configuration of a preset."""
    values = {name: value for name, value in asdict(config).items()
              if value != asdict(PRESETS["tiny"])[name]}
    path = tmp_path / "small.toml"
    # Numbers, truths and names are the same in JSON and in TOML.
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    return path


@pytest.fixture
def emulator(tmp_path: Path, small: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run the command, and end it like Ctrl-C."""
    port = tmp_path / "port"
    process = subprocess.Popen(
        [*OARLOCK, "emulate", "--preset", "tiny", "--config", str(small), "--clock", str(CLOCK),
         "--baud", str(BAUD), "--link", str(port)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        announced = [process.stdout.readline() for _ in range(2)]
        assert announced == [
            f"tiny: 2x3 PEs at 12 MHz, 3,000,000 baud, simulated, on {port}\n",
            f"oarlock run MODEL.tflite --preset tiny --target serial:{port}\n"]
        yield process, port
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == cli.INTERRUPTED, err
        assert "Traceback" not in err
        assert " bytes in, " in out
        assert not port.is_symlink()


def run(port: Path, small: Path, *more: str) -> Sequence[str]:
    return [*OARLOCK, "run", DIGITS, "--preset", "tiny", "--config", str(small), "--target",
            f"serial:{port}", *more]


@pytest.mark.parametrize("config", CONFIGS, indirect=True)
def test_a_network_larger_than_the_chip(
        emulator: tuple[subprocess.Popen[str], Path], config: ArrayConfig, small: Path,
        tmp_path: Path, capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = emulator
    x, report = tmp_path / "x.npy", tmp_path / "report.json"
    np.save(x, np.random.default_rng(1).integers(-128, 128, (2, 8, 8, 1), np.int8))
    arguments = ["--input", str(x), "--json", str(report)]
    assert cli.main([*run(port, small, *arguments)[3:]]) == 0
    by_serial = json.loads(report.read_text())
    assert by_serial["bit_exact"]
    assert by_serial["dataflow"] == config.dataflow
    assert by_serial["inferences"] == 2
    # The same command on the simulator says the same, but for cycles in which the link was slow. Of
    # one dataflow: another simulator takes half a minute to make.
    if config == CONFIG:
        arguments = ["--preset", "tiny", "--config", str(small), *arguments]
        assert cli.main(["run", DIGITS, *arguments]) == 0
        simulated = json.loads(report.read_text())
        for key in ("macs", "link_bytes_in", "link_bytes_out", "bound_cycles"):
            assert by_serial[key] == simulated[key]
        assert by_serial["cycles"] > simulated["cycles"]

    # In the same session of the shell: a device of another configuration, told by name, and one
    # that is no preset's.
    assert cli.main(["run", DIGITS, "--target", f"serial:{port}"]) == 2
    assert (f"no preset's, {config.digest:016x}; say with --preset and --config"
            in capfd.readouterr().err.splitlines()[-1])
    assert cli.main(["run", DIGITS, "--preset", "tiny", "--target", f"serial:{port}"]) == 2
    assert "Device has the configuration" in capfd.readouterr().err
    monkeypatch.setitem(PRESETS, "mine", config)
    assert cli.main(["run", DIGITS, "--target", f"serial:{port}", *arguments[-2:]]) == 0
    found = json.loads(report.read_text())
    assert found["bit_exact"] and found["preset"] == "mine"
    assert probe(str(port)) == config.info()
    assert cli.main(["devices", "--probe", "--json", "-", "--port", str(port)]) == 0
    device, = json.loads(capfd.readouterr().out)
    assert device["info"] == config.info()


def test_a_driver_that_is_killed(emulator: tuple[subprocess.Popen[str], Path],
                                 small: Path) -> None:
    _, port = emulator
    for seconds in (0.9, 1.4, 2.0):
        victim = subprocess.Popen(run(port, small), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        # Once it has the port, in the middle of whatever it does.
        deadline = time.monotonic() + 30
        while f"{os.readlink(port)}" not in _files_of(victim.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(seconds / 2)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        began = time.monotonic()
        assert probe(str(port)) == CONFIG.info()
        assert time.monotonic() - began < 5
    done = subprocess.run(run(port, small), capture_output=True, text=True, timeout=100,
                          check=False)
    assert done.returncode == 0, done.stderr


def _files_of(process: int) -> list[str]:
    folder = Path(f"/proc/{process}/fd")
    found = []
    for entry in [*folder.iterdir()] if folder.exists() else []:
        try:
            found.append(os.readlink(entry))
        except OSError:
            pass
    return found


def test_two_drivers_at_once(emulator: tuple[subprocess.Popen[str], Path], small: Path) -> None:
    _, port = emulator
    with SerialTransport(str(port)) as transport:
        done = subprocess.run(run(port, small), capture_output=True, text=True, timeout=100,
                              check=False)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == (
            f"oarlock: Port {port} is in use by another process")
        # The first is not disturbed.
        assert identify(transport) == CONFIG.info()
    assert probe(str(port)) == CONFIG.info()


def test_terminated(small: Path, tmp_path: Path) -> None:
    port = tmp_path / "port"
    process = subprocess.Popen(
        [*OARLOCK, "emulate", "--preset", "tiny", "--config", str(small), "--clock", str(CLOCK),
         "--link", str(port), "--faults", "50"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(errors.DriverError):
        for _ in range(100):
            probe(str(port))
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert " faults: " in out
    assert "Traceback" not in err
    assert not port.is_symlink()


def test_users_come_and_go(tmp_path: Path) -> None:
    wanted = example()
    with serial_board(tmp_path / "port") as board:
        before = len(os.listdir("/proc/self/fd"))
        for count in range(1, 5):
            with Session(SerialTransport(board.port), wanted.program) as session:
                session.load()
                y = session.infer_batch(np.repeat(wanted.inputs[:1], count, axis=0))
                assert np.array_equal(y.reshape(count, -1),
                                      np.repeat(wanted.outputs[:1], count, 0).reshape(count, -1))
            assert len(os.listdir("/proc/self/fd")) == before


def test_the_next_input_travels_while_one_is_computed(tmp_path: Path) -> None:
    """Less time on the line's own clock than one after the other."""
    wanted = example()
    with serial_board(tmp_path / "port") as board, \
            Session(SerialTransport(board.port), wanted.program) as session:
        session.load()
        session.infer(wanted.inputs[0])
        posted: list[int] = []
        post = session.transport.post

        def watch(words: np.ndarray) -> bool:
            posted.append(len(words))
            return post(words)

        session.transport.post = watch  # type: ignore[method-assign]
        outputs = session.infer_batch(wanted.inputs)
        assert np.array_equal(outputs.ravel(), wanted.outputs.ravel())
    # Each but the first went out before the answers to the one before were taken.
    assert len(posted) == len(wanted.inputs)


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "emulate needs either --board or --preset"),
    (["--board", "x"], "board must be one of "),
    (["--preset", "x"], "preset must be one of "),
    (["--preset", "tiny", "--clock", "10000000"], "Baud rate must be within 2 % of the clock"),
    (["--preset", "tiny", "--faults", "-1"], "faults must be a number of bytes, or 0, not -1"),
    (["--preset", "tiny", "--link", "/nowhere/x"], "/nowhere: No such folder"),
])
def test_wrong_arguments(arguments: list[str], message: str,
                         capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulate", *arguments]) == 2
    assert message in capfd.readouterr().err
