"""What the assembler of microprograms refuses, and what it makes of a program."""

import pytest
from oarlock.gen.config import load_config
from oarlock.hw.micro_assembler import Microprogram, high, memory
from oarlock.hw.micro_commands import MemoryMap, microprogram
from oarlock.hw.micro_word import MICRO_WORD, Base, Branch, Source


def fields(word):
    return MICRO_WORD.from_bits(word)


def test_an_instruction():
    p = Microprogram()
    p.label("here")
    p.op("subtract", high(3), acc=True, to="a")
    p.op("load", memory(-16), to="b", read=True)
    p.branch("here", "not zero", fill=False)
    p.op("decrement", "a", to="a")
    first, second, third, fourth = map(fields, p.words())
    assert (first.source, first.imm, first.base, first.invert) == (Source.HIGH, 3, Base.ACC, 1)
    assert (second.size, second.signed, second.read, second.register) == (2, 1, 1, 1)
    assert (third.branch, third.imm) == (Branch.NOT_ZERO, 0)
    assert (fourth.base, fourth.source, fourth.register) == (Base.ONES, Source.REGISTER, 0)


def test_an_instruction_moves_behind_a_jump_but_not_behind_a_condition():
    p = Microprogram()
    p.load(1)
    p.load(2)
    p.branch("end")
    p.load(3)
    p.branch("end", "zero")
    p.label("end")
    p.nop()
    words = [fields(word) for word in p.words()]
    assert [word.branch for word in words] == [0, Branch.ALWAYS, 0, 0, Branch.ZERO, 0, 0]
    assert [word.imm for word in words] == [1, 6, 2, 3, 6, 0, 0]


@pytest.mark.parametrize("jump", [False, True])
def test_a_register_is_not_read_right_behind_its_write(jump):
    p = Microprogram()
    p.nop()
    p.label("read")
    p.load("a")
    p.nop()
    if jump:
        p.branch("read", fill=False)
    p.load(7, to="a")
    if not jump:
        p.load("a")
    p.nop()
    with pytest.raises(ValueError, match=r"^Register 'a' must not be read at \d, right behind \d"):
        p.words()


@pytest.mark.parametrize(("wrong", "text"), [
    (lambda p: p.load(1 << 16), "Immediate must have 16 bits, not 65536"),
    (lambda p: p.op("load", "a", to="b"), "Register to be written must be 'a', not 'b'"),
    (lambda p: [p.label("a"), p.label("a")], "Label must be new, not 'a'"),
    (lambda p: [p.load(f"r{n}") for n in range(257)],
     "Registers must be at most 256, 'r256' is one more"),
    (lambda p: [p.label("a"), p.branch("a", x=3), p.words()],
     "Instruction 0 must have no number beside its target"),
])
def test_what_is_no_instruction_is_refused(wrong, text):
    with pytest.raises(ValueError) as error:
        wrong(Microprogram())
    assert str(error.value) == text


def test_the_microprogram_fits_its_block_rams():
    config = load_config("icebreaker")
    assert len(microprogram(config).words()) <= 1024
    where = MemoryMap(config)
    assert where.filter + 4 * where.filter_bytes == 1 << 17
