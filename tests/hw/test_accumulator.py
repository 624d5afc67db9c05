# amaranth: UnusedElaboratable=no
"""The accumulator against a model of its docstring, cycle by cycle."""

import random

import pytest
from cycle_bench import compare, wrapped
from oarlock.hw.accumulator import Accumulator


class Model:
    """Two banks in which a token's sum is visible :attr:`Accumulator.LATENCY` cycles later.

    ``fault`` is ``"first"``: what begins a sum adds to what is there; ``"bank"``: drains read the
    other bank.
    """

    def __init__(self, *, depth, psum_width, fault=None):
        self.psum_width = psum_width
        self.fault = fault
        self.sums = [[None] * depth for _ in range(2)]      # None: unknown
        self.tokens = [None] * Accumulator.SUM_STAGE        # the last ones, the youngest first
        self.coming = [None] * (Accumulator.LATENCY - Accumulator.SUM_STAGE - 1)
        self.drained = [None] * Accumulator.DRAIN_LATENCY

    def cycle(self, inputs):
        """Return what is known of the outputs, and go on to the next cycle."""
        known = {}
        if self.tokens[0] is not None:
            known["token_next"] = self.tokens[0]
        if self.drained[-1] is not None:
            known["sum_out"] = self.drained[-1]

        place = inputs["drain"]
        bank = place["bank"] ^ (self.fault == "bank")
        self.drained = [self.sums[bank][place["position"]], *self.drained[:-1]]

        # What is added now is visible later; sums for the same place are far enough apart.
        if self.coming[-1] is not None:
            place, value = self.coming[-1]
            self.sums[place["bank"]][place["position"]] = value
        token = self.tokens[-1]
        update = None
        if token is not None and token["valid"]:
            place = token["place"]
            before = self.sums[place["bank"]][place["position"]]
            if token["first"]:
                before = (before or 0) if self.fault == "first" else 0
            value = None if before is None else wrapped(before + inputs["sum_in"], self.psum_width)
            update = place, value
        self.coming = [update, *self.coming[:-1]]
        self.tokens = [inputs["token"], *self.tokens[:-1]]
        return known


def stimulus(rng, *, depth, psum_width, cycles, p_idle):
    """Yield inputs: sums to one bank while the other drains, changing places now and then.

    A place takes a sum as soon as it may, or later.
    """
    half = 1 << psum_width - 1
    next_use, before, bank = {}, None, 0
    for cycle in range(cycles):
        # All that went to the other bank has arrived before that one is read.
        pause = cycle % 40 < Accumulator.LATENCY
        if cycle % 40 == 0:
            bank = 1 - bank
        free = [n for n in range(depth) if next_use.get((bank, n), 0) <= cycle]
        position = rng.choice(free or [0])
        valid = bool(free) and not pause and rng.random() >= p_idle
        if valid:
            next_use[bank, position] = cycle + Accumulator.DISTANCE
        drained = 1 - bank if before is None else 1 - before
        before = bank if valid else None
        yield {
            "token": {"valid": int(valid), "first": int(rng.random() < 0.2),
                      "place": {"bank": bank, "position": position}},
            "sum_in": rng.choice([half - 1, -half, rng.randint(-half, half - 1)]),
            "drain": {"bank": drained, "position": rng.randrange(depth)},
        }


def run(sizes, *, p_idle=0, fault=None):
    return compare(Accumulator(**sizes), Model(**sizes, fault=fault),
                   stimulus(random.Random(2), **sizes, cycles=900, p_idle=p_idle))


SIZES = [{"depth": depth, "psum_width": width} for depth, width in ((2, 32), (3, 18), (16, 32))]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes.values())))
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_random_tokens(sizes, p_idle):
    seen = run(sizes, p_idle=p_idle)
    assert min(seen["sum_out"], seen["token_next"]) > 250


@pytest.mark.parametrize("fault", ["first", "bank"])
def test_a_wrong_model_is_noticed(fault):
    with pytest.raises(AssertionError, match="sum_out in cycle"):
        run(SIZES[0], fault=fault)
