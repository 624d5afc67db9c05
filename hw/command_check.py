"""Which commands can be executed: opcodes, memories and address ranges."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .isa import Memory, Opcode, Status


__all__ = ["COMMAND", "CommandCheck"]

#: The first word of a command.
COMMAND = data.StructLayout({"operand": 16, "memory": 4, "opcode": 4, "sync": 8})


def _divisible_by_3(value):
    """Return whether 3 divides an unsigned value."""
    # 4 % 3 == 1, so a number and the sum of its base-4 digits leave the same remainder. The sums
    # are taken modulo 3, where 3 stands for 0 too, in a tree: two LUTs an addition.
    digits = [value.word_select(n, 2) for n in range(len(value) // 2)]
    while len(digits) > 1:
        sums = [(a + b)[:2] + (a + b)[2] for a, b in zip(digits[::2], digits[1::2], strict=False)]
        digits = [total[:2] for total in sums] + digits[len(sums) * 2:]
    return digits[0].matches(0, 3)


class CommandCheck(wiring.Component):
    """Find the status that a command is answered with.

    Parameters
    ----------
    rows : :class:`int`
        PEs down.
    buffer_bytes, program_depth, parameter_depth, filter_depth : :class:`int`
        Sizes of the memories in the units of :class:`isa.Memory`; the depths 65536 at most.
    run_length : :class:`bool`
        Whether blocks can be executed.

    Members
    -------
    header, address : ``In(COMMAND)``, ``In(32)``
        The first two words.
    count : ``In(32)``
        The third, at least :attr:`LATENCY` cycles after the others.
    coded : ``Out(1)``
        A ``WRITE`` or ``READ`` is one of a block; from the header alone. Of a ``WRITE``, only the
        address is checked.
    status : ``Out(4)``
        :class:`isa.Status`, in the same cycle as ``count``. A ``RUN`` is only checked for as many
        words as it has descriptors: their kinds tell how long they are.
    """

    #: From the address to the status.
    LATENCY = 1

    def __init__(self, *, rows, buffer_bytes, program_depth, parameter_depth, filter_depth,
                 run_length):
        self.rows = rows
        self.run_length = run_length
        self.buffer_bytes = buffer_bytes
        self.program_depth = program_depth
        self.parameter_depth = parameter_depth
        self.filter_depth = filter_depth

        super().__init__({
            "header":  In(COMMAND),
            "address": In(32),
            "count":   In(32),
            "coded":   Out(1),
            "status":  Out(4),
        })

    def elaborate(self, platform):
        m = Module()

        start   = Signal(34)    # in words of the link, as is the count
        limit   = Signal(range(max(self.buffer_bytes // 4, self.program_depth,
                                   3 * self.parameter_depth, self.filter_depth) + 1))
        aligned = Signal()
        with m.Switch(Mux(self.header.opcode == Opcode.RUN, Memory.PROGRAM, self.header.memory)):
            with m.Case(Memory.GLOBAL_BUFFER):
                m.d.comb += [
                    start.eq(self.address >> 2),
                    limit.eq(self.buffer_bytes // 4),
                    aligned.eq(self.address[:2] == 0),
                ]
            with m.Case(Memory.PROGRAM):
                m.d.comb += [
                    start.eq(self.address),
                    limit.eq(self.program_depth),
                    aligned.eq(1),
                ]
            with m.Case(Memory.PARAMETERS):
                m.d.comb += [
                    # An addition; a multiplication would take a DSP block.
                    start.eq(self.address + (self.address << 1)),
                    limit.eq(3 * self.parameter_depth),
                    # A count of more bits than these is out of range anyway.
                    aligned.eq(_divisible_by_3(self.count[:18])),
                ]
            with m.Case(Memory.FILTER):
                m.d.comb += [
                    start.eq(self.address[:24]),
                    limit.eq(self.filter_depth),
                    aligned.eq(self.address[24:] < -(-self.rows // 4)),
                ]

        # One carry chain a cycle: this one while the count arrives.
        left = Signal(signed(36))
        m.d.sync += left.eq(limit - start)

        in_range = Signal()
        begins   = Signal()
        m.d.comb += [
            self.coded.eq((self.header.memory == Memory.GLOBAL_BUFFER)
                          & ((self.header.operand & isa.CODED_OPERAND) != 0)),
            in_range.eq(aligned & (self.count <= left)),
            begins.eq(aligned & (left >= 0)),
        ]
        no_block = self.coded & (self.count == 0) if self.run_length else self.coded
        with m.Switch(self.header.opcode):
            with m.Case(Opcode.WRITE):
                with m.If(self.header.memory >= len(Memory)):
                    m.d.comb += self.status.eq(Status.BAD_MEMORY)
                with m.Elif(no_block):
                    m.d.comb += self.status.eq(Status.BAD_CODE)
                with m.Elif(~Mux(self.coded, begins, in_range)):
                    m.d.comb += self.status.eq(Status.BAD_ADDRESS)
            with m.Case(Opcode.READ):
                with m.If(~self.header.memory.matches(Memory.GLOBAL_BUFFER, Memory.PROGRAM)):
                    m.d.comb += self.status.eq(Status.BAD_MEMORY)
                if not self.run_length:
                    with m.Elif(self.coded):
                        m.d.comb += self.status.eq(Status.BAD_CODE)
                # A block may have a word more, and an answer states up to 65,535.
                with m.Elif(~in_range | self.count[16:].any()
                            | (self.coded & self.count[:16].all())):
                    m.d.comb += self.status.eq(Status.BAD_ADDRESS)
            with m.Case(Opcode.RUN):
                with m.If(~in_range):
                    m.d.comb += self.status.eq(Status.BAD_ADDRESS)
            with m.Case(Opcode.INFO, Opcode.WAIT, Opcode.COUNTERS, Opcode.CLEAR):
                m.d.comb += self.status.eq(Status.OK)
            with m.Default():
                m.d.comb += self.status.eq(Status.BAD_OPCODE)

        return m
