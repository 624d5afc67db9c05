"""Fetch descriptors and run them one after the other, without a host in the loop."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import isa


__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Run descriptors in order; fetch the next while one runs.

    A descriptor ends when its engine is idle. The cycle in which it ended is written into its
    ``done_cycle`` word, so that the program memory holds a profile of the last run. A descriptor of
    unknown kind ends the run with ``fault``.

    Parameters
    ----------
    lengths : dict of :class:`isa.DescriptorKind` to :class:`int`
        Words of every kind of descriptor.
    program_depth : :class:`int`
        Words of program memory.

    Members
    -------
    run_start, run_address, run_count : ``In``
        Start ``run_count`` descriptors at a word address. Only while not ``busy``.
    busy, fault : ``Out(1)``
        A run is in progress; the last one met a bad descriptor.
    cycle : ``In(48)``
        The time.
    done_cycles : ``Out(48)``
        When the last descriptor ended.
    words : ``Out(unsigned(32)).array(...)``
        The descriptor that runs.
    start : ``Out(1).array(len(lengths))``
        ``words`` is new; the engine of that kind shall go.
    engine_busy : ``In(1)``
        From the cycle after a start until everything is written.
    write_en, write_addr, write_data, write_ready
        Program memory, from the host.
    read_valid, read_ready, read_addr, read_data
        Program memory, for the host; data one cycle after ``read_valid & read_ready``.
    """

    #: From the end of a descriptor to the start of the next, if that is already fetched.
    TURNAROUND = 2

    def __init__(self, *, lengths, program_depth):
        self.lengths = dict(lengths)
        self.program_depth = program_depth
        self.length = max(self.lengths.values())

        address = range(program_depth)
        super().__init__({
            "run_start": In(1),
            "run_address": In(address),
            "run_count": In(16),
            "busy": Out(1),
            "fault": Out(1),
            "cycle": In(isa.COUNTER_WIDTH),
            "done_cycles": Out(isa.COUNTER_WIDTH),
            "words": Out(32).array(self.length),
            "start": Out(1).array(len(self.lengths)),
            "engine_busy": In(1),
            "write_en": In(1),
            "write_addr": In(address),
            "write_data": In(32),
            "write_ready": Out(1),
            "read_valid": In(1),
            "read_ready": Out(1),
            "read_addr": In(address),
            "read_data": Out(32),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.program = program = Memory(shape=32, depth=self.program_depth, init=[])
        read, write = program.read_port(), program.write_port()

        # Fetch: a word a cycle into the shadow descriptor; its first word tells how many there are.
        shadow = [Signal(32, name=f"shadow_{n}", reset_less=True) for n in range(self.length)]
        active = [Signal(32, name=f"active_{n}", reset_less=True) for n in range(self.length)]
        m.d.comb += [word.eq(register) for word, register in zip(self.words, active, strict=True)]
        base   = Signal(range(self.program_depth))
        asks, asks_index = Signal(), Signal(range(self.length + 1))
        gets, gets_index = Signal(), Signal(range(self.length + 1))
        length = Signal(range(self.length + 1))
        ready, bad = Signal(), Signal()
        m.d.comb += [
            read.addr.eq(Mux(asks, base + asks_index, self.read_addr)),
            self.read_ready.eq(~asks),
            self.read_data.eq(read.data),
        ]
        m.d.sync += [gets.eq(asks), gets_index.eq(asks_index)]
        with m.If(asks):
            m.d.sync += asks_index.eq(asks_index + 1)
        with m.If(gets):
            with m.Switch(gets_index):
                for n in range(self.length):
                    with m.Case(n):
                        m.d.sync += shadow[n].eq(read.data)
            with m.If(gets_index == 0):
                with m.Switch(read.data[:4]):
                    for kind, count in self.lengths.items():
                        with m.Case(kind.value):
                            m.d.sync += [length.eq(count), bad.eq(0)]
                    with m.Default():
                        m.d.sync += [length.eq(min(self.lengths.values())), bad.eq(1)]
            with m.Elif(gets_index == length - 1):
                m.d.sync += [ready.eq(1), asks.eq(0), gets.eq(0)]

        def fetch(address):
            return [base.eq(address), asks.eq(1), asks_index.eq(0), gets.eq(0), ready.eq(0)]

        # Run.
        kind, active_base = Signal(4), Signal.like(base)
        to_fetch, to_run  = Signal(16), Signal(16)
        ends = Signal()
        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.run_start):
                    m.d.sync += [
                        self.fault.eq(0),
                        to_run.eq(self.run_count),
                        to_fetch.eq(self.run_count - 1),
                    ]
                    with m.If(self.run_count != 0):
                        m.d.sync += fetch(self.run_address)
                        m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(ready):
                    m.d.sync += [to.eq(word) for to, word in zip(active, shadow, strict=True)]
                    m.d.sync += [active_base.eq(base), ready.eq(0), kind.eq(shadow[0][:4])]
                    with m.If(to_fetch != 0):
                        m.d.sync += fetch(base + length)
                        m.d.sync += to_fetch.eq(to_fetch - 1)
                    m.next = "START"
                    with m.If(bad):
                        m.d.sync += [self.fault.eq(1), asks.eq(0)]
                        m.next = "IDLE"
            with m.State("START"):
                m.d.comb += [start.eq(kind == own.value)
                             for start, own in zip(self.start, self.lengths, strict=True)]
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(~self.engine_busy):
                    m.d.comb += ends.eq(1)
                    m.d.sync += [self.done_cycles.eq(self.cycle), to_run.eq(to_run - 1)]
                    m.next = "FETCH"
                    with m.If(to_run == 1):
                        m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

        # The profile goes first; it is one word a descriptor.
        m.d.comb += self.write_ready.eq(~ends)
        with m.If(ends):
            m.d.comb += [
                write.en.eq(1),
                write.addr.eq(active_base + 1),
                write.data.eq(self.cycle),
            ]
        with m.Else():
            m.d.comb += [
                write.en.eq(self.write_en),
                write.addr.eq(self.write_addr),
                write.data.eq(self.write_data),
            ]

        return m
