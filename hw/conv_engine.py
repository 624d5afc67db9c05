"""Everything that runs a CONV descriptor: loader, schedulers, array, collector."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from . import isa
from .array_row import filter_word
from .collector import Collector
from .delay import delay
from .descriptor import layout
from .drain_scheduler import DrainScheduler, slot_sideband
from .ifmap_loader import IfmapLoader
from .mac_scheduler import MacScheduler
from .parameter_loader import ParameterLoader
from .processing_array import ProcessingArray


__all__ = ["ConvEngine"]


class ConvEngine(wiring.Component):
    """Run CONV descriptors on the array; scaling and the memories are outside.

    Loader, MAC scheduler and drain scheduler each walk the descriptor at their own pace: the loader
    ahead as far as the ifmap scratchpads hold, the drain up to two banks behind.

    Parameters
    ----------
    rows, cols, ifmap_depth, filter_depth, psum_depth, word_bytes, lanes, lane_depth, zero_gating
        See :class:`~oarlock.gen.config.ArrayConfig`.
    read_latency : :class:`int`
        Of the global buffer.
    scale_latency : :class:`int`
        Of post-processing: from ``scale_valid`` to ``scaled_valid``.

    Members
    -------
    words : ``In(32).array(conv_words)``
        The descriptor; stable from ``start`` while ``busy``.
    start, busy : ``In(1)``, ``Out(1)``
        ``busy`` holds from the cycle after ``start`` until the last output is in the buffer.
    filter : ``In(filter_word(...))``
    read_enable, read_address, read_data
        Read port of the global buffer.
    scale_valid, scale_sums, scale_entry, scale_tag : ``Out``
        A beat for post-processing: partial sums of one channel, its parameter entry, and a tag that
        comes back.
    parameter_load, parameter_lanes, parameter_entry, parameter_address : ``Out``
        Entries to be copied into the lanes; see :class:`PostProcessor`.
    scaled_valid, scaled_values, scaled_tag : ``In``
    write_enable, write_address, write_count, write_data : ``Out``
        Write port of the global buffer.
    issues, waits_load, waits_drain, slot, beat : ``Out(1)``
        For the counters: a MAC token, a stall and its cause, a drain slot, an ifmap beat in this
        cycle.
    took, done, gated : ``Out(9)``
        For the counters, see :class:`ProcessingArray`.
    """

    def __init__(self, *, rows, cols, ifmap_depth, filter_depth, psum_depth, word_bytes, lanes,
                 lane_depth, zero_gating, read_latency, scale_latency):
        self.rows = rows
        self.cols = cols
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth
        self.word_bytes = word_bytes
        self.lanes = lanes
        self.lane_depth = lane_depth
        self.zero_gating = zero_gating
        self.read_latency = read_latency
        self.scale_latency = scale_latency

        self.tag_layout = self.tag_shape(cols=cols, word_bytes=word_bytes)
        super().__init__({
            "words": In(32).array(isa.conv_words(rows, cols)),
            "start": In(1),
            "busy": Out(1),
            "filter": In(filter_word(cols=cols, filter_depth=filter_depth)),
            "read_enable": Out(1),
            "read_address": Out(24),
            "read_data": In(8).array(word_bytes),
            "scale_valid": Out(1),
            "scale_sums": Out(signed(32)).array(lanes),
            "scale_entry": Out(16),
            "scale_tag": Out(self.tag_layout),
            "parameter_load": Out(1),
            "parameter_lanes": Out(lanes),
            "parameter_entry": Out(16),
            "parameter_address": Out(range(2 * lane_depth)),
            "scaled_valid": In(1),
            "scaled_values": In(signed(8)).array(lanes),
            "scaled_tag": In(self.tag_layout),
            "write_enable": Out(1),
            "write_address": Out(24),
            "write_count": Out(range(word_bytes + 1)),
            "write_data": Out(8).array(word_bytes),
            "issues": Out(1),
            "waits_load": Out(1),
            "waits_drain": Out(1),
            "slot": Out(1),
            "beat": Out(1),
            "took": Out(9),
            "done": Out(9),
            "gated": Out(9),
        })

    @staticmethod
    def tag_shape(*, cols, word_bytes):
        """Lay out what a beat takes along through post-processing."""
        return data.StructLayout({"mask": cols, "index": range(word_bytes), "last": 1})

    def elaborate(self, platform):
        m = Module()

        # The parts of the descriptor.
        conv    = Signal(layout(isa.CONV_FIELDS))
        rows    = [Signal(layout(isa.ROW_FIELDS), name=f"row_{n}") for n in range(self.rows)]
        columns = [Signal(layout(isa.COLUMN_FIELDS), name=f"column_{n}") for n in range(self.cols)]
        beats   = [Signal(layout(isa.BEAT_FIELDS), name=f"beat_{n}") for n in range(self.cols)]
        m.d.comb += Cat(conv, *rows, *columns, *beats).eq(Cat(self.words))

        m.submodules.loader = loader = IfmapLoader(
            ifmap_depth=self.ifmap_depth, word_bytes=self.word_bytes,
            read_latency=self.read_latency)
        m.submodules.macs = macs = MacScheduler(
            cols=self.cols, ifmap_depth=self.ifmap_depth, filter_depth=self.filter_depth,
            psum_depth=self.psum_depth)
        m.submodules.drains = drains = DrainScheduler(
            cols=self.cols, psum_depth=self.psum_depth, word_bytes=self.word_bytes,
            lane_depth=self.lane_depth)
        m.submodules.parameters = parameters = ParameterLoader(
            cols=self.cols, lanes=self.lanes, lane_depth=self.lane_depth)
        m.submodules.array = array = ProcessingArray(
            rows=self.rows, cols=self.cols, word_bytes=self.word_bytes,
            ifmap_depth=self.ifmap_depth, filter_depth=self.filter_depth,
            psum_depth=self.psum_depth, zero_gating=self.zero_gating,
            sideband=slot_sideband(cols=self.cols, word_bytes=self.word_bytes))
        # Jobs wait for as long as a beat travels; one more stage registers the sums.
        travel = array.LATENCY + self.scale_latency + 4
        m.submodules.collector = collector = Collector(
            cols=self.cols, lanes=self.lanes, word_bytes=self.word_bytes,
            depth=1 << ceil_log2(travel))

        m.d.comb += [
            loader.conv.eq(conv),
            macs.conv.eq(conv),
            drains.conv.eq(conv),
            loader.start.eq(self.start),
            macs.start.eq(self.start),
            drains.start.eq(self.start),
            parameters.conv.eq(conv),
            parameters.start.eq(self.start),
            drains.tile_loaded.eq(parameters.tile_loaded),
            # Slots of the tile are still on their way to the lanes.
            parameters.tile_drained.eq(delay(
                m, drains.tile_drained, array.LATENCY + 2, name="drained", reset_less=False)),
            self.parameter_load.eq(parameters.load_en),
            self.parameter_lanes.eq(parameters.load_lanes),
            self.parameter_entry.eq(parameters.load_entry),
            self.parameter_address.eq(parameters.load_address),
            array.span.eq(conv.span),
            collector.flush_count.eq(conv.flush_count),
        ]
        m.d.comb += [array.row[n].eq(row) for n, row in enumerate(rows)]
        for n, beat in enumerate(beats):
            m.d.comb += [drains.beats[n].eq(beat), parameters.beats[n].eq(beat)]
        for n, column in enumerate(columns):
            m.d.comb += [
                macs.columns[n].eq(column),
                collector.columns[n].eq(column),
                array.column_tags[n].eq(column.tag),
            ]

        # Global buffer -> loader -> array.
        m.d.comb += [
            self.read_enable.eq(loader.read_enable),
            self.read_address.eq(loader.read_address),
            Cat(loader.read_data).eq(Cat(self.read_data)),
            array.load.eq(loader.load),
            array.filter.eq(self.filter),
            macs.pass_loaded.eq(loader.pass_loaded),
            loader.release.eq(macs.release),
            array.mac.eq(macs.mac),
        ]

        # Array -> chain -> post-processing -> collector.
        m.d.comb += [
            drains.bank_full.eq(macs.bank_full),
            drains.full_bank.eq(macs.full_bank),
            drains.full_whole.eq(macs.full_whole),
            drains.full_part.eq(macs.full_part),
            macs.bank_free.eq(drains.bank_free),
            array.drain.eq(drains.drain),
            array.sideband.eq(drains.sideband),
            collector.job.eq(drains.job),
            collector.job_valid.eq(drains.job_valid),
        ]
        held = [Signal(signed(32), name=f"held_{n}") for n in range(self.cols)]
        beat = Signal(array.sums_sideband.shape())
        m.d.sync += beat.eq(array.sums_sideband)
        with m.If(array.sums_valid):
            m.d.sync += [held[n].eq(array.sums[n]) for n in range(self.cols)]
        m.d.comb += [
            self.scale_valid.eq(beat.valid),
            self.scale_entry.eq(beat.entry),
            self.scale_tag.mask.eq(beat.mask),
            self.scale_tag.index.eq(beat.index),
            self.scale_tag.last.eq(beat.last),
        ]
        for lane in range(self.lanes):
            with m.Switch(beat.lane_group):
                for group, column in enumerate(range(lane, self.cols, self.lanes)):
                    with m.Case(group):
                        m.d.comb += self.scale_sums[lane].eq(held[column])
        m.d.comb += [
            collector.valid.eq(self.scaled_valid),
            Cat(collector.values).eq(Cat(self.scaled_values)),
            collector.mask.eq(self.scaled_tag.mask),
            collector.index.eq(self.scaled_tag.index),
            collector.last.eq(self.scaled_tag.last),
            self.write_enable.eq(collector.write_enable),
            self.write_address.eq(collector.write_address),
            self.write_count.eq(collector.write_count),
            Cat(self.write_data).eq(Cat(collector.write_data)),
        ]

        # A descriptor that holds its sums does not drain: wait until its MACs have left the last
        # row.
        travelling = Signal(range(array.LATENCY + 1))
        with m.If(macs.mac.valid):
            m.d.sync += travelling.eq(array.LATENCY)
        with m.Elif(travelling != 0):
            m.d.sync += travelling.eq(travelling - 1)
        m.d.comb += [
            self.busy.eq(loader.busy | macs.busy | drains.busy | collector.busy | macs.mac.valid
                         | (travelling != 0)),
            self.issues.eq(macs.mac.valid),
            self.waits_load.eq(macs.waits_load),
            self.waits_drain.eq(macs.waits_drain),
            self.slot.eq(drains.drain.valid),
            self.beat.eq(loader.read_enable),
            self.took.eq(array.took),
            self.done.eq(array.done),
            self.gated.eq(array.gated),
        ]

        return m
