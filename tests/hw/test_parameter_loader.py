# amaranth: UnusedElaboratable=no
"""The parameter loader against a model of its docstring, cycle by cycle."""

import random

import pytest
from cycle_bench import compare
from oarlock.hw.parameter_loader import ParameterLoader


#: How the engines use it: the lanes and the offset of a block.
USES = {
    # A block of columns has its own channels; all lanes of a mask take the same.
    "row-stationary": lambda block: ((0b011, 0b101, 0b110)[block % 3], 7 * block),
    # Channels of a position lie across the lanes.
    "weight-stationary": lambda block: (1 << block % 3, block),
}


class Model:
    """All copies of a descriptor in their order, and how many tiles are in the lanes.

    ``fault`` is ``"side"``: all tiles go to the same bank; ``"three"``: that many tiles are let in;
    ``"order"``: blocks are walked inside of slots.
    """

    def __init__(self, *, lane_depth, use, fault=None):
        self.lane_depth = lane_depth
        self.use = use
        self.fault = fault
        self.copies = []
        self.held = 0
        self.loads = None       # what the outputs show of the copy before

    @property
    def block(self):
        """Of the next copy; None if there is none."""
        return self.copies[0]["block"] if self.copies else None

    def cycle(self, inputs):
        """Return what is known of the outputs, and go on to the next cycle."""
        known = {"busy": int(bool(self.copies)), "load_en": int(self.loads is not None)}
        known |= self.loads or {}
        copies = self.copies and self.held < (3 if self.fault == "three" else 2)
        self.loads, known["tile_loaded"] = None, 0
        if self.copies:
            known["block"] = self.block
        if copies:
            copy = self.copies.pop(0)
            self.loads = {"load_lanes": inputs["block_lanes"], "load_address": copy["address"],
                          "load_entry": copy["entry"] + inputs["block_offset"] & 0xFFFF}
            known["tile_loaded"] = copy["last"]
        self.held += known["tile_loaded"] - inputs["tile_drained"]
        if inputs["start"]:
            self.held, self.copies = 0, self._walk(inputs) if inputs["local"] else []
        return known

    def _walk(self, inputs):
        slots, blocks = range(inputs["slots"]), range(inputs["blocks"])
        order = [(slot, block) for block in blocks for slot in slots]
        if self.fault == "order":
            order.sort()
        copies = []
        for group in range(inputs["groups"]):
            for tile in range(inputs["tiles"]):
                side = (group * inputs["tiles"] + tile) % 2 if self.fault != "side" else 0
                copies += [{
                    "block": block, "address": side * self.lane_depth + slot,
                    "entry": (inputs["base"] + slot * inputs["slot_step"]
                              + tile * inputs["tile_step"] + group * inputs["group_step"]),
                    "last": int((slot, block) == order[-1])} for slot, block in order]
        return copies


def stimulus(rng, model, *, p_wait):
    """Yield inputs for some descriptors; tiles drain at once, or later.

    Descriptors begin when everything of the one before has drained.
    """
    for number in range(12):
        tiles, groups = rng.randint(1, 4), rng.randint(1, 3)
        descriptor = {
            "local": int(number % 4 != 2), "slots": rng.randint(1, model.lane_depth),
            "blocks": rng.randint(1, 3), "tiles": tiles, "groups": groups,
            "base": rng.randrange(1 << 16), "slot_step": rng.choice([1, 3]),
            "tile_step": rng.randrange(100), "group_step": rng.randrange(1 << 16)}
        yield descriptor | {"start": 1, "tile_drained": 0, "block_lanes": 0, "block_offset": 0}
        left = tiles * groups if descriptor["local"] else 0
        idle = 0
        while left or idle < 5:
            idle += not left
            drains = model.held > 0 and rng.random() >= p_wait
            left -= drains
            lanes, offset = model.use(model.block or 0)
            yield {"start": 0, "tile_drained": int(drains), "block_lanes": lanes,
                   "block_offset": offset}


def run(use, lane_depth, *, p_wait=0.9, fault=None):
    dut = ParameterLoader(lanes=3, lane_depth=lane_depth)
    model = Model(lane_depth=lane_depth, use=USES[use], fault=fault)
    return compare(dut, model, stimulus(random.Random(lane_depth), model, p_wait=p_wait))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("lane_depth", [2, 8])
@pytest.mark.parametrize("p_wait", [0, 0.9, 0.99])
def test_descriptors(use, lane_depth, p_wait):
    seen = run(use, lane_depth, p_wait=p_wait)
    assert seen["tile_loaded"] > 20
    assert seen["load_en"] > 50
    # Two tiles in the lanes: no more until one has drained.
    assert (seen["busy"] - seen["load_en"] > 50) == bool(p_wait)


@pytest.mark.parametrize(("fault", "output"), [
    ("side", "load_address"), ("three", "load_en|busy|tile_loaded|block"),
    ("order", "load_entry|load_address|block")])
def test_a_wrong_model_is_noticed(fault, output):
    with pytest.raises(AssertionError, match=f"({output}) in cycle"):
        run("weight-stationary", 8, fault=fault)
