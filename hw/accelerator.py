"""The accelerator: one stream of words in, one out."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from . import isa
from .command_decoder import ANSWER, CommandDecoder
from .conv_engine import ConvEngine
from .counters import Counters
from .delay import delay
from .descriptor import layout
from .global_buffer import GlobalBuffer
from .post_processor import PostProcessor
from .sequencer import Sequencer
from .vector_unit import VectorUnit


__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Run neural network layers out of its own memories.

    Everything it can be told and everything it answers is in :mod:`oarlock.hw.isa`. Clock domain
    ``sync``; after reset all memories hold what they held before.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.

    Members
    -------
    i : ``In(stream.Signature(32))``
        Commands.
    o : ``Out(stream.Signature(ANSWER))``
        Answers; ``last`` is set with the last word of each.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(ANSWER)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config

        tag = ConvEngine.tag_shape(cols=config.cols, word_bytes=config.word_bytes)
        m.submodules.decoder = decoder = CommandDecoder(
            rows=config.rows, cols=config.cols, buffer_bytes=config.buffer_bytes,
            program_depth=config.program_depth, parameter_depth=config.parameter_depth,
            filter_depth=config.filter_depth, info=config.info())
        m.submodules.sequencer = sequencer = Sequencer(
            rows=config.rows, cols=config.cols, program_depth=config.program_depth)
        m.submodules.buffer = buffer = GlobalBuffer(
            size_bytes=config.buffer_bytes, word_bytes=config.word_bytes)
        m.submodules.post = post = PostProcessor(
            lanes=config.lanes, parameter_depth=config.parameter_depth,
            lane_depth=config.lane_depth, tag_shape=tag)
        m.submodules.conv = conv = ConvEngine(
            rows=config.rows, cols=config.cols, ifmap_depth=config.ifmap_depth,
            filter_depth=config.filter_depth, psum_depth=config.psum_depth,
            word_bytes=config.word_bytes, lanes=config.lanes,
            lane_depth=config.lane_depth, zero_gating=config.zero_gating,
            read_latency=buffer.LATENCY, scale_latency=post.LATENCY)
        m.submodules.vector = vector = VectorUnit(
            lanes=config.lanes, word_bytes=config.word_bytes, read_latency=buffer.LATENCY,
            parameter_depth=config.parameter_depth, tag_shape=tag)
        m.submodules.counters = counters = Counters()

        self._connect_host(m, decoder, sequencer, buffer, post, conv)

        # The descriptor that runs, and the one engine that it runs on.
        conv_words   = isa.conv_words(config.rows, config.cols)
        descriptor   = Signal(layout(isa.CONV_FIELDS))
        vector_words = Signal(layout(isa.VECTOR_FIELDS))
        on_vector    = Signal()
        m.d.comb += [
            Cat(conv.words).eq(Cat(sequencer.words[:conv_words])),
            descriptor.eq(Cat(sequencer.words)),
            vector_words.eq(Cat(sequencer.words)),
            vector.descriptor.eq(vector_words),
            on_vector.eq(descriptor.kind == isa.DescriptorKind.VECTOR),
            conv.start.eq(sequencer.conv_start),
            vector.start.eq(sequencer.vector_start),
            sequencer.engine_busy.eq(conv.busy | vector.busy),
        ]

        # Global buffer.
        m.d.comb += [
            buffer.read_en.eq(conv.read_enable | vector.read_en),
            buffer.read_addr.eq(Mux(on_vector, vector.read_addr, conv.read_address)),
            Cat(conv.read_data).eq(buffer.read_data),
            vector.read_data.eq(buffer.read_data),
            buffer.write_en.eq(conv.write_enable | vector.write_en),
        ]
        with m.If(on_vector):
            m.d.comb += [
                buffer.write_addr.eq(vector.write_addr),
                buffer.write_count.eq(vector.write_count),
                buffer.write_data.eq(vector.write_data),
            ]
        with m.Else():
            m.d.comb += [
                buffer.write_addr.eq(conv.write_address),
                buffer.write_count.eq(conv.write_count),
                Cat(buffer.write_data).eq(Cat(conv.write_data)),
            ]

        # Post-processing.
        with m.If(on_vector):
            m.d.comb += post.i.eq(vector.post_i)
        with m.Else():
            m.d.comb += [
                post.i.valid.eq(conv.scale_valid),
                post.i.rule.eq(descriptor.rule),
                Cat(post.i.sums).eq(Cat(conv.scale_sums)),
                post.i.parameter.eq(conv.scale_entry),
                post.i.local.eq(descriptor.local),
                post.i.zero_point.eq(descriptor.zero_point_out),
                post.i.low.eq(descriptor.low),
                post.i.high.eq(descriptor.high),
                post.i.tag.eq(conv.scale_tag),
            ]
        m.d.comb += [
            post.load_en.eq(conv.parameter_load),
            post.load_lanes.eq(conv.parameter_lanes),
            post.load_entry.eq(conv.parameter_entry),
            post.load_address.eq(conv.parameter_address),
            conv.scaled_valid.eq(post.o.valid & ~on_vector),
            Cat(conv.scaled_values).eq(post.o.values),
            conv.scaled_tag.eq(post.o.tag),
            vector.post_o.eq(post.o),
            vector.post_raw.eq(post.raw),
        ]

        # What is counted, under the names of isa.COUNTERS; cycles come from the sequencer.
        events = {
            "busy_cycles": sequencer.busy,
            "mac_cycles": conv.issues,
            "macs_done": conv.done,
            "macs_gated": conv.gated,
            "stall_load": conv.waits_load,
            "stall_drain": conv.waits_drain,
            "ifmap_beats": conv.beat,
            "ifmap_writes": conv.took,
            "drain_slots": conv.slot,
            "buffer_reads": buffer.read_en,
            "buffer_writes": buffer.write_en,
            "outputs": Mux(buffer.write_en, buffer.write_count, 0),
            "link_words_in": decoder.count_in,
            "link_words_out": decoder.count_out,
        }
        m.d.comb += counters.clear.eq(decoder.counter_clear)
        m.d.comb += [getattr(counters, f"add_{name}").eq(event) for name, event in events.items()]
        m.d.comb += [
            decoder.counters.eq(counters.counts),
            decoder.counters[isa.COUNTERS.index("cycles")].eq(sequencer.done_cycles),
        ]
        cycle = Signal(isa.COUNTER_WIDTH)
        with m.If(decoder.counter_clear):
            m.d.sync += cycle.eq(0)
        with m.Elif(decoder.timer_running):
            m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += sequencer.cycle.eq(cycle)

        return m

    def _connect_host(self, m, decoder, sequencer, buffer, post, conv):
        """Connect what commands reach."""
        connect(m, flipped(self.i), decoder.i)
        connect(m, decoder.o, flipped(self.o))
        connect(m, decoder.host_read, buffer.host_read)
        connect(m, decoder.host_write, buffer.host_write)
        read = decoder.program_read
        m.d.comb += [
            decoder.host_read_valid.eq(buffer.host_read_valid),
            decoder.host_read_data.eq(buffer.host_read_data),

            sequencer.write_en.eq(decoder.program_write.valid),
            sequencer.write_addr.eq(decoder.program_write.payload.addr),
            sequencer.write_data.eq(decoder.program_write.payload.data),
            decoder.program_write.ready.eq(sequencer.write_ready),
            sequencer.read_valid.eq(read.valid),
            sequencer.read_addr.eq(read.payload),
            read.ready.eq(sequencer.read_ready),
            decoder.program_read_valid.eq(
                delay(m, read.valid & read.ready, 1, name="program_read", reset_less=False)),
            decoder.program_read_data.eq(sequencer.read_data),

            post.w_en.eq(decoder.parameter_en),
            post.w_entry.eq(decoder.parameter_entry),
            post.w_word.eq(decoder.parameter_word),
            post.w_data.eq(decoder.parameter_data),

            conv.filter.valid.eq(decoder.filter_en),
            conv.filter.columns.eq(decoder.filter_columns),
            conv.filter.block.eq(decoder.filter_block),
            conv.filter.address.eq(decoder.filter_addr),
            conv.filter.weights.eq(decoder.filter_data),

            sequencer.run_start.eq(decoder.run_start),
            sequencer.run_address.eq(decoder.run_address),
            sequencer.run_count.eq(decoder.run_count),
            decoder.busy.eq(sequencer.busy),
            decoder.fault.eq(sequencer.fault),
            decoder.done_cycles.eq(sequencer.done_cycles),
        ]
