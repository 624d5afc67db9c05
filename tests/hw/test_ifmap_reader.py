# amaranth: UnusedElaboratable=no
"""The ifmap reader against a model of its docstring, cycle by cycle."""

import random

import pytest
from cycle_bench import compare
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.hw.ifmap_reader import IfmapReader


def byte_at(address):
    """Return what the buffer holds: extremes are frequent."""
    value = (address % (1 << 24)) * 0x9E3779B1 >> 7
    return (0x80, 0x7F, value & 255, value >> 8 & 255)[value >> 16 & 3]


class Model:
    """Words, LATENCY cycles later.

    ``fault`` is ``"edge"``: the image is a byte wider to the right; ``"rows"``: it is a row higher;
    ``"hole"``: there is a channel more.
    """

    def __init__(self, *, word_bytes, read_latency, fault=None):
        self.lanes = range(word_bytes)
        self.fault = fault
        self.words = [None] * IfmapReader.latency(read_latency)
        self.before = None

    def cycle(self, inputs):
        """Return what is known of the outputs, and go on to the next cycle."""
        # Without a word all else is unknown.
        known = {"read_enable": 0, "o.valid": int(self.words[-1] is not None)}
        if self.before is not None and self.before["valid"]:
            known |= {"read_enable": 1, "read_address": self.before["address"]}
        if self.words[-1] is not None:
            known["o"] = self.words[-1]
        word = inputs["i"]
        self.words = [self._word(word, inputs) if word["valid"] else None, *self.words[:-1]]
        self.before = word
        return known

    def _word(self, word, inputs):
        right = word["to_right"] + (self.fault == "edge")
        in_rows = 0 <= word["row"] < inputs["y_limit"] + (self.fault == "rows")
        lanes = []
        for lane in self.lanes:
            place = lane if inputs["fold"] else 0
            inside = in_rows and word["to_left"] <= place < right
            value = (byte_at(word["address"] + lane) + 128) % 256 - 128 - inputs["zero_point"]
            lanes.append({"value": value if inside else 0,
                          "hole": int(lane >= word["left"] + (self.fault == "hole"))})
        return {"valid": 1, "lanes": lanes, "sideband": word["sideband"]}


def stimulus(rng, *, word_bytes, read_latency, fold, cycles, p_idle):
    """Yield inputs: words at, around and far from the edges, and the buffer's answers."""
    y_limit = rng.choice([1, 7, 0xFFFF])
    zero_point = rng.choice([-128, 127, rng.randint(-128, 127)])
    reads = [None] * (IfmapReader.ADDRESS_STAGES + read_latency)

    def about(edges, far):
        return rng.choice([*edges, rng.choice(edges) + rng.choice([-1, 1]), *far])

    for _ in range(cycles):
        valid = rng.random() >= p_idle
        address = rng.choice([rng.randrange(1 << 24), (1 << 24) - rng.randint(1, word_bytes)])
        answer = reads.pop()
        reads.insert(0, address if valid else None)
        yield {
            "zero_point": zero_point, "fold": fold, "y_limit": y_limit,
            "i": {"valid": int(valid), "address": address,
                  "row": about([0, y_limit - 1], [-(1 << 17), (1 << 17) - 1]),
                  "to_left": about([0, rng.randint(0, word_bytes)], [-(1 << 25), (1 << 25) - 1]),
                  "to_right": about([1, word_bytes], [-(1 << 25), (1 << 25) - 1]),
                  "left": about([0, rng.randint(1, word_bytes)], [-(1 << 17), (1 << 17) - 1]),
                  "sideband": rng.randrange(32)},
            # Nothing was asked for: garbage.
            "read_data": [rng.randrange(256) if answer is None else byte_at(answer + lane)
                          for lane in range(word_bytes)],
        }


def run(word_bytes, read_latency, fold, *, p_idle=0, fault=None):
    sizes = {"word_bytes": word_bytes, "read_latency": read_latency}
    dut = IfmapReader(**sizes, sideband=5)
    assert dut.LATENCY == IfmapReader.latency(read_latency)
    return compare(dut, Model(**sizes, fault=fault), stimulus(
        random.Random(word_bytes), **sizes, fold=fold, cycles=500, p_idle=p_idle))


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(("word_bytes", "read_latency"), [(4, GlobalBuffer.LATENCY), (8, 1)])
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_random_words(word_bytes, read_latency, fold, p_idle):
    seen = run(word_bytes, read_latency, fold, p_idle=p_idle)
    assert seen["o"] > 200


@pytest.mark.parametrize(("fold", "fault"), [(0, "rows"), (0, "edge"), (1, "edge"), (0, "hole")])
def test_a_wrong_model_is_noticed(fold, fault):
    with pytest.raises(AssertionError, match="o in cycle"):
        run(4, 2, fold, fault=fault)
