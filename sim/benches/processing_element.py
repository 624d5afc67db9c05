"""The PE against a model of its docstring, cycle by cycle."""

from __future__ import annotations

import os

from ...hw.processing_element import ProcessingElement
from ..bench import Bench, ScoreboardError, bench_test
from .packing import bits_of
from .processing_element_model import Model, stimulus


__all__ = ["random_tokens"]

CYCLES = 4000


@bench_test(cycles=CYCLES + 200, p_idle=[0, 0.5])
async def random_tokens(bench: Bench, p_idle: float) -> None:
    """Load, multiply, accumulate and drain at random, all at once."""
    dut, rng = bench.dut, bench.rng("tokens")
    model = Model(**bench.parameters, fault=os.environ.get("OARLOCK_SABOTAGE"))
    shapes = {name: getattr(ProcessingElement(**bench.parameters), name).shape()
              for name in ("load", "filter_write", "mac", "banks")}
    # No register has a reset: what was before takes a cycle to leave.
    dut.tag_valid.value = dut.mac.value = dut.banks.value = 0
    await bench.cycle()
    counts = {"took": 0, "done": 0, "gated": 0, "sums": 0}
    for cycle, tokens in enumerate(stimulus(rng, model, cycles=CYCLES, p_idle=p_idle)):
        for name, token in tokens.items():
            getattr(dut, name).value = bits_of(shapes[name], token) if name in shapes else token
        await bench.cycle()
        *events, sum_out = model.cycle(tokens)
        for name, expected in zip(("took", "done", "gated"), events, strict=True):
            found = int(getattr(dut, name).value)
            if found != expected:
                raise ScoreboardError(f"{name} in cycle {cycle} must be {expected}, not {found}")
            counts[name] += found
        if sum_out is not None:
            found = dut.sum_out.value.to_signed()
            if found != sum_out:
                raise ScoreboardError(f"sum_out in cycle {cycle} must be {sum_out}, not {found}")
            counts["sums"] += any(access["drain"] for access in tokens["banks"])
    assert min(counts["took"], counts["done"], counts["sums"]) > CYCLES // 10
    assert (counts["gated"] > CYCLES // 30) == bench.parameters["zero_gating"]
