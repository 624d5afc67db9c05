"""A PE as its docstring has it, one cycle at a time, and random stimulus for it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from ...hw.processing_element import ProcessingElement


__all__ = ["Model", "stimulus"]

#: Inputs of a cycle, by the names of the PE's members.
Tokens = dict[str, Any]


class Model:
    """What a PE holds and shows.

    Parameters
    ----------
    ifmap_depth, filter_depth, psum_depth, psum_width, sum_width, zero_gating
        As those of :class:`ProcessingElement`.
    fault : :class:`str`, optional
        ``"span"`` or ``"first"``: what to do wrong, to show that a bench would notice.
    """

    def __init__(self, *, ifmap_depth: int, filter_depth: int, psum_depth: int, psum_width: int,
                 sum_width: int, zero_gating: bool, fault: str | None = None) -> None:
        self.sizes = ifmap_depth, filter_depth, psum_depth
        self.psum_width = psum_width
        self.sum_width = sum_width
        self.zero_gating = zero_gating
        self.fault = fault
        # None: unknown.
        self.ifmap: list[tuple[int, int] | None] = [None] * ifmap_depth
        self.filter: list[int | None] = [None] * filter_depth
        self.psums: list[list[int | None]] = [[None] * psum_depth for _ in range(2)]
        self.position: int | None = None
        self.mine = False                   # the activation of this cycle was found to be ours
        self.sum_out: int | None = None
        self.drained: int | None = None     # read for the chain a cycle ago
        # MACs that have read their activation, the youngest first: activation, hole, weight if
        # it fires.
        self.macs: list[dict[str, Any] | None] = [None] * ProcessingElement.SUM_STAGE

    def cycle(self, tokens: Tokens) -> tuple[bool, bool, bool, int | None]:
        """Return took, done, gated and sum_out (if known) of a cycle, and go on to the next."""
        load, took = tokens["load"], self.mine
        distance = (tokens["tag"] - tokens["column_tag"]) % 256
        self.mine = bool(tokens["tag_valid"]) and distance < tokens["span"] + (self.fault == "span")

        # Cycle 1 of a MAC: the weight is read.
        mac = self.macs[0]
        done = gated = False
        if mac is not None and not mac["hole"]:
            gated = self.zero_gating and mac["value"] == 0
            done = not gated
            if done:
                mac["weight"] = self.filter[tokens["filter_address"]]
        shown = took, done, gated, self.sum_out

        addend = self.drained
        self.sum_out = None if addend is None else _wrap(tokens["sum_in"] + addend, self.sum_width)
        self.drained = 0
        for psums, access in zip(self.psums, tokens["banks"], strict=True):
            if access["accumulate"]:
                self._accumulate(self.macs[-1], psums, access["u"], first=tokens["first"])
            if access["drain"]:
                self.drained = psums[access["u"]]

        # Cycle 0: the activation is read before this cycle's write.
        entering = None
        if tokens["mac"]["active"]:
            entry = self.ifmap[tokens["mac"]["position"]]
            assert entry is not None
            entering = {"value": entry[0], "hole": entry[1], "weight": None}
        self.macs = [entering, *self.macs[:-1]]

        write = tokens["filter_write"]
        if write["valid"]:
            self.filter[write["address"]] = write["weight"]
        if load["valid"]:
            position = load["start"] if load["sync"] else self.position
            assert position is not None
            if took:
                self.ifmap[position] = load["activation"]["value"], load["activation"]["hole"]
            self.position = (position + took) % self.sizes[0]
        return shown

    def _accumulate(self, mac: dict[str, Any] | None, bank: list[int | None], u: int, *,
                    first: bool) -> None:
        """Cycle SUM_STAGE: the product reaches the bank."""
        weight = mac["weight"] if mac is not None else None
        product = mac["value"] * weight if mac is not None and weight is not None else 0
        before = bank[u]
        if first:
            bank[u] = product + ((before or 0) if self.fault == "first" else 0)
        elif before is not None:
            bank[u] = _wrap(before + product, self.psum_width)


def _wrap(value: int, width: int) -> int:
    half = 1 << width - 1
    return (value + half) % (2 * half) - half


def stimulus(rng: random.Random, model: Model, *, cycles: int, p_idle: float) -> Iterator[Tokens]:
    """Yield a cycle's tokens at a time, such that only what is known is read.

    Between two of them, ``model`` must see the first.
    """
    ifmap_depth, filter_depth, psum_depth = model.sizes
    limit = 1 << model.sum_width - 1
    # Accumulations that belong to MACs under way, the youngest first.
    under_way: list[Tokens | None] = [None] * ProcessingElement.SUM_STAGE
    column_tag, span, bank = rng.randrange(256), rng.choice([1, 3, 200]), 0
    tag_valid = 0  # Of the cycle before: its activation comes in this one.
    for cycle in range(cycles):
        if rng.random() < 0.02:
            column_tag, span = rng.randrange(256), rng.choice([1, 2, 3, 100])
        if rng.random() < 0.05:
            bank = 1 - bank
        near = rng.choice([-1, 0, 0, span // 2, span - 1, span])
        beginning = cycle < filter_depth
        load = {
            "valid": tag_valid, "start": rng.randrange(ifmap_depth),
            "sync": int(cycle == 1 or rng.random() < 0.1),
            "activation": {"value": rng.choice([0, 0, -255, 255, -256, rng.randint(-255, 255)]),
                           "hole": int(rng.random() < 0.15)},
        }
        tag_valid = int(cycle == 0 or rng.random() < 0.7 * (1 - p_idle))
        filter_write = {
            "valid": int(beginning or rng.random() < 0.1),
            "address": cycle if beginning else rng.randrange(filter_depth),
            "weight": rng.choice([-128, 127, rng.randint(-128, 127)])}

        known = [n for n, entry in enumerate(model.ifmap) if entry is not None]
        active = bool(known) and not beginning and rng.random() >= p_idle
        token = None
        if active or rng.random() < 0.5:
            u = rng.randrange(psum_depth)
            coming = [(other["bank"], other["u"]) for other in under_way if other]
            new = model.psums[bank][u] is None and (bank, u) not in coming
            token = {"first": int(new or rng.random() < 0.2), "bank": bank, "u": u}
        under_way.insert(0, token)
        mac = under_way.pop()
        banks = [{"u": rng.randrange(psum_depth), "accumulate": 0, "drain": 0} for _ in range(2)]
        drained = rng.randrange(2)
        if mac is not None:
            drained = 1 - mac["bank"]
            banks[mac["bank"]] |= {"u": mac["u"], "accumulate": 1}
        known_sum = model.psums[drained][banks[drained]["u"]] is not None
        banks[drained]["drain"] = int(known_sum and rng.random() < 0.8)
        yield {
            "tag_valid": tag_valid, "column_tag": column_tag, "span": span,
            "tag": (column_tag + near) % 256 if rng.random() < 0.9 else rng.randrange(256),
            "load": load, "filter_write": filter_write,
            "mac": {"active": int(active),
                    "position": rng.choice(known) if active else rng.randrange(ifmap_depth)},
            "filter_address": rng.randrange(filter_depth),
            "first": mac["first"] if mac is not None else rng.randrange(2),
            "banks": banks,
            "sum_in": rng.choice([0, rng.randint(-limit, limit - 1)]),
        }
