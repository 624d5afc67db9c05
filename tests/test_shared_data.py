"""A missing oracle is a skip that names it, or a failure where CI insists; never a pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import shared_data


def test_missing_model_skips_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OARLOCK_SHARED", str(tmp_path))
    monkeypatch.delenv("OARLOCK_REQUIRE_MODELS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"ad01_int8\.tflite is missing: "):
        shared_data.models()


def test_missing_model_fails_where_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            ) -> None:
    monkeypatch.setenv("OARLOCK_SHARED", str(tmp_path))
    monkeypatch.setenv("OARLOCK_REQUIRE_MODELS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"ad01_int8\.tflite is missing: "):
        shared_data.models()
