"""A PE as its docstring has it, one cycle at a time, and random stimulus for it."""

import random

from oarlock.hw.processing_element import ProcessingElement


class Model:
    """What a PE holds and shows.

    ``fault`` makes it wrong, to show that a bench would notice.
    """

    def __init__(self, *, ifmap_depth, filter_depth, psum_depth, zero_gating, fault=""):
        self.sizes = ifmap_depth, filter_depth, psum_depth
        self.zero_gating = zero_gating
        self.fault = fault
        # None: unknown.
        self.ifmap = [None] * ifmap_depth
        self.filter = [None] * filter_depth
        self.psums = [[None] * psum_depth for _ in range(2)]
        self.position = None
        self.sum_out = None
        # MACs that have read their activation; the youngest first.
        self.macs = [None] * ProcessingElement.SUM_STAGE

    def cycle(self, tokens):
        """Return (took, done, gated, sum_out) of a cycle, and go on to the next."""
        load, span = tokens["load"], tokens["span"]
        took = load["valid"] and (load["tag"] - tokens["column_tag"]) % 256 < span
        if self.fault == "span":
            took = load["valid"] and (load["tag"] - tokens["column_tag"]) % 256 <= span

        # Cycle 1 of a MAC: whether it fires is known; the weight is read at this cycle's end.
        mac = self.macs[0]
        done = gated = False
        if mac is not None and not mac["hole"]:
            gated = self.zero_gating and mac["value"] == 0
            done = not gated
            mac["fires"] = done
            if done:
                mac["weight"] = self.filter[tokens["filter_address"]]
        shown = took, done, gated, self.sum_out

        # Cycle SUM_STAGE: the product reaches the bank.
        mac, accumulate, drain = self.macs[-1], tokens["accumulate"], tokens["drain"]
        addend = self.psums[drain["bank"]][drain["u"]] if drain["add"] else 0
        self.sum_out = None if addend is None else wrap(tokens["sum_in"] + addend)
        if accumulate["valid"]:
            bank, u = self.psums[accumulate["bank"]], accumulate["u"]
            fires = mac is not None and mac.get("fires", False)
            product = mac["value"] * mac["weight"] if fires else 0
            if accumulate["first"]:
                bank[u] = product + (bank[u] or 0 if self.fault == "first" else 0)
            elif fires and bank[u] is not None:
                bank[u] = wrap(bank[u] + product)

        # Cycle 0: the activation is read before this cycle's write.
        entering = None
        if tokens["mac"]["active"]:
            value, hole = self.ifmap[tokens["mac"]["position"]]
            entering = {"value": value, "hole": hole}
        self.macs = [entering, *self.macs[:-1]]

        write = tokens["filter_write"]
        if write["valid"]:
            self.filter[write["address"]] = write["weight"]
        if load["valid"]:
            if load["sync"]:
                self.position = load["start"]
            if took:
                self.ifmap[self.position] = (load["activation"]["value"],
                                             load["activation"]["hole"])
            if self.position is not None:
                self.position = (self.position + took) % self.sizes[0]
        return shown


def wrap(value):
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def stimulus(rng: random.Random, model: Model, *, cycles: int, p_idle: float):
    """Yield a cycle's tokens at a time, such that only what is known is read.

    ``model`` must have seen the cycles before.
    """
    depths = model.sizes
    stage = ProcessingElement.SUM_STAGE
    # Accumulations that belong to MACs under way, by age.
    under_way = [None] * stage
    filters = [None]
    column_tag, span = rng.randrange(256), rng.choice([1, 3, 200])
    bank = 0
    for cycle in range(cycles):
        if rng.random() < 0.02:
            column_tag, span = rng.randrange(256), rng.choice([1, 2, 3, 100])
        if rng.random() < 0.05:
            bank = 1 - bank
        idle = rng.random() < p_idle
        near = rng.choice([-1, 0, 0, span // 2, span - 1, span])
        load = {
            "valid": int(cycle < 2 or (not idle and rng.random() < 0.7)),
            "sync": int(cycle < 2 or rng.random() < 0.1), "start": rng.randrange(depths[0]),
            "tag": (column_tag + near) % 256 if rng.random() < 0.9 else rng.randrange(256),
            "activation": {"value": rng.choice([0, 0, -255, 255, -256, rng.randint(-255, 255)]),
                           "hole": int(rng.random() < 0.15)},
        }
        filter_write = {
            "valid": int(cycle < depths[1] or rng.random() < 0.1),
            "address": cycle if cycle < depths[1] else rng.randrange(depths[1]),
            "weight": rng.choice([-128, 127, rng.randint(-128, 127)])}

        # A MAC: activation and weight must be known by then, the partial sum too or overwritten.
        known = [n for n, entry in enumerate(model.ifmap) if entry is not None]
        active = bool(known) and cycle >= depths[1] and rng.random() >= p_idle
        position = rng.choice(known) if active else rng.randrange(depths[0])
        u = rng.randrange(depths[2])
        filters.append(rng.randrange(depths[1]))
        token = None
        if rng.random() < 0.9:
            writes = {(t["bank"], t["u"]) for t in under_way if t}
            first = (model.psums[bank][u] is None and (bank, u) not in writes) or rng.random() < 0.2
            token = {"valid": 1, "first": int(first), "bank": bank, "u": u}
        under_way.insert(0, token)
        accumulate = under_way.pop()
        drained = 1 - accumulate["bank"] if accumulate else rng.randrange(2)
        u = rng.randrange(depths[2])
        yield {
            "load": load, "column_tag": column_tag, "span": span, "filter_write": filter_write,
            "mac": {"active": int(active), "position": position}, "filter_address": filters.pop(0)
            or 0,
            "accumulate": accumulate or {"valid": 0, "first": rng.randrange(2),
                                         "bank": 1 - drained, "u": rng.randrange(depths[2])},
            "drain": {"add": int(model.psums[drained][u] is not None and rng.random() < 0.8),
                      "bank": drained, "u": u},
            "sum_in": rng.choice([0, rng.randint(-1 << 31, (1 << 31) - 1)]),
        }
