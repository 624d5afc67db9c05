"""Two banks of partial sums at the foot of a column of the systolic array."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


__all__ = ["Accumulator", "accumulate_token", "sum_address"]


def sum_address(*, depth):
    """Lay out the place of a sum."""
    return data.StructLayout({"bank": 1, "position": range(depth)})


def accumulate_token(*, depth):
    """Lay out where a sum goes; ``first`` overwrites what is there."""
    return data.StructLayout({"valid": 1, "first": 1, "place": sum_address(depth=depth)})


class Accumulator(wiring.Component):
    """Add the sums that leave a column to those of its positions, one a cycle.

    One bank accumulates while the other is read. A place may take a sum :attr:`DISTANCE` cycles
    after it took the one before. Nothing here needs a reset.

    Parameters
    ----------
    depth : :class:`int`
        Positions of a bank.
    psum_width : :class:`int`
        Bits of a sum.

    Members
    -------
    token, token_next : ``In(accumulate_token(...))``, ``Out(accumulate_token(...))``
        To the column on the right a cycle later.
    sum_in : ``In(signed(psum_width))``
        What is added, :attr:`SUM_STAGE` cycles after its token.
    drain : ``In(sum_address(...))``
        A place of the other bank.
    sum_out : ``Out(signed(psum_width))``
        What is there, :attr:`DRAIN_LATENCY` cycles later.
    """

    SUM_STAGE = 2
    DISTANCE = 3
    DRAIN_LATENCY = 2

    #: From a token to the first cycle in which ``drain`` finds its sum.
    LATENCY = 4

    def __init__(self, *, depth, psum_width):
        self.depth = depth
        self.psum_width = psum_width

        token = accumulate_token(depth=depth)
        super().__init__({
            "token": In(token),
            "token_next": Out(token),
            "sum_in": In(signed(psum_width)),
            "drain": In(sum_address(depth=depth)),
            "sum_out": Out(signed(psum_width)),
        })

    def elaborate(self, platform):
        m = Module()

        s1, s2, s3 = (Signal(self.token.shape(), name=f"s{n}", reset_less=True) for n in (1, 2, 3))
        m.d.sync += [s1.eq(self.token), s2.eq(s1), s3.eq(s2)]
        m.d.comb += self.token_next.eq(s1)

        # Cycle 1: read. Cycle 2: add. Cycle 3: write.
        held   = Array(Signal(signed(self.psum_width), name=f"held_{bank}") for bank in range(2))
        s3_sum = Signal(signed(self.psum_width), reset_less=True)
        d1_bank = Signal(reset_less=True)
        for bank in range(2):
            m.submodules[f"bank_{bank}"] = memory = Memory(
                shape=signed(self.psum_width), depth=self.depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                read.addr.eq(Mux(s1.valid & (s1.place.bank == bank), s1.place.position,
                                 self.drain.position)),
                held[bank].eq(read.data),
                write.addr.eq(s3.place.position),
                write.data.eq(s3_sum),
                write.en.eq(s3.valid & (s3.place.bank == bank)),
            ]
        m.d.sync += [
            s3_sum.eq(self.sum_in + Mux(s2.first, 0, held[s2.place.bank])),
            d1_bank.eq(self.drain.bank),
            self.sum_out.eq(held[d1_bank]),
        ]

        return m
