"""The array against numpy: every PE's scratchpads, and sums over rows."""

from __future__ import annotations

import os
import random
from collections import deque
from typing import Any

import numpy as np

from ...hw import isa
from ...hw.array_row import ArrayRow, drain_token, filter_word, load_token, mac_token, tags_layout
from ...hw.descriptor import layout
from ...hw.processing_array import ProcessingArray
from ..bench import Bench, ScoreboardError, bench_test
from .packing import bits_of


__all__ = ["random_tokens"]

EPOCHS, CYCLES = 6, 400

#: Cycles after which nothing is on its way any more, on top of the number of rows.
DRAINED = 16

Token = dict[str, Any]


class Model:
    """All PEs at once, in the order in which tokens enter the array.

    With ``OARLOCK_SABOTAGE`` it is wrong, to show that the bench would notice.
    """

    def __init__(self, sizes: dict[str, Any]) -> None:
        self.rows, self.cols = sizes["rows"], sizes["cols"]
        self.depth, self.zero_gating = sizes["ifmap_depth"], sizes["zero_gating"]
        grid = self.rows, self.cols
        self.value = np.zeros((*grid, self.depth), dtype=np.int64)
        self.hole = np.zeros((*grid, self.depth), dtype=bool)
        self.filter = np.zeros((*grid, sizes["filter_depth"]), dtype=np.int64)
        self.psum = np.zeros((2, *grid, sizes["psum_depth"]), dtype=np.int64)
        self.position = np.zeros(grid, dtype=np.int64)
        self.loads: deque[Token | None] = deque([None] * ArrayRow.LOAD_LATENCY)
        self.counts = dict.fromkeys(ArrayRow.COUNTS, 0)
        self.sabotage = os.environ.get("OARLOCK_SABOTAGE")
        self.configure([{}] * self.rows, [0] * self.cols, 0)

    def configure(self, rows: list[Token], column_tags: list[int], span: int) -> None:
        """Take the descriptor's part."""
        def field(name: str) -> np.ndarray:
            return np.array([row.get(name, 0) for row in rows])[:, None]

        self.lane, self.tag, self.group = field("lane"), field("tag"), field("group")
        self.used, self.below_last = field("used") == 1, field("below_last") == 1
        self.column_tags, self.span = np.array(column_tags), span

    def cycle(self, tokens: dict[str, Token | None]) -> list[int] | None:
        """Take the tokens of a cycle; return the sums of its drain slot."""
        drain, word, mac = tokens["drain"], tokens["filter"], tokens["mac"]
        sums = None
        if drain is not None:
            adds = self.used & (self.group == drain["group"])
            if self.sabotage == "group":
                adds = self.used & (self.group >= drain["group"])
            self.counts["psum_drains"] += self.cols * int(adds.sum())
            total = (self.psum[drain["bank"], :, :, drain["u"]] * adds).sum(axis=0)
            sums = ((total + 2**31) % 2**32 - 2**31).tolist()
        # A MAC sees what was loaded so many cycles before.
        self.loads.append(tokens["load"])
        self._load(self.loads.popleft())
        if word is not None:
            for n, weight in enumerate(word["weights"]):
                row = 4 * word["block"] + n
                if row < self.rows:
                    for column in range(self.cols):
                        if word["columns"] >> column & 1:
                            self.filter[row, column, word["address"]] = weight
        if mac is not None:
            self._multiply(mac)
        return sums

    def _load(self, load: Token | None) -> None:
        if load is None:
            return
        lanes = load["lanes"]
        value = np.array([lane["value"] for lane in lanes])[self.lane[:, 0]]
        hole = np.array([lane["hole"] for lane in lanes])[self.lane[:, 0]]
        distance = (load["tag"] - self.tag - self.column_tags) % 256
        took = distance < self.span
        position = np.full_like(self.position, load["start"]) if load["sync"] else self.position
        for row, column in np.argwhere(took):
            place = position[row, column]
            self.value[row, column, place], self.hole[row, column, place] = value[row], hole[row]
        self.position = (position + took) % self.depth
        self.counts["took"] += int(took.sum())

    def _multiply(self, mac: Token) -> None:
        columns = np.arange(self.cols)
        exists = (mac["below"] == 1) | ((mac["at"] == 1) & self.below_last)
        active = self.used & ((mac["whole"] >> columns & 1 == 1)
                              | ((mac["part"] >> columns & 1 == 1) & exists))
        value = self.value[:, :, mac["position"]]
        useful = active & ~self.hole[:, :, mac["position"]]
        gated = useful & (value == 0) & self.zero_gating & (self.sabotage != "gating")
        fires = useful & ~gated
        product = np.where(fires, value * self.filter[:, :, mac["filter"]], 0)
        psum = self.psum[mac["bank"], :, :, mac["u"]]
        psum[...] = product if mac["first"] else psum + product
        self.counts["done"] += int(fires.sum())
        self.counts["psum_updates"] += 0 if mac["first"] else int(fires.sum())
        self.counts["ifmap_reads"] += int(active.sum())
        self.counts["gated"] += int(gated.sum())


