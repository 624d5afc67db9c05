"""Microprograms: instructions by name, with what the pipeline demands checked."""

from dataclasses import dataclass

from .micro_word import MICRO_WORD, REGISTERS, Base, Branch, Carry, Flag, Source, Strobe, Wait, When


__all__ = ["Microprogram", "high", "memory"]


@dataclass(frozen=True)
class _Operand:
    source: Source
    imm: int = 0
    size: int = 0
    signed: int = 0


def high(value):
    """Return the operand whose upper half is ``value``."""
    return _Operand(Source.HIGH, value)


def memory(width):
    """Return the operand that was read from the memory: ``width`` bits, signed if negative."""
    sizes = {8: 3, 16: 2, 24: 1, 32: 0}
    return _Operand(Source.MEMORY, size=sizes[abs(width)], signed=int(width < 0))


#: First operand, inversion of the second, and carry of every operation.
OPERATIONS = {
    "load": (Base.ZERO, 0, Carry.ZERO), "add": (Base.ACC, 0, Carry.ZERO),
    "subtract": (Base.ACC, 1, Carry.ONE), "negate": (Base.ZERO, 1, Carry.ONE),
    "decrement": (Base.ONES, 0, Carry.ZERO), "increment": (Base.ZERO, 0, Carry.ONE),
    "advance": (Base.WORD, 0, Carry.ZERO), "round": (Base.ZERO, 0, Carry.ROUND),
    "and": (Base.ACC, 0, Carry.ZERO),
}
BRANCHES = {"always": Branch.ALWAYS, "flag": Branch.FLAG, "not flag": Branch.NOT_FLAG,
            "zero": Branch.ZERO, "not zero": Branch.NOT_ZERO}


