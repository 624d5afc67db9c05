"""Commands of the compact core, Verilated, beside a model of what isa.py says about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from oarlock.gen.config import ArrayConfig, load_config
from oarlock.gen.verilog import verilog_of
from oarlock.hw import isa
from oarlock.hw.isa import Memory, Opcode, Status
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.transport import SimTransport


CONFIG = load_config("icebreaker", filter_depth=64, accumulator_depth=8, buffer_bytes=1024,
                     parameter_depth=16, program_depth=128)

PATIENCE = 100_000


class Model:
    """What the device answers to commands that start nothing."""

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self.readable = {Memory.GLOBAL_BUFFER: [0] * (config.buffer_bytes // 4),
                         Memory.PROGRAM: [0] * config.program_depth}

    def status(self, opcode: int, memory: int, operand: int, address: int, count: int) -> Status:
        config = self.config
        if not 1 <= opcode <= 7:
            return Status.BAD_OPCODE
        if opcode == Opcode.RUN:
            memory = Memory.PROGRAM
        elif opcode not in (Opcode.WRITE, Opcode.READ):
            return Status.OK
        if memory > (Memory.PROGRAM if opcode == Opcode.READ else Memory.FILTER):
            return Status.BAD_MEMORY
        if opcode != Opcode.RUN and memory == Memory.GLOBAL_BUFFER and operand & isa.CODED_OPERAND:
            return Status.BAD_CODE
        start, size, aligned = {
            Memory.GLOBAL_BUFFER: (address // 4, config.buffer_bytes // 4, address % 4 == 0),
            Memory.PROGRAM: (address, config.program_depth, True),
            Memory.PARAMETERS: (3 * address, 3 * config.parameter_depth, count % 3 == 0),
            Memory.FILTER: (address, config.filter_depth, operand in (1, 2, 4, 8)),
        }[Memory(memory)]
        return Status.OK if aligned and start + count <= size else Status.BAD_ADDRESS

    def answer(self, command: list[int], data: list[int]) -> list[int]:
        head, address, count = command
        opcode, memory, operand = head >> 20 & 15, head >> 16 & 15, head & 0xFFFF
        status = self.status(opcode, memory, operand, address, count)
        payload = []
        moves = opcode in (Opcode.READ, Opcode.WRITE) and status == Status.OK
        if moves and memory in self.readable:
            cells = self.readable[Memory(memory)]
            start = address // 4 if memory == Memory.GLOBAL_BUFFER else address
            if opcode == Opcode.WRITE:
                cells[start:start + count] = data
            else:
                payload = cells[start:start + count]
        elif opcode == Opcode.INFO:
            payload = list(self.config.info().values())
        elif opcode == Opcode.WAIT:
            payload = [0, 0]
        elif opcode == Opcode.COUNTERS:
            payload = [0] * isa.COUNTER_WORDS
        return [isa.RESPONSE_SYNC << 24 | opcode << 20 | status << 16 | len(payload), *payload]


@pytest.fixture(scope="module")
def transport() -> Iterator[SimTransport]:
    with Simulator(build(verilog_of(CONFIG))) as simulator:
        yield SimTransport(simulator)


def exchange(transport: SimTransport, words: list[int], answers: list[int]) -> None:
    found = transport.exchange(np.array(words, np.uint32), len(answers), PATIENCE)
    assert [hex(word) for word in found.tolist()] == [hex(word) for word in answers]


def cleared(transport: SimTransport, model: Model) -> None:
    """Zero the memories that can be read, as the model has them."""
    for memory, cells in model.readable.items():
        command = isa.command(Opcode.WRITE, memory=memory, count=len(cells))
        exchange(transport, [*command, *cells], model.answer(command, cells))


def test_info_wait_counters_and_clear(transport: SimTransport) -> None:
    model = Model(CONFIG)
    for opcode in (Opcode.INFO, Opcode.WAIT, Opcode.COUNTERS, Opcode.CLEAR):
        command = isa.command(opcode)
        exchange(transport, command, model.answer(command, []))


def test_drawn_commands(transport: SimTransport) -> None:
    """Addresses and counts about the ends of all memories, good and bad, many at a time."""
    rng = np.random.default_rng(1)
    model = Model(CONFIG)
    cleared(transport, model)
    seen = set()
    words: list[int] = []
    answers: list[int] = []
    for _ in range(800):
        opcode = int(rng.choice([Opcode.WRITE, Opcode.WRITE, Opcode.READ, Opcode.RUN, 0, 8, 15]))
        memory = int(rng.integers(0, 6))
        operand = int(rng.choice([0, 1, 2, 4, 8, 3, 16, isa.CODED_OPERAND]))
        end = {0: CONFIG.buffer_bytes, 1: CONFIG.program_depth, 2: CONFIG.parameter_depth}.get(
            memory, CONFIG.filter_depth)
        address = int(rng.choice([0, 4, end // 2, end - 8, end - 4, end - 3, end - 1, end, end + 4,
                                  1 << 24, 0xFFFFFFFC, 0xFFFFFFFF]))
        count = int(rng.choice([0, 1, 2, 3, 6, 9, end // 4, end]))
        if opcode in (Opcode.READ, Opcode.RUN):
            count = int(rng.choice([count, 0xFFFFFFFF, 1 << 30]))
        if opcode == Opcode.RUN:
            # What is good would run.
            count = 0 if model.status(opcode, 0, 0, address, count) == Status.OK else count
        command = isa.command(opcode, memory=memory, operand=operand, address=address % (1 << 32),
                              count=count)
        data = rng.integers(0, 1 << 32, count, np.uint32).tolist() if opcode == Opcode.WRITE else []
        if rng.random() < 0.1:
            # Not a command; dropped.
            words.append(int(rng.integers(0, 0x4F000000)))
            answers.append(isa.RESPONSE_SYNC << 24 | Status.BAD_SYNC << 16)
        words += command + data
        answers += model.answer(command, data)
        seen.add((opcode, answers[-1] >> 16 & 15 if not data else None))
    exchange(transport, words, answers)
    for memory, cells in model.readable.items():
        command = isa.command(Opcode.READ, memory=memory, count=len(cells))
        exchange(transport, command, model.answer(command, []))
    assert len(seen) > 8


def test_a_word_is_where_it_was_written(transport: SimTransport) -> None:
    """The memories lie beside each other, not on each other."""
    model = Model(CONFIG)
    cleared(transport, model)
    for memory, operand, count in ((Memory.PARAMETERS, 0, 3 * CONFIG.parameter_depth),
                                   *((Memory.FILTER, 1 << n, CONFIG.filter_depth)
                                     for n in range(4))):
        command = isa.command(Opcode.WRITE, memory=memory, operand=operand, count=count)
        exchange(transport, command + [0xDEADBEEF] * count, model.answer(command, []))
    for memory, cells in model.readable.items():
        command = isa.command(Opcode.READ, memory=memory, count=len(cells))
        exchange(transport, command, model.answer(command, []))


def test_a_bad_descriptor_ends_the_run(transport: SimTransport) -> None:
    fill = isa.pack(isa.VECTOR_FIELDS, {
        "kind": isa.DescriptorKind.VECTOR, "op": isa.VectorOp.MAX, "multiplier": 1 << 30,
        "shift": 1, "low": 5, "high": 5, "window_y_count": 1, "window_x_count": 1,
        "channels": 3, "x_count": 1, "y_count": 1, "out_base": 64})
    bad = isa.pack(isa.CONV_FIELDS, {"kind": isa.DescriptorKind.CONV})[:4]
    ok = isa.RESPONSE_SYNC << 24
    for program, count, status in (([*fill, *bad], 2, Status.BAD_DESCRIPTOR), (fill, 1, Status.OK)):
        words = [*isa.command(Opcode.WRITE, memory=Memory.PROGRAM, count=len(program)), *program,
                 *isa.command(Opcode.CLEAR), *isa.command(Opcode.RUN, count=count),
                 *isa.command(Opcode.WAIT),
                 *isa.command(Opcode.READ, address=64, count=1)]
        found = transport.exchange(np.array(words, np.uint32), 8, PATIENCE).tolist()
        assert found[:3] == [ok | opcode << 20
                             for opcode in (Opcode.WRITE, Opcode.CLEAR, Opcode.RUN)]
        assert found[3] == ok | Opcode.WAIT << 20 | status << 16 | 2
        assert found[4] > 0 and found[5] == 0
        assert found[7] & 0xFFFFFF == 0x050505


def test_a_wrong_bound_is_noticed(transport: SimTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Model.status

    def wrong(self: Model, *arguments: int) -> Status:
        status = right(self, *arguments)
        return Status.OK if status == Status.BAD_ADDRESS else status

    monkeypatch.setattr(Model, "status", wrong)
    command = isa.command(Opcode.WRITE, memory=Memory.PARAMETERS, count=4)
    with pytest.raises(AssertionError, match="0x52"):
        exchange(transport, command + [0] * 4, Model(CONFIG).answer(command, []))
