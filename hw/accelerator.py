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
from .engine import ARRAY_EVENTS, connect_engine
from .global_buffer import GlobalBuffer
from .post_processor import PostProcessor
from .sequencer import Sequencer
from .systolic_engine import SystolicEngine
from .vector_unit import VectorUnit


__all__ = ["ENGINES", "Accelerator"]


#: What runs convolutions.
ENGINES = {
    isa.Dataflow.ROW_STATIONARY: ConvEngine,
    isa.Dataflow.WEIGHT_STATIONARY: SystolicEngine,
}


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

        engine_of = ENGINES[config.dataflow_code]
        tag = engine_of.tag_shape(config)
        m.submodules.decoder = decoder = CommandDecoder(
            rows=config.rows, cols=config.cols, buffer_bytes=config.buffer_bytes,
            program_depth=config.program_depth, parameter_depth=config.parameter_depth,
            filter_depth=config.filter_depth, info=config.info(),
            run_length=config.run_length)
        m.submodules.sequencer = sequencer = Sequencer(
            lengths=config.descriptor_lengths, program_depth=config.program_depth)
        m.submodules.buffer = buffer = GlobalBuffer(
            size_bytes=config.buffer_bytes, word_bytes=config.word_bytes,
            banks=config.buffer_banks)
        m.submodules.post = post = PostProcessor(
            lanes=config.lanes, parameter_depth=config.parameter_depth,
            lane_depth=config.lane_depth, tag_shape=tag)
        m.submodules.engine = engine = engine_of(
            config, read_latency=buffer.LATENCY, scale_latency=post.LATENCY)
        m.submodules.vector = vector = VectorUnit(
            lanes=config.lanes, word_bytes=config.word_bytes, read_latency=buffer.LATENCY,
            tag_shape=tag)
        self._connect_host(m, decoder, sequencer, buffer, post, engine)

        # The descriptor that runs, and the one engine that it runs on.
        vector_words, on_vector = Signal(layout(isa.VECTOR_FIELDS)), Signal()
        engine_start, vector_start = sequencer.start
        m.d.comb += [
            Cat(engine.words).eq(Cat(sequencer.words[:len(engine.words)])),
            vector_words.eq(Cat(sequencer.words)),
            vector.descriptor.eq(vector_words),
            engine.start.eq(engine_start),
            vector.start.eq(vector_start),
            sequencer.engine_busy.eq(engine.busy | vector.busy),
        ]
        # Neither reads, writes or scales in the cycle in which it is started.
        m.d.sync += on_vector.eq(vector_words.kind == isa.DescriptorKind.VECTOR)
        connect_engine(m, engine, buffer, post)
        m.d.comb += engine.post_o.valid.eq(post.o.valid & ~on_vector)
        with m.If(on_vector):
            m.d.comb += [
                buffer.read_en.eq(vector.read_en),
                buffer.read_addr.eq(vector.read_addr),
                buffer.write_en.eq(vector.write_en),
                buffer.write_addr.eq(vector.write_addr),
                buffer.write_count.eq(vector.write_count),
                buffer.write_data.eq(vector.write_data),
                post.i.eq(vector.post_i),
            ]
        m.d.comb += [
            vector.read_data.eq(buffer.read_data),
            vector.post_o.eq(post.o),
            vector.post_raw.eq(post.raw),
        ]

        if config.counters:
            self._connect_counters(m, decoder, sequencer, buffer, engine)
        cycle = Signal(isa.COUNTER_WIDTH)
        m.d.comb += decoder.counters[isa.COUNTERS.index("cycles")].eq(sequencer.done_cycles)
        with m.If(decoder.counter_clear):
            m.d.sync += cycle.eq(0)
        with m.Elif(decoder.timer_running):
            m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += sequencer.cycle.eq(cycle)

        return m

    def _connect_counters(self, m, decoder, sequencer, buffer, engine):
        """Count events, under the names of isa.COUNTERS; cycles come from the sequencer."""
        config = self.config
        m.submodules.counters = counters = Counters()
        columns = sum(decoder.filter_columns[n] for n in range(config.cols))
        last_block, last_rows = divmod(config.rows - 1, 4)
        weights = Mux(decoder.filter_block == last_block, columns * (last_rows + 1), columns * 4)
        events = {name: engine.events[name] for name in ARRAY_EVENTS} | {
            "busy_cycles": sequencer.busy,
            "filter_writes": Mux(decoder.filter_en, weights, 0),
            "buffer_reads": buffer.read_en,
            "buffer_writes": buffer.write_en,
            "outputs": Mux(buffer.write_en, buffer.write_count, 0),
            "link_words_in": decoder.count_in,
            "link_words_out": decoder.count_out,
        }
        m.d.comb += counters.clear.eq(decoder.counter_clear)
        m.d.comb += [getattr(counters, f"add_{name}").eq(event) for name, event in events.items()]
        m.d.comb += [decoder.counters[n].eq(counters.counts[n])
                     for n, name in enumerate(isa.COUNTERS) if name != "cycles"]

    def _connect_host(self, m, decoder, sequencer, buffer, post, engine):
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

            engine.filter.valid.eq(decoder.filter_en),
            engine.filter.columns.eq(decoder.filter_columns),
            engine.filter.block.eq(decoder.filter_block),
            engine.filter.address.eq(decoder.filter_addr),
            engine.filter.weights.eq(decoder.filter_data),

            sequencer.run_start.eq(decoder.run_start),
            sequencer.run_address.eq(decoder.run_address),
            sequencer.run_count.eq(decoder.run_count),
            decoder.busy.eq(sequencer.busy),
            decoder.fault.eq(sequencer.fault),
            decoder.done_cycles.eq(sequencer.done_cycles),
        ]
