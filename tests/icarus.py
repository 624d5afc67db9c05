"""Icarus Verilog is part of the distribution: CI requires it, elsewhere it may be missing."""

from __future__ import annotations

import os
import shutil

import pytest


__all__ = ["needs_icarus"]


def needs_icarus() -> None:
    """Skip the test that asks where there is no Icarus; fail it in CI."""
    if shutil.which("iverilog") is None:
        message = "iverilog was not found; install it with: apt-get install iverilog"
        if os.environ.get("OARLOCK_REQUIRE_MODELS") == "1":
            pytest.fail(message)
        pytest.skip(message)
