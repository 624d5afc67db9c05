"""The microprogram's main loop: commands, answers, and runs of descriptors."""

from . import isa
from .byte_memory import ByteMemory
from .isa import Memory, Opcode, Status
from .micro_assembler import Microprogram, high, memory
from .micro_convolution import convolution
from .micro_scale import prepare_scale
from .micro_vector import vector
from .micro_word import Flag, Source, Strobe, Wait


__all__ = ["MemoryMap", "microprogram"]


class MemoryMap:
    """Where the memories of :class:`isa.Memory` lie in the one that there is, in bytes.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Their sizes.

    Members
    -------
    buffer, filter, parameters, program : :class:`int`
        First bytes. Of the filters, those of a column follow each other, a word an entry;
        parameters take three words an entry.
    filter_bytes : :class:`int`
        From the filters of a column to those of the next.
    sizes : dict of :class:`isa.Memory` to :class:`int`
        Bytes; of FILTER, of one column.
    """

    def __init__(self, config):
        self.filter_bytes = 4 * config.filter_depth
        self.sizes = {
            Memory.GLOBAL_BUFFER: config.buffer_bytes, Memory.PROGRAM: 4 * config.program_depth,
            Memory.PARAMETERS: 12 * config.parameter_depth, Memory.FILTER: self.filter_bytes}
        self.buffer = 0
        self.program = config.buffer_bytes
        self.parameters = self.program + self.sizes[Memory.PROGRAM]
        self.filter = self.parameters + self.sizes[Memory.PARAMETERS]
        total = self.filter + 4 * self.filter_bytes
        if total > ByteMemory.BYTES:
            raise ValueError(f"Memories must fit {ByteMemory.BYTES} bytes, not {total}")


#: Opcodes in their order, by the label of what executes them.
HANDLERS = {
    Opcode.INFO: "info", Opcode.WRITE: "write", Opcode.READ: "read", Opcode.RUN: "run",
    Opcode.WAIT: "wait", Opcode.COUNTERS: "counters", Opcode.CLEAR: "clear",
}


def microprogram(config):
    """Return the microprogram of a configuration, a :class:`Microprogram`."""
    p = Microprogram()
    where = MemoryMap(config)
    _start(p, config)
    _dispatch(p)
    _info(p, config)
    _counters(p)
    _transfers(p, config, where)
    _run(p, config, where)
    prepare_scale(p)
    convolution(p, where)
    vector(p)
    return p


def _answer(opcode, status=Status.OK):
    """Return the upper half of an answer's first word."""
    return high(isa.RESPONSE_SYNC << 8 | opcode << 4 | status)


def _fail(p, status, label, register="status"):
    """Append a branch that takes along what went wrong, where an answer has its status."""
    p.load(high(status))
    p.branch(label, fill=False)
    p.keep(register)


def _start(p, config):
    """Zero the sums; what was under way when the reset came may have left some."""
    p.nop()
    p.load(0, to="done", do=Strobe.POSITION)
    p.load(4, do=Strobe.SELECT)
    p.load(config.accumulator_depth, to="count")
    p.nop()
    p.label("zero sums")
    p.op("decrement", "count", to="count", acc=True)
    # The position has held for a cycle.
    p.branch("zero sums", "not zero", fill=False, do=Strobe.CLEAR_SUMS)
    p.op("load", do=Strobe.NEXT_POSITION)
    p.load(0, to="fault")


def _dispatch(p):
    p.label("command")
    p.load(Source.LINK, to="head", do=Strobe.TAKE)
    p.op("and", high(0xFF00), acc=True)
    p.op("subtract", high(isa.COMMAND_SYNC << 8), acc=True)
    p.branch("bad sync", "not zero")
    p.load(Source.LINK, to="address", do=Strobe.TAKE)
    p.load(Source.LINK, to="count", do=Strobe.TAKE)
    # The operand's flag of coded data, in a register: not zero if set.
    p.load("head")
    p.op("and", isa.CODED_OPERAND, acc=True)
    p.keep("coded")
    p.load("head")
    p.op("and", high(0x000F), acc=True)
    p.keep("memory")
    p.load("head")
    p.op("and", high(0x00F0), acc=True)
    p.keep("opcode")
    # Each step is done behind the branch of the one before.
    p.op("subtract", high(0x0010), acc=True)
    for label in HANDLERS.values():
        p.branch(label, "zero", fill=False)
        p.op("subtract", high(0x0010), acc=True)
    p.load(_answer(0, Status.BAD_OPCODE))

    p.label("refuse")
    p.op("add", "opcode", do=Strobe.ANSWER_LAST)
    p.branch("command")
    p.label("bad sync")
    p.load(_answer(0, Status.BAD_SYNC), do=Strobe.ANSWER_LAST)
    p.branch("command")


