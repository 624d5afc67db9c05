"""The engine of the compact core: it executes microinstructions."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .byte_memory import ByteMemory
from .command_decoder import ANSWER
from .compact_array import CompactArray
from .micro_word import MICRO_WORD, REGISTERS, Base, Branch, Flag, Source, Strobe, Wait, When
from .position_stream import PositionStream
from .serial_multiplier import SerialMultiplier


__all__ = ["MicroEngine"]


class MicroEngine(wiring.Component):
    """Execute a microprogram, an instruction a cycle, on one adder, one memory and the array.

    An instruction adds (or combines with AND) two operands. The result, Y, may be written to the
    accumulator and to the register that was read, be an address of the memory, or go to one of the
    units beside; see :mod:`.micro_word`. Instructions pass three stages: fetch, read of the
    register, execution. Whatever has to wait stalls all of them, but not the units.

    Parameters
    ----------
    program : sequence of :class:`int`
        Control store, of words in the format :data:`.micro_word.MICRO_WORD`. Execution begins at 0,
        twice, and the first instruction must do nothing.
    depth : :class:`int`
        Positions of the array.

    Members
    -------
    i, o : ``In(stream.Signature(32))``, ``Out(stream.Signature(ANSWER))``
        The host's words, and answers.
    """

    def __init__(self, *, program, depth):
        self.program = list(program)
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(ANSWER)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.memory = memory = ByteMemory()
        m.submodules.array = array = CompactArray(depth=self.depth)
        m.submodules.positions = positions = PositionStream()
        m.submodules.multiplier = multiplier = SerialMultiplier()

        # Fetch, and read the register.
        advance = Signal()
        m.submodules.store = store = Memory(
            shape=unsigned(MICRO_WORD.size), depth=1 << (len(self.program) - 1).bit_length(),
            init=self.program)
        m.submodules.registers = registers = Memory(shape=32, depth=REGISTERS, init=[])
        fetch, get, put = store.read_port(), registers.read_port(), registers.write_port()
        counter = Signal.like(fetch.addr)
        target  = Signal.like(fetch.addr)
        fetched, do = Signal(MICRO_WORD), Signal(MICRO_WORD)
        m.d.comb += [
            fetched.eq(fetch.data),
            fetch.addr.eq(target),
            fetch.en.eq(advance),
            get.addr.eq(fetched.register),
            get.en.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [do.eq(fetched), counter.eq(target + 1)]

        y, total, flag = Signal(32), Signal(33), Signal()
        acc = Signal(32)
        x   = self._elaborate_operand(m, do, get.data, memory, array, multiplier)

        # Execute: the carry comes in below the lowest bit.
        base, addend, carry = Signal(32), Signal(32), Signal()
        with m.Switch(do.base):
            with m.Case(Base.ACC):
                m.d.comb += base.eq(acc)
            with m.Case(Base.ONES):
                m.d.comb += base.eq(-1)
            with m.Case(Base.WORD):
                m.d.comb += base.eq(4)
        m.d.comb += [
            addend.eq(x ^ do.invert.replicate(32)),
            carry.eq(do.carry[0] | (do.carry[1] & multiplier.half)),
            total.eq((Cat(C(1, 1), base) + Cat(carry, addend))[1:]),
            y.eq(Mux(do.logic, base & x, total)),
        ]
        sign = base[-1] ^ addend[-1] ^ total[32]

        strobe = Signal(len(Strobe))
        ready  = Signal()
        m.d.comb += strobe.eq(Mux(advance, 1 << do.strobe, 0))
        written = Signal()
        m.d.comb += written.eq((do.when == When.ALWAYS) | (flag == (do.when == When.SET)))
        with m.If(advance):
            with m.If(do.acc & written):
                m.d.sync += acc.eq(y)
            with m.If(do.flag == Flag.SIGN):
                m.d.sync += flag.eq(sign)
            with m.Elif(do.flag == Flag.BELOW):
                m.d.sync += flag.eq(~total[32])
        m.d.comb += [
            put.addr.eq(do.register),
            put.data.eq(y),
            put.en.eq(advance & do.write & written),
        ]

        taken, zero = Signal(), Signal()
        m.d.comb += [zero.eq(acc == 0), target.eq(counter)]
        with m.Switch(do.branch):
            with m.Case(Branch.ALWAYS, Branch.INDIRECT):
                m.d.comb += taken.eq(1)
            with m.Case(Branch.FLAG):
                m.d.comb += taken.eq(flag)
            with m.Case(Branch.NOT_FLAG):
                m.d.comb += taken.eq(~flag)
            with m.Case(Branch.ZERO):
                m.d.comb += taken.eq(zero)
            with m.Case(Branch.NOT_ZERO):
                m.d.comb += taken.eq(~zero)
        with m.If(taken):
            m.d.comb += target.eq(Mux(do.branch == Branch.INDIRECT, acc, do.imm))

        # What has to wait.
        answers = Signal()
        m.d.comb += [
            answers.eq((do.strobe == Strobe.ANSWER) | (do.strobe == Strobe.ANSWER_LAST)
                       | (do.strobe == Strobe.ANSWER_COUNTED)),
            ready.eq(~(((do.wait == Wait.STREAM) & positions.busy)
                       | ((do.wait == Wait.MULTIPLY) & multiplier.busy))),
            advance.eq(ready & ~((do.strobe == Strobe.TAKE) & ~self.i.valid)
                       & ~(answers & ~self.o.ready)),
            self.i.ready.eq(ready & (do.strobe == Strobe.TAKE)),
            self.o.valid.eq(ready & answers),
            self.o.payload.data.eq(y),
            self.o.payload.last.eq((do.strobe == Strobe.ANSWER_LAST)
                                   | ((do.strobe == Strobe.ANSWER_COUNTED) & zero)),
        ]

        self._elaborate_units(m, do, strobe, y, acc, total, advance, memory, array, positions,
                              multiplier)
        return m

    def _elaborate_operand(self, m, do, register, memory, array, multiplier):
        """Return the second operand, and add the units that only it needs."""
        timer, runs = Signal(32), Signal()
        self._timer, self._runs, self._select = timer, runs, Signal(3)
        with m.If(runs):
            m.d.sync += timer.eq(timer + 1)

        read, size = memory.data_out, do.size
        top = Signal()
        with m.Switch(size):
            with m.Case(3):
                m.d.comb += top.eq(do.signed & read[7])
            with m.Case(2):
                m.d.comb += top.eq(do.signed & read[15])
            with m.Case(1):
                m.d.comb += top.eq(do.signed & read[23])
        extended = Cat(read[:8], *(
            Mux(size > 3 - n, top.replicate(8), read.word_select(n, 8)) for n in range(1, 4)))

        x = Signal(32)
        with m.Switch(do.source):
            with m.Case(Source.REGISTER):
                m.d.comb += x.eq(register)
            with m.Case(Source.LOW):
                m.d.comb += x.eq(do.imm)
            with m.Case(Source.HIGH):
                m.d.comb += x.eq(do.imm << 16)
            with m.Case(Source.MEMORY):
                m.d.comb += x.eq(extended)
            with m.Case(Source.LINK):
                m.d.comb += x.eq(self.i.payload)
            with m.Case(Source.PRODUCT):
                m.d.comb += x.eq(multiplier.product)
            with m.Case(Source.SUM):
                m.d.comb += x.eq(Array(array.sums)[self._select[:2]])
            with m.Case(Source.TIMER):
                m.d.comb += x.eq(timer)
        return x

    def _elaborate_units(self, m, do, strobe, y, acc, total, advance, memory, array, positions,
                         multiplier):
        """Connect the units with what instructions do."""
        zero_point = Signal(8)
        with m.If(strobe[Strobe.ZERO_POINT]):
            m.d.sync += zero_point.eq(y)
        with m.If(strobe[Strobe.IN_ROWS]):
            m.d.sync += positions.in_rows.eq(~total[32])
        with m.If(strobe[Strobe.SELECT]):
            m.d.sync += self._select.eq(y)
        with m.If(strobe[Strobe.TIMER_CLEAR]):
            m.d.sync += [self._timer.eq(0), self._runs.eq(0)]
        with m.If(strobe[Strobe.TIMER_START]):
            m.d.sync += self._runs.eq(1)

        m.d.comb += [
            memory.address.eq(Mux(positions.busy | (do.strobe == Strobe.STORE_NEXT),
                                  positions.address, y)),
            memory.read.eq(positions.busy | (do.read & advance)),
            memory.write_word.eq(strobe[Strobe.STORE]),
            memory.write_byte.eq(strobe[Strobe.STORE_BYTE] | strobe[Strobe.STORE_NEXT]),
            memory.data_in.eq(acc),

            positions.value.eq(y),
            positions.load_address.eq(strobe[Strobe.ADDRESS]),
            positions.load_column.eq(strobe[Strobe.COLUMN]),
            positions.load_step.eq(strobe[Strobe.STEP]),
            positions.load_limit.eq(strobe[Strobe.LIMIT]),
            positions.load_fold.eq(strobe[Strobe.FOLD]),
            positions.advance.eq(strobe[Strobe.STORE_NEXT]),
            positions.start.eq(strobe[Strobe.STREAM]),

            array.word.eq(Cat(
                Mux(positions.inside[n], memory.data_out.word_select(n, 8), zero_point)
                for n in range(4))),
            array.valid.eq(positions.valid),
            array.weights.eq(memory.data_out),
            array.load.eq(strobe[Strobe.WEIGHTS].replicate(4) & (1 << do.register[:2])),
            array.seek.eq(strobe[Strobe.POSITION]),
            array.at.eq(y),
            array.next.eq(strobe[Strobe.NEXT_POSITION]),
            array.clear.eq(strobe[Strobe.CLEAR_SUMS] & self._select[2]),

            multiplier.operand.eq(y),
            multiplier.load_value.eq(strobe[Strobe.VALUE]),
            multiplier.load_factor.eq(strobe[Strobe.FACTOR]),
            multiplier.shift.eq(strobe[Strobe.SHIFT]),
            multiplier.start.eq(strobe[Strobe.MULTIPLY]),
            multiplier.repeat.eq(strobe[Strobe.SCALE]),
        ]
