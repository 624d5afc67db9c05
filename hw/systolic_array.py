"""The systolic array: filter memories above, rows of PEs, accumulators below."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import Accumulator, accumulate_token, sum_address
from .array_row import filter_word
from .delay import delay
from .shared import instantiate
from .systolic_element import SystolicElement
from .systolic_row import SystolicRow
from .weight_feeder import WeightFeeder, feed_token


__all__ = ["SystolicArray", "wave_token"]


def wave_token(*, rows, accumulator_depth):
    """Lay out the activations of one position, one a row, and where its sums are accumulated.

    ``first`` marks the position that meets the next weights.
    """
    return data.StructLayout({
        "valid": 1, "first": 1, "lanes": data.ArrayLayout(signed(9), rows),
        "accumulate": accumulate_token(depth=accumulator_depth)})


class SystolicArray(wiring.Component):
    """Multiply positions with weights that stay, accumulate, and give the sums back.

    All skew is in here: row ``i`` and column ``j`` act ``i + j`` cycles late.

    Parameters
    ----------
    rows, cols, filter_depth, accumulator_depth, psum_width, zero_gating
        See :class:`~oarlock.gen.config.ArrayConfig`.

    Members
    -------
    lane : ``In(4).array(cols)``
        See :class:`WeightFeeder`.
    filter : ``In(filter_word(...))``
    feed : ``In(feed_token(...))``
        The weights of an entry must all be fed, :attr:`FEED_LEAD` cycles and more before the wave
        that uses them begins, and not before the wave before has begun.
    wave : ``In(wave_token(...))``
    drain : ``In(sum_address(...))``
        Reads a position's sums, :attr:`LATENCY` cycles after its last wave and later.
    sums : ``Out(signed(psum_width)).array(cols)``
        :attr:`DRAIN_LATENCY` cycles after ``drain``.
    done, gated : ``Out(9)``
        Number of PEs that executed a MAC, that gated one, some cycles ago.
    reads : ``Out(1)``
        The first column's memory is read; the others' follow.
    """

    DRAIN_LATENCY = Accumulator.DRAIN_LATENCY

    #: A weight is at the first PE this many cycles after its token, less the cycle in which the PE
    #: holds a token that takes it.
    FEED_LEAD = WeightFeeder.LATENCY - 1

    def __init__(self, *, rows, cols, filter_depth, accumulator_depth, psum_width, zero_gating):
        self.rows = rows
        self.cols = cols
        self.filter_depth = filter_depth
        self.accumulator_depth = accumulator_depth
        self.psum_width = psum_width
        self.zero_gating = zero_gating

        super().__init__({
            "lane": In(4).array(cols),
            "filter": In(filter_word(cols=cols, filter_depth=filter_depth)),
            "feed": In(feed_token(rows=rows, cols=cols, filter_depth=filter_depth)),
            "wave": In(wave_token(rows=rows, accumulator_depth=accumulator_depth)),
            "drain": In(sum_address(depth=accumulator_depth)),
            "sums": Out(signed(psum_width)).array(cols),
            "done": Out(9),
            "gated": Out(9),
            "reads": Out(1),
        })

    @staticmethod
    def latency(rows, cols):
        """From a wave to the first cycle in which ``drain`` finds all its sums."""
        return (rows - 1) + SystolicElement.LATENCY - Accumulator.SUM_STAGE + (
            cols - 1) + Accumulator.LATENCY

    @property
    def LATENCY(self):
        """:meth:`latency` of this array."""
        return self.latency(self.rows, self.cols)

    def elaborate(self, platform):
        m = Module()

        # Weights.
        filters, feed, weights = self.filter, self.feed, []
        for n in range(self.cols):
            feeder = instantiate(m, f"feeder_{n}", platform, WeightFeeder, rows=self.rows,
                                 cols=self.cols, filter_depth=self.filter_depth)
            m.d.comb += [
                feeder.index.eq(n),
                feeder.lane.eq(self.lane[n]),
                feeder.filter.eq(filters),
                feeder.token.eq(feed),
            ]
            if n == 0:
                m.d.comb += self.reads.eq(feeder.reads)
            filters, feed = feeder.filter_next, feeder.token_next
            weights.append(feeder.weight)

        # A row stops shifting before the row above it: it has the earlier weights.
        shift = delay(m, self.feed, self.FEED_LEAD, name="shift")
        sums = [C(0, signed(self.psum_width)) for _ in range(self.cols)]
        counts = {"done": C(0), "gated": C(0)}
        for index in range(self.rows):
            row = instantiate(m, f"row_{index}", platform, SystolicRow, cols=self.cols,
                              psum_width=self.psum_width, zero_gating=self.zero_gating)
            skewed = {}
            for name, value in (("valid", self.wave.valid), ("first", self.wave.first),
                                ("activation", self.wave.lanes[index]),
                                ("shift", shift.valid & (shift.step < self.rows - index))):
                now = Signal.like(value, name=f"{name}_{index}")
                m.d.comb += now.eq(value)
                skewed[name] = delay(m, now, index, name=f"{name}_{index}")
            m.d.comb += [getattr(row.token, name).eq(value) for name, value in skewed.items()]
            m.d.comb += [row.weight[n].eq(weights[n]) for n in range(self.cols)]
            m.d.comb += [row.sum_in[n].eq(sums[n]) for n in range(self.cols)]
            weights, sums = row.weight_next, row.sum_out

            # Counts ride down the rows: one small adder a row instead of a tree.
            for name, so_far in counts.items():
                total = Signal(9, name=f"{name}_to_{index}", reset_less=True)
                m.d.sync += total.eq(so_far + getattr(row, name))
                counts[name] = total
        m.d.comb += [self.done.eq(counts["done"]), self.gated.eq(counts["gated"])]

        # Sums.
        token = delay(
            m, self.wave.accumulate,
            self.rows - 1 + SystolicElement.LATENCY - Accumulator.SUM_STAGE, name="accumulate")
        for n in range(self.cols):
            accumulator = instantiate(m, f"accumulator_{n}", platform, Accumulator,
                                      depth=self.accumulator_depth, psum_width=self.psum_width)
            m.d.comb += [
                accumulator.token.eq(token),
                accumulator.sum_in.eq(sums[n]),
                accumulator.drain.eq(self.drain),
                self.sums[n].eq(accumulator.sum_out),
            ]
            token = accumulator.token_next

        return m