def _info(p, config):
    p.label("info")
    p.load(_answer(Opcode.INFO))
    p.op("add", len(isa.INFO_FIELDS), do=Strobe.ANSWER)
    *fields, last = (config.info()[name] for name in isa.INFO_FIELDS)
    for value in fields:
        p.load_number(value, acc=False, do=Strobe.ANSWER)
    p.op("load", last, do=Strobe.ANSWER_LAST)
    p.branch("command")


def _counters(p):
    """Answer WAIT and COUNTERS: of counters, there is the first one only, ``cycles``."""
    p.label("wait")
    p.load("fault")
    p.op("add", _answer(Opcode.WAIT), acc=True)
    p.op("add", 2, do=Strobe.ANSWER)
    p.op("load", "done", do=Strobe.ANSWER)
    p.op("load", 0, do=Strobe.ANSWER_LAST)
    p.branch("command")

    p.label("counters")
    p.load(_answer(Opcode.COUNTERS))
    p.op("add", isa.COUNTER_WORDS, do=Strobe.ANSWER)
    p.op("load", "done", do=Strobe.ANSWER)
    p.load(isa.COUNTER_WORDS - 1, to="count")
    p.nop()
    p.label("counters left")
    p.op("decrement", "count", to="count", acc=True)
    p.op("load", 0, do=Strobe.ANSWER_COUNTED)
    p.branch("counters left", "not zero")
    p.branch("command")

    p.label("clear")
    p.load(0, do=Strobe.TIMER_CLEAR)
    p.load(_answer(Opcode.CLEAR), do=Strobe.ANSWER_LAST)
    p.branch("command")


