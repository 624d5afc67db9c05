"""All lanes of requantization, and the parameters of the output channels."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import isa
from .delay import delay
from .requantizer import Requantizer, scale_layout
from .shared import instantiate


__all__ = ["PostProcessor", "beat_layout", "result_layout"]


def beat_layout(*, lanes, tag_shape):
    """Return the layout of what enters the post processor in a cycle.

    ``scale`` counts if ``vector`` is set; otherwise bias, multiplier and shift are those of entry
    ``parameter``: of the memory and for all lanes, or, if ``local`` is set, of each lane's own
    scratchpad.
    """
    return data.StructLayout({
        "valid": 1,
        "vector": 1,
        "rule": isa.Rule,
        "sums": data.ArrayLayout(signed(32), lanes),
        "parameter": 16,
        "local": 1,
        "scale": scale_layout,
        "zero_point": signed(8),
        "low": signed(8),
        "high": signed(8),
        "tag": tag_shape,
    })


def result_layout(*, lanes, tag_shape):
    """Return the layout of what leaves the post processor in a cycle."""
    return data.StructLayout({
        "valid": 1,
        "values": data.ArrayLayout(signed(8), lanes),
        "tag": tag_shape,
    })


class PostProcessor(wiring.Component):
    """Requantize sums to int8: scale, add the zero point, clamp.

    Computes :func:`oarlock.sim.reference.requantize` of ``sums + bias``, and for the rule TRUNCATE
    what :class:`Requantizer` says, on as many sums a cycle as there are lanes. Nothing stalls.
    Parameters are written while no sum that needs them is on its way.

    Parameters
    ----------
    lanes : :class:`int`
        Sums a cycle.
    parameter_depth : :class:`int`
        Entries of the parameter memory.
    lane_depth : :class:`int`
        Entries in each half of a lane's scratchpad.
    tag_shape : shape-like
        What accompanies the sums.

    Members
    -------
    i : ``In(beat_layout(...))``
        Sums. ``zero_point``, ``low`` and ``high`` (``low <= high``) are not delayed: they must hold
        from the cycle of a valid beat to that of its result. Everything else belongs to its cycle.
    o : ``Out(result_layout(...))``
        Results, :attr:`LATENCY` cycles after their sums.
    raw : ``Out(data.ArrayLayout(signed(32), lanes))``
        Scaled sums without zero point, :attr:`RAW_LATENCY` cycles after the sums.
    load_en, load_lanes, load_entry, load_address : ``In``
        Copies an entry of the memory into the scratchpads of some lanes, where beats find it that
        enter at least :attr:`LOAD_LATENCY` cycles later. Not while beats without ``local`` enter.
    w_en, w_entry, w_word, w_data : ``In(1)``, ``In(range(parameter_depth))``, ``In(2)``, ``In(32)``
        Writes word 0, 1 or 2 of a parameter entry, see :func:`isa.pack_parameter`.
    """

    RAW_LATENCY = 2 + Requantizer.LATENCY
    LATENCY     = RAW_LATENCY + 2

    LOAD_LATENCY = 2

    def __init__(self, *, lanes, parameter_depth, lane_depth=2, tag_shape=0):
        if lanes < 1:
            raise ValueError(f"Lanes must be at least 1, not {lanes!r}")
        if parameter_depth < 1:
            raise ValueError(f"Parameter depth must be at least 1, not {parameter_depth!r}")
        self.lanes = lanes
        self.parameter_depth = parameter_depth
        self.lane_depth = lane_depth
        self.tag_shape = tag_shape

        super().__init__({
            "i": In(beat_layout(lanes=lanes, tag_shape=tag_shape)),
            "o": Out(result_layout(lanes=lanes, tag_shape=tag_shape)),
            "raw": Out(data.ArrayLayout(signed(32), lanes)),
            "load_en": In(1),
            "load_lanes": In(lanes),
            "load_entry": In(range(parameter_depth)),
            "load_address": In(range(2 * lane_depth)),
            "w_en": In(1),
            "w_entry": In(range(parameter_depth)),
            "w_word": In(2),
            "w_data": In(32),
        })

    def elaborate(self, platform):
        m = Module()

        # Look up the parameters. A block RAM is slow: its output goes straight to a register.
        s0_vector = delay(m, self.i.vector, 1, name="vector")
        s0_scale  = delay(m, self.i.scale, 1, name="scale")
        s1_scale  = Signal(scale_layout, reset_less=True)
        m.d.sync += s1_scale.eq(s0_scale)
        for word, field in enumerate(("bias", "multiplier", "shift")):
            m.submodules[field] = memory = Memory(
                shape=scale_layout[field].shape, depth=self.parameter_depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.w_en & (self.w_word == word)),
                write.addr.eq(self.w_entry),
                write.data.eq(self.w_data),
                read.addr.eq(Mux(self.load_en, self.load_entry, self.i.parameter)),
            ]
            with m.If(~s0_vector):
                m.d.sync += s1_scale[field].eq(read.data)
        with m.If(~s0_vector):
            m.d.sync += s1_scale.left.eq(0)

        # What a lane keeps for itself.
        s0_address = delay(m, self.i.parameter, 1, name="address")[:len(self.load_address)]
        s1_local   = delay(m, self.i.local & ~self.i.vector, 2, name="local")
        s2_lanes   = delay(m, self.load_lanes & self.load_en.replicate(self.lanes), 2,
                           name="load_lanes", reset_less=False)
        s2_address = delay(m, self.load_address, 2, name="load_address")

        s1_sums = delay(m, self.i.sums, 2, name="sums")
        s1_rule = delay(m, self.i.rule, 2, name="rule")
        for lane in range(self.lanes):
            m.submodules[f"kept_{lane}"] = kept = Memory(
                shape=scale_layout, depth=2 * self.lane_depth, init=[])
            write, read = kept.write_port(), kept.read_port(domain="comb")
            s1_kept = Signal(scale_layout, name=f"s1_kept_{lane}", reset_less=True)
            m.d.comb += [
                write.en.eq(s2_lanes[lane]),
                write.addr.eq(s2_address),
                write.data.eq(s1_scale),
                read.addr.eq(s0_address),
            ]
            m.d.sync += s1_kept.eq(read.data)

            requantizer = instantiate(m, f"lane_{lane}", platform, Requantizer)
            m.d.comb += [
                requantizer.acc.eq(s1_sums[lane]),
                requantizer.rule.eq(s1_rule),
                requantizer.scale.eq(Mux(s1_local, s1_kept, s1_scale)),
                self.raw[lane].eq(requantizer.o),
            ]

            # Anything beyond nine bits stays beyond eight whatever int8 is added to it.
            raw, sign = requantizer.o, requantizer.o[-1]
            narrow = Signal(signed(9), name=f"narrow_{lane}")
            offset = Signal(signed(10), name=f"offset_{lane}", reset_less=True)
            value  = Signal(signed(8), name=f"value_{lane}", reset_less=True)
            with m.If(raw[8:] == sign.replicate(24)):
                m.d.comb += narrow.eq(raw)
            with m.Else():
                m.d.comb += narrow.eq(Cat((~sign).replicate(8), sign))
            m.d.sync += offset.eq(narrow + self.i.zero_point)

            with m.If(offset < self.i.low):
                m.d.sync += value.eq(self.i.low)
            with m.Elif(offset > self.i.high):
                m.d.sync += value.eq(self.i.high)
            with m.Else():
                m.d.sync += value.eq(offset)
            m.d.comb += self.o.values[lane].eq(value)

        m.d.comb += [
            self.o.valid.eq(delay(m, self.i.valid, self.LATENCY, name="valid", reset_less=False)),
            self.o.tag.eq(delay(m, self.i.tag, self.LATENCY, name="tag")),
        ]

        return m
