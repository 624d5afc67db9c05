"""Flashing: the right command, and what mends it when it does not work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_tools import fake
from oarlock.boards.flash import udev_rule
from oarlock.boards.registry import BOARDS
from oarlock.gen.cli import main


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "a b.bit"
    path.write_bytes(b"bits")
    return path


def test_dry_run_prints_the_command_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flash", "--board", "ulx3s-25f", "--file", "a b.bit", "--dry-run"]) == 0
    assert capsys.readouterr().out == "openFPGALoader -b ulx3s -m 'a b.bit'\n"
    assert main(["flash", "--board", "orangecrab-25f", "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "dfu-util -d 1209:5af0 -a 0 -D build/orangecrab-25f/orangecrab-25f.bit\n")


def test_the_programmer_gets_the_bitstream(tmp_path: Path, bitstream: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake(tmp_path, "openFPGALoader", "")
    assert main(["flash", "--board", "ulx3s-25f", "--file", str(bitstream)]) == 0
    log = (tmp_path / "openFPGALoader.log").read_text()
    assert json.loads(log) == ["-b", "ulx3s", "-m", str(bitstream)]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["flash", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("oarlock: ") and line.count("\n") == 1
    return line


def test_a_missing_bitstream(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = complaint(capsys, "--board", "ulx3s-25f", "--file", str(tmp_path / "x.bit"))
    assert f"oarlock build --board ulx3s-25f -o {tmp_path}" in line


@pytest.mark.parametrize(("name", "package"), [
    ("ulx3s-25f", "openfpgaloader"), ("orangecrab-25f", "dfu-util")])
def test_a_missing_programmer(name: str, package: str, tmp_path: Path, bitstream: Path,
                              capsys: pytest.CaptureFixture[str],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = complaint(capsys, "--board", name, "--file", str(bitstream))
    assert f"install it with: apt-get install {package}" in line


@pytest.mark.parametrize(("said", "denied"), [
    ("unable to open ftdi device: -4 (usb_open() failed)", True),
    ("LIBUSB_ERROR_ACCESS", True),
    ("JTAG init failed with: no device found", False),
])
def test_a_programmer_that_fails(said: str, denied: bool, tmp_path: Path, bitstream: Path,
                                 capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake(tmp_path, "openFPGALoader", f"print({said!r}); sys.exit(3)")
    line = complaint(capsys, "--board", "ulx3s-25f", "--file", str(bitstream))
    rule = udev_rule(BOARDS["ulx3s-25f"])
    assert 'ATTR{idVendor}=="0403"' in rule and 'ATTR{idProduct}=="6015"' in rule
    assert (rule in line) is denied
    assert denied or f"status 3: {said}" in line
