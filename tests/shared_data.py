"""The networks and inputs that lie beside the repository, not in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


__all__ = ["MODELS", "models", "real_inputs", "shared_file"]

MODELS = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "str_ww_ref_model",
          "vww_96_int8")
REAL_INPUTS = {"ad01_int8": "ad_int8.npy", "kws_ref_model": "kws_int8.npy",
               "str_ww_ref_model": "sww_int8.npy"}


def shared_file(relative: str) -> Path:
    """Return a file below the shared data, or skip the test that asks for it.

    The folder is ``../shared/data`` beside the repository, or what ``OARLOCK_SHARED`` names (in
    place of ``../shared``). With ``OARLOCK_REQUIRE_MODELS=1`` a missing file fails the test
    instead.
    """
    root = Path(os.environ.get("OARLOCK_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = root / "data" / relative
    if not path.is_file():
        message = f"{Path(relative).name} is missing: {path}"
        if os.environ.get("OARLOCK_REQUIRE_MODELS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


def models() -> list[Path]:
    """Return the five MLPerf Tiny networks; skips if one is missing."""
    return [shared_file(f"models/{name}.tflite") for name in MODELS]


def real_inputs(model: str) -> np.ndarray | None:
    """Return real inputs (N, ...) of a network, shaped for it, or None if we have none."""
    name = REAL_INPUTS.get(model)
    return None if name is None else np.load(shared_file(f"inputs/{name}"))
