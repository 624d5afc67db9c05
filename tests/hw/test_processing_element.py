# amaranth: UnusedElaboratable=no
"""The PE against a model of its docstring, cycle by cycle."""

import random

import pytest
from amaranth.sim import Simulator
from oarlock.hw.processing_element import ProcessingElement
from oarlock.sim.benches.processing_element_model import Model, stimulus


def run(sizes, *, seed, cycles, p_idle, fault=None):
    """Compare every cycle; return how often each of took, done and gated was seen."""
    dut, model, rng = ProcessingElement(**sizes), Model(**sizes, fault=fault), random.Random(seed)
    counts = {"took": 0, "done": 0, "gated": 0, "sums": 0}

    async def testbench(ctx):
        for cycle, tokens in enumerate(stimulus(rng, model, cycles=cycles, p_idle=p_idle)):
            for name, token in tokens.items():
                ctx.set(getattr(dut, name), token)
            took, done, gated, sum_out = model.cycle(tokens)
            found = [ctx.get(getattr(dut, name)) for name in ("took", "done", "gated")]
            assert found == [took, done, gated], f"cycle {cycle}"
            if sum_out is not None:
                assert ctx.get(dut.sum_out) == sum_out, f"cycle {cycle}"
                counts["sums"] += any(access["drain"] for access in tokens["banks"])
            for name, value in zip(("took", "done", "gated"), found, strict=True):
                counts[name] += value
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return counts


NAMES = ("ifmap_depth", "filter_depth", "psum_depth", "psum_width", "sum_width", "zero_gating")
SIZES = [dict(zip(NAMES, values, strict=True)) for values in (
    (16, 64, 1, 32, 32, True), (16, 64, 4, 18, 32, False), (32, 8, 2, 24, 26, True))]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes.values())))
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_random_tokens(sizes, p_idle):
    counts = run(sizes, seed=1, cycles=900, p_idle=p_idle)
    assert (counts["gated"] > 30) == sizes["zero_gating"]
    assert min(counts["took"], counts["done"], counts["sums"]) > 100


@pytest.mark.parametrize("fault", ["span", "first"])
def test_a_wrong_model_is_noticed(fault):
    with pytest.raises(AssertionError, match="cycle"):
        run(SIZES[0], seed=1, cycles=900, p_idle=0, fault=fault)
