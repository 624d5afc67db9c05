"""Issue the MACs of a CONV descriptor to the array, one token a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_row import mac_token
from .descriptor import layout
from .loop_nest import LoopNest


__all__ = ["MacScheduler"]


class MacScheduler(wiring.Component):
    """Walk the MAC loops of a CONV descriptor.

    A pass starts when its ifmap entries are loaded and, if it is the first of a step, when a bank
    of partial sums is free; then its MACs follow each other without a gap.

    Parameters
    ----------
    cols, ifmap_depth, filter_depth, psum_depth : :class:`int`
        Of the array.

    Members
    -------
    conv : ``In(layout(CONV_FIELDS))``
    columns : ``In(layout(COLUMN_FIELDS)).array(cols)``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        MACs are left to issue.
    pass_loaded : ``In(1)``
        One more pass may be computed on.
    release : ``Out(range(ifmap_depth + 1))``
        Ifmap entries that nothing needs after this cycle.
    mac : ``Out(mac_token(...))``
        Registered.
    bank_full : ``Out(1)``
        A step is complete: ``full_bank`` may drain, for the columns ``full_whole`` (all of their
        filters) and ``full_part``. In the cycle of its last MAC.
    full_bank, full_whole, full_part : ``Out``
    bank_free : ``In(1)``
        A bank is drained.
    waits_load, waits_drain : ``Out(1)``
        The array stands still in this cycle, and why.
    """

    def __init__(self, *, cols, ifmap_depth, filter_depth, psum_depth):
        self.cols = cols
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth

        super().__init__({
            "conv": In(layout(isa.CONV_FIELDS)),
            "columns": In(layout(isa.COLUMN_FIELDS)).array(cols),
            "start": In(1),
            "busy": Out(1),
            "pass_loaded": In(1),
            "release": Out(range(ifmap_depth + 1)),
            "mac": Out(mac_token(cols=cols, ifmap_depth=ifmap_depth, filter_depth=filter_depth,
                                 psum_depth=psum_depth)),
            "bank_full": Out(1),
            "full_bank": Out(1),
            "full_whole": Out(cols),
            "full_part": Out(cols),
            "bank_free": In(1),
            "waits_load": Out(1),
            "waits_drain": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        conv = self.conv

        m.submodules.nest = nest = LoopNest(
            loops={"m": 8, "k": 16, "c_chunk": 8, "r_chunk": 8, "q": 16, "strip": 16, "tile": 16},
            quantities={"filter": (16, ["tile"])}, indexed=["k", "q"], alternatives=["k"])
        last_c = nest.last_c_chunk
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_m.eq(conv.m_count),
            nest.count_k.eq(conv.k_count),
            nest.other_k.eq(conv.k_count_last),
            nest.choose_k.eq(last_c),
            nest.count_c_chunk.eq(conv.c_chunks),
            nest.count_r_chunk.eq(conv.r_chunks),
            nest.count_q.eq(conv.q_count),
            nest.count_strip.eq(conv.strip_count),
            nest.count_tile.eq(conv.tile_count),
            nest.origin_filter.eq(conv.filter_base),
            nest.step_filter_tile.eq(conv.filter_step),
        ]

        # When a pass may start.
        loaded     = Signal(range(self.ifmap_depth + 1))
        full_banks = Signal(range(3))
        pass_first, step_first = Signal(init=1), Signal(init=1)
        bank_ready, issue = Signal(), Signal()
        m.d.comb += [
            bank_ready.eq(~step_first | (full_banks != 2)),
            issue.eq(self.busy & (~pass_first | ((loaded != 0) & bank_ready))),
            nest.advance.eq(issue),
            self.waits_load.eq(self.busy & pass_first & (loaded == 0)),
            self.waits_drain.eq(self.busy & pass_first & (loaded != 0) & ~bank_ready),
        ]
        pass_last, step_last, nest_last = Signal(), Signal(), Signal()
        m.d.comb += [
            pass_last.eq(nest.last_m & nest.last_k),
            step_last.eq(pass_last & last_c & nest.last_r_chunk),
            nest_last.eq(step_last & nest.last_q & nest.last_strip & nest.last_tile),
        ]
        with m.If(issue):
            m.d.sync += [pass_first.eq(pass_last), step_first.eq(step_last)]
            with m.If(nest_last):
                m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        m.d.sync += [
            loaded.eq(loaded + self.pass_loaded - (issue & pass_first)),
            full_banks.eq(full_banks + self.bank_full - self.bank_free),
        ]

        # The window in the ring of ifmap entries. What slides on stays for the next step.
        window, used = Signal(range(self.ifmap_depth)), Signal(range(self.ifmap_depth + 1))
        one_pass = Signal()
        m.d.sync += one_pass.eq((conv.r_chunks == 1) & (conv.c_chunks == 1))
        m.d.comb += used.eq(Mux(one_pass & ~nest.last_q, conv.entries_next,
                                Mux(last_c, conv.k_count_last, conv.k_count)))
        with m.If(issue & pass_last):
            m.d.comb += self.release.eq(used)
            m.d.sync += window.eq(window + used)

        # The filter runs on from the first to the last MAC of a step, u in laps of u_count.
        filter_next = Signal(16)
        u, lap_first, bank = Signal(range(self.psum_depth)), Signal(init=1), Signal()
        u_last = Signal()
        u_highest = Signal.like(u)
        filter_now = Signal(16)
        first = Signal()
        # The descriptor holds before the first MAC, so what it implies can be a register.
        m.d.sync += u_highest.eq(conv.u_count - 1)
        m.d.comb += [
            filter_now.eq(Mux(step_first, nest.value_filter, filter_next)),
            u_last.eq(u == u_highest),
            first.eq(lap_first & ~conv.keep),
        ]
        with m.If(issue):
            m.d.sync += [
                filter_next.eq(filter_now + 1),
                u.eq(Mux(u_last, 0, u + 1)),
                lap_first.eq((lap_first & ~u_last) | step_last),
            ]
        with m.If(issue & step_last & ~conv.hold):
            m.d.comb += self.bank_full.eq(1)
            m.d.sync += bank.eq(~bank)

        # Which columns have a position and filters.
        p_limit = Mux(nest.last_strip, conv.p_last, conv.p_count)
        whole, part = Signal(self.cols), Signal(self.cols)
        for n, column in enumerate(self.columns):
            at_work = Signal(name=f"at_work_{n}")
            reach   = Signal(signed(17), name=f"reach_{n}")
            m.d.sync += reach.eq(conv.q_limit - column.q_offset)
            m.d.comb += [
                at_work.eq((column.p_index < p_limit) & (nest.index_q < reach)),
                whole[n].eq(at_work & (~nest.last_tile | column.full)),
                part[n].eq(at_work & nest.last_tile & column.part),
            ]
        m.d.comb += [
            self.full_bank.eq(bank),
            self.full_whole.eq(whole),
            self.full_part.eq(part),
        ]

        m.d.sync += [
            self.mac.valid.eq(issue),
            self.mac.position.eq(window + nest.index_k),
            self.mac.filter.eq(filter_now),
            self.mac.first.eq(first),
            self.mac.bank.eq(bank),
            self.mac.u.eq(u),
            self.mac.below.eq(u < conv.u_last),
            self.mac.at.eq(u == conv.u_last),
            self.mac.whole.eq(whole),
            self.mac.part.eq(part),
        ]

        return m
