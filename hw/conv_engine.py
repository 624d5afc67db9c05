"""Everything that runs a CONV descriptor: loader, schedulers, array, collector."""

from amaranth import *
from amaranth.lib import data
from amaranth.utils import ceil_log2

from . import isa
from .collector import Collector
from .delay import delay
from .descriptor import layout
from .drain_scheduler import DrainScheduler, slot_sideband
from .engine import Engine, select_group
from .ifmap_loader import IfmapLoader
from .mac_scheduler import MacScheduler
from .parameter_loader import ParameterLoader
from .processing_array import ProcessingArray


__all__ = ["ConvEngine"]


class ConvEngine(Engine):
    """Run CONV descriptors on the array; scaling and the memories are outside.

    Loader, MAC scheduler and drain scheduler each walk the descriptor at their own pace: the loader
    ahead as far as the ifmap scratchpads hold, the drain up to two banks behind.

    Parameters and members are those of :class:`~oarlock.hw.engine.Engine`.
    """

    @staticmethod
    def descriptor_words(config):
        """Return the words of a CONV descriptor."""
        return isa.conv_words(config.rows, config.cols)

    @staticmethod
    def tag_shape(config):
        """Lay out what a beat takes along through post-processing."""
        return data.StructLayout({
            "group": range(Collector.groups(config.cols, config.lanes)), "mask": config.lanes,
            "index": range(config.word_bytes), "last": 1})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        cols, lanes = config.cols, config.lanes

        # The parts of the descriptor.
        conv    = Signal(layout(isa.CONV_FIELDS))
        rows    = [Signal(layout(isa.ROW_FIELDS), name=f"row_{n}") for n in range(config.rows)]
        columns = [Signal(layout(isa.COLUMN_FIELDS), name=f"column_{n}") for n in range(cols)]
        beats   = [Signal(layout(isa.BEAT_FIELDS), name=f"beat_{n}") for n in range(cols)]
        m.d.comb += Cat(conv, *rows, *columns, *beats).eq(Cat(self.words))

        m.submodules.loader = loader = IfmapLoader(
            ifmap_depth=config.ifmap_depth, word_bytes=config.word_bytes,
            read_latency=self.read_latency)
        m.submodules.macs = macs = MacScheduler(
            cols=cols, ifmap_depth=config.ifmap_depth, filter_depth=config.filter_depth,
            psum_depth=config.psum_depth)
        m.submodules.drains = drains = DrainScheduler(
            cols=cols, psum_depth=config.psum_depth, word_bytes=config.word_bytes,
            lane_depth=config.lane_depth)
        m.submodules.parameters = parameters = ParameterLoader(
            lanes=lanes, lane_depth=config.lane_depth)
        # Nothing that the rows hold can add up to more.
        sum_width = min(isa.SUM_WIDTH, config.psum_width + ceil_log2(config.rows))
        m.submodules.array = array = ProcessingArray(
            rows=config.rows, cols=cols, word_bytes=config.word_bytes,
            ifmap_depth=config.ifmap_depth, filter_depth=config.filter_depth,
            psum_depth=config.psum_depth, psum_width=config.psum_width, sum_width=sum_width,
            zero_gating=config.zero_gating,
            sideband=slot_sideband(cols=cols, word_bytes=config.word_bytes))
        # Jobs wait for as long as a beat travels; one more stage registers the sums.
        travel = array.LATENCY + self.scale_latency + 4
        m.submodules.collector = collector = Collector(
            cols=cols, lanes=lanes, word_bytes=config.word_bytes,
            depth=1 << ceil_log2(travel))

        m.d.comb += [
            loader.conv.eq(conv),
            macs.conv.eq(conv),
            drains.conv.eq(conv),
            loader.start.eq(self.start),
            macs.start.eq(self.start),
            drains.start.eq(self.start),
            drains.tile_loaded.eq(parameters.tile_loaded),
            # Slots of the tile are still on their way to the lanes.
            parameters.tile_drained.eq(delay(
                m, drains.tile_drained, array.LATENCY + 2, name="drained", reset_less=False)),
            self.parameter_load.eq(parameters.load_en),
            self.parameter_lanes.eq(parameters.load_lanes),
            self.parameter_entry.eq(parameters.load_entry),
            self.parameter_address.eq(parameters.load_address),
            array.tags.span.eq(conv.span),
            collector.flush_count.eq(conv.flush_count),
        ]
        m.d.comb += [array.row[n].eq(row) for n, row in enumerate(rows)]
        m.d.comb += [drains.beats[n].eq(beat) for n, beat in enumerate(beats)]
        for n, column in enumerate(columns):
            m.d.comb += [
                macs.columns[n].eq(column),
                collector.columns[n].eq(column),
                array.tags.columns[n].eq(column.tag),
            ]

        # Parameters: those of a slot are different in every filter block.
        m.d.comb += [
            parameters.start.eq(self.start),
            parameters.local.eq(conv.local),
            parameters.slots.eq(conv.run_full),
            parameters.blocks.eq(conv.beat_count),
            parameters.tiles.eq(conv.tile_count),
            parameters.groups.eq(1),
            parameters.base.eq(conv.parameter_base),
            parameters.slot_step.eq(1),
            parameters.tile_step.eq(conv.parameter_step),
        ]
        with m.Switch(parameters.block):
            for n, beat in enumerate(beats):
                with m.Case(n):
                    m.d.comb += [
                        parameters.block_lanes.eq(beat.mask),
                        parameters.block_offset.eq(beat.parameter_offset),
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
        held = [Signal(signed(isa.SUM_WIDTH), name=f"held_{n}") for n in range(cols)]
        beat = Signal(array.sums_sideband.shape())
        m.d.sync += beat.eq(array.sums_sideband)
        with m.If(array.sums_valid):
            m.d.sync += [held[n].eq(array.sums[n]) for n in range(cols)]
        m.d.comb += [
            self.post_i.valid.eq(beat.valid),
            self.post_i.rule.eq(conv.rule),
            self.post_i.parameter.eq(beat.entry),
            self.post_i.local.eq(conv.local),
            self.post_i.zero_point.eq(conv.zero_point_out),
            self.post_i.low.eq(conv.low),
            self.post_i.high.eq(conv.high),
            self.post_i.tag.group.eq(beat.lane_group),
            self.post_i.tag.index.eq(beat.index),
            self.post_i.tag.last.eq(beat.last),
        ]
        for lane in range(min(lanes, cols)):
            m.d.comb += self.post_i.sums[lane].eq(
                select_group(m, beat.lane_group, held[lane::lanes], name=f"sum_{lane}"))
            m.d.comb += self.post_i.tag.mask[lane].eq(
                select_group(m, beat.lane_group, beat.mask[lane::lanes], name=f"mask_{lane}"))
        m.d.comb += [
            collector.valid.eq(self.post_o.valid),
            Cat(collector.values).eq(self.post_o.values),
            collector.group.eq(self.post_o.tag.group),
            collector.mask.eq(self.post_o.tag.mask),
            collector.index.eq(self.post_o.tag.index),
            collector.last.eq(self.post_o.tag.last),
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
        ]

        # A first MAC begins a sum in every PE; a slot moves a sum in every PE.
        pes, events = config.rows * cols, self.events
        m.d.comb += [
            events.mac_cycles.eq(macs.mac.valid),
            events.macs_done.eq(array.done),
            events.macs_gated.eq(array.gated),
            events.stall_load.eq(macs.waits_load),
            events.stall_drain.eq(macs.waits_drain),
            events.ifmap_beats.eq(loader.read_enable),
            events.ifmap_hops.eq(array.took),
            events.ifmap_writes.eq(array.took),
            events.ifmap_reads.eq(array.ifmap_reads),
            events.filter_reads.eq(array.done),
            events.psum_hops.eq(Mux(drains.drain.valid, pes, 0)),
            events.psum_reads.eq(array.psum_updates + array.psum_drains),
            events.psum_writes.eq(array.psum_updates
                                  + Mux(macs.mac.valid & macs.mac.first, pes, 0)),
            events.drain_slots.eq(drains.drain.valid),
        ]

        return m
