"""The device's arithmetic in int64, literally."""

from __future__ import annotations

import numpy as np
from oarlock.hw import isa


__all__ = ["requantize", "wrap"]


def requantize(acc: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, rule: int,
               bias: np.ndarray | int = 0) -> np.ndarray:
    """Post-processing of int64 sums up to, not including, the output's zero point."""
    multiplier, shift = np.broadcast_to(multiplier, acc.shape), np.broadcast_to(shift, acc.shape)
    up, down = np.maximum(shift, 0), np.maximum(-shift, 0)
    if rule == isa.Rule.TRUNCATE:
        return np.sign(acc) * ((np.abs(acc) + bias) * multiplier >> 31 + down)
    acc = wrap(acc + bias)
    acc = np.clip(acc << up, -(1 << 31), (1 << 31) - 1)
    if rule == isa.Rule.SINGLE:
        total = 31 + down
        return acc * multiplier + (np.int64(1) << total - 1) >> total
    high = acc * multiplier + (1 << 30) >> 31
    rounded = high + (np.int64(1) << np.maximum(down - 1, 0)) - (high < 0) >> down
    return np.where(down > 0, rounded, high)


def wrap(value: np.ndarray) -> np.ndarray:
    """Keep 32 bits."""
    return (value + (1 << 31) & 0xFFFFFFFF) - (1 << 31)
