# amaranth: UnusedElaboratable=no
"""Directed tests of the command decoder; random commands against a model are in tests/sim."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.command_decoder import CommandDecoder
from oarlock.hw.isa import Memory, Opcode, Status, command


SIZES = {"rows": 6, "cols": 5, "buffer_bytes": 96, "program_depth": 40, "parameter_depth": 7,
         "filter_depth": 16}
INFO = {name: 0x1000 + n for n, name in enumerate(isa.INFO_FIELDS)}


def answer(opcode, status=Status.OK, payload=()):
    return [isa.RESPONSE_SYNC << 24 | opcode << 20 | status << 16 | len(payload), *payload]


class Rig:
    """A decoder between a word list and memories that answer after two cycles."""

    def __init__(self, words, *, extra=25, **sizes):
        self.dut = CommandDecoder(**SIZES | sizes, info=INFO)
        self.words = words
        self.extra = extra
        self.taken = []      # the cycle in which each word was
        self.answers = []
        self.left = -1       # words of the present answer that are yet to come, less one
        self.events = []     # (cycle, port, values...)
        self.settings = {}   # {cycle: {port name: value}}

    def run(self):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(self.testbench)
        sim.run()
        return self

    async def testbench(self, ctx):
        dut = self.dut
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.host_write.ready, 1)
        ctx.set(dut.host_read.ready, 1)
        ctx.set(dut.program_write.ready, 1)
        ctx.set(dut.program_read.ready, 1)
        for n in range(len(isa.COUNTERS)):
            ctx.set(dut.counters[n], n << 40 | 0x100 + n)
        pending = {dut.host_read: [None, None], dut.program_read: [None, None]}
        left = list(self.words)
        cycle = idle = 0
        while idle < self.extra:
            for name, value in self.settings.get(cycle, {}).items():
                port = dut
                for part in name.split("."):
                    port = getattr(port, part)
                ctx.set(port, value)
            ctx.set(dut.i.valid, bool(left))
            ctx.set(dut.i.payload, left[0] if left else 0)
            for port, name in (dut.host_read, "host_read"), (dut.program_read, "program_read"):
                arrived = pending[port].pop(0)
                ctx.set(getattr(dut, f"{name}_valid"), arrived is not None)
                ctx.set(getattr(dut, f"{name}_data"), 0 if arrived is None
                        else self.contents(name, arrived))
                accepted = ctx.get(port.valid) and ctx.get(port.ready)
                pending[port].append(ctx.get(port.payload) if accepted else None)
            self.watch(ctx, cycle)
            if left and ctx.get(dut.i.ready):
                left.pop(0)
                self.taken.append(cycle)
                idle = 0
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                self.answers.append(ctx.get(dut.o.payload.data))
                # Every answer says how many words follow its first.
                first, self.left = self.left < 0, self.left - 1
                if first:
                    self.left = (self.answers[-1] & 0xFFFF) - 1
                assert ctx.get(dut.o.payload.last) == (self.left < 0)
                idle = 0
            await ctx.tick()
            cycle += 1
            idle += 1
        assert not left

    def contents(self, name, address):
        return 0xD000 + address

    def watch(self, ctx, cycle):
        dut = self.dut

        def see(name, *values):
            self.events.append((cycle, name, *(ctx.get(value) for value in values)))

        for name in "host_write", "program_write":
            port = getattr(dut, name)
            if ctx.get(port.valid) and ctx.get(port.ready):
                see(name, port.payload.addr, port.payload.data)
        if ctx.get(dut.parameter_en):
            see("parameter", dut.parameter_entry, dut.parameter_word, dut.parameter_data)
        if ctx.get(dut.filter_en):
            see("filter", dut.filter_columns, dut.filter_block, dut.filter_addr, *dut.filter_data)
        if ctx.get(dut.run_start):
            see("run", dut.run_address, dut.run_count)
        for name in "counter_clear", "count_in", "count_out":
            if ctx.get(getattr(dut, name)):
                see(name)

    def seen(self, *names):
        return [event[1:] for event in self.events if event[1] in names]


WRITES = ("host_write", "program_write", "parameter", "filter")


def write(memory, address, words, operand=0):
    return [*command(Opcode.WRITE, memory=memory, operand=operand, address=address,
                     count=len(words)), *words]


@pytest.mark.parametrize(("wrong", "text"), [
    ({"rows": 0}, "Rows must be 1 to 16, not 0"),
    ({"rows": 17}, "Rows must be 1 to 16, not 17"),
    ({"cols": -1}, "Columns must be 1 to 16, not -1"),
    ({"buffer_bytes": 98}, "Buffer size must be a multiple of 4 up to 16777216, not 98"),
    ({"buffer_bytes": 0}, "Buffer size must be a multiple of 4 up to 16777216, not 0"),
    ({"program_depth": 0}, "Program depth must be 1 to 65536, not 0"),
    ({"parameter_depth": 65537}, "Parameter depth must be 1 to 65536, not 65537"),
    ({"filter_depth": 0}, "Filter depth must be 1 to 65536, not 0"),
    ({"info": {**INFO, "colour": 1}}, "Info must have the fields of isa.INFO_FIELDS; "
                                      "check ['colour']"),
    ({"info": {}}, "Info must have the fields of isa.INFO_FIELDS; check ['accumulator_depth', "),
])
def test_wrong_parameters(wrong, text):
    with pytest.raises(ValueError) as error:
        CommandDecoder(**{**SIZES, "info": INFO, **wrong})
    assert str(error.value).startswith(text)


def test_parameters():
    dut = CommandDecoder(**SIZES, info=INFO)
    assert {name: getattr(dut, name) for name in SIZES} == SIZES
    assert dut.info == INFO


def test_info():
    rig = Rig(command(Opcode.INFO)).run()
    assert rig.answers == answer(Opcode.INFO, payload=list(INFO.values()))


def test_writes():
    words = [0x04FF02_80, 5, 6, 7, 8, 9]
    rig = Rig([
        *write(Memory.GLOBAL_BUFFER, 72, words),
        *write(Memory.PROGRAM, 34, words),
        *write(Memory.PARAMETERS, 5, words),
        *write(Memory.FILTER, 1 << 24 | 10, words, operand=0b10010),
    ]).run()
    assert rig.answers == 4 * answer(Opcode.WRITE)
    assert rig.seen(*WRITES) == [
        *(("host_write", 72 + 4 * n, word) for n, word in enumerate(words)),
        *(("program_write", 34 + n, word) for n, word in enumerate(words)),
        *(("parameter", 5 + n // 3, n % 3, word) for n, word in enumerate(words)),
        ("filter", 0b10010, 1, 10, -128, 2, -1, 4),
        *(("filter", 0b10010, 1, 10 + n, words[n], 0, 0, 0) for n in range(1, 6)),
    ]


def test_writes_take_every_cycle():
    words = [word for count in (1, 1, 2, 5, 3)
             for word in write(Memory.GLOBAL_BUFFER, 8, list(range(count)))]
    rig = Rig(words).run()
    assert rig.taken == list(range(len(words)))
    first = next(event[0] for event in rig.events if event[1] == "host_write")
    assert first == 3 + rig.dut.LATENCY


@pytest.mark.parametrize(("words", "cycles"), [
    (write(Memory.PROGRAM, 0, [1, 2]), 5),
    (write(Memory.PROGRAM, 40, [1, 2]), 5),
    (write(Memory.PROGRAM, 0, []), 5),
    (command(Opcode.RUN, address=1, count=1), 5),
    (command(Opcode.RUN, address=41, count=1), 5),
    (command(Opcode.CLEAR), 5),
    (command(Opcode.INFO), 5 + len(isa.INFO_FIELDS)),
    (command(Opcode.COUNTERS), 5 + isa.COUNTER_WORDS),
    (command(Opcode.WAIT), 7),
    (command(Opcode.READ, memory=Memory.PROGRAM, count=0), 6),
    (command(Opcode.READ, memory=Memory.PROGRAM, count=40), 6 + 40 + 2),
    (command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, count=24), 6 + 24 + 2),
    ([0x12345678], 2),
])
def test_cycles(words, cycles):
    rig = Rig([*words, *command(Opcode.CLEAR)]).run()
    assert rig.taken[len(words)] == cycles


def test_reads():
    rig = Rig([
        *command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, address=8, count=22),
        *command(Opcode.READ, memory=Memory.PROGRAM, address=0, count=40),
        *command(Opcode.READ, memory=Memory.PROGRAM, address=40, count=0),
    ]).run()
    assert rig.answers == [
        *answer(Opcode.READ, payload=[0xD000 + 8 + 4 * n for n in range(22)]),
        *answer(Opcode.READ, payload=[0xD000 + n for n in range(40)]),
        *answer(Opcode.READ),
    ]


RANGES = [
    (Memory.GLOBAL_BUFFER, 0, 24, True),
    (Memory.GLOBAL_BUFFER, 0, 25, False),
    (Memory.GLOBAL_BUFFER, 4, 24, False),
    (Memory.GLOBAL_BUFFER, 92, 1, True),
    (Memory.GLOBAL_BUFFER, 96, 1, False),
    (Memory.GLOBAL_BUFFER, 0xFFFFFFFC, 1, False),
    (Memory.GLOBAL_BUFFER, 2, 1, False),
    (Memory.PROGRAM, 39, 1, True),
    (Memory.PROGRAM, 39, 2, False),
    (Memory.PROGRAM, 40, 1, False),
    (Memory.PROGRAM, 0xFFFFFFFF, 1, False),
    (Memory.PARAMETERS, 6, 3, True),
    (Memory.PARAMETERS, 6, 4, False),
    (Memory.PARAMETERS, 6, 6, False),
    (Memory.PARAMETERS, 7, 3, False),
    (Memory.PARAMETERS, 0, 1, False),
    (Memory.PARAMETERS, 0, 2, False),
    (Memory.PARAMETERS, 0, 21, True),
    (Memory.PARAMETERS, 0, 20, False),
    (Memory.PARAMETERS, 0, 24, False),
    (Memory.PARAMETERS, 0x55555555, 3, False),
    (Memory.PARAMETERS, 0xFFFFFFFF, 3, False),
    (Memory.FILTER, 1 << 24 | 15, 1, True),
    (Memory.FILTER, 1 << 24 | 15, 2, False),
    (Memory.FILTER, 2 << 24, 1, False),
    (Memory.FILTER, 0xFF << 24, 1, False),
]


def test_write_ranges():
    rig = Rig([word for memory, address, count, _ in RANGES
               for word in write(memory, address, list(range(count)))]).run()
    statuses = [Status.OK if good else Status.BAD_ADDRESS for *_, good in RANGES]
    assert rig.answers == [answer(Opcode.WRITE, status)[0] for status in statuses]
    assert len(rig.seen(*WRITES)) == sum(count for _, _, count, good in RANGES if good)


STATUSES = [
    (command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, count=0x18), Status.OK),
    (command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, count=0x19), Status.BAD_ADDRESS),
    (command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, address=6, count=1), Status.BAD_ADDRESS),
    (command(Opcode.READ, memory=Memory.PROGRAM, count=0x10000), Status.BAD_ADDRESS),
    (command(Opcode.READ, memory=Memory.PROGRAM, count=0xFFFFFFFF), Status.BAD_ADDRESS),
    (command(Opcode.READ, memory=Memory.PARAMETERS, count=3), Status.BAD_MEMORY),
    (command(Opcode.READ, memory=Memory.FILTER, count=1), Status.BAD_MEMORY),
    (command(Opcode.READ, memory=4, count=1), Status.BAD_MEMORY),
    (write(4, 0, [command(Opcode.CLEAR)[0], 0, 0]), Status.BAD_MEMORY),
    (write(15, 0, [1]), Status.BAD_MEMORY),
    (write(15, 0, []), Status.BAD_MEMORY),
    (command(Opcode.RUN, address=0, count=40), Status.OK),
    (command(Opcode.RUN, address=1, count=40), Status.BAD_ADDRESS),
    (command(Opcode.RUN, address=40, count=1), Status.BAD_ADDRESS),
    (command(0), Status.BAD_OPCODE),
    (command(8, count=3), Status.BAD_OPCODE),
    (command(15), Status.BAD_OPCODE),
]


def test_statuses():
    rig = Rig([word for words, _ in STATUSES for word in words]).run()
    found = []
    while rig.answers:
        sync, opcode, status, words = isa.response_fields(rig.answers.pop(0))
        assert sync == isa.RESPONSE_SYNC
        del rig.answers[:words]
        found.append((opcode, status))
    assert found == [(words[0] >> 20 & 15, status) for words, status in STATUSES]


def test_a_read_of_more_than_the_answer_can_state():
    rig = Rig([*command(Opcode.READ, memory=Memory.GLOBAL_BUFFER, count=0x10000)],
              buffer_bytes=1 << 20).run()
    assert rig.answers == answer(Opcode.READ, Status.BAD_ADDRESS)


def test_words_that_are_no_command_are_dropped_one_by_one():
    rig = Rig([0, 0x52000000, *command(Opcode.CLEAR), 0xFFFFFFFF, *command(Opcode.CLEAR)]).run()
    bad = answer(0, Status.BAD_SYNC)
    assert rig.answers == [*bad, *bad, *answer(Opcode.CLEAR), *bad, *answer(Opcode.CLEAR)]


def test_run_waits_for_the_run_before():
    rig = Rig(command(Opcode.RUN, address=7, count=2), extra=20)
    rig.settings = {0: {"busy": 1}, 15: {"busy": 0}}
    rig.run()
    assert rig.seen("run") == [("run", 7, 2)]
    assert next(event[0] for event in rig.events if event[1] == "run") == 16
    assert rig.answers == answer(Opcode.RUN)


def test_a_run_of_nothing_starts_nothing():
    rig = Rig(command(Opcode.RUN, address=7, count=0)).run()
    assert rig.seen("run") == []
    assert rig.answers == answer(Opcode.RUN)


@pytest.mark.parametrize("fault", [0, 1])
def test_wait(fault):
    rig = Rig([*command(Opcode.WAIT), *command(Opcode.CLEAR)])
    rig.settings = {0: {"busy": 1, "fault": fault, "done_cycles": 0xABCD_12345678}, 20: {"busy": 0}}
    rig.run()
    status = Status.BAD_DESCRIPTOR if fault else Status.OK
    assert rig.answers == [*answer(Opcode.WAIT, status, [0x12345678, 0xABCD]),
                           *answer(Opcode.CLEAR)]
    assert rig.taken[3] > 20


def test_counters():
    rig = Rig(command(Opcode.COUNTERS)).run()
    assert rig.answers == answer(Opcode.COUNTERS, payload=[
        word for n in range(len(isa.COUNTERS)) for word in (0x100 + n, n << 8)])


def test_link_words_are_counted_from_clear_to_counters():
    rig = Rig([*command(Opcode.INFO), *command(Opcode.CLEAR), *write(Memory.PROGRAM, 0, [1, 2]),
               *command(Opcode.INFO), *command(Opcode.COUNTERS)]).run()
    kinds = [event[1] for event in rig.events]
    # Clearing wins over what is counted in the same cycle.
    clear = next(event[0] for event in rig.events if event[1] == "counter_clear")
    after = [event[1] for event in rig.events if event[0] > clear]
    assert kinds.count("counter_clear") == 1
    assert after.count("count_in") == 5 + 3 + 3
    assert after.count("count_out") == 1 + 1 + len(isa.INFO_FIELDS)


def test_timer():
    async def testbench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for words, before, after in [
            (write(Memory.FILTER, 0, []), 0, 1),
            (command(Opcode.CLEAR), 1, 0),
            (command(Opcode.INFO), 0, 0),
            (command(Opcode.RUN, count=0), 0, 0),
            (command(Opcode.RUN, count=1), 0, 1),
            (command(Opcode.CLEAR), 1, 0),
            (command(Opcode.COUNTERS), 0, 0),
        ]:
            assert ctx.get(dut.timer_running) == before
            for word in words:
                ctx.set(dut.i.payload, word)
                await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(40)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.timer_running) == after

    dut = CommandDecoder(**SIZES, info=INFO)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def test_an_overrun_sink_loses_nothing():
    rig = Rig([*command(Opcode.READ, memory=Memory.PROGRAM, count=40), *command(Opcode.INFO),
               *command(Opcode.COUNTERS), 0, 0, 0], extra=150)
    rig.settings = {n: {"o.ready": n > 100 and n % 3 == 0} for n in range(600)}
    rig.run()
    assert rig.answers == [
        *answer(Opcode.READ, payload=[0xD000 + n for n in range(40)]),
        *answer(Opcode.INFO, payload=list(INFO.values())),
        *answer(Opcode.COUNTERS, payload=[
            word for n in range(len(isa.COUNTERS)) for word in (0x100 + n, n << 8)]),
        *(3 * answer(0, Status.BAD_SYNC)),
    ]


def test_memories_make_the_input_wait():
    words = [1, 2, 3]
    rig = Rig([*write(Memory.GLOBAL_BUFFER, 0, words), *write(Memory.PROGRAM, 9, words)],
              extra=40)
    rig.settings = {0: {"host_write.ready": 0, "program_write.ready": 0},
                    20: {"host_write.ready": 1}, 21: {"host_write.ready": 0},
                    30: {"host_write.ready": 1}, 60: {"program_write.ready": 1}}
    rig.run()
    assert rig.seen(*WRITES) == [
        *(("host_write", 4 * n, word) for n, word in enumerate(words)),
        *(("program_write", 9 + n, word) for n, word in enumerate(words)),
    ]
