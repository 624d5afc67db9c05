# amaranth: UnusedElaboratable=no
"""The filter memory of a column against a model of its docstring, cycle by cycle."""

import random

import pytest
from cycle_bench import compare
from oarlock.hw.weight_feeder import WeightFeeder


class Model:
    """A memory, and what is on its way out of it.

    ``fault`` is ``"order"``: the first row's weight goes first; ``"mask"``: words for other columns
    are taken as well; ``"lane"``: all rows have a weight with ``diagonal`` too.
    """

    def __init__(self, *, rows, cols, filter_depth, fault=None):
        self.rows = rows
        self.fault = fault
        self.memory = [[None] * rows for _ in range(filter_depth)]
        self.entry = None                               # what is being sent
        self.filter = self.token = None                 # of the cycle before
        self.weights = [None] * (WeightFeeder.LATENCY - 1)

    def cycle(self, inputs):
        """Return what is known of the outputs, and go on to the next cycle."""
        known = {}
        token, word = self.token, self.filter
        if token is not None:
            known |= {"token_next": token, "filter_next": word,
                      "reads": int(token["valid"] and token["step"] == 0)}
        weight = self.weights.pop()
        if weight is not None:
            known["weight"] = weight
        self.weights.insert(0, self._weight(token, inputs) if token is not None else None)

        mine = word is not None and (word["columns"] >> inputs["index"] & 1
                                     or self.fault == "mask")
        if mine and word["valid"]:
            for row, value in enumerate(word["weights"], 4 * word["block"]):
                if row < self.rows:
                    self.memory[word["address"]][row] = value
        self.filter, self.token = inputs["filter"], inputs["token"]
        return known

    def _weight(self, token, inputs):
        """Return the weight of a token, or None if it is unknown."""
        if not token["valid"]:
            return None
        if token["step"] == 0:
            self.entry = list(self.memory[token["entry"]])
        row = token["step"] if self.fault == "order" else self.rows - 1 - token["step"]
        if self.entry[row] is None:
            return None
        works = row < token["row_count"]
        if token["diagonal"]:
            works = row == inputs["lane"] or self.fault == "lane"
        return {"value": self.entry[row],
                "used": int(works and inputs["index"] < token["columns"])}


def stimulus(rng, *, rows, cols, filter_depth, cycles, p_idle):
    """Yield inputs: entries with pauses between their weights, and words for all columns.

    An entry is not written in the cycle in which its reading begins.
    """
    index, lane = rng.randrange(cols), rng.randrange(rows)
    columns, step = range(cols), 0
    for cycle in range(cycles):
        valid = rng.random() >= p_idle
        if step == 0:
            entry, diagonal = rng.randrange(filter_depth), rng.randrange(2)
            row_count, columns = rng.randint(1, rows), rng.randint(max(1, index), cols)
        address = rng.choice([n for n in range(filter_depth) if n != entry])
        yield {
            "index": index, "lane": lane,
            "filter": {"valid": int(cycle < 200 or rng.random() < 0.2),
                       "columns": rng.randrange(1 << cols) | (cycle < 200) << index,
                       "block": rng.randrange(-(-rows // 4)), "address": address,
                       "weights": [rng.randint(-128, 127) for _ in range(4)]},
            "token": {"valid": int(valid), "entry": entry, "step": step, "row_count": row_count,
                      "columns": columns, "diagonal": diagonal},
        }
        step = (step + valid) % rows


def run(rows, cols, seed, *, p_idle=0, fault=None):
    sizes = {"rows": rows, "cols": cols, "filter_depth": 16}
    return compare(WeightFeeder(**sizes), Model(**sizes, fault=fault), stimulus(
        random.Random(seed), **sizes, cycles=700, p_idle=p_idle))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (4, 3), (5, 16), (16, 2)])
@pytest.mark.parametrize("p_idle", [0, 0.5])
def test_random_words(rows, cols, p_idle):
    seen = run(rows, cols, rows, p_idle=p_idle)
    assert seen["weight"] > 200
    assert seen["reads"] > 300 * (1 - p_idle) / rows


@pytest.mark.parametrize("fault", ["order", "mask", "lane"])
def test_a_wrong_model_is_noticed(fault):
    with pytest.raises(AssertionError, match="weight in cycle"):
        run(5, 4, 1, fault=fault)
