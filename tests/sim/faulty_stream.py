"""A stream that misbehaves on request, and its bench: what tests/sim/test_bench.py is about."""

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out
from oarlock.sim.bench import Bench, bench_test


class Fault(enum.Enum, shape=3):
    """What goes wrong from the eighth word on."""

    NONE   = 0
    DROP   = 1  #: ``valid`` falls before the transfer
    CHANGE = 2  #: the payload changes before the transfer
    LOSE   = 3  #: words are missing
    EXTRA  = 4  #: words come that nobody sent
    WRONG  = 5  #: words are others
    HANG   = 6  #: words are not taken any more


class FaultyStream(wiring.Component):
    """Pass words through a register, until the fault."""

    fault: In(Fault)
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()

        count = Signal(range(9))
        late  = Signal()
        hit   = {fault: late & (self.fault == fault) for fault in Fault}
        m.d.comb += late.eq(count == 8)
        with m.If(self.i.valid & self.i.ready & ~late):
            m.d.sync += count.eq(count + 1)

        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += self.i.ready.eq(~hit[Fault.HANG])
            m.d.sync += [
                self.o.valid.eq(self.i.valid & self.i.ready & ~hit[Fault.LOSE] | hit[Fault.EXTRA]),
                self.o.payload.eq(self.i.payload ^ hit[Fault.WRONG]),
            ]
        with m.Elif(hit[Fault.DROP]):
            m.d.sync += self.o.valid.eq(0)
        with m.Elif(hit[Fault.CHANGE]):
            m.d.sync += self.o.payload.eq(~self.o.payload)

        return m


@bench_test(cycles=1000, p_idle=[0, 0.5], p_stall=[0, 0.5])
async def words_pass(bench: Bench, p_idle: float, p_stall: float) -> None:
    """Send a hundred words through."""
    bench.dut.fault.value = bench.parameters["fault"]
    board = bench.scoreboard("words")
    source = bench.source("i", p_idle=p_idle)
    bench.sink("o", p_stall=p_stall)
    bench.monitor("i", board.expect)
    bench.monitor("o", board.see)
    rng = bench.rng("words")
    source.send(*(rng.getrandbits(8) for _ in range(100)))


@bench_test(cycles=500)
async def a_word_a_cycle(bench: Bench) -> None:
    """Find that drivers without pauses make none."""
    bench.dut.fault.value = 0
    source = bench.source("i")
    bench.sink("o")
    seen: list[int] = []
    bench.monitor("o", seen.append)
    source.send(*range(100))
    await bench.cycle(102)
    assert seen == list(range(100))
