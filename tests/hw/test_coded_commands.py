# amaranth: UnusedElaboratable=no
"""Commands whose data are run-length coded, through the command decoder."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from oarlock.hw import isa
from oarlock.hw.command_check import CommandCheck
from oarlock.hw.isa import CODED_OPERAND, Memory, Opcode, Status, command
from oarlock.sw_driver.run_length import decode, encode
from test_command_decoder import SIZES, WRITES, Rig, answer, write
from test_run_length import ZERO, malformed_blocks, values_of


OPERAND = CODED_OPERAND | ZERO & 0xFF
WORDS = SIZES["buffer_bytes"] // 4


class CodedRig(Rig):
    """A decoder with a codec, over a buffer of words."""

    def __init__(self, words, buffer=(), **options):
        super().__init__(words, **{"run_length": True, "extra": 250} | options)
        self.buffer = [int(word) for word in buffer]

    def contents(self, name, address):
        return (self.buffer[address // 4] if name == "host_read"
                else super().contents(name, address))


def coded(address, block, operand=OPERAND):
    return write(Memory.GLOBAL_BUFFER, address, [int(word) for word in block], operand=operand)


def read(address, count, operand=OPERAND):
    return command(Opcode.READ, operand=operand, address=address, count=count)


def written(address, words):
    return [("host_write", address + 4 * n, int(word)) for n, word in enumerate(words)]


def busy(rig, period):
    """Let the buffer and who takes the answers wait most of the time."""
    rng = random.Random(period)
    rig.settings = {n: {name: rng.randrange(period) == 0 for name in
                        ("host_write.ready", "host_read.ready", "o.ready")} for n in range(20_000)}
    return rig


@pytest.mark.parametrize("period", [1, 4])
def test_blocks_are_written(period):
    rng = random.Random(3)
    words, expected = [], []
    for zeros in (0, 0.5, 1):
        for count in (0, 1, 2, 5, 12):
            values = values_of(rng, count, zeros)
            address = 4 * rng.randrange(WORDS - count + 1)
            for form in (True, False):
                words += coded(address, encode(values, ZERO, coded=form))
                expected += written(address, values)
            # What is not coded goes on as before.
            words += write(Memory.GLOBAL_BUFFER, 8, [count, 7])
            expected += written(8, [count, 7])
    rig = busy(CodedRig(words), period).run()
    assert rig.seen(*WRITES) == expected
    assert rig.answers == 45 * answer(Opcode.WRITE)


@pytest.mark.parametrize("period", [1, 4])
def test_blocks_are_read(period):
    rng = random.Random(4)
    for zeros in (0, 0.5, 1):
        buffer = values_of(rng, WORDS, zeros)
        words, expected = [], []
        for address, count in ((0, WORDS), (4, 7), (12, 1), (8, 0), (96, 0), (92, 1)):
            part = buffer[address // 4:address // 4 + count]
            words += read(address, count) + read(address, count, operand=0)
            expected += answer(Opcode.READ, payload=encode(part, ZERO).tolist())
            expected += answer(Opcode.READ, payload=part.tolist())
        rig = busy(CodedRig(words, buffer), period).run()
        assert rig.answers == expected


def test_an_answer_is_at_most_a_word_longer_than_raw():
    buffer = np.arange(WORDS, dtype="<u4") * 0x01020304 + 0x01010101
    rig = CodedRig(read(0, WORDS), buffer).run()
    assert rig.answers == answer(Opcode.READ, payload=[WORDS, *buffer.tolist()])


@pytest.mark.parametrize("period", [1, 4])
def test_malformed_blocks_are_answered(period):
    rng = random.Random(5)
    good = values_of(rng, 9, 0.6)
    words, statuses = [], []
    for name, block in malformed_blocks(rng):
        words += coded(0, block) + coded(60, encode(good, ZERO))
        # Noise might mean something; what it means need not fit.
        statuses.append((name, None if name.startswith("noise") else Status.BAD_CODE))
    rig = busy(CodedRig(words), period).run()
    assert len(rig.answers) == 2 * len(statuses) > 10
    for (name, status), found in zip(statuses, rig.answers[::2], strict=True):
        assert isa.response_fields(found)[2] == status or status is None, name
    assert rig.answers[1::2] == len(statuses) * answer(Opcode.WRITE)
    # Nothing lies outside of the buffer, and every good block arrived whole.
    writes = rig.seen("host_write")
    assert all(0 <= address <= 92 for _, address, _ in writes)
    final = written(60, good)
    starts = [n for n in range(len(writes)) if writes[n:n + len(final)] == final]
    assert len(starts) >= len(statuses)


def test_a_count_that_cuts_a_block_short_or_goes_on():
    rng = random.Random(6)
    block = encode(values_of(rng, 20, 0.5), ZERO, coded=True).tolist()
    rig = CodedRig([
        *coded(0, block[:-1]), *coded(0, [*block, 0]), *coded(0, block[:1]), *coded(0, []),
        *coded(0, block)]).run()
    assert rig.answers == 4 * answer(Opcode.WRITE, Status.BAD_CODE) + answer(Opcode.WRITE)
    assert rig.seen("host_write")[-20:] == written(0, decode(np.array(block), ZERO))


def test_where_a_block_does_not_fit():
    rng = random.Random(7)
    values = values_of(rng, 6, 0.5)
    block = encode(values, ZERO, coded=True)
    rig = CodedRig([
        *coded(96 - 24, block), *coded(96 - 20, block), *coded(96, block), *coded(100, block),
        *coded(2, block), *coded(0xFFFFFFFC, block), *coded(1 << 24, block),
        *coded(96, [0]), *read(2, 1), *read(96, 1), *read(4, WORDS), *command(Opcode.CLEAR),
    ], [0] * WORDS).run()
    good, bad = answer(Opcode.WRITE), answer(Opcode.WRITE, Status.BAD_ADDRESS)
    assert rig.answers == [*good, *(6 * bad), *good,
                           *(3 * answer(Opcode.READ, Status.BAD_ADDRESS)), *answer(Opcode.CLEAR)]
    assert rig.seen("host_write") == written(72, values) + written(76, values[:5])


@pytest.mark.parametrize(("count", "status"), [
    (0xFFFE, Status.OK), (0xFFFF, Status.BAD_ADDRESS), (0x1FFFE, Status.BAD_ADDRESS)])
def test_the_longest_block_that_an_answer_can_state(count, status):
    sizes = {name: value for name, value in SIZES.items() if name != "cols"}
    dut = CommandCheck(**sizes | {"buffer_bytes": 1 << 20}, run_length=True)

    async def testbench(ctx):
        ctx.set(dut.header, {"opcode": Opcode.READ, "operand": OPERAND})
        await ctx.tick()
        ctx.set(dut.count, count)
        assert ctx.get(dut.coded)
        assert ctx.get(dut.status) == status

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_without_a_codec_blocks_are_refused():
    words = [*coded(0, [1, 2]), *coded(0, []), *read(0, 2), *write(Memory.GLOBAL_BUFFER, 0, [5]),
             *read(0, 1, operand=0)]
    rig = CodedRig(words, [9], run_length=False).run()
    assert rig.answers == [*(2 * answer(Opcode.WRITE, Status.BAD_CODE)),
                           *answer(Opcode.READ, Status.BAD_CODE), *answer(Opcode.WRITE),
                           *answer(Opcode.READ, payload=[9])]
    assert rig.seen(*WRITES) == written(0, [5])


def test_the_bit_is_one_of_the_global_buffer_only():
    rig = CodedRig([
        *write(Memory.PROGRAM, 1, [3], operand=0xFFFF),
        *write(Memory.FILTER, 1, [4], operand=0x8000 | 1),
        *command(Opcode.READ, memory=Memory.PROGRAM, operand=0xFFFF, address=2, count=1)]).run()
    assert rig.answers == [*(2 * answer(Opcode.WRITE)), *answer(Opcode.READ, payload=[0xD002])]
    assert rig.seen(*WRITES) == [("program_write", 1, 3), ("filter", 1, 0, 1, 4, 0, 0, 0)]
