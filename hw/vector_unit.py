"""Pooling, residual addition, copies and fills on the post-processing lanes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .delay import delay
from .descriptor import layout
from .post_processor import PostProcessor, beat_layout, result_layout
from .requantizer import scale_layout


__all__ = ["VectorUnit"]


def _walk(m, name, *, start, advance, base, loops):
    """Add nested loops that step an address.

    ``loops`` are (count, step, unit), innermost first: a loop runs ``ceil(count / unit)`` times, at
    least once, and each iteration adds ``step``. Every loop keeps the address at which its current
    iteration began, so that a step is one addition whatever the loops inside have added since.

    Returns
    -------
    address
        Address of the current iteration, from the cycle after ``start`` on.
    left
        For every loop, what is left of its count.
    last
        For every loop, whether it and all loops inside are in their last iteration.
    """
    left = [Signal(count.shape(), name=f"{name}_left_{n}") for n, (count, _, _) in enumerate(loops)]
    at   = [Signal(base.shape(), name=f"{name}_at_{n}") for n in range(len(loops))]
    ends = [Signal(name=f"{name}_ends_{n}") for n in range(len(loops))]
    last = [Cat(ends[:n + 1]).all() for n in range(len(loops))]

    # Exactly one loop steps, unless all of them start over.
    onto, adds = base & last[-1].replicate(len(base)), C(0)
    for n, (_, step, _) in enumerate(loops):
        steps = Signal(name=f"{name}_steps_{n}")
        m.d.comb += steps.eq((last[n - 1] if n else 1) & ~ends[n])
        onto |= at[n] & steps.replicate(len(base))
        adds |= step & steps.replicate(len(base))
    moved = Signal(base.shape(), name=f"{name}_moved")
    m.d.comb += moved.eq(onto + adds)

    for n, (count, _, unit) in enumerate(loops):
        with m.If(start):
            m.d.sync += [left[n].eq(count), ends[n].eq(count <= unit), at[n].eq(base)]
        with m.Elif(advance & (last[n - 1] if n else 1)):
            m.d.sync += at[n].eq(moved)
            with m.If(ends[n]):
                m.d.sync += [left[n].eq(count), ends[n].eq(count <= unit)]
            with m.Else():
                # Decided here, a comparison ahead of the decisions that hang on it.
                m.d.sync += [left[n].eq(left[n] - unit), ends[n].eq(left[n] <= 2 * unit)]

    return at[0], left, last


class VectorUnit(wiring.Component):
    """Run VECTOR descriptors: reduce windows of the global buffer, requantize, write.

    docs/hardware.md says what the descriptor means. ``bias`` belongs to the last of ADD's three
    requantizations; those of its inputs have none. Counts are at least 1.

    One window element of up to ``lanes`` channels is read in every cycle, without gaps between
    windows; under ADD two in three cycles, and the third feeds sums of scaled inputs back to the
    post processor. Nothing stalls, hence a descriptor takes exactly as long as
    :func:`oarlock.gen.vector_cycles.vector_cycles` says.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes of the post processor, at most ``word_bytes``.
    word_bytes : :class:`int`
        Bytes the global buffer reads and writes a cycle.
    read_latency : :class:`int`
        Cycles from ``read_en`` to ``read_data``.
    tag_shape : shape-like
        Of the post processor; it only shapes ``post_i`` and ``post_o``.

    Members
    -------
    descriptor : ``In(layout(isa.VECTOR_FIELDS))``
        What to do. Must not change from ``start`` to ``done``.
    start : ``In(1)``
        Begin. Only while not ``busy``.
    busy : ``Out(1)``
        High from the cycle after ``start`` to the one before ``done``.
    done : ``Out(1)``
        High for one cycle, after that of the last write.
    read_en, read_addr : ``Out(1)``, ``Out(24)``
        Reads the global buffer, from any byte address. Always granted.
    read_data : ``In(data.ArrayLayout(unsigned(8), word_bytes))``
        Bytes from there on; those beyond ``lanes`` or beyond the channels are ignored.
    post_i : ``Out(beat_layout(...))``
        To the post processor, without anything in between while ``busy``.
    post_o, post_raw : ``In(result_layout(...))``, ``In(data.ArrayLayout(signed(32), lanes))``
        From the post processor. While ``busy``, every valid result is this unit's.
    write_en, write_addr, write_count : ``Out(1)``, ``Out(24)``, ``Out(range(word_bytes + 1))``
        Writes ``write_count`` bytes to the global buffer, at any byte address. Always granted.
    write_data : ``Out(data.ArrayLayout(unsigned(8), word_bytes))``
        The bytes.
    """

    #: Cycles from the entry of ADD's first input to the post processor to the entry of the sum: two
    #: more than the raw result takes, rounded up to the one cycle in three that is free.
    REENTRY = PostProcessor.RAW_LATENCY + 2 + -PostProcessor.RAW_LATENCY % 3

    def __init__(self, *, lanes, word_bytes, read_latency, tag_shape=0):
        if not 1 <= lanes <= word_bytes:
            raise ValueError(f"Lanes must be 1 to {word_bytes}, not {lanes!r}")
        if read_latency < 1:
            raise ValueError(f"Read latency must be at least 1, not {read_latency!r}")
        self.lanes = lanes
        self.word_bytes = word_bytes
        self.read_latency = read_latency
        self.tag_shape = tag_shape

        super().__init__({
            "descriptor": In(layout(isa.VECTOR_FIELDS)),
            "start": In(1),
            "busy": Out(1),
            "done": Out(1),
            "read_en": Out(1),
            "read_addr": Out(24),
            "read_data": In(data.ArrayLayout(unsigned(8), word_bytes)),
            "post_i": Out(beat_layout(
                lanes=lanes, tag_shape=tag_shape)),
            "post_o": In(result_layout(lanes=lanes, tag_shape=tag_shape)),
            "post_raw": In(data.ArrayLayout(signed(32), lanes)),
            "write_en": Out(1),
            "write_addr": Out(24),
            "write_count": Out(range(word_bytes + 1)),
            "write_data": Out(data.ArrayLayout(unsigned(8), word_bytes)),
        })

    def elaborate(self, platform):
        m = Module()

        descriptor = self.descriptor
        is_add = descriptor.op == isa.VectorOp.ADD
        is_max = descriptor.op == isa.VectorOp.MAX
        groups = (descriptor.channels, self.lanes, self.lanes)

        # Read. ADD skips every third cycle.
        reading = Signal()
        slot    = Signal(range(3))
        first   = Signal()
        read_address, _, read_last = _walk(
            m, "read", start=self.start, advance=self.read_en, base=descriptor.in_base, loops=[
                (descriptor.window_x_count, descriptor.window_x_step, 1),
                (descriptor.window_y_count, descriptor.window_y_step, 1),
                groups,
                (descriptor.x_count, descriptor.in_x_step, 1),
                (descriptor.y_count, descriptor.in_y_step, 1),
            ])
        window_last, all_last = read_last[1], read_last[-1]
        m.d.comb += [
            self.read_en.eq(reading & (slot != 2)),
            self.read_addr.eq(read_address),
        ]
        with m.If(self.start):
            m.d.sync += [reading.eq(1), slot.eq(0), first.eq(1)]
        with m.Elif(self.read_en):
            m.d.sync += [reading.eq(~all_last), slot.eq(Mux(is_add, slot + 1, 0)),
                         first.eq(window_last)]
        with m.Else():
            m.d.sync += slot.eq(0)

        # Reduce. Each of ADD's two inputs starts from its own zero point.
        here       = delay(m, self.read_en, self.read_latency, name="here", reset_less=False)
        here_first = delay(m, first, self.read_latency, name="here_first")
        here_last  = delay(m, window_last, self.read_latency, name="here_last")
        zero_point = Mux(here_first, descriptor.zero_point_a, descriptor.zero_point_b)
        origin     = Signal(signed(9))
        sums       = Signal(data.ArrayLayout(signed(32), self.lanes), reset_less=True)
        m.d.comb += origin.eq(Mux(is_add, -zero_point, 0))
        for lane in range(self.lanes):
            byte = self.read_data[lane].as_signed()
            with m.If(here):
                with m.If(~is_max):
                    m.d.sync += sums[lane].eq(
                        Mux(is_add | here_first, origin, sums[lane]) + byte)
                with m.Elif(here_first | (byte > sums[lane][:8].as_signed())):
                    m.d.sync += sums[lane].eq(byte)

        complete, is_second = Signal(), Signal()
        m.d.sync += [
            complete.eq(here & here_last),
            is_second.eq(here & ~here_first),
        ]

        # ADD: the raw results of both inputs leave the post processor one after the other. Their
        # total waits here for the free slot.
        total     = Signal.like(sums)
        raw_first = Signal.like(sums)
        has_both  = delay(m, complete, PostProcessor.RAW_LATENCY, name="complete", reset_less=False)
        reenter   = delay(m, is_add & complete, self.REENTRY - 1, name="add", reset_less=False)
        m.d.sync += raw_first.eq(self.post_raw)
        with m.If(has_both):
            m.d.sync += [total[lane].eq(raw_first[lane] + self.post_raw[lane])
                         for lane in range(self.lanes)]

        # Requantize. Only what is to be written is valid. No part of ``post_i`` is driven under a
        # condition: Yosys would write its constant fields as ``always @*`` without anything to wait
        # for, and a simulator never runs that.
        scale = Signal(scale_layout)
        with m.If(is_add & ~reenter):
            m.d.comb += [
                scale.multiplier.eq(
                    Mux(is_second, descriptor.multiplier_b, descriptor.multiplier_a)),
                scale.shift.eq(Mux(is_second, descriptor.shift_b, descriptor.shift_a)),
                scale.left.eq(descriptor.left_shift),
            ]
        with m.Else():
            m.d.comb += [
                scale.bias.eq(descriptor.bias),
                scale.multiplier.eq(descriptor.multiplier),
                scale.shift.eq(descriptor.shift),
            ]
        m.d.comb += [
            self.post_i.valid.eq(Mux(is_add, reenter, complete)),
            self.post_i.vector.eq(1),
            self.post_i.rule.eq(descriptor.rule),
            self.post_i.sums.eq(Mux(reenter, total, sums)),
            self.post_i.scale.eq(scale),
            self.post_i.zero_point.eq(descriptor.zero_point_out),
            self.post_i.low.eq(descriptor.low),
            self.post_i.high.eq(descriptor.high),
        ]

        # Write. Results come in order, so the addresses are walked a second time.
        write_address, (channels_left, *_), (*_, write_last) = _walk(
            m, "write", start=self.start, advance=self.write_en, base=descriptor.out_base, loops=[
                groups,
                (descriptor.x_count, descriptor.out_x_step, 1),
                (descriptor.y_count, descriptor.out_y_step, 1),
            ])
        m.d.comb += [
            self.write_en.eq(self.busy & self.post_o.valid),
            self.write_addr.eq(write_address),
            self.write_count.eq(Mux(channels_left < self.lanes, channels_left, self.lanes)),
        ]
        m.d.comb += [self.write_data[lane].eq(self.post_o["values"][lane])
                     for lane in range(self.lanes)]

        m.d.sync += self.done.eq(self.write_en & write_last)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.Elif(self.write_en & write_last):
            m.d.sync += self.busy.eq(0)

        return m
