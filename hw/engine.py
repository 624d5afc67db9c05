"""What the engines of all dataflows have in common."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .array_row import filter_word
from .post_processor import beat_layout, result_layout


__all__ = ["ARRAY_EVENTS", "Engine", "connect_engine", "select_group"]


#: What an engine counts in a cycle, by the names of :data:`isa.COUNTERS`.
ARRAY_EVENTS = (
    "mac_cycles", "macs_done", "macs_gated", "stall_load", "stall_drain", "ifmap_beats",
    "ifmap_hops", "ifmap_writes", "ifmap_reads", "filter_hops", "filter_reads", "psum_hops",
    "psum_writes", "psum_reads", "drain_slots",
)
EVENT_WIDTH = 12


class Engine(wiring.Component):
    """What runs the descriptors of convolutions; scaling and the memories are outside.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.
    read_latency : :class:`int`
        Of the global buffer.
    scale_latency : :class:`int`
        Of post-processing: from ``post_i`` to ``post_o``.

    Members
    -------
    words : ``In(32).array(descriptor_words(config))``
        The descriptor; stable from ``start`` while ``busy``.
    start, busy : ``In(1)``, ``Out(1)``
        ``busy`` holds from the cycle after ``start`` until the last output is in the buffer.
    filter : ``In(filter_word(...))``
        Weights from the host.
    read_enable, read_address, read_data
        Read port of the global buffer.
    write_enable, write_address, write_count, write_data
        Its write port.
    post_i, post_o : ``Out(beat_layout(...))``, ``In(result_layout(...))``
        To and from post-processing.
    parameter_load, parameter_lanes, parameter_entry, parameter_address : ``Out``
        Entries to be copied into the lanes; see
        :class:`~oarlock.hw.post_processor.PostProcessor`.
    events : ``Out(StructLayout)``
        For the counters: :data:`ARRAY_EVENTS` of this cycle or one shortly before.
    """

    def __init__(self, config, *, read_latency, scale_latency):
        self.config = config
        self.read_latency = read_latency
        self.scale_latency = scale_latency

        word_bytes, lanes = config.word_bytes, config.lanes
        tag_shape = self.tag_shape(config)
        super().__init__({
            "words": In(32).array(self.descriptor_words(config)),
            "start": In(1),
            "busy": Out(1),
            "filter": In(filter_word(cols=config.cols, filter_depth=config.filter_depth)),
            "read_enable": Out(1),
            "read_address": Out(24),
            "read_data": In(8).array(word_bytes),
            "write_enable": Out(1),
            "write_address": Out(24),
            "write_count": Out(range(word_bytes + 1)),
            "write_data": Out(8).array(word_bytes),
            "post_i": Out(beat_layout(lanes=lanes, tag_shape=tag_shape)),
            "post_o": In(result_layout(lanes=lanes, tag_shape=tag_shape)),
            "parameter_load": Out(1),
            "parameter_lanes": Out(lanes),
            "parameter_entry": Out(16),
            "parameter_address": Out(range(2 * config.lane_depth)),
            "events": Out(data.StructLayout(dict.fromkeys(ARRAY_EVENTS, EVENT_WIDTH))),
        })

    @staticmethod
    def descriptor_words(config):
        """Return the words of a descriptor."""
        raise NotImplementedError

    @staticmethod
    def tag_shape(config):
        """Lay out what a beat takes along through post-processing."""
        raise NotImplementedError


def connect_engine(m, engine, buffer, post):
    """Connect an engine with the global buffer and post-processing.

    It has both to itself, unless a later statement says otherwise.
    """
    m.d.comb += [
        buffer.read_en.eq(engine.read_enable),
        buffer.read_addr.eq(engine.read_address),
        Cat(engine.read_data).eq(buffer.read_data),
        buffer.write_en.eq(engine.write_enable),
        buffer.write_addr.eq(engine.write_address),
        buffer.write_count.eq(engine.write_count),
        Cat(buffer.write_data).eq(Cat(engine.write_data)),
        post.i.eq(engine.post_i),
        engine.post_o.eq(post.o),
        post.load_en.eq(engine.parameter_load),
        post.load_lanes.eq(engine.parameter_lanes),
        post.load_entry.eq(engine.parameter_entry),
        post.load_address.eq(engine.parameter_address),
    ]


def select_group(m, group, sums, *, name):
    """Return that of a lane's ``sums`` whose turn it is, by the number of the ``group``.

    It is a signal of its own: a field that is driven under a condition would make the others of its
    layout processes, and constants among those never reach a simulator.
    """
    chosen = Signal(sums[0].shape(), name=name)
    with m.Switch(group):
        for n, value in enumerate(sums):
            with m.Case(n):
                m.d.comb += chosen.eq(value)
    return chosen
