"""Sizes of candidate codes for activations: the table of docs/run-length-coding.md.

Run as ``python examples/coding_formats.py MODEL.tflite[=INPUTS.npy] ...``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from oarlock.gen.interpret import evaluate
from oarlock.gen.tflite_import import load
from oarlock.sw_driver.run_length import encode


__all__ = ["main"]


def pairs(there: np.ndarray, longest: int) -> int:
    """Return the pairs of a run, at most ``longest``, and a level that code a tensor."""
    gaps = np.diff(np.flatnonzero(there), prepend=-1) - 1
    rest = len(there) - 1 - np.flatnonzero(there)[-1] if there.any() else len(there)
    return int((gaps // (longest + 1) + 1).sum()) - (-rest // (longest + 1))


def sizes(data: np.ndarray, zero: int) -> list[int]:
    """Return raw bytes and those of every candidate."""
    there = data != zero
    groups = np.pad(there, (0, -len(there) % 32)).reshape(-1, 32).sum(axis=1)
    words = np.pad(data, (0, -len(data) % 4), constant_values=zero).view("<u4")
    return [4 * len(words), 4 * len(encode(words, zero)), 4 * len(encode(words, zero, coded=True)),
            int((4 + 4 * -(-groups // 4)).sum()), 4 * -(-pairs(there, 3) // 3),
            4 * -(-pairs(there, 31) // 2)]


def main() -> None:
    """Print a row for each network."""
    for argument in sys.argv[1:]:
        path, _, inputs = argument.partition("=")
        network = load(Path(path))
        shape = network.tensors[network.input].shape[1:]
        if inputs:
            x = np.load(inputs).reshape(-1, *shape)[:1]
        else:
            blocks = np.random.default_rng(1).integers(-128, 128, (8, 8, shape[2]))
            x = np.kron(blocks, np.ones((shape[0] // 8, shape[1] // 8, 1)))[None]
        values = evaluate(network, x.astype(np.int8))
        total, zeros = np.zeros(6), 0
        for layer in network.layers:
            data = values[layer.output].ravel()
            if layer.op in ("softmax", "reshape") or data.dtype != np.int8:
                continue
            zero = network.tensors[layer.output].zero_point
            total += sizes(data, zero)
            zeros += np.count_nonzero(data == zero)
        shares = " | ".join(f"{share:.2f}" for share in total[1:] / total[0])
        print(f"| {Path(path).stem} | {zeros / total[0]:.0%} | {shares} |")


if __name__ == "__main__":
    main()
