"""Four columns of four multipliers with stationary weights, and their accumulators."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .dual_multiplier import DualMultiplier
from .shared import instantiate


__all__ = ["COLUMNS", "ROWS", "CompactArray"]

ROWS = COLUMNS = 4


class CompactArray(wiring.Component):
    """Multiply a word of activations with sixteen weights, add each column's products to a sum.

    Activations are raw int8. Sums are modulo 2**32, a memory of them for each column, all at one
    position.

    Members
    -------
    word, valid : ``In(32)``, ``In(1)``
        Activations of the position.
    weights, load : ``In(32)``, ``In(4)``
        Weights, and the column that takes them; they hold for words from the same cycle on.
    seek, at : ``In(1)``, ``In(range(depth))``
        Go to a position from the next cycle on.
    next : ``In(1)``
        Go to the next one. Also done with ``valid``.
    clear : ``In(1)``
        Zero the sums of the position of the cycle before, in all columns. Not within three cycles
        of ``valid``.
    sums : ``Out(32).array(4)``
        Sums at the position of the cycle before.

    Parameters
    ----------
    depth : :class:`int`
        Positions, a power of two.
    """

    #: From the last word to the first cycle in which its sums can be read.
    LATENCY = 3

    def __init__(self, *, depth):
        self.depth = depth
        super().__init__({
            "word": In(32),
            "valid": In(1),
            "weights": In(32),
            "load": In(COLUMNS),
            "seek": In(1),
            "at": In(range(depth)),
            "next": In(1),
            "clear": In(1),
            "sums": Out(32).array(COLUMNS),
        })

    def elaborate(self, platform):
        m = Module()

        position = Signal(range(self.depth))
        with m.If(self.seek):
            m.d.sync += position.eq(self.at)
        with m.Elif(self.valid | self.next):
            m.d.sync += position.eq(position + 1)

        # The word, then its products and the sums that were read, then the sums to be written.
        s1_position, s2_position = Signal.like(position), Signal.like(position)
        s1_valid, s2_write = Signal(), Signal()
        m.d.sync += [
            s1_position.eq(position),
            s2_position.eq(s1_position),
            s1_valid.eq(self.valid),
            s2_write.eq(s1_valid | self.clear),
        ]
        for column in range(COLUMNS):
            first, second = (
                instantiate(m, f"multiplier_{column}_{n}", platform, DualMultiplier)
                for n in range(2))
            for n, multiplier in enumerate((first, second)):
                m.d.comb += [
                    multiplier.a.eq(self.word.word_select(n, 16)),
                    multiplier.b.eq(self.weights.word_select(n, 16)),
                    multiplier.b_enable.eq(self.load[column]),
                ]

            m.submodules[f"sums_{column}"] = memory = Memory(
                shape=32, depth=self.depth, init=[])
            read, write = memory.read_port(), memory.write_port()
            products = Signal(signed(18), name=f"s1_products_{column}")
            s2_sum = Signal(32, name=f"s2_sum_{column}")
            m.d.comb += [
                read.addr.eq(position),
                self.sums[column].eq(read.data),
                products.eq((first.low + first.high) + (second.low + second.high)),
                write.en.eq(s2_write),
                write.addr.eq(s2_position),
                write.data.eq(s2_sum),
            ]
            m.d.sync += s2_sum.eq(read.data + products)
            with m.If(self.clear):
                m.d.sync += s2_sum.eq(0)

        return m
