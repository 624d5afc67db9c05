"""The microinstructions of the compact core: what one word of its control store does."""

from enum import IntEnum

from amaranth.lib import data


__all__ = ["MICRO_WORD", "REGISTERS", "Base", "Branch", "Carry", "Flag", "Source", "Strobe", "Wait",
           "When"]

#: Registers of the register file.
REGISTERS = 256


class Source(IntEnum):
    """Where the second operand, X, comes from."""

    REGISTER = 0   #: The register file.
    LOW = 1        #: ``imm``.
    HIGH = 2       #: ``imm`` in the upper half.
    MEMORY = 3     #: What was read last: its lowest ``size`` bytes, extended.
    LINK = 4       #: The word that the host sends.
    PRODUCT = 5    #: Of the multiplier.
    SUM = 6        #: Of the selected column, at the selected position.
    TIMER = 7


class Base(IntEnum):
    """The first operand."""

    ZERO = 0
    ACC = 1
    ONES = 2    #: -1
    WORD = 3    #: 4, the bytes of a word.


class Carry(IntEnum):
    """What comes into the lowest bit of the adder."""

    ZERO = 0
    ONE = 1
    ROUND = 2   #: The last bit that the multiplier shifted out.


class When(IntEnum):
    """Whether accumulator and register are written."""

    ALWAYS = 0
    SET = 1     #: If the flag was set before.
    CLEAR = 2


class Flag(IntEnum):
    """What the flag becomes."""

    KEEP = 0
    SIGN = 1    #: The true sign of the signed result, which may not fit.
    BELOW = 2   #: A difference of unsigned operands is negative.


class Branch(IntEnum):
    """What is executed after the instruction behind this one."""

    NONE = 0
    ALWAYS = 1
    FLAG = 2
    NOT_FLAG = 3
    ZERO = 4       #: The accumulator was zero before this instruction.
    NOT_ZERO = 5
    INDIRECT = 6   #: At the address in the accumulator.


class Wait(IntEnum):
    """What has to be idle before this instruction is executed."""

    NONE = 0
    STREAM = 1
    MULTIPLY = 2


class Strobe(IntEnum):
    """What is done with the result, Y, beside writing it to the accumulator or a register."""

    NONE = 0
    STORE = 1           #: Write the accumulator to the word at Y.
    STORE_BYTE = 2      #: Write its lowest byte to the byte at Y.
    TAKE = 3            #: Take the host's word; waits for one.
    ANSWER = 4          #: Y is a word of an answer; waits until it is taken.
    ANSWER_LAST = 5     #: It is the last one.
    ANSWER_COUNTED = 6  #: It is the last one if the accumulator is zero.
    ADDRESS = 7         #: Of the first position of a row, or of its first output.
    COLUMN = 8          #: Likewise, in bytes from the left edge of the image.
    STEP = 9            #: Bytes between positions.
    LIMIT = 10          #: Bytes of a row of the image.
    IN_ROWS = 11        #: The row is in the image if Y, a difference, is below zero unsigned.
    ZERO_POINT = 12     #: What positions outside of the image read as.
    FOLD = 13           #: The bytes of a word are consecutive along the columns.
    STREAM = 14         #: Send Y positions.
    WEIGHTS = 15        #: Four weights that were read, for the column ``register``.
    POSITION = 16       #: Where the next sums are.
    NEXT_POSITION = 17
    SELECT = 18         #: Column of SUM; with bit 2, CLEAR_SUMS is obeyed.
    CLEAR_SUMS = 19     #: At the position of the cycle before, in all columns.
    VALUE = 20          #: Load the multiplicand.
    SHIFT = 21          #: Shift it to the left Y times, saturating.
    FACTOR = 22         #: Load the multiplier.
    MULTIPLY = 23       #: Y // 2 digits of it, two a cycle.
    TIMER_CLEAR = 24    #: And stop it.
    TIMER_START = 25
    STORE_NEXT = 26     #: Write the accumulator's lowest byte where ADDRESS is, and step that.
    SCALE = 27          #: VALUE, SHIFT, FACTOR, MULTIPLY, the latter three as they were last.


#: One word. ``read``: Y is an address of the memory.
MICRO_WORD = data.StructLayout({
    "imm": 16, "register": 8, "source": 3, "size": 2, "signed": 1, "base": 2, "invert": 1,
    "carry": 2, "logic": 1, "acc": 1, "write": 1, "when": 2, "flag": 2, "branch": 3, "wait": 2,
    "read": 1, "strobe": 5,
})