class Microprogram:
    """A microprogram under construction.

    The instruction behind a branch is executed, whether it is taken or not. A register that an
    instruction writes can't be read by the next one: it is an error to try.

    Members
    -------
    labels : dict of :class:`str` to :class:`int`
        Addresses. Their differences are what the cycle model is made of.
    """

    def __init__(self):
        self.instructions = []
        self.labels = {}
        self.registers = {}
        self._aliases = {}

    def register(self, name):
        """Return the number of a register, a new one for a new name."""
        number = self.registers.setdefault(name, len(self.registers))
        if number >= REGISTERS:
            raise ValueError(f"Registers must be at most {REGISTERS}, {name!r} is one more")
        return number

    def label(self, name):
        """Name the next instruction."""
        if name in self.labels:
            raise ValueError(f"Label must be new, not {name!r}")
        self.labels[name] = len(self.instructions)

    def op(self, operation, x=0, *, acc=False, to=None, when=When.ALWAYS, flag=Flag.KEEP,
           wait=Wait.NONE, do=Strobe.NONE, read=False, column=None):
        """Append an operation.

        Parameters
        ----------
        operation : :class:`str`
            One of :data:`OPERATIONS`.
        x : :class:`int`, :class:`str` or operand
            A number of 16 bits, a register's name, or a source.
        acc, to : :class:`bool`, :class:`str`
            Write the accumulator; a register. If ``x`` is a register, only that.
        when : :class:`.When`
            Whether they are written.
        flag : :class:`.Flag`
            What the flag becomes.
        wait : :class:`.Wait`
            What has to be idle before.
        do : :class:`.Strobe`
            What else is done.
        read : :class:`bool`
            The result is an address to be read.
        column : :class:`int`
            Of Strobe.WEIGHTS.
        """
        if isinstance(x, Source):
            x = _Operand(x)
        elif isinstance(x, int):
            x = _Operand(Source.LOW, x)
        if isinstance(x, str):
            if to not in (None, x):
                raise ValueError(f"Register to be written must be {x!r}, not {to!r}")
            name, x = x, _Operand(Source.REGISTER)
        else:
            name = to
        if not 0 <= x.imm < 1 << 16:
            raise ValueError(f"Immediate must have 16 bits, not {x.imm!r}")
        base, invert, carry = OPERATIONS[operation]
        self.instructions.append({
            "imm": x.imm, "source": x.source, "size": x.size, "signed": x.signed,
            "register": column or 0 if name is None else self.register(name),
            "base": base, "invert": invert, "carry": carry, "logic": int(operation == "and"),
            "acc": int(acc), "write": int(to is not None), "when": when, "flag": flag,
            "wait": wait, "read": int(read), "strobe": do, "branch": Branch.NONE})

    def load(self, x, **options):
        """Load the accumulator."""
        self.op("load", x, acc=True, **options)

    def load_number(self, value, **options):
        """Load a number of up to 32 bits; ``options`` are of the instruction that completes it."""
        options = {"acc": True} | options
        if value >> 16:
            self.load(high(value >> 16))
            self.op("add", value & 0xFFFF, **options)
        else:
            self.op("load", value, **options)

    def keep(self, register, **options):
        """Write the accumulator to a register."""
        self.op("add", 0, to=register, **options)

    def copy(self, source, *registers):
        """Load a register into the accumulator and others."""
        self.load(source)
        for register in registers:
            self.keep(register)

    def step(self, register, by, **options):
        """Add one register to another, and to the accumulator."""
        self.load(by)
        self.op("add", register, to=register, acc=True, **options)

    def nop(self):
        """Append an instruction that does nothing."""
        self.op("load")

    def branch(self, label, condition="always", *, fill=True, **fields):
        """Append a branch, and with ``fill`` an instruction behind it.

        That is the one before, if the branch is unconditional and not a target itself, and
        otherwise one that does nothing. ``fields`` make the branch do something else, too; its
        second operand can't be a number.
        """
        moved = None
        if fill and condition == "always" and self._movable():
            moved = self.instructions.pop()
        self.op(fields.pop("operation", "load"), fields.pop("x", 0), **fields)
        self.instructions[-1] |= {"branch": BRANCHES[condition], "target": label}
        if moved is not None:
            self.instructions.append(moved)
        elif fill:
            self.nop()

    def repeat(self, label, register, **options):
        """Append the end of a loop: count a register down, and branch unless it is 0 now.

        ``options`` are those of :meth:`branch`.
        """
        self.op("decrement", register, to=register, acc=True)
        self.branch(label, "not zero", **options)

    def _movable(self):
        """Return whether the last instruction may as well be executed behind a branch."""
        if len(self.instructions) < 2:
            return False
        last, before = self.instructions[-1], self.instructions[-2]
        return (len(self.instructions) not in self.labels.values()
                and "target" not in last and last["branch"] == before["branch"] == Branch.NONE)

    def jump(self):
        """Append a jump to the address in the accumulator."""
        self.op("load")
        self.instructions[-1]["branch"] = Branch.INDIRECT
        self.nop()

    def load_label(self, label, *, to=None):
        """Load the address of a label."""
        self.load(0, to=to)
        self.instructions[-1]["target"] = label

    def words(self):
        """Return the control store.

        Raises
        ------
        ValueError
            If a register is read right behind the instruction that writes it.
        """
        resolved = []
        for number, instruction in enumerate(self.instructions):
            fields = dict(instruction)
            target = fields.pop("target", None)
            if target is not None:
                if fields["imm"]:
                    raise ValueError(f"Instruction {number} must have no number beside its target")
                fields["imm"] = self.labels[target]
            resolved.append(fields)
        for number, fields in enumerate(resolved[:-1]):
            self._check(number, fields, number + 1, resolved)
            before = resolved[number - 1]
            if number and before["branch"] not in (Branch.NONE, Branch.INDIRECT):
                self._check(number, fields, before["imm"], resolved)
        return [MICRO_WORD.const(fields).as_value().value for fields in resolved]

    def _check(self, number, fields, following, resolved):
        after = resolved[following]
        if (fields["write"] and after["source"] == Source.REGISTER
                and after["register"] == fields["register"]):
            name = list(self.registers)[fields["register"]]
            raise ValueError(f"Register {name!r} must not be read at {following}, right behind "
                             f"{number}, which writes it")
