"""Post-processing against the reference."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np

from ...hw.isa import Rule, pack_parameter
from ...hw.post_processor import beat_layout, result_layout
from ..bench import Bench, bench_test
from ..reference import reciprocal, requantize
from .packing import bits_of, fields_of


__all__ = ["random_beats"]

BEATS = 400
ROUNDING: dict[Rule, Any] = {Rule.SINGLE: "single", Rule.DOUBLE: "double"}

Scale = tuple[int, int, int]


def random_scale(rng: random.Random) -> Scale:
    """Return bias, multiplier and shift, by which sums of 24 bits often land within int8."""
    multiplier = rng.choice([0, 1, 1 << 30, (1 << 31) - 1, rng.randint(1 << 30, (1 << 31) - 1)])
    shift = rng.choice([-31, -1, 0, 1, 9, *[-18, -17, -16, -15] * 4])
    return rng.randint(-1 << 20, 1 << 20), multiplier, shift


def expected(sums: list[int], scale: Scale, left: int, rule: Rule, layer: dict[str, int],
             ) -> list[int]:
    """Compute the outputs of a beat."""
    bias, multiplier, shift = scale
    zero_point = layer["zero_point"]
    if os.environ.get("OARLOCK_SABOTAGE") == "zero point" and zero_point == -128:
        zero_point += 1
    if os.environ.get("OARLOCK_SABOTAGE") == "rounding" and rule == Rule.DOUBLE:
        rule = Rule.SINGLE
    if rule != Rule.TRUNCATE:
        acc = np.array(sums, dtype=np.int64) + bias << left
        return requantize(acc, multiplier, shift, zero_point=zero_point, low=layer["low"],
                          high=layer["high"], rounding=ROUNDING[rule]).tolist()
    outputs = []
    for value in sums:
        magnitude = (abs(value) + bias) * multiplier >> 31 - shift
        outputs.append(min(max((magnitude if value >= 0 else -magnitude) + zero_point,
                               layer["low"]), layer["high"]))
    return outputs


@bench_test(cycles=3000, p_idle=[0, 0.5], zero_point=[-128, 3, 127])
async def random_beats(bench: Bench, p_idle: float, zero_point: int) -> None:
    """Scale by parameters from the memory or beside the sums, by all rules."""
    dut, rng, board = bench.dut, bench.rng("beats"), bench.scoreboard("results")
    lanes, depth = bench.parameters["lanes"], bench.parameters["parameter_depth"]
    beat_shape = beat_layout(lanes=lanes, tag_shape=6)
    result_shape = result_layout(lanes=lanes, tag_shape=6)
    layer = {"zero_point": zero_point, "low": -128 if zero_point == 127 else zero_point,
             "high": rng.randint(100, 127)}
    idle = {"valid": 0, **layer}

    parameters = [random_scale(rng) for _ in range(depth)]
    dut.i.value = bits_of(beat_shape, idle)
    for entry, parameter in enumerate(parameters):
        for number, word in enumerate(pack_parameter(*parameter)):
            dut.w_en.value, dut.w_entry.value, dut.w_word.value = 1, entry, number
            dut.w_data.value = word
            await bench.cycle()
    dut.w_en.value = 0

    seen: set[int] = set()

    def look() -> None:
        result = fields_of(result_shape, int(dut.o.value))
        if result["valid"]:
            board.see((result["values"], result["tag"]))
            seen.update(result["values"])

    for number in range(BEATS):
        while rng.random() < p_idle:
            noise = {"vector": rng.randrange(2), "sums": [rng.getrandbits(32)] * lanes, "tag": 63}
            dut.i.value = bits_of(beat_shape, {**idle, **noise})
            await bench.cycle()
            look()
        rule = rng.choice(list(Rule))
        vector, entry, left = rng.randrange(2), rng.randrange(depth), rng.choice([0, 0, 15])
        scale = random_scale(rng)
        sums = [rng.choice([rng.randint(-1 << 23, 1 << 23), rng.randint(-300, 300)])
                for _ in range(lanes)]
        if rule == Rule.TRUNCATE:
            # As for average pools.
            vector, left, count = 1, 0, rng.randint(1, 200)
            factor, right = reciprocal(count)
            scale = count // 2, factor, -right
            sums = [rng.randint(-128 * count, 127 * count) for _ in range(lanes)]
        elif left:
            # As the inputs of ADD.
            vector, scale = 1, (scale[0] >> 15, scale[1], min(scale[2], 0))
            sums = [value >> 15 for value in sums]
        own = {"bias": scale[0], "multiplier": scale[1], "shift": scale[2], "left": left}
        if not vector:
            left, scale = 0, parameters[entry]
        tag = number % 63
        dut.i.value = bits_of(beat_shape, {
            "valid": 1, "vector": vector, "rule": rule.value, "sums": sums, "parameter": entry,
            "scale": own, "tag": tag, **layer})
        board.expect((expected(sums, scale, left, rule, layer), tag))
        await bench.cycle()
        look()
    dut.i.value = bits_of(beat_shape, idle)
    for _ in range(40):
        await bench.cycle()
        look()
    assert board.seen == BEATS
    assert len(seen) > 40 and {layer["low"], layer["high"]} <= seen
