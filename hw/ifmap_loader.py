"""Fetch ifmap words from the global buffer and send them down the array, pass by pass."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_row import ArrayRow, load_token
from .delay import delay
from .descriptor import layout
from .ifmap_reader import IfmapReader
from .loop_nest import LoopNest


__all__ = ["IfmapLoader"]


class IfmapLoader(wiring.Component):
    """Walk the ifmap loops of a CONV descriptor, one beat a cycle.

    A pass starts as soon as its entries fit into the ifmap scratchpads beside those still needed;
    then its beats follow each other without a gap. See docs/hardware.md for the loops and for what
    a beat is.

    Parameters
    ----------
    ifmap_depth, word_bytes : :class:`int`
        Of the array and of the global buffer.
    read_latency : :class:`int`
        Cycles from ``read_address`` to ``read_data``.

    Members
    -------
    conv : ``In(layout(CONV_FIELDS))``
        The descriptor; stable from ``start`` until the array is idle.
    start : ``In(1)``
    busy : ``Out(1)``
        Beats are left to send.
    release : ``In(range(ifmap_depth + 1))``
        Scratchpad entries given back in this cycle.
    pass_loaded : ``Out(1)``
        A pass was sent: whoever counts it in the next cycle may send a MAC token in the one after.
    read_enable, read_address : ``Out(1)``, ``Out(24)``
    read_data : ``In(unsigned(8)).array(word_bytes)``
        Port of the global buffer.
    load : ``Out(load_token(...))``
    """

    def __init__(self, *, ifmap_depth, word_bytes, read_latency):
        self.ifmap_depth = ifmap_depth
        self.word_bytes = word_bytes
        self.read_latency = read_latency

        super().__init__({
            "conv": In(layout(isa.CONV_FIELDS)),
            "start": In(1),
            "busy": Out(1),
            "release": In(range(ifmap_depth + 1)),
            "pass_loaded": Out(1),
            "read_enable": Out(1),
            "read_address": Out(24),
            "read_data": In(8).array(word_bytes),
            "load": Out(load_token(ifmap_depth=ifmap_depth, word_bytes=word_bytes)),
        })

    @classmethod
    def latency(cls, read_latency):
        """From the cycle of a pass's last beat to that of ``pass_loaded``.

        The listener takes two more to count the pass and to send a MAC token.
        """
        return IfmapReader.latency(read_latency) + ArrayRow.LOAD_LATENCY - 2

    @property
    def LATENCY(self):
        """:meth:`latency` of this loader."""
        return self.latency(self.read_latency)

    def elaborate(self, platform):
        m = Module()
        conv = self.conv

        m.submodules.nest = nest = LoopNest(
            loops={"t": 8, "y": 8, "x": 8, "block": 8, "q_block": 8, "c_chunk": 8, "r_chunk": 8,
                   "q": 16, "strip": 16, "tile": 16},
            quantities={
                "address": (24, ["t", "y", "x", "block", "q_block", "c_chunk", "r_chunk", "q",
                                 "strip", "tile"]),
                "row": (signed(18), ["y", "r_chunk", "strip"]),
                "column": (signed(26), ["t", "x", "q_block", "q"]),
                "tag": (8, ["y", "block", "q_block"]),
                "left": (signed(18), ["t", "block", "c_chunk", "tile"]),
            },
            alternatives=["t", "y", "x"], ahead=True)

        # A window slides only if it stays in the scratchpad, that is, if the step is one pass.
        one_pass  = Signal()
        whole     = Signal()
        beat      = Signal()
        last_c    = nest.last_c_chunk
        # The descriptor holds before the first beat, so what it implies can be a register.
        m.d.sync += one_pass.eq((conv.r_chunks == 1) & (conv.c_chunks == 1))
        # Of the iteration that is seen, as what the nest says of it.
        with m.If(beat | nest.begins):
            m.d.sync += whole.eq(nest.next_first_q | ~one_pass)
        m.d.comb += [
            nest.start.eq(self.start),
            nest.count_t.eq(conv.t_count),
            nest.other_t.eq(conv.t_count_last),
            nest.choose_t.eq(nest.next_last_c_chunk),
            nest.count_y.eq(conv.y_count),
            nest.other_y.eq(conv.y_count_last),
            nest.choose_y.eq(nest.next_last_strip),
            nest.count_x.eq(conv.x_next),
            nest.other_x.eq(conv.x_first),
            nest.choose_x.eq(nest.next_first_q | ~one_pass),
            nest.count_block.eq(conv.block_count),
            nest.count_q_block.eq(conv.q_block_count),
            nest.count_c_chunk.eq(conv.c_chunks),
            nest.count_r_chunk.eq(conv.r_chunks),
            nest.count_q.eq(conv.q_count),
            nest.count_strip.eq(conv.strip_count),
            nest.count_tile.eq(conv.tile_count),

            nest.origin_address.eq(conv.in_base + conv.x_origin),
            nest.step_address_t.eq(conv.lane_count),
            nest.step_address_y.eq(conv.y_stride),
            nest.step_address_x.eq(conv.x_stride),
            nest.step_address_block.eq(conv.block_step),
            nest.step_address_q_block.eq(conv.q_block_step),
            nest.step_address_c_chunk.eq(conv.c_chunk_step),
            nest.step_address_r_chunk.eq(conv.r_chunk_addr),
            nest.step_address_q.eq(conv.q_step),
            nest.step_address_strip.eq(conv.strip_addr),
            nest.step_address_tile.eq(conv.tile_step),

            nest.origin_row.eq(conv.y_origin),
            nest.step_row_y.eq(1),
            nest.step_row_r_chunk.eq(conv.r_chunk_rows),
            nest.step_row_strip.eq(conv.strip_rows),

            nest.origin_column.eq(conv.x_origin),
            nest.step_column_t.eq(Mux(conv.fold, conv.lane_count, 0)),
            nest.step_column_x.eq(conv.x_stride),
            nest.step_column_q_block.eq(conv.q_block_step),
            nest.step_column_q.eq(conv.q_step),

            nest.origin_tag.eq(0),
            nest.step_tag_y.eq(1),
            nest.step_tag_block.eq(conv.block_tag),
            nest.step_tag_q_block.eq(conv.q_block_tag),

            nest.origin_left.eq(conv.channels),
            nest.step_left_t.eq(-conv.lane_count),
            nest.step_left_block.eq(-conv.block_step),
            nest.step_left_c_chunk.eq(-conv.c_chunk_step),
            nest.step_left_tile.eq(-conv.tile_step),
        ]

        first_beat, last_beat = Signal(init=1), Signal()
        entries = Signal(range(self.ifmap_depth + 1))
        start   = Signal(range(self.ifmap_depth))
        given   = Signal(signed(len(entries) + 1))

        # Whether a pass fits: what the scratchpads would have left beside those in use or on their
        # way. For each of the kinds of pass, as it is known too late which one is next.
        def fits(count, name):
            count = count[:len(entries)]
            left  = Signal(signed(len(entries) + 1), name=f"left_{name}")
            with m.If(nest.begins):
                # Nothing is in use, and a pass that did not fit at all would wait for ever.
                m.d.sync += left.eq(
                    Mux(count > self.ifmap_depth, 0, self.ifmap_depth - count))
            with m.Else():
                m.d.sync += left.eq(left + given)
            return left >= 0

        def of_kind(first, last, next):
            return Mux(whole, Mux(last_c, last, first), next)

        m.d.comb += [
            entries.eq(of_kind(conv.k_count, conv.k_count_last, conv.entries_next)),
            beat.eq(self.busy & (~first_beat | of_kind(
                fits(conv.k_count, "count"), fits(conv.k_count_last, "last"),
                fits(conv.entries_next, "next")))),
            nest.advance.eq(beat),
            last_beat.eq(nest.last_t & nest.last_y & nest.last_x & nest.last_block
                         & nest.last_q_block),
        ]
        m.d.comb += given.eq(self.release - Mux(beat & first_beat, entries, 0))
        with m.If(beat):
            m.d.sync += first_beat.eq(last_beat)
            with m.If(last_beat):
                m.d.sync += start.eq(start + entries)
                with m.If(last_c & nest.last_r_chunk & nest.last_q & nest.last_strip
                          & nest.last_tile):
                    m.d.sync += self.busy.eq(0)
        with m.If(nest.begins):
            m.d.sync += self.busy.eq(1)

        # Addresses to activations. Bytes to the edges of the image: of the first column, and of
        # columns moved by ``x_skip``.
        sideband = data.StructLayout({"sync": 1, "start": range(self.ifmap_depth), "tag": 8})
        m.submodules.reader = reader = IfmapReader(
            word_bytes=self.word_bytes, read_latency=self.read_latency, sideband=sideband)
        skip_left, skip_right = (Signal(signed(26), name=f"skip_{side}")
                                 for side in ("left", "right"))
        m.d.sync += [skip_left.eq(-conv.x_skip), skip_right.eq(conv.x_limit - conv.x_skip)]
        m.d.comb += [
            reader.zero_point.eq(conv.zero_point_in),
            reader.fold.eq(conv.fold),
            reader.y_limit.eq(conv.y_limit),
            reader.i.valid.eq(beat),
            reader.i.address.eq(nest.value_address + Mux(whole, 0, conv.x_skip)),
            reader.i.row.eq(nest.value_row),
            reader.i.to_left.eq(Mux(whole, 0, skip_left) - nest.value_column),
            reader.i.to_right.eq(Mux(whole, conv.x_limit, skip_right) - nest.value_column),
            reader.i.left.eq(nest.value_left),
            reader.i.sideband.sync.eq(first_beat),
            reader.i.sideband.start.eq(start),
            reader.i.sideband.tag.eq(nest.value_tag),
            self.read_enable.eq(reader.read_enable),
            self.read_address.eq(reader.read_address),
            Cat(reader.read_data).eq(Cat(self.read_data)),
            self.load.valid.eq(reader.o.valid),
            self.load.sync.eq(reader.o.sideband.sync),
            self.load.start.eq(reader.o.sideband.start),
            self.load.tag.eq(reader.o.sideband.tag),
            self.load.lanes.eq(reader.o.lanes),
            self.pass_loaded.eq(
                delay(m, beat & last_beat, self.LATENCY, name="loaded", reset_less=False)),
        ]

        return m
