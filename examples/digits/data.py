"""The handwritten digits of scikit-learn, split once and for all, as floats and as int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite
from sklearn.datasets import load_digits


__all__ = ["MODEL", "held_out", "split"]

MODEL = Path(__file__).with_name("digits.tflite")

_SPLIT_SEED = 2016
_HELD_OUT = 0.2


def split() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return ``(images, labels)`` for training and ``(images, labels)`` held out of it.

    Images are float32 (N, 8, 8, 1) in 0 … 1. One fifth of each digit is held out.
    """
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)

    # RandomState and not default_rng or train_test_split: numpy froze its stream for good, so the
    # held-out images stay the ones that the committed model has never seen.
    random = np.random.RandomState(_SPLIT_SEED)
    held = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = random.permutation(np.flatnonzero(labels == digit))
        held[members[:round(_HELD_OUT * len(members))]] = True
    return (images[~held], labels[~held]), (images[held], labels[held])


def held_out(model: Path = MODEL) -> tuple[np.ndarray, np.ndarray]:
    """Return the held-out images as int8, by the scale that ``model`` states, and the labels."""
    graph = tflite.Model.GetRootAs(model.read_bytes(), 0).Subgraphs(0)
    quantization = graph.Tensors(graph.Inputs(0)).Quantization()
    scale, zero_point = quantization.Scale(0), quantization.ZeroPoint(0)

    images, labels = split()[1]
    quantized = np.round(images / scale) + zero_point
    return np.clip(quantized, -128, 127).astype(np.int8), labels
