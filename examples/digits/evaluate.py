"""Recognise the held-out digits on the simulated accelerator; print how well and how fast.

Exit status 0 only if every output equals the numpy reference and the answer that LiteRT gave when
the model was made, and accuracy reaches :data:`FLOOR`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from data import MODEL, held_out
from oarlock.gen.cache import Progress, no_progress
from oarlock.gen.config import PRESETS
from oarlock.gen.runner import run_model
from oarlock.gen.tables import show_progress
from rich.console import Console


__all__ = ["FLOOR", "evaluate", "main", "passed", "summary"]

FLOOR = 0.97
"""Accuracy below which something is broken; the model itself reaches 98.6 %."""


def evaluate(preset: str, count: int | None = None, *,
             progress: Progress = no_progress) -> dict[str, Any]:
    """Run the first ``count`` held-out images (all by default) and return what was found."""
    images, labels = held_out()
    images, labels = images[:count], labels[:count]
    # Made by train.py, so that equality with LiteRT is checked where LiteRT is not installed.
    expected = np.load(MODEL.with_name("litert_outputs.npy"))[:len(images)]

    start = time.monotonic()
    # The rule of the kernels that made `expected`.
    result = run_model(MODEL, images, preset=preset, rounding="single", progress=progress)
    host_seconds = time.monotonic() - start

    outputs = result.outputs.reshape(len(images), -1)
    correct = int(np.sum(outputs.argmax(axis=1) == labels))
    clock_hz = PRESETS[preset].clock_hz
    return {
        "model": MODEL.name,
        "preset": preset,
        "images": len(images),
        "correct": correct,
        "accuracy": correct / len(images),
        "accuracy_floor": FLOOR,
        "bit_exact": bool(result.bit_exact),
        "equals_litert": bool(np.array_equal(outputs, expected)),
        "cycles": int(result.cycles),
        "clock_hz": int(clock_hz),
        "latency_s": result.cycles / clock_hz,
        "macs": result.report["macs"],
        "utilization": result.report["utilization"],
        "host_seconds": round(host_seconds, 3),
    }


def summary(found: dict[str, Any]) -> str:
    """Return ``found`` as lines for a person."""
    def yes(value: bool) -> str:
        return "yes" if value else "NO"

    return "\n".join([
        f"  accuracy               {found['accuracy']:.2%}"
        f" ({found['correct']} of {found['images']} held-out images;"
        f" floor {found['accuracy_floor']:.0%})",
        f"  equal to the reference {yes(found['bit_exact'])}",
        f"  equal to LiteRT        {yes(found['equals_litert'])}",
        f"  cycles per inference   {found['cycles']:,}"
        f" ({found['macs']:,} MACs, {found['utilization']:.0%} of the PE-cycles)",
        f"  latency                {found['latency_s'] * 1e6:,.0f} µs"
        f" at the preset's {found['clock_hz'] / 1e6:g} MHz",
        f"  simulated in           {found['host_seconds']:.1f} s"
        " (with building the simulator, if it was not in the cache)",
    ])


def passed(found: dict[str, Any]) -> bool:
    """Return whether ``found`` is what it must be."""
    return (found["bit_exact"] and found["equals_litert"]
            and found["accuracy"] >= found["accuracy_floor"])


def main() -> int:
    """Run the command line and return its exit status."""
    available = len(held_out()[1])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS),
                        help="the accelerator to simulate (default: %(default)s)")
    parser.add_argument("--count", type=int, default=available, metavar="N",
                        help="only the first N of the %(default)s held-out images")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= available:
        parser.error(f"Count must be 1 … {available}, not {arguments.count}")

    if arguments.json:
        found = evaluate(arguments.preset, arguments.count)
        print(json.dumps(found, indent=2))
    else:
        print(f"{MODEL.name} on the simulated {arguments.preset}, {arguments.count} images …",
              flush=True)
        with show_progress(Console(stderr=True)) as progress:
            found = evaluate(arguments.preset, arguments.count, progress=progress)
        print(summary(found))
    return 0 if passed(found) else 1


if __name__ == "__main__":
    sys.exit(main())
