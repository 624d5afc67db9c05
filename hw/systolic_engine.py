"""Everything that runs a SYSTOLIC descriptor: schedulers, reader, systolic array, writer."""

from amaranth import *
from amaranth.lib import data

from . import isa
from .delay import delay
from .descriptor import layout
from .engine import Engine, select_group
from .ifmap_reader import IfmapReader
from .parameter_loader import ParameterLoader
from .systolic_array import SystolicArray
from .systolic_drain import SystolicDrain
from .systolic_scheduler import SystolicScheduler


__all__ = ["SystolicEngine"]


class SystolicEngine(Engine):
    """Run SYSTOLIC descriptors on the systolic array; scaling and the memories are outside.

    Activations come straight out of the global buffer, a word for every position and filter tile;
    outputs of a position are contiguous and go straight back.

    Parameters and members are those of :class:`~oarlock.hw.engine.Engine`.
    """

    @staticmethod
    def descriptor_words(config):
        """Return the words of a SYSTOLIC descriptor."""
        return isa.systolic_words()

    @staticmethod
    def tag_shape(config):
        """Lay out what a beat takes along through post-processing: where its outputs belong."""
        return data.StructLayout({"address": 24, "count": range(config.lanes + 1)})

    @staticmethod
    def settle_cycles(config, *, read_latency):
        """From the last position of a wave being sent to the first cycle that may drain it."""
        return IfmapReader.latency(read_latency) + SystolicArray.latency(config.rows, config.cols)

    @staticmethod
    def finish_cycles(*, scale_latency):
        """From the last beat of a drain to that of its outputs being written."""
        return SystolicArray.DRAIN_LATENCY + scale_latency + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.lanes

        conv = Signal(layout(isa.SYSTOLIC_FIELDS))
        m.d.comb += Cat(conv).eq(Cat(self.words))

        m.submodules.scheduler = scheduler = SystolicScheduler(
            rows=config.rows, cols=config.cols, filter_depth=config.filter_depth,
            accumulator_depth=config.accumulator_depth)
        m.submodules.drains = drains = SystolicDrain(
            lanes=lanes, lane_depth=config.lane_depth, accumulator_depth=config.accumulator_depth)
        m.submodules.array = array = SystolicArray(
            rows=config.rows, cols=config.cols, filter_depth=config.filter_depth,
            accumulator_depth=config.accumulator_depth, psum_width=config.psum_width,
            zero_gating=config.zero_gating)
        sideband = data.StructLayout({
            "first": 1, "accumulate": scheduler.wave.accumulate.shape()})
        m.submodules.reader = reader = IfmapReader(
            word_bytes=config.word_bytes, read_latency=self.read_latency, sideband=sideband)

        # Scheduler -> global buffer -> array.
        wave = scheduler.wave
        m.d.comb += [
            scheduler.conv.eq(conv),
            scheduler.start.eq(self.start),
            reader.zero_point.eq(conv.zero_point_in),
            reader.fold.eq(conv.fold),
            reader.y_limit.eq(conv.y_limit),
            reader.i.valid.eq(wave.valid),
            reader.i.address.eq(wave.address),
            reader.i.row.eq(wave.row),
            reader.i.to_left.eq(-wave.column),
            reader.i.to_right.eq(conv.x_limit - wave.column),
            reader.i.left.eq(config.word_bytes),
            reader.i.sideband.first.eq(wave.first),
            reader.i.sideband.accumulate.eq(wave.accumulate),
            self.read_enable.eq(reader.read_enable),
            self.read_address.eq(reader.read_address),
            Cat(reader.read_data).eq(Cat(self.read_data)),

            array.filter.eq(self.filter),
            array.feed.eq(delay(m, scheduler.feed, reader.LATENCY - array.FEED_LEAD, name="feed")),
            array.wave.valid.eq(reader.o.valid),
            array.wave.first.eq(reader.o.sideband.first),
            array.wave.accumulate.eq(reader.o.sideband.accumulate),
            # Without a word, what the sideband says counts for nothing.
            array.wave.accumulate.valid.eq(reader.o.valid),
        ]
        for row in range(min(config.rows, config.word_bytes)):
            m.d.comb += array.wave.lanes[row].eq(reader.o.lanes[row].value)
        m.d.comb += [array.lane[n].eq(conv[f"lane_{n}"]) for n in range(config.cols)]

        # Parameters: those of a position's channels are spread over the lanes.
        m.submodules.parameters = parameters = ParameterLoader(
            lanes=lanes, lane_depth=config.lane_depth)
        m.d.comb += [
            parameters.start.eq(self.start),
            parameters.local.eq(~conv.hold),
            parameters.slots.eq(conv.group_count),
            parameters.blocks.eq(lanes),
            parameters.tiles.eq(conv.block_count),
            parameters.groups.eq(conv.tile_count),
            parameters.base.eq(conv.parameter_base),
            parameters.slot_step.eq(lanes),
            parameters.tile_step.eq(conv.out_block_step),
            parameters.group_step.eq(conv.out_tile_step),
            parameters.block_offset.eq(parameters.block),
            parameters.tile_drained.eq(delay(
                m, drains.tile_drained, array.DRAIN_LATENCY, name="drained", reset_less=False)),
            self.parameter_load.eq(parameters.load_en),
            self.parameter_lanes.eq(parameters.load_lanes),
            self.parameter_entry.eq(parameters.load_entry),
            self.parameter_address.eq(parameters.load_address),
        ]
        m.d.comb += [parameters.block_lanes[n].eq(parameters.block == n) for n in range(lanes)]

        # Array -> post-processing -> global buffer. Sums settle before their bank counts as full.
        settle = self.settle_cycles(config, read_latency=self.read_latency)
        m.d.comb += [
            drains.conv.eq(conv),
            drains.start.eq(self.start),
            drains.bank_full.eq(delay(
                m, scheduler.bank_full, settle - 1, name="settled", reset_less=False)),
            drains.tile_loaded.eq(parameters.tile_loaded),
            scheduler.bank_free.eq(drains.bank_free),
            array.drain.eq(drains.drain),
        ]
        beat = delay(m, drains.beat, array.DRAIN_LATENCY, name="beat", reset_less=False)
        m.d.comb += [
            self.post_i.valid.eq(beat.valid),
            self.post_i.rule.eq(conv.rule),
            self.post_i.local.eq(1),
            self.post_i.parameter.eq(beat.entry),
            self.post_i.zero_point.eq(conv.zero_point_out),
            self.post_i.low.eq(conv.low),
            self.post_i.high.eq(conv.high),
            self.post_i.tag.address.eq(beat.address),
            self.post_i.tag.count.eq(beat.count),
        ]
        sums = [array.sums[n] for n in range(config.cols)]
        for lane in range(min(lanes, config.cols)):
            m.d.comb += self.post_i.sums[lane].eq(
                select_group(m, beat.group, sums[lane::lanes], name=f"sum_{lane}"))
        m.d.sync += [
            self.write_enable.eq(self.post_o.valid & (self.post_o.tag.count != 0)),
            self.write_address.eq(self.post_o.tag.address),
            self.write_count.eq(self.post_o.tag.count),
        ]
        m.d.sync += [self.write_data[lane].eq(self.post_o.values[lane]) for lane in range(lanes)]

        # Busy until sums have settled, and until outputs are written.
        settling = Signal(range(settle + 1))
        finish   = self.finish_cycles(scale_latency=self.scale_latency)
        finishing = Signal(range(finish + 1))
        for left, cycles, event in ((settling, settle, wave.valid),
                                    (finishing, finish, drains.beat.valid)):
            with m.If(event):
                m.d.sync += left.eq(cycles)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
        m.d.comb += self.busy.eq(
            scheduler.busy | (settling != 0) | drains.busy | (finishing != 0))

        # All PEs see every position and every weight shifted by; the counters say what moved.
        pes, cols, events = config.rows * config.cols, config.cols, self.events
        m.d.comb += [
            events.mac_cycles.eq(wave.valid),
            events.macs_done.eq(array.done),
            events.macs_gated.eq(array.gated),
            events.stall_load.eq(scheduler.waits_load),
            events.stall_drain.eq(scheduler.waits_drain),
            events.ifmap_beats.eq(wave.valid),
            events.ifmap_hops.eq(Mux(wave.valid, pes, 0)),
            events.filter_hops.eq(Mux(array.reads, pes * (config.rows + 1) // 2, 0)),
            events.filter_reads.eq(Mux(array.reads, pes, 0)),
            events.psum_hops.eq(Mux(wave.valid, pes, 0)),
            events.psum_writes.eq(Mux(wave.valid, cols, 0)),
            events.psum_reads.eq(Mux(wave.valid & ~wave.accumulate.first, cols, 0)
                                 + Mux(drains.beat.valid, cols, 0)),
            events.drain_slots.eq(drains.beat.valid),
        ]

        return m
