# amaranth: UnusedElaboratable=no
"""The post processor against the reference: lanes, parameters, zero point, clamp, sidebands."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from oarlock.hw.isa import Rule, pack_parameter
from oarlock.hw.post_processor import PostProcessor
from oarlock.sim.reference import requantize, scale_accumulator


ROUNDING = {Rule.SINGLE: "single", Rule.DOUBLE: "double"}


def random_scale(rng):
    """Draw bias, multiplier and shift such that results are often within int8."""
    multiplier = rng.choice((1 << 30, (1 << 31) - 1, rng.randint(1 << 30, (1 << 31) - 1)))
    return rng.randint(-1 << 20, 1 << 20), multiplier, rng.choice((-31, -18, -17, -16, -15, 3))


def random_beats(rng, *, lanes, depth, count, p_idle):
    """Draw beats for both sources of parameters; ``None`` is a cycle without one."""
    for _ in range(count):
        if rng.random() < p_idle:
            yield None
            continue
        bias, multiplier, shift = random_scale(rng)
        left = rng.choice((0, 0, 15, 16))
        if left:
            bias, shift = bias >> 15, min(shift, 0)
        yield {
            "vector": rng.randrange(2), "rule": rng.choice((Rule.SINGLE, Rule.DOUBLE)),
            "sums": [rng.randint(-1 << 23, 1 << 23) >> left for _ in range(lanes)],
            "parameter": rng.randrange(depth), "tag": rng.randrange(32),
            "scale": {"bias": bias, "multiplier": multiplier, "shift": shift, "left": left},
        }


def expected(beat, parameters, *, zero_point, low, high):
    """Return raw sums, values and tag of a beat."""
    scale, left = parameters[beat["parameter"]], 0
    if beat["vector"]:
        scale, left = tuple(beat["scale"].values())[:3], beat["scale"]["left"]
    bias, multiplier, shift = scale
    acc = np.array(beat["sums"], dtype=np.int64) + bias << left
    rounding = ROUNDING[beat["rule"]]
    values = requantize(acc, multiplier, shift, zero_point=zero_point, low=low, high=high,
                        rounding=rounding)
    return (scale_accumulator(acc, multiplier, shift, rounding).tolist(), values.tolist(),
            beat["tag"])


def run(dut, parameters, beats, **layer):
    """Write the parameters, pass a beat a cycle; return raw sums, values and tag of the results."""
    raws, results = [], []
    beats = [*beats, *[None] * (dut.LATENCY + 5)]

    async def drive(ctx):
        for entry, parameter in enumerate(parameters):
            for word, bits in enumerate(pack_parameter(*parameter)):
                ctx.set(dut.w_en, 1)
                ctx.set(dut.w_entry, entry)
                ctx.set(dut.w_word, word)
                ctx.set(dut.w_data, bits)
                await ctx.tick()
        ctx.set(dut.w_en, 0)
        for beat in beats:
            idle = {"valid": 0, "sums": [99] * dut.lanes, "tag": 21}
            ctx.set(dut.i, {**layer, **({"valid": 1, **beat} if beat else idle)})
            await ctx.tick()

    async def watch(ctx):
        history = []
        for _ in range(3 * len(parameters) + len(beats)):
            *_, o, raw = await ctx.tick().sample(dut.o, dut.raw)
            history.append(list(raw))
            if o.valid:
                raws.append(history[-1 - (dut.LATENCY - dut.RAW_LATENCY)])
                results.append((list(o["values"]), o.tag))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(drive)
    sim.add_testbench(watch)
    sim.run()
    return [(raw, *result) for raw, result in zip(raws, results, strict=True)]


@pytest.mark.parametrize(("lanes", "depth", "p_idle"), [(1, 1, 0), (2, 16, 0.5), (3, 13, 0.1)])
@pytest.mark.parametrize("layer", [
    {"zero_point": -128, "low": -128, "high": 127},
    {"zero_point": 127, "low": -128, "high": 127},
    {"zero_point": -5, "low": -5, "high": 90},
])
def test_random(lanes, depth, p_idle, layer):
    rng = random.Random(lanes)
    parameters = [random_scale(rng) for _ in range(depth)]
    beats = list(random_beats(rng, lanes=lanes, depth=depth, count=120, p_idle=p_idle))
    dut = PostProcessor(lanes=lanes, parameter_depth=depth, tag_shape=5)
    want = [expected(beat, parameters, **layer) for beat in beats if beat]
    assert run(dut, parameters, beats, **layer) == want

    values = [value for _, row, _ in want for value in row]
    assert min(values) == layer["low"] and max(values) == layer["high"]
    assert len(set(values)) > 15


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_saturation_before_the_zero_point(zero_point):
    layer = {"zero_point": zero_point, "low": -128, "high": 127}
    scale = {"bias": 0, "multiplier": 1 << 30, "shift": 1, "left": 0}
    sums = [-1 << 30, -257, -256, -255, -129, -128, 0, 127, 128, 254, 255, 256, 257, (1 << 30) - 1]
    beats = [{"vector": 1, "rule": Rule.SINGLE, "sums": [value], "parameter": 0, "tag": 0,
              "scale": scale} for value in sums]
    dut = PostProcessor(lanes=1, parameter_depth=1, tag_shape=1)
    values = [value for _, (value,), _ in run(dut, [(0, 0, 0)], beats, **layer)]
    assert values == [min(max(value + zero_point, -128), 127) for value in sums]


@pytest.mark.parametrize("mutant", [
    {"zero_point": 6}, {"low": -4}, {"high": 89},
])
def test_stimulus_tells_mutants_apart(mutant):
    layer = {"zero_point": 5, "low": -5, "high": 90}
    rng = random.Random(2)
    parameters = [random_scale(rng) for _ in range(16)]
    beats = list(random_beats(rng, lanes=2, depth=16, count=120, p_idle=0))
    right = [expected(beat, parameters, **layer) for beat in beats]
    assert [expected(beat, parameters, **layer | mutant) for beat in beats] != right
    # Another entry of the memory, and the memory in place of the explicit scale.
    assert [expected(beat, parameters[::-1], **layer) for beat in beats] != right
    assert [expected(beat | {"vector": 0}, parameters, **layer) for beat in beats] != right


def test_wrong_parameters():
    with pytest.raises(ValueError, match=r"^Lanes must be at least 1, not 0$"):
        PostProcessor(lanes=0, parameter_depth=1)
    with pytest.raises(ValueError, match=r"^Parameter depth must be at least 1, not 0$"):
        PostProcessor(lanes=1, parameter_depth=0)
