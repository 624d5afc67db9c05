"""The filter memory of a column, which sends its weights down into the systolic array."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .array_row import filter_word
from .systolic_element import weight_layout


__all__ = ["WeightFeeder", "feed_token"]


def feed_token(*, rows, cols, filter_depth):
    """Lay out the control of one weight of every column.

    ``step`` 0 begins an entry; step ``n`` sends the weight of row ``rows - 1 - n``. ``row_count``
    and ``columns`` tell how many rows and columns have weights; with ``diagonal`` a column has one
    weight only.
    """
    return data.StructLayout({
        "valid": 1, "entry": range(filter_depth), "step": range(max(2, rows)),
        "row_count": 5, "columns": 5, "diagonal": 1})


class WeightFeeder(wiring.Component):
    """Keep the weights of one column and deliver an entry of them, one a cycle, last row first.

    Parameters
    ----------
    rows, cols, filter_depth : :class:`int`
        Of the array; ``filter_depth`` entries of a weight for each row.

    Members
    -------
    index : ``In(4)``
        Position from the left, constant.
    lane : ``In(4)``
        With ``diagonal``, the row that has a weight. Stable while tokens are about.
    filter, filter_next : ``In(filter_word(...))``, ``Out(filter_word(...))``
        Words for the memories; to the column on the right a cycle later.
    token, token_next : ``In(feed_token(...))``, ``Out(feed_token(...))``
        What to send; to the column on the right a cycle later.
    weight : ``Out(weight_layout)``
        :attr:`LATENCY` cycles after its token.
    reads : ``Out(1)``
        For the counters: an entry is read.
    """

    LATENCY = 3

    def __init__(self, *, rows, cols, filter_depth):
        self.rows = rows
        self.cols = cols
        self.filter_depth = filter_depth

        word = filter_word(cols=cols, filter_depth=filter_depth)
        token = feed_token(rows=rows, cols=cols, filter_depth=filter_depth)
        super().__init__({
            "index": In(4),
            "lane": In(4),
            "filter": In(word),
            "filter_next": Out(word),
            "token": In(token),
            "token_next": Out(token),
            "weight": Out(weight_layout),
            "reads": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Both pass through; what a reset leaves behind is gone before the next start.
        filters = Signal(self.filter.shape(), reset_less=True)
        s1 = Signal(self.token.shape(), name="s1", reset_less=True)
        s2 = Signal(self.token.shape(), name="s2", reset_less=True)
        m.d.sync += [filters.eq(self.filter), s1.eq(self.token), s2.eq(s1)]
        m.d.comb += [self.filter_next.eq(filters), self.token_next.eq(s1)]

        # A memory for every four rows; all are read at once and keep their word for the steps.
        mine = filters.valid & (filters.columns >> self.index)[0]
        m.d.comb += self.reads.eq(s1.valid & (s1.step == 0))
        weights = []
        for block in range(-(-self.rows // 4)):
            height = min(4, self.rows - 4 * block)
            m.submodules[f"filter_{block}"] = memory = Memory(
                shape=data.ArrayLayout(signed(8), height), depth=self.filter_depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(filters.address),
                write.data.eq(Cat(filters.weights[row] for row in range(height))),
                write.en.eq(mine & (filters.block == block)),
                read.addr.eq(s1.entry),
                read.en.eq(self.reads),
            ]
            weights += [read.data[row] for row in range(height)]

        # Last row first: the first weight has the longest way.
        used = s2.columns > self.index
        with m.Switch(s2.step):
            for step, (row, weight) in enumerate(reversed([*enumerate(weights)])):
                with m.Case(step):
                    works = Mux(s2.diagonal, self.lane == row, s2.row_count > row)
                    m.d.sync += [self.weight.value.eq(weight), self.weight.used.eq(used & works)]

        return m