def random_descriptor(rng: random.Random, sizes: dict[str, Any],
                      ) -> tuple[list[Token], list[int], int]:
    """Return rows, column tags and span."""
    rows = [{"lane": rng.randrange(sizes["word_bytes"]), "tag": rng.choice([0, 1, 2, 3, 250]),
             "group": rng.choice([0, 1, 2, 255]), "used": int(rng.random() < 0.85),
             "below_last": rng.randrange(2)} for _ in range(sizes["rows"])]
    columns = [rng.choice([0, 1, 2, 4, 255]) for _ in range(sizes["cols"])]
    return rows, columns, rng.choice([1, 2, 3, 100])


def random_cycle(rng: random.Random, sizes: dict[str, Any], p_idle: float, bank: int,
                 ) -> dict[str, Token | None]:
    """Return a token of each kind, or None: MACs in one bank, drains from the other."""
    masks = 1 << sizes["cols"]
    below = rng.randrange(2)
    tokens: dict[str, Token] = {
        "load": {"valid": 1, "sync": int(rng.random() < 0.1),
                 "start": rng.randrange(sizes["ifmap_depth"]),
                 "tag": rng.choice([*range(8), 255, rng.randrange(256)]),
                 "lanes": [{"value": rng.choice([0, rng.randint(-255, 255)]),
                            "hole": int(rng.random() < 0.15)}
                           for _ in range(sizes["word_bytes"])]},
        "mac": {"valid": 1, "position": rng.randrange(sizes["ifmap_depth"]),
                "filter": rng.randrange(sizes["filter_depth"]), "first": int(rng.random() < 0.1),
                "bank": bank, "u": rng.randrange(sizes["psum_depth"]), "below": below,
                "at": 0 if below else rng.randrange(2), "whole": rng.randrange(masks),
                "part": rng.randrange(masks)},
        "drain": {"valid": 1, "bank": 1 - bank, "u": rng.randrange(sizes["psum_depth"]),
                  "group": rng.choice([0, 1, 2, 3])},
        "filter": {"valid": 1, "columns": rng.randrange(masks),
                   "block": rng.randrange((sizes["rows"] - 1) // 4 + 1),
                   "address": rng.randrange(sizes["filter_depth"]),
                   "weights": [rng.randint(-128, 127) for _ in range(4)]},
    }
    return {name: token if rng.random() >= p_idle else None for name, token in tokens.items()}


class Ports:
    """Drives the array, and compares sums and sidebands when they are due."""

    def __init__(self, bench: Bench, model: Model, sizes: dict[str, Any]) -> None:
        self.bench, self.dut, self.model, self.sizes = bench, bench.dut, model, sizes
        self.rng = bench.rng("noise")
        psum_depth, cols = sizes["psum_depth"], sizes["cols"]
        filter_depth, ifmap_depth = sizes["filter_depth"], sizes["ifmap_depth"]
        self.shapes = {
            "load": load_token(ifmap_depth=ifmap_depth, word_bytes=sizes["word_bytes"]),
            "mac": mac_token(cols=cols, ifmap_depth=ifmap_depth, filter_depth=filter_depth,
                             psum_depth=psum_depth),
            "drain": drain_token(psum_depth=psum_depth),
            "filter": filter_word(cols=cols, filter_depth=filter_depth),
        }
        array = ProcessingArray(**sizes)
        self.latency = array.LATENCY
        self.due: deque[tuple[list[int] | None, int]] = deque([(None, 0)] * self.latency)
        self.counts = dict.fromkeys(model.counts, 0)
        self.slots = 0

    async def configure(self, rows: list[Token], column_tags: list[int], span: int) -> None:
        """Change the descriptor when nothing is about."""
        for _ in range(self.sizes["rows"] + DRAINED):
            await self.cycle(dict.fromkeys(self.shapes))
        for n, row in enumerate(rows):
            getattr(self.dut, f"row__{n}").value = bits_of(layout(isa.ROW_FIELDS), row)
        self.dut.tags.value = bits_of(tags_layout(cols=len(column_tags)),
                                      {"columns": column_tags, "span": span})
        self.model.configure(rows, column_tags, span)
        # A row takes its part into a register, and looks at tokens before they are in one.
        await self.cycle(dict.fromkeys(self.shapes))

    async def cycle(self, tokens: dict[str, Token | None]) -> None:
        """Pass a cycle, with noise in the place of tokens that are not there."""
        for name, shape in self.shapes.items():
            token = tokens[name]
            port = getattr(self.dut, name)
            # ``valid`` is the lowest bit of every token.
            port.value = (self.rng.getrandbits(len(port)) & ~1 if token is None
                          else bits_of(shape, token))
        sideband = self.rng.getrandbits(self.sizes["sideband"])
        self.dut.sideband.value = sideband
        self.due.append((self.model.cycle(tokens), sideband))
        await self.bench.cycle()
        sums, sideband = self.due.popleft()
        if int(self.dut.sums_valid.value) != (sums is not None):
            raise ScoreboardError(f"sums_valid must be {sums is not None}")
        if sums is not None:
            self.slots += 1
            found = [getattr(self.dut, f"sums__{n}").value.to_signed() for n in range(len(sums))]
            if found != sums:
                raise ScoreboardError(f"sums must be {sums}, not {found}")
        if sums is not None and int(self.dut.sums_sideband.value) != sideband:
            raise ScoreboardError(f"sums_sideband must be {sideband}")
        for name in self.counts:
            self.counts[name] += int(getattr(self.dut, name).value)


@bench_test(cycles=EPOCHS * (CYCLES + 60) + 400, p_idle=[0, 0.5])
async def random_tokens(bench: Bench, p_idle: float) -> None:
    """Send all kinds of tokens at once, under one descriptor after the other."""
    rng, sizes = bench.rng("tokens"), bench.parameters
    model = Model(sizes)
    ports = Ports(bench, model, sizes)
    idle: dict[str, Token | None] = dict.fromkeys(ports.shapes)

    # What a real array holds at first is unknown: write everything.
    everyone = [{"used": 1}] * sizes["rows"]
    await ports.configure(everyone, [0] * sizes["cols"], 255)
    all_columns = (1 << sizes["cols"]) - 1
    for n in range(max(sizes["ifmap_depth"], sizes["filter_depth"], 2 * sizes["psum_depth"])):
        tokens = random_cycle(rng, sizes, 0, 0)
        tokens["load"].update(tag=0, sync=int(n == 0))  # type: ignore[union-attr]
        tokens["filter"].update(  # type: ignore[union-attr]
            columns=all_columns, address=n % sizes["filter_depth"],
            block=n // sizes["filter_depth"])
        tokens["mac"].update(  # type: ignore[union-attr]
            first=1, whole=0, part=0, bank=n & 1, u=n // 2 % sizes["psum_depth"])
        await ports.cycle(tokens | {"drain": None})
    for block in range((sizes["rows"] - 1) // 4 + 1):
        for address in range(sizes["filter_depth"]):
            word = random_cycle(rng, sizes, 0, 0)["filter"]
            word.update(columns=all_columns, block=block, address=address)  # type: ignore[union-attr]
            await ports.cycle(idle | {"filter": word})

    for _ in range(EPOCHS):
        await ports.configure(*random_descriptor(rng, sizes))
        bank = 0
        for _ in range(CYCLES):
            if rng.random() < 0.05:
                bank = 1 - bank
            await ports.cycle(random_cycle(rng, sizes, p_idle, bank))
    await ports.configure(everyone, [0] * sizes["cols"], 0)
    if ports.counts != model.counts:
        raise ScoreboardError(f"counts must be {model.counts}, not {ports.counts}")
    assert min(ports.slots, *(count for name, count in model.counts.items()
                              if name != "gated" or sizes["zero_gating"])) > CYCLES // 8
    assert not any(ports.due[n][0] for n in range(len(ports.due)))
