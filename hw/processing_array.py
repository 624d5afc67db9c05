"""The row-stationary array: rows of PEs under one another."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_row import ArrayRow, drain_token, filter_word, load_token, mac_token, tags_layout
from .delay import delay
from .descriptor import layout
from .shared import instantiate


__all__ = ["ProcessingArray"]


class ProcessingArray(wiring.Component):
    """Chain ``rows`` rows: tokens move down one row a cycle, partial sums with them.

    Parameters
    ----------
    rows, cols : :class:`int`
        PEs down and across.
    word_bytes, ifmap_depth, filter_depth, psum_depth, psum_width, sum_width, zero_gating
        See :class:`ArrayRow`.
    sideband : shape
        What travels beside a drain token.

    Members
    -------
    row : ``In(layout(ROW_FIELDS)).array(rows)``
    tags : ``In(StructLayout)``
        From the descriptor; stable while tokens are about, and a cycle before. See
        :class:`ArrayRow`.
    load, mac, drain, filter : ``In(StructLayout)``
        Tokens; see :mod:`.array_row`.
    sideband : ``In(sideband)``
        Enters with ``drain``, whether that is valid or not.
    sums : ``Out(signed(sum_width)).array(cols)``
        The sums of the slot that entered :attr:`LATENCY` cycles ago.
    sums_valid, sums_sideband : ``Out``
        ``drain.valid`` and ``sideband`` of :attr:`LATENCY` cycles ago.
    took, done, gated, ifmap_reads, psum_updates, psum_drains : ``Out(9)``
        For the counters: those of :class:`ArrayRow` over all rows.
    """

    def __init__(self, *, rows, cols, word_bytes, ifmap_depth, filter_depth, psum_depth,
                 psum_width, sum_width, zero_gating, sideband):
        self.rows = rows
        self.cols = cols
        self.word_bytes = word_bytes
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth
        self.psum_width = psum_width
        self.sum_width = sum_width
        self.zero_gating = zero_gating

        super().__init__({
            "row": In(layout(isa.ROW_FIELDS)).array(rows),
            "tags": In(tags_layout(cols=cols)),
            "load": In(load_token(ifmap_depth=ifmap_depth, word_bytes=word_bytes)),
            "mac": In(mac_token(cols=cols, ifmap_depth=ifmap_depth, filter_depth=filter_depth,
                                psum_depth=psum_depth)),
            "drain": In(drain_token(psum_depth=psum_depth)),
            "filter": In(filter_word(cols=cols, filter_depth=filter_depth)),
            "sideband": In(sideband),
            "sums": Out(signed(sum_width)).array(cols),
            "sums_valid": Out(1),
            "sums_sideband": Out(sideband),
            **{name: Out(9) for name in ArrayRow.COUNTS},
        })

    @property
    def LATENCY(self):
        """From a drain token at the input to its sums at the output."""
        return ArrayRow.CHAIN_LATENCY + self.rows - 1

    def elaborate(self, platform):
        m = Module()

        above = self
        sums  = [C(0, signed(self.sum_width)) for _ in range(self.cols)]
        counts = {name: C(0) for name in ArrayRow.COUNTS}
        for index in range(self.rows):
            row = instantiate(
                m, f"row_{index}", platform, ArrayRow, cols=self.cols,
                word_bytes=self.word_bytes, ifmap_depth=self.ifmap_depth,
                filter_depth=self.filter_depth, psum_depth=self.psum_depth,
                psum_width=self.psum_width, sum_width=self.sum_width,
                zero_gating=self.zero_gating)
            m.d.comb += [row.index.eq(index), row.row.eq(self.row[index])]
            m.d.comb += [row.sum_in[n].eq(sums[n]) for n in range(self.cols)]
            for token in ("tags", "load", "mac", "drain", "filter"):
                source = getattr(above, token if above is self else f"{token}_next")
                m.d.comb += getattr(row, token).eq(source)

            # Counts ride down with the tokens: one small adder a row instead of a tree.
            for name, so_far in counts.items():
                total = Signal(9, name=f"{name}_{index}", reset_less=True)
                m.d.sync += total.eq(so_far + getattr(row, name))
                counts[name] = total
            above, sums = row, row.sum_out

        for n in range(self.cols):
            m.d.comb += self.sums[n].eq(sums[n])
        for name, total in counts.items():
            m.d.comb += getattr(self, name).eq(total)

        m.d.comb += [
            self.sums_valid.eq(
                delay(m, self.drain.valid, self.LATENCY, name="valid", reset_less=False)),
            self.sums_sideband.eq(
                delay(m, self.sideband, self.LATENCY, name="sideband", reset_less=False)),
        ]

        return m
