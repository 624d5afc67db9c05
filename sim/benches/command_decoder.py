"""The command decoder against a model that reads the same words."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import cocotb

from ...hw import isa
from ...hw.global_buffer import GlobalBuffer
from ...hw.isa import Memory, Opcode, Status, command
from ..bench import Bench, bench_test


__all__ = ["random_commands"]

COMMANDS = 70

# As it is, and so long that the next command's answer would come first if it did not wait.
HOST_READ_LATENCY    = GlobalBuffer.LATENCY
PROGRAM_READ_LATENCY = 9

LAST = 1 << 32  # Above the data of an answer's last word.


class Model:
    """What the decoder must do, found out from its input words alone.

    With ``OARLOCK_SABOTAGE`` it is wrong, to show that the bench would notice.
    """

    def __init__(self, bench: Bench, outcomes: list[tuple[int, bool, int]],
                 counters: list[int]) -> None:
        self.answers = bench.scoreboard("answers")
        self.writes = bench.scoreboard("writes")
        self.runs = bench.scoreboard("runs")
        self.sizes: Mapping[str, Any] = bench.parameters
        self.outcomes = outcomes
        self.counters = counters
        self.started = 0
        self.uncounted = 0
        self.buffer = [0] * (self.sizes["buffer_bytes"] // 4)
        self.program = [0] * self.sizes["program_depth"]
        self.words = self._parse()
        next(self.words)
        self.sabotage = os.environ.get("OARLOCK_SABOTAGE")

    def feed(self, word: int) -> None:
        """Take the next input word."""
        self.words.send(word)

    def _parse(self) -> Generator[None, int, None]:
        while True:
            header = yield
            if header >> 24 != isa.COMMAND_SYNC:
                self.answer(0, Status.BAD_SYNC)
                if self.sabotage == "drop two":
                    yield
                continue
            opcode, memory, operand = header >> 20 & 15, header >> 16 & 15, header & 0xFFFF
            address = yield
            count = yield
            status = self.status(opcode, memory, operand, address, count)
            if opcode == Opcode.WRITE:
                for n in range(count):
                    word = yield
                    if not status:
                        self.write(memory, operand, address, n, word)
                self.answer(opcode, status)
            elif status:
                self.answer(opcode, status)
            else:
                self.execute(opcode, memory, address, count)

    def status(self, opcode: int, memory: int, operand: int, address: int,
               count: int) -> Status:
        if opcode not in list(Opcode):
            return Status.BAD_OPCODE
        if opcode == Opcode.RUN:
            memory = Memory.PROGRAM
        elif opcode not in (Opcode.WRITE, Opcode.READ):
            return Status.OK
        if memory not in list(Memory) or (opcode == Opcode.READ and memory > Memory.PROGRAM):
            return Status.BAD_MEMORY
        if memory == Memory.GLOBAL_BUFFER and operand & isa.CODED_OPERAND:
            return Status.BAD_CODE  # This one has no codec.
        sizes = self.sizes
        program_depth = sizes["program_depth"] - (self.sabotage == "range")
        good = {
            Memory.GLOBAL_BUFFER: address % 4 == 0 and address + 4 * count <= sizes["buffer_bytes"],
            Memory.PROGRAM: address + count <= program_depth,
            Memory.PARAMETERS: count % 3 == 0 and address + count // 3 <= sizes["parameter_depth"],
            Memory.FILTER: (4 * (address >> 24) < sizes["rows"]
                            and address % 2**24 + count <= sizes["filter_depth"]),
        }[Memory(memory)]
        if opcode == Opcode.READ and count > 0xFFFF:
            good = False
        return Status.OK if good else Status.BAD_ADDRESS

    def write(self, memory: int, operand: int, address: int, n: int, word: int) -> None:
        if memory == Memory.GLOBAL_BUFFER:
            self.buffer[address // 4 + n] = word
            self.writes.expect(("host", address + 4 * n, word))
        elif memory == Memory.PROGRAM:
            self.program[address + n] = word
            self.writes.expect(("program", address + n, word))
        elif memory == Memory.PARAMETERS:
            self.writes.expect(("parameter", address + n // 3, n % 3, word))
        else:
            self.writes.expect(("filter", operand % (1 << self.sizes["cols"]), address >> 24,
                                address % 2**24 + n, word))

    def execute(self, opcode: int, memory: int, address: int, count: int) -> None:
        payload: list[int] = []
        status = Status.OK
        if opcode == Opcode.INFO:
            payload = [self.sizes["info"][name] for name in isa.INFO_FIELDS]
        elif opcode == Opcode.READ:
            payload = (self.program[address:address + count] if memory == Memory.PROGRAM
                       else self.buffer[address // 4:address // 4 + count])
        elif opcode == Opcode.RUN and count:
            self.runs.expect((address, count))
            self.started += 1
        elif opcode == Opcode.WAIT:
            _, fault, cycles = self.outcomes[self.started]
            status = Status.BAD_DESCRIPTOR if fault else Status.OK
            payload = [cycles & 0xFFFFFFFF, cycles >> 32]
        elif opcode == Opcode.COUNTERS:
            payload = [half for value in self.counters
                       for half in (value & 0xFFFFFFFF, value >> 32)]
            self.uncounted += 1 + len(payload)
        self.answer(opcode, status, payload)

    def answer(self, opcode: int, status: int, payload: Sequence[int] = ()) -> None:
        first = isa.RESPONSE_SYNC << 24 | opcode << 20 | status << 16 | len(payload)
        *words, last = first, *payload
        self.answers.expect(*words, last | LAST)


class Surroundings:
    """The memories and the sequencer, as far as the decoder sees them."""

    def __init__(self, bench: Bench, model: Model, outcomes: list[tuple[int, bool, int]]) -> None:
        self.bench = bench
        self.dut = bench.dut
        self.model = model
        self.outcomes = outcomes
        self.rng = bench.rng("surroundings")
        self.buffer = [0] * len(model.buffer)
        self.program = [0] * len(model.program)
        self.counted = {"count_in": 0, "count_out": 0}
        cocotb.start_soon(self.memory("host_read", HOST_READ_LATENCY,
                                      lambda addr: self.buffer[addr // 4]))
        cocotb.start_soon(self.memory("program_read", PROGRAM_READ_LATENCY,
                                      lambda addr: self.program[addr]))
        cocotb.start_soon(self.registers())
        cocotb.start_soon(self.sequencer())

    def port(self, name: str) -> int:
        return int(getattr(self.dut, name).value)

    def host_write(self, payload: int) -> None:
        addr, word = payload & 0xFFFFFF, payload >> 24
        self.buffer[addr // 4] = word
        self.model.writes.see(("host", addr, word))

    def program_write(self, payload: int) -> None:
        addr, word = payload & 0xFFFF, payload >> 16
        self.program[addr] = word
        self.model.writes.see(("program", addr, word))

    async def memory(self, name: str, latency: int, contents: Callable[[int], int]) -> None:
        """Answer reads that come over a stream."""
        valid, word = getattr(self.dut, f"{name}_valid"), getattr(self.dut, f"{name}_data")
        due: deque[int | None] = deque([None] * (latency - 1))
        while True:
            await self.bench.cycle()
            taken = self.port(f"{name}__valid") and self.port(f"{name}__ready")
            due.append(contents(self.port(f"{name}__payload")) if taken else None)
            answer = due.popleft()
            valid.value = answer is not None
            word.value = self.rng.getrandbits(32) if answer is None else answer

    async def registers(self) -> None:
        """See what is written without a handshake, and the strobes."""
        while True:
            await self.bench.cycle()
            if self.port("parameter_en"):
                self.model.writes.see(("parameter", self.port("parameter_entry"),
                                       self.port("parameter_word"), self.port("parameter_data")))
            if self.port("filter_en"):
                self.model.writes.see(("filter", self.port("filter_columns"),
                                       self.port("filter_block"), self.port("filter_addr"),
                                       self.port("filter_data")))
            for name in self.counted:
                self.counted[name] += self.port(name)

    async def sequencer(self) -> None:
        """Be busy for a while after each start; be as late to say so as is allowed."""
        for busy_cycles, fault, done_cycles in self.outcomes[1:]:
            await self.bench.cycle()
            while not self.port("run_start"):
                await self.bench.cycle()
            self.model.runs.see((self.port("run_address"), self.port("run_count")))
            for _ in range(self.rng.randrange(3)):
                await self.bench.cycle()
                assert not self.port("run_start")
            self.dut.busy.value = 1
            for _ in range(busy_cycles):
                await self.bench.cycle()
                assert not self.port("run_start")
            self.dut.busy.value = 0
            self.dut.fault.value = fault
            self.dut.done_cycles.value = done_cycles


def random_words(rng: random.Random, sizes: Mapping[str, Any]) -> list[int]:
    """Make a command with its data, good or bad, or words that are none."""
    kind = rng.random()
    if kind < 0.05:
        return [rng.getrandbits(24) | rng.choice([0, 0x4E, 0x52, 0xFF]) << 24
                for _ in range(rng.randint(1, 3))]
    if kind < 0.45:
        opcode = Opcode.WRITE
    elif kind < 0.65:
        opcode = Opcode.READ
    elif kind < 0.97:
        opcode = rng.choice([Opcode.INFO, Opcode.RUN, Opcode.RUN, Opcode.WAIT, Opcode.WAIT,
                             Opcode.COUNTERS, Opcode.CLEAR])
    else:
        opcode = rng.choice([0, *range(8, 16)])

    memory = rng.randrange(4 if opcode != Opcode.READ else 2)
    if rng.random() < 0.1:
        memory = rng.randrange(16)
    words, step = {
        Memory.GLOBAL_BUFFER: (sizes["buffer_bytes"] // 4, 4),
        Memory.PROGRAM: (sizes["program_depth"], 1),
        Memory.PARAMETERS: (3 * sizes["parameter_depth"], 1),
        Memory.FILTER: (sizes["filter_depth"], 1),
    }.get(memory, (20, 1))
    count = rng.choice([0, 1, 2, 3, 3, 6, 12, 15, words])
    if memory == Memory.PARAMETERS:
        words //= 3
    address = step * rng.choice([0, rng.randrange(words), max(0, words - count), words - 1, words])
    if memory == Memory.FILTER:
        address |= rng.choice([0, 0, 1, 1, 2, 255]) << 24
    if rng.random() < 0.1:
        address = rng.choice([address + 1, rng.getrandbits(32), 0xFFFFFFFF])
    if opcode == Opcode.READ and rng.random() < 0.05:
        count = rng.choice([0x10000, 0xFFFFFFFF])
    header = command(opcode, memory=memory, operand=rng.getrandbits(16), address=address,
                     count=count)
    return [*header, *(rng.getrandbits(32) for _ in range(count if opcode == Opcode.WRITE else 0))]


# At 0.9 answers leave more slowly than commands come, so that their FIFO fills.
@bench_test(cycles=60_000, p_idle=[0, 0.5], p_stall=[0, 0.5, 0.9])
async def random_commands(bench: Bench, p_idle: float, p_stall: float) -> None:
    """Send commands and noise; everything around the decoder stalls with ``p_stall``."""
    rng, dut = bench.rng("commands"), bench.dut
    counters = [rng.getrandbits(isa.COUNTER_WIDTH) for _ in isa.COUNTERS]
    dut.counters.value = sum(value << isa.COUNTER_WIDTH * n for n, value in enumerate(counters))
    outcomes = [(0, False, 0)]
    outcomes += [(rng.choice([0, 1, 5, 40]), rng.random() < 0.3, rng.getrandbits(isa.COUNTER_WIDTH))
                 for _ in range(COMMANDS)]
    dut.busy.value, dut.fault.value, dut.done_cycles.value = 0, 0, 0

    model = Model(bench, outcomes, counters)
    surroundings = Surroundings(bench, model, outcomes)
    source = bench.source("i", p_idle=p_idle)
    bench.monitor("i", model.feed)
    bench.sink("o", p_stall=p_stall)
    bench.monitor("o", model.answers.see)
    for name, see in (("host_write", surroundings.host_write), ("host_read", lambda _: None),
                      ("program_write", surroundings.program_write),
                      ("program_read", lambda _: None)):
        bench.sink(name, p_stall=p_stall)
        bench.monitor(name, see)

    words = [word for _ in range(COMMANDS) for word in random_words(rng, bench.parameters)]
    source.send(*words)
    await bench.finish()
    assert surroundings.counted == {"count_in": len(words),
                                    "count_out": model.answers.seen - model.uncounted}
    assert surroundings.buffer == model.buffer
    assert surroundings.program == model.program
