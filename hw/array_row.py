"""A row of PEs, the registers that control it, and the bus that feeds it."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from . import isa
from .delay import delay
from .descriptor import layout
from .processing_element import ProcessingElement, activation_layout
from .shared import instantiate


__all__ = [
    "ArrayRow", "drain_token", "filter_word", "load_token", "mac_token", "tags_layout",
]


def load_token(*, ifmap_depth, word_bytes):
    """Lay out one word of the ifmap on its way down the rows."""
    return data.StructLayout({
        "valid": 1, "sync": 1, "start": range(ifmap_depth), "tag": 8,
        "lanes": data.ArrayLayout(activation_layout, word_bytes)})


def mac_token(*, cols, ifmap_depth, filter_depth, psum_depth):
    """Lay out the control of one MAC of every PE.

    ``whole`` are the columns that work on every filter of the block, ``part`` those that have
    filters only below a limit; ``below`` and ``at`` tell where ``u`` stands to it.
    """
    return data.StructLayout({
        "valid": 1, "position": range(ifmap_depth), "filter": range(filter_depth),
        "first": 1, "bank": 1, "u": range(psum_depth), "below": 1, "at": 1,
        "whole": cols, "part": cols})


def drain_token(*, psum_depth):
    """Lay out the control of one slot of the partial-sum chain."""
    return data.StructLayout({"valid": 1, "bank": 1, "u": range(psum_depth), "group": 5})


def tags_layout(*, cols):
    """Lay out what tells PEs which activations are theirs: tags of columns, and how many tags."""
    return data.StructLayout({"columns": data.ArrayLayout(8, cols), "span": 8})


def filter_word(*, cols, filter_depth):
    """Lay out one word for the filter scratchpads: a weight for each of four rows."""
    return data.StructLayout({
        "valid": 1, "columns": cols, "block": 2, "address": range(filter_depth),
        "weights": data.ArrayLayout(signed(8), 4)})


class ArrayRow(wiring.Component):
    """Hold what ``cols`` PEs have in common and hand all tokens to the next row a cycle later.

    Parameters
    ----------
    cols : :class:`int`
        PEs.
    word_bytes : :class:`int`
        Byte lanes of a load token, of which the row takes one.
    ifmap_depth, filter_depth, psum_depth, psum_width, sum_width, zero_gating
        See :class:`ProcessingElement`.

    Members
    -------
    index : ``In(4)``
        Position from the top, constant; decides which weights of a filter word are for this row.
    row : ``In(layout(ROW_FIELDS))``
        The row's part of the descriptor; stable while tokens are about, and a cycle before.
    tags : ``In(StructLayout)``
        What the descriptor tells all rows alike, ``columns`` and ``span``, from the row above. It
        changes with or before the first token that it is for.
    load, mac, drain, filter : ``In(StructLayout)``
        Tokens from the row above.
    tags_next, load_next, mac_next, drain_next, filter_next : ``Out(StructLayout)``
        The same for the row below: the registers in which this row holds them.
    sum_in, sum_out : ``In``, ``Out`` of ``signed(sum_width).array(cols)``
        The partial-sum chain. A slot that enters with ``drain`` leaves with the sums
        ``CHAIN_LATENCY`` cycles later.
    took, done, gated, ifmap_reads, psum_updates, psum_drains : ``Out(5)``
        Number of PEs that took an activation, executed a MAC, gated one, read an activation, added
        to a partial sum, read one for the chain.
    """

    #: From a drain token at the input to its sums at the output.
    CHAIN_LATENCY = 1 + ProcessingElement.CHAIN_STAGE + 1

    #: From a load token at the input to the cycle in which a MAC token may enter that reads what it
    #: brought.
    LOAD_LATENCY = 3

    #: What a row counts.
    COUNTS = ("took", "done", "gated", "ifmap_reads", "psum_updates", "psum_drains")

    def __init__(self, *, cols, word_bytes, ifmap_depth, filter_depth, psum_depth, psum_width,
                 sum_width, zero_gating):
        self.cols = cols
        self.word_bytes = word_bytes
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth
        self.psum_width = psum_width
        self.sum_width = sum_width
        self.zero_gating = zero_gating

        tokens = {
            "tags": tags_layout(cols=cols),
            "load": load_token(ifmap_depth=ifmap_depth, word_bytes=word_bytes),
            "mac": mac_token(cols=cols, ifmap_depth=ifmap_depth, filter_depth=filter_depth,
                             psum_depth=psum_depth),
            "drain": drain_token(psum_depth=psum_depth),
            "filter": filter_word(cols=cols, filter_depth=filter_depth),
        }
        super().__init__({
            "index": In(4),
            "row": In(layout(isa.ROW_FIELDS)),
            **{name: In(shape) for name, shape in tokens.items()},
            **{f"{name}_next": Out(shape) for name, shape in tokens.items()},
            "sum_in": In(signed(sum_width)).array(cols),
            "sum_out": Out(signed(sum_width)).array(cols),
            **{name: Out(5) for name in self.COUNTS},
        })

    def elaborate(self, platform):
        m = Module()

        # Tokens pass through; those that a reset leaves behind are gone before the next start.
        tags, load, mac, drain, filters = (
            delay(m, token, 1, name=name) for name, token in (
                ("tags", self.tags), ("load", self.load), ("mac", self.mac), ("drain", self.drain),
                ("filter", self.filter)))
        # Of the rows' own parts no wire is long but the one to this register.
        own = delay(m, self.row, 1, name="own")
        m.d.comb += [
            self.tags_next.eq(tags),
            self.load_next.eq(load),
            self.mac_next.eq(mac),
            self.drain_next.eq(drain),
            self.filter_next.eq(filters),
        ]

        # The bus: this row's lane, and the tag as seen from this row; that a cycle before.
        pes = [instantiate(m, f"pe_{column}", platform, ProcessingElement,
                           ifmap_depth=self.ifmap_depth, filter_depth=self.filter_depth,
                           psum_depth=self.psum_depth, psum_width=self.psum_width,
                           sum_width=self.sum_width, zero_gating=self.zero_gating)
               for column in range(self.cols)]
        first = pes[0]
        tag  = Signal(8, reset_less=True)
        lane = Signal(first.load.shape())
        m.d.sync += tag.eq(load.tag - own.tag)
        m.d.comb += [
            lane.valid.eq(load.valid),
            lane.sync.eq(load.sync),
            lane.start.eq(load.start),
            lane.activation.eq(load.lanes[own.lane[:exact_log2(self.word_bytes)]]),
        ]
        tagged = delay(m, lane, 1, name="lane")
        bus    = delay(m, tagged, 1, name="bus")

        # What goes to all PEs is told before the register from which it goes: behind that are
        # nothing but wires, long ones.

        # Which PEs take part: the filters of the last block may end within it.
        exists  = self.mac.below | (self.mac.at & own.below_last)
        takes   = Signal(self.cols)
        with m.If(self.mac.valid & own.used):
            m.d.comb += takes.eq(self.mac.whole | (self.mac.part & exists.replicate(self.cols)))
        active  = delay(m, takes, 1, name="active")

        # Which of them take a weight, and which weight of the word it is.
        word    = self.filter
        weight  = delay(m, word.weights[self.index[:2]], 1, name="weight")
        mine    = word.valid & (word.block == self.index[2:])
        writes  = delay(m, word.columns & mine.replicate(self.cols), 1, name="writes")

        # What acts in later stages of the PEs is delayed here, once for all of them.
        s1_filter = Signal.like(mac.filter, reset_less=True)
        m.d.sync += s1_filter.eq(mac.filter)
        banks = Signal(first.banks.shape())
        adds  = drain.valid & own.used & (drain.group == own.group)
        for bank, access in enumerate(banks):
            accumulates = mac.valid & (mac.bank == bank)
            m.d.comb += [
                access.accumulate.eq(accumulates),
                access.drain.eq(adds & (drain.bank == bank)),
                access.u.eq(Mux(accumulates, mac.u, drain.u)),
            ]
        banks    = delay(m, banks, ProcessingElement.SUM_STAGE, name="banks")
        sets     = delay(m, mac.first, ProcessingElement.SUM_STAGE, name="first")

        counts = {"took": [], "done": [], "gated": []}
        for column, pe in enumerate(pes):
            m.d.comb += [
                pe.tag_valid.eq(tagged.valid),
                pe.tag.eq(tag),
                pe.load.eq(bus),
                pe.column_tag.eq(tags.columns[column]),
                pe.span.eq(tags.span),
                pe.filter_write.valid.eq(writes[column]),
                pe.filter_write.address.eq(filters.address),
                pe.filter_write.weight.eq(weight),
                pe.mac.active.eq(active[column]),
                pe.mac.position.eq(mac.position),
                pe.filter_address.eq(s1_filter),
                pe.first.eq(sets),
                pe.banks.eq(banks),
                pe.sum_in.eq(self.sum_in[column]),
                self.sum_out[column].eq(pe.sum_out),
            ]
            for name, signals in counts.items():
                signals.append(getattr(pe, name))

        # A MAC that is gated, or the first of its sum, reads none.
        s1_first = Signal(reset_less=True)
        m.d.sync += s1_first.eq(mac.first)
        totals = {name: sum(signals) for name, signals in counts.items()}
        totals["ifmap_reads"] = sum(active[column] for column in range(self.cols))
        totals["psum_updates"] = Mux(s1_first, 0, totals["done"])
        totals["psum_drains"] = Mux(banks[0].drain | banks[1].drain, self.cols, 0)
        for name, value in totals.items():
            total = Signal(5, name=f"{name}_total", reset_less=True)
            m.d.sync += total.eq(value)
            m.d.comb += getattr(self, name).eq(total)

        return m
