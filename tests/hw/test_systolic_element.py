# amaranth: UnusedElaboratable=no
"""The systolic PE against a model of its docstring, cycle by cycle."""

import random
from itertools import product

import pytest
from cycle_bench import compare, wrapped
from oarlock.hw.systolic_element import SystolicElement


class Model:
    """What a PE holds and shows; unknown is what nothing was shifted into yet.

    ``fault`` is ``"first"``: the next weight takes over whether or not it may; ``"shift"``: weights
    move in the cycle of the token; ``"sum"``: the sum above is added a cycle late.
    """

    def __init__(self, *, psum_width, zero_gating, fault=None):
        self.psum_width = psum_width
        self.zero_gating = zero_gating
        self.fault = fault
        self.here = None                    # the token before
        self.waiting = self.held = None     # weights
        self.products = [None, None]        # on their way to the sum
        self.sum_in = 0                     # a cycle ago
        self.sum_out = None

    def cycle(self, inputs):
        """Return what is known of the outputs, and go on to the next cycle."""
        here, known = self.here, {}
        if here is not None:
            known["token_next"] = here
        if self.waiting is not None:
            known["weight_next"] = self.waiting
        if self.sum_out is not None:
            known["sum_out"] = self.sum_out

        takes = here is not None and here["valid"] and (here["first"] or self.fault == "first")
        if takes:
            self.held = self.waiting
        works = here is not None and here["valid"] and self.held["used"]
        gated = works and self.zero_gating and here["activation"] == 0
        known["done"], known["gated"] = int(works and not gated), int(gated)

        self.products.insert(0, here["activation"] * self.held["value"] if known["done"] else 0)
        above = self.sum_in if self.fault == "sum" else inputs["sum_in"]
        addend = self.products.pop()
        self.sum_out = None if addend is None else wrapped(above + addend, self.psum_width)
        self.sum_in = inputs["sum_in"]

        shifting = inputs["token"] if self.fault == "shift" else here
        if shifting is not None and shifting["shift"]:
            self.waiting = inputs["weight"]
        self.here = inputs["token"]
        return known


def stimulus(rng, *, psum_width, cycles, p_idle):
    """Yield inputs; the first tokens bring a weight into use, after that anything goes."""
    half = 1 << psum_width - 1
    for cycle in range(cycles):
        shift, first = (int(rng.random() < share) for share in (0.4, 0.2))
        if cycle < 3:
            shift, first = int(cycle == 0), int(cycle == 2)
        yield {
            "token": {"valid": int(cycle == 2 or (cycle > 2 and rng.random() >= p_idle)),
                      "first": first, "shift": shift,
                      "activation": rng.choice([0, 0, -255, 255, rng.randint(-255, 255)])},
            "weight": {"value": rng.choice([-128, 127, rng.randint(-128, 127)]),
                       "used": int(rng.random() < 0.8)},
            "sum_in": rng.choice([0, -half, half - 1, rng.randint(-half, half - 1)]),
        }


def run(sizes, *, p_idle=0, fault=None):
    return compare(SystolicElement(**sizes), Model(**sizes, fault=fault), stimulus(
        random.Random(1), psum_width=sizes["psum_width"], cycles=800, p_idle=p_idle))


SIZES = [{"psum_width": width, "zero_gating": gating}
         for width, gating in product((32, 18), (True, False))]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes.values())))
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_random_tokens(sizes, p_idle):
    seen = run(sizes, p_idle=p_idle)
    assert (seen["gated"] > 60) == sizes["zero_gating"]
    assert min(seen["done"], seen["weight_next"], seen["sum_out"]) > 150


@pytest.mark.parametrize(("fault", "output"), [
    ("first", "done|gated|sum_out"), ("shift", "weight_next"), ("sum", "sum_out")])
def test_a_wrong_model_is_noticed(fault, output):
    with pytest.raises(AssertionError, match=f"({output}) in cycle"):
        run(SIZES[0], fault=fault)