def _transfers(p, config, where):
    """WRITE and READ, and the check of ranges that RUN needs, too."""
    def locate(memory, unit, base=None):
        """Go on at "bounds" with the memory's ``base``, ``size`` and unit of addresses."""
        size, bytes_an_address = where.sizes[memory], {"bytes": 1, "words": 4, "entries": 12}[unit]
        if base is not None:
            p.load_number(base)
            p.keep("base")
        p.load(size, to="size")
        p.load_label(f"address in {unit}", to="unit")
        p.load(size // bytes_an_address)
        p.branch("bounds")

    p.label("write")
    p.load(0, do=Strobe.TIMER_START)
    p.load("memory")
    for number in Memory:
        p.branch(f"locate {number}", "zero", fill=False)
        p.op("subtract", high(1), acc=True)
    _fail(p, Status.BAD_MEMORY, "drop")

    p.label("locate 0")
    p.load("coded")
    p.branch("no codec", "not zero")
    locate(Memory.GLOBAL_BUFFER, "bytes", where.buffer)
    p.label("locate 1")
    locate(Memory.PROGRAM, "words", where.program)

    p.label("locate 2")
    # A whole number of entries: subtract threes, from a count that is not too large.
    p.load("count")
    p.op("subtract", where.sizes[Memory.PARAMETERS] // 4 + 1, flag=Flag.BELOW)
    p.branch("out of range", "not flag")
    p.label("threes")
    p.branch("threes end", "zero", fill=False)
    p.op("subtract", 3, acc=True, flag=Flag.SIGN)
    p.branch("threes", "not flag")
    p.branch("out of range")
    p.label("threes end")
    locate(Memory.PARAMETERS, "entries", where.parameters)

    p.label("locate 3")
    # The upper byte of an address is the block of rows, of which there is one; so a larger address
    # is out of range. One column takes the data.
    p.load_number(where.filter)
    p.keep("base")
    p.load("head")
    p.op("and", 0xFFFF, acc=True)
    for column in range(4):
        p.op("subtract", (1 << column) - (1 << column >> 1), acc=True)
        p.branch(f"filter {column}", "zero")
    p.branch("out of range")
    for column in (3, 2, 1):
        p.label(f"filter {column}")
        p.load(where.filter_bytes)
        p.op("add", "base", to="base")
    p.label("filter 0")
    locate(Memory.FILTER, "words")

    # The largest address is in the accumulator. What is within bounds can't wrap below.
    p.label("bounds")
    p.op("subtract", "address", flag=Flag.BELOW)
    p.branch("out of range", "flag")
    p.load("size")
    p.op("subtract", "count", flag=Flag.BELOW)
    p.branch("out of range", "flag")
    p.load("unit")
    p.jump()
    p.label("address in bytes")
    p.load("address")
    p.op("and", 3, acc=True)
    p.branch("out of range", "not zero")
    p.branch("located", fill=False)
    p.load("address")
    p.label("address in entries")
    p.load("address")
    p.op("add", "address", acc=True)
    p.op("add", "address", acc=True)
    p.keep("address")
    p.nop()
    p.label("address in words")
    p.load("address")
    p.op("add", "address", to="address", acc=True)
    p.nop()
    p.op("add", "address", acc=True)
    p.label("located")
    p.keep("pointer")
    p.load("count")
    p.op("add", "count", acc=True)
    p.keep("bytes")
    p.nop()
    p.op("add", "bytes", acc=True)
    p.op("add", "pointer", acc=True)
    p.keep("end")
    p.load("size")
    p.op("subtract", "end", flag=Flag.BELOW)
    p.branch("in range", "not flag", fill=False)
    p.load("base")
    p.label("out of range")
    _fail(p, Status.BAD_ADDRESS, "refused")
    p.label("no codec")
    _fail(p, Status.BAD_CODE, "refused")

    p.label("in range")
    p.op("add", "pointer", to="pointer")
    # Who asked? WRITE is 1, READ 2, RUN 3 in what is left of the opcode.
    p.load("opcode")
    p.op("subtract", high(Opcode.RUN << 4), acc=True)
    p.branch("start", "zero", fill=False)
    p.op("add", high((Opcode.RUN - Opcode.READ) << 4), acc=True)
    p.branch("send", "zero")
    p.label("write words")
    p.load("count")
    p.branch("written", "zero")
    p.label("write word")
    p.load(Source.LINK, do=Strobe.TAKE)
    p.op("load", "pointer", do=Strobe.STORE)
    p.repeat("write word", "count", fill=False)
    p.op("advance", "pointer", to="pointer")
    p.label("written")
    p.load(_answer(Opcode.WRITE), do=Strobe.ANSWER_LAST)
    p.branch("command")

    p.label("refused")
    p.load("opcode")
    p.op("subtract", high(Opcode.WRITE << 4), acc=True)
    p.branch("answer status", "not zero")
    p.label("drop")
    p.load("count")
    p.branch("answer status", "zero")
    p.label("drop word")
    p.op("load", Source.LINK, do=Strobe.TAKE)
    p.repeat("drop word", "count")
    p.label("answer status")
    p.load(_answer(0))
    p.branch("refuse", fill=False)
    p.op("add", "status", acc=True)

    p.label("read")
    p.load("memory")
    p.branch("locate 0", "zero", fill=False)
    p.op("subtract", high(Memory.PROGRAM), acc=True)
    p.branch("locate 1", "zero")
    _fail(p, Status.BAD_MEMORY, "answer status")

    p.label("send")
    p.load("count")
    p.branch("nothing", "zero")
    p.op("add", _answer(Opcode.READ), do=Strobe.ANSWER)
    p.label("send word")
    p.op("load", "pointer", read=True)
    p.op("advance", "pointer", to="pointer")
    p.op("decrement", "count", to="count", acc=True)
    p.branch("send word", "not zero", x=memory(32), do=Strobe.ANSWER_COUNTED)
    p.branch("command")
    p.label("nothing")
    p.load(_answer(Opcode.READ), do=Strobe.ANSWER_LAST)
    p.branch("command")


#: Registers of the sequencer.
DESCRIPTOR, RUNS_LEFT = "descriptor", "runs left"


def _run(p, config, where):
    p.label("run")
    # A run is checked for as many words as it has descriptors.
    p.branch("locate 1")

    p.label("start")
    p.load(_answer(Opcode.RUN), do=Strobe.ANSWER_LAST)
    p.copy("count", RUNS_LEFT)
    p.branch("command", "zero")
    p.load(0, do=Strobe.TIMER_START)
    p.label("started")
    p.keep("fault")
    p.copy("pointer", DESCRIPTOR)
    p.nop()
    p.label("next descriptor")
    p.op("load", DESCRIPTOR, read=True)
    p.load(memory(8))
    p.op("and", 15, acc=True)
    p.op("subtract", isa.DescriptorKind.SYSTOLIC, acc=True)
    p.branch("convolution", "zero", fill=False)
    p.op("add", isa.DescriptorKind.SYSTOLIC - isa.DescriptorKind.VECTOR, acc=True)
    p.branch("vector", "zero")
    _fail(p, Status.BAD_DESCRIPTOR, "command", "fault")

    # The profile: the cycle in which it ended, in its word.
    done = isa.field_positions(isa.SYSTOLIC_FIELDS)["done_cycle"][0] // 8
    for label, kind in (("convolution done", isa.DescriptorKind.SYSTOLIC),
                        ("vector done", isa.DescriptorKind.VECTOR)):
        p.label(label)
        # With "hold", the last row may still be on its way.
        p.load(4 * config.descriptor_lengths[kind], to="length", wait=Wait.STREAM)
        if kind == isa.DescriptorKind.SYSTOLIC:
            p.branch("descriptor done")
    p.label("descriptor done")
    p.load(done)
    p.op("add", DESCRIPTOR, acc=True)
    p.keep("profile")
    p.label("time")
    p.load(Source.TIMER, to="done")
    p.op("load", "profile", do=Strobe.STORE)
    p.step(DESCRIPTOR, "length")
    p.repeat("next descriptor", RUNS_LEFT)
    p.label("run end")
    p.branch("command")
