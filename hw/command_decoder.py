"""The command decoder: the one way in and out of the accelerator."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from . import isa
from .coded_access import CodedAccess
from .command_check import COMMAND, CommandCheck
from .data_distributor import PROGRAM_WRITE, DataDistributor, write_ports
from .global_buffer import ADDRESS_WIDTH, HOST_WRITE
from .isa import Memory, Opcode, Status


__all__ = ["ANSWER", "PROGRAM_WRITE", "CommandDecoder"]

#: A word of an answer; ``last`` is set with the last of each.
ANSWER   = data.StructLayout({"data": 32, "last": 1})
RESPONSE = data.StructLayout({"words": 16, "status": 4, "opcode": 4})

# Enough for a READ of a word a cycle: there and back through the global buffer, and this FIFO.
ANSWER_DEPTH = 16


class CommandDecoder(wiring.Component):
    """Execute the commands of :class:`isa.Opcode`, in order, and answer each.

    Data is written at a word a cycle, and a command's first word can follow the last of the one
    before. Answers wait in a FIFO of :data:`ANSWER_DEPTH` words; while that is full, commands wait.
    Cycles from the first word of a command to that of the next, if neither input, output nor
    memories stall:

    ================================  ==================================================
    ``WRITE``, n > 0                  3 + n, refused or not
    ``WRITE`` of nothing              5
    others if refused                 5
    ``CLEAR``, ``RUN``                5, and for ``RUN`` as long as ``busy``
    ``INFO``, ``COUNTERS``            5 + 17, 5 + 30
    ``WAIT``                          5 + 2, and as long as ``busy``
    ``READ`` of n words               6 + n and the memory's latency (n = 0: 6)
    ``WRITE``, ``READ`` of a block    as above, and until it is decoded or was encoded twice
    a word dropped by ``BAD_SYNC``    2
    ================================  ==================================================

    A word dropped by ``BAD_SYNC`` is answered with opcode 0. A ``RUN`` of no descriptors is
    answered but starts nothing. ``i.ready`` depends on the ``ready`` of ``host_write`` and
    ``program_write``, never on ``i.valid``; everything else that leaves depends on registers only.

    Parameters
    ----------
    rows, cols : :class:`int`
        PEs down and across, 1 to 16 each.
    buffer_bytes, program_depth, parameter_depth, filter_depth : :class:`int`
        Sizes of the memories in the units of :class:`isa.Memory`.
    info : :class:`~collections.abc.Mapping`
        What ``INFO`` answers, by the names of :data:`isa.INFO_FIELDS`.
    run_length : :class:`bool`
        Execute commands whose data are run-length coded, rather than refuse them.

    Members
    -------
    i, o : ``In(stream.Signature(32))``, ``Out(stream.Signature(ANSWER))``
        Commands and answers.
    host_write, host_read : ``Out(stream.Signature(...))``
        To the global buffer; see :class:`.GlobalBuffer`.
    host_read_valid, host_read_data : ``In(1)``, ``In(32)``
        What was read, in order, any number of cycles later.
    program_write : ``Out(stream.Signature(PROGRAM_WRITE))``
        Words for the program memory.
    program_read : ``Out(stream.Signature(16))``
        Addresses of words to be read from it.
    program_read_valid, program_read_data : ``In(1)``, ``In(32)``
        What was read, in order, any number of cycles later.
    parameter_en, parameter_entry, parameter_word, parameter_data : ``Out(...)``
        Writes word 0 to 2 of a parameter entry.
    filter_en, filter_columns, filter_block, filter_addr, filter_data : ``Out(...)``
        Writes byte n of ``filter_data`` to entry ``filter_addr`` of row ``4 * filter_block + n`` in
        the columns of the mask.
    run_start, run_address, run_count : ``Out(...)``
        A pulse, and what to run, valid with it.
    busy : ``In(1)``
        A run is in progress; must rise at most three cycles after ``run_start``.
    fault, done_cycles : ``In(1)``, ``In(48)``
        The last run met a bad descriptor; the cycle in which it ended. Read while not ``busy``.
    counters : ``In(data.ArrayLayout(unsigned(48), len(isa.COUNTERS)))``
        Values of the counters. They are read one after the other, so those that count meanwhile are
        not of the same moment.
    counter_clear : ``Out(1)``
        A pulse that takes precedence over counting: neither ``CLEAR`` nor its answer is counted.
    timer_running : ``Out(1)``
        Set with ``run_start`` and after the three words of a ``WRITE``; reset with
        ``counter_clear``.
    count_in, count_out : ``Out(1)``
        A word was taken; one was added to the answers (those to ``COUNTERS`` excepted, which could
        not report themselves).
    """

    #: Cycles from a data word to the write that it makes.
    LATENCY = 1

    def __init__(self, *, rows, cols, buffer_bytes, program_depth, parameter_depth, filter_depth,
                 info, run_length=False):
        for noun, value in ("Rows", rows), ("Columns", cols):
            if not 1 <= value <= 16:
                raise ValueError(f"{noun} must be 1 to 16, not {value!r}")
        if not (0 < buffer_bytes <= 1 << ADDRESS_WIDTH and buffer_bytes % 4 == 0):
            raise ValueError(f"Buffer size must be a multiple of 4 up to {1 << ADDRESS_WIDTH}, "
                             f"not {buffer_bytes!r}")
        for noun, value in (("Program depth", program_depth), ("Parameter depth", parameter_depth),
                            ("Filter depth", filter_depth)):
            if not 1 <= value <= 65536:
                raise ValueError(f"{noun} must be 1 to 65536, not {value!r}")
        if set(info) != set(isa.INFO_FIELDS):
            wrong = sorted(set(info) ^ set(isa.INFO_FIELDS))
            raise ValueError(f"Info must have the fields of isa.INFO_FIELDS; check {wrong}")

        self.rows = rows
        self.cols = cols
        self.buffer_bytes = buffer_bytes
        self.program_depth = program_depth
        self.parameter_depth = parameter_depth
        self.filter_depth = filter_depth
        self.info = dict(info)
        self.run_length = run_length

        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(ANSWER)),

            "host_write":         Out(stream.Signature(HOST_WRITE)),
            "host_read":          Out(stream.Signature(ADDRESS_WIDTH)),
            "host_read_valid":    In(1),
            "host_read_data":     In(32),
            "program_write":      Out(stream.Signature(PROGRAM_WRITE)),
            "program_read":       Out(stream.Signature(16)),
            "program_read_valid": In(1),
            "program_read_data":  In(32),

            **write_ports(cols=cols, parameter_depth=parameter_depth, filter_depth=filter_depth),

            "run_start":          Out(1),
            "run_address":        Out(range(program_depth)),
            "run_count":          Out(range(program_depth + 1)),
            "busy":               In(1),
            "fault":              In(1),
            "done_cycles":        In(isa.COUNTER_WIDTH),

            "counters":           In(data.ArrayLayout(unsigned(isa.COUNTER_WIDTH),
                                                      len(isa.COUNTERS))),
            "counter_clear":      Out(1),
            "timer_running":      Out(1),
            "count_in":           Out(1),
            "count_out":          Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        header  = Signal(COMMAND)
        address = Signal(32)
        count   = Signal(32)     # of words, or of those still to come
        more    = Signal()       # there are some: no comparison of 32 bits in what follows
        status  = Signal(4)
        taken   = Signal()
        m.d.comb += taken.eq(self.i.valid & self.i.ready)
        m.d.sync += self.count_in.eq(taken)

        # The cycle after a command's third word finds out whether it can be executed.
        m.submodules.check = check = CommandCheck(
            rows=self.rows, buffer_bytes=self.buffer_bytes, program_depth=self.program_depth,
            parameter_depth=self.parameter_depth, filter_depth=self.filter_depth,
            run_length=self.run_length)
        checking = Signal()
        m.d.comb += [
            check.header.eq(header),
            check.address.eq(address),
            check.count.eq(count),
        ]
        m.d.sync += checking.eq(0)
        with m.If(checking):
            m.d.sync += status.eq(check.status)

        m.submodules.access = access = CodedAccess(
            size_bytes=self.buffer_bytes, run_length=self.run_length)
        connect(m, access.write, flipped(self.host_write))
        connect(m, access.read, flipped(self.host_read))
        m.d.comb += [
            access.read_valid.eq(self.host_read_valid),
            access.read_data.eq(self.host_read_data),
            access.address.eq(address),
            access.zero_point.eq(header.operand),
            access.count.eq(count),
            access.i.payload.last.eq(~more),
        ]

        # Data words pass through one register, so that the first of them meets its status.
        m.submodules.distributor = distributor = DataDistributor(
            cols=self.cols, parameter_depth=self.parameter_depth, filter_depth=self.filter_depth)
        pointer   = distributor.pointer
        data_free = distributor.i.ready
        connect(m, distributor.buffer_write, access.plain_write)
        connect(m, distributor.program_write, flipped(self.program_write))
        m.d.comb += [
            distributor.start.eq(checking),
            distributor.header.eq(header),
            distributor.address.eq(address),
            distributor.coded.eq(check.coded),
            distributor.drop.eq(check.status != Status.OK),
            distributor.i.payload.eq(self.i.payload),
            access.i.valid.eq(distributor.block.valid),
            access.i.payload.data.eq(distributor.block.payload),
            distributor.block.ready.eq(access.i.ready),
        ]
        m.d.comb += [getattr(self, name).eq(getattr(distributor, name)) for name in write_ports(
            cols=self.cols, parameter_depth=self.parameter_depth, filter_depth=self.filter_depth)]

        # A word is chosen from many, and waits in a register for a cycle before it goes into the
        # FIFO. Whatever is on its way there, from a memory or to that register, has a place.
        m.submodules.answers = answers = SyncFIFOBuffered(
            width=ANSWER.size, depth=ANSWER_DEPTH)
        m.d.comb += [
            self.o.payload.eq(answers.r_data),
            self.o.valid.eq(answers.r_rdy),
            answers.r_en.eq(self.o.ready),
        ]
        chosen, chooses = Signal(), Signal()
        requested = Signal()
        arrived   = Signal()
        in_flight = Signal(range(ANSWER_DEPTH + 1))
        promised  = Signal(range(ANSWER_DEPTH + 1))
        room      = Signal()
        m.d.comb += [
            requested.eq((access.plain_read.valid & access.plain_read.ready)
                         | (self.program_read.valid & self.program_read.ready)),
            arrived.eq(access.plain_read_valid | self.program_read_valid),
            room.eq(promised != ANSWER_DEPTH),
        ]
        m.d.comb += distributor.advance.eq(requested)
        m.d.sync += [
            in_flight.eq(in_flight + requested - arrived),
            promised.eq(promised + (requested | (chooses & ~arrived))
                        - (self.o.valid & self.o.ready)),
        ]

        respond  = Signal()
        response = Signal(RESPONSE)
        extend   = Signal()
        relay    = Signal()
        index    = Signal(range(len(self._payload)))
        last     = Signal.like(index)
        answer = Signal(32)
        ends   = Signal()
        m.d.comb += [
            response.opcode.eq(header.opcode),
            response.status.eq(status),
            answers.w_en.eq(chosen),
            # An answer ends with its first word, the last of its fields, or, when no more of its
            # words are to be requested, with the last that was on its way.
            ends.eq(Mux(extend, index == last,
                        Mux(relay, access.o.payload.last,
                            Mux(arrived, ~more & (in_flight == 1), response.words == 0)))),
            # Not a field of the response: beside fields driven under conditions, Yosys would drive
            # the constant in a process without inputs, which Verilator never runs.
            answer.eq(Cat(response, C(isa.RESPONSE_SYNC, 8))),
        ]
        with m.If(extend):
            m.d.comb += answer.eq(Array(self._payload)[index])
        with m.If(relay):
            m.d.comb += answer.eq(access.o.payload.data)
        with m.If(access.plain_read_valid):
            m.d.comb += answer.eq(self.host_read_data)
        with m.If(self.program_read_valid):
            m.d.comb += answer.eq(self.program_read_data)
        m.d.comb += chooses.eq(respond | extend | relay | arrived)
        m.d.sync += [
            chosen.eq(chooses),
            answers.w_data.eq(Cat(answer, ends)),
            self.count_out.eq(chooses & (header.opcode != Opcode.COUNTERS)),
        ]

        m.d.sync += [
            self.run_start.eq(0),
            self.counter_clear.eq(0),
        ]
        m.d.comb += [
            self.run_address.eq(address),
            self.run_count.eq(count),
            access.plain_read.payload.eq(pointer << 2),
            self.program_read.payload.eq(pointer),
        ]

        written = Signal()  # a WRITE is yet to be answered
        with m.FSM():
            with m.State("SYNC"):
                first = data.View(COMMAND, self.i.payload)
                m.d.comb += [
                    self.i.ready.eq(~written | room),
                    respond.eq(written & room),
                ]
                with m.If(room):
                    m.d.sync += written.eq(0)
                with m.If(taken):
                    m.d.sync += header.eq(first)
                    m.next = "ADDRESS"
                    with m.If(first.sync != isa.COMMAND_SYNC):
                        m.d.sync += [
                            header.opcode.eq(0),
                            status.eq(Status.BAD_SYNC),
                        ]
                        m.next = "EXECUTE"

            with m.State("ADDRESS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(taken):
                    m.d.sync += address.eq(self.i.payload)
                    m.next = "COUNT"

            with m.State("COUNT"):
                # The check replaces the address of the WRITE before: its last word must be gone.
                m.d.comb += self.i.ready.eq(data_free)
                with m.If(taken):
                    m.d.sync += [
                        count.eq(self.i.payload),
                        more.eq(self.i.payload != 0),
                        checking.eq(1),
                    ]
                    m.next = "EXECUTE"
                    with m.If(header.opcode == Opcode.WRITE):
                        m.d.sync += self.timer_running.eq(1)
                        with m.If(self.i.payload != 0):
                            m.next = "DATA"

            with m.State("DATA"):
                m.d.comb += [
                    self.i.ready.eq(data_free),
                    distributor.i.valid.eq(self.i.valid),
                ]
                with m.If(taken):
                    m.d.sync += [count.eq(count - 1), more.eq(count != 1)]
                    with m.If(count == 1):
                        m.d.sync += written.eq(~check.coded)
                        m.next = "SYNC"
                        with m.If(check.coded):
                            m.next = "DECODE"

            with m.State("DECODE"):
                with m.If(access.done):
                    m.d.sync += status.eq(access.status)
                with m.If(access.done | (status != Status.OK)):
                    m.d.sync += written.eq(1)
                    m.next = "SYNC"

            with m.State("EXECUTE"):
                with m.If(~checking & room):
                    with m.If(status != Status.OK):
                        m.d.comb += respond.eq(1)
                        m.next = "SYNC"
                    with m.Else():
                        self._elaborate_execute(m, header.opcode, count, respond, response,
                                                index, last, check.coded)
                        m.d.comb += access.start.eq((header.opcode == Opcode.READ) & check.coded)

            with m.State("PAYLOAD"):
                m.d.comb += extend.eq(room)
                with m.If(room):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == last):
                        m.next = "SYNC"

            with m.State("READ"):
                with m.If(more & room):
                    with m.If(header.memory == Memory.PROGRAM):
                        m.d.comb += self.program_read.valid.eq(1)
                    with m.Else():
                        m.d.comb += access.plain_read.valid.eq(1)
                with m.If(requested):
                    m.d.sync += [count.eq(count - 1), more.eq(count != 1)]
                with m.If(~more & (in_flight == 0)):
                    m.next = "SYNC"

            with m.State("MEASURE"):
                m.d.comb += [
                    respond.eq(access.o.valid & room),
                    response.words.eq(access.length),
                ]
                with m.If(respond):
                    m.next = "RELAY"

            with m.State("RELAY"):
                m.d.comb += [
                    access.o.ready.eq(room),
                    relay.eq(access.o.valid & room),
                ]
                with m.If(relay & access.o.payload.last):
                    m.next = "SYNC"

        return m

    @property
    def _payload(self):
        """Words that answers are made of: INFO, then WAIT, then COUNTERS."""
        def halves(value):
            return [value[:32], value[32:]]

        return [
            *(C(self.info[name], 32) for name in isa.INFO_FIELDS),
            *halves(self.done_cycles),
            *(half for n in range(len(isa.COUNTERS)) for half in halves(self.counters[n])),
        ]

    def _elaborate_execute(self, m, opcode, count, respond, response, index, last, coded):
        """Begin the answer to a good command other than a WRITE, and act on it."""
        def payload_of(first, words):
            m.d.comb += response.words.eq(words)
            m.d.sync += [index.eq(first), last.eq(first + words - 1)]
            m.next = "PAYLOAD"

        m.d.comb += respond.eq(1)
        m.next = "SYNC"
        with m.Switch(opcode):
            with m.Case(Opcode.INFO):
                payload_of(0, len(isa.INFO_FIELDS))
            with m.Case(Opcode.COUNTERS):
                payload_of(len(isa.INFO_FIELDS) + 2, isa.COUNTER_WORDS)
            with m.Case(Opcode.READ):
                m.d.comb += [response.words.eq(count), respond.eq(~coded)]
                m.next = "READ"
                with m.If(coded):
                    m.next = "MEASURE"
            with m.Case(Opcode.CLEAR):
                m.d.sync += [
                    self.counter_clear.eq(1),
                    self.timer_running.eq(0),
                ]
            with m.Case(Opcode.RUN, Opcode.WAIT):
                with m.If(self.busy):
                    m.d.comb += respond.eq(0)
                    m.next = "EXECUTE"
                with m.Elif(opcode == Opcode.WAIT):
                    m.d.comb += response.status.eq(
                        Mux(self.fault, Status.BAD_DESCRIPTOR, Status.OK))
                    payload_of(len(isa.INFO_FIELDS), 2)
                with m.Elif(count != 0):
                    m.d.sync += [
                        self.run_start.eq(1),
                        self.timer_running.eq(1),
                    ]
