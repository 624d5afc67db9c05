"""Command words, descriptor fields, memory map, counters: the contract of gateware and software.

Plain Python, standard library only. Nothing outside this file states a register number, an opcode
or a bit position; gateware, compiler and driver all take them from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum


__all__ = [
    "BEAT_FIELDS", "COLUMN_FIELDS", "CONV_FIELDS", "COUNTERS", "COUNTER_WORDS", "INFO_FIELDS",
    "MAGIC", "ROW_FIELDS", "SYSTOLIC_FIELDS", "VECTOR_FIELDS", "VERSION",
    "Dataflow", "DescriptorKind", "Memory", "Opcode", "Rule", "Status", "VectorOp", "command",
    "conv_words", "descriptor_lengths", "field_positions", "pack", "pack_parameter",
    "response_fields", "signed_field", "systolic_words", "unpack", "vector_words", "word_count",
]

MAGIC = 0x4F41524C  # "OARL"
VERSION = 1

COMMAND_SYNC = 0x4F
RESPONSE_SYNC = 0x52
COMMAND_WORDS = 3

#: Bits of a sum on its way to post-processing.
SUM_WIDTH = 32


class Opcode(IntEnum):
    """Bits 23:20 of a command's first word.

    Every command is three words, ``{COMMAND_SYNC:8, opcode:4, memory:4, operand:16}``, ``address``
    and ``count``, then ``count`` data words if it is a ``WRITE``. Every command is answered, in
    order, by ``{RESPONSE_SYNC:8, opcode:4, status:4, words:16}`` and that many payload words; a
    ``READ`` of more than 65,535 words is refused.

    A ``WRITE`` to or ``READ`` of the global buffer with CODED_OPERAND set in its operand moves a
    block of docs/run-length-coding.md, with the zero point in operand bits 7:0. Of a ``WRITE``,
    ``count`` are the words of the block, of a ``READ`` (65,534 at most) those it stands for.
    """

    INFO = 1      #: Answers INFO_FIELDS.
    WRITE = 2     #: Writes ``count`` words to ``memory`` from ``address`` on.
    READ = 3      #: Answers ``count`` words of the global buffer or the program memory.
    RUN = 4       #: Starts ``count`` descriptors at word ``address``; waits for the run before.
    WAIT = 5      #: Answers when idle: the cycle in which the last run ended, low and high word.
    COUNTERS = 6  #: Answers all counters, low and high word each, in the order of COUNTERS.
    CLEAR = 7     #: Zeroes the counters and stops the timer; the next RUN or WRITE starts it.


class Memory(IntEnum):
    """What a WRITE or READ addresses, and in which unit."""

    GLOBAL_BUFFER = 0  #: Byte address, a multiple of 4; words are little-endian.
    PROGRAM = 1        #: Word address.
    PARAMETERS = 2     #: Address in parameter entries; three words an entry (see pack_parameter).
    #: Filter scratchpads, or with the weight-stationary dataflow the filter memories of columns,
    #: whose entries are a weight for every row. ``operand`` is the mask of columns that take the
    #: data; address bits 31:24 select a block of four rows, bits 23:0 the entry. Byte ``n`` of a
    #: word goes to row ``4*block+n``; the entry advances by one a word.
    FILTER = 3


class Status(IntEnum):
    """Bits 19:16 of a response's first word."""

    OK = 0
    BAD_SYNC = 1     #: A word that should have been a command's first was not; it was dropped.
    BAD_OPCODE = 2
    BAD_MEMORY = 3   #: No such memory, or it can't be read.
    BAD_ADDRESS = 4  #: Misaligned or out of range; data words were consumed and dropped.
    BAD_DESCRIPTOR = 5  #: The last run met a descriptor of unknown kind and stopped there.
    #: Data words that are no block, or the device has no codec. All of them were consumed; what the
    #: words before the fault stand for may have been written.
    BAD_CODE = 6


INFO_FIELDS = (
    "magic", "version", "digest_low", "digest_high", "rows", "cols", "lanes", "word_bytes",
    "buffer_bytes", "filter_depth", "ifmap_depth", "psum_depth", "parameter_depth", "program_depth",
    "lane_depth", "accumulator_depth", "psum_width", "dataflow", "zero_gating", "counters",
    "run_length",
)

COUNTERS = (
    "cycles",             # since the first RUN or WRITE after CLEAR, up to the end of the last run
    "busy_cycles",        # cycles in which the sequencer was running a descriptor
    "mac_cycles",         # cycles in which the array was issued a MAC
    "macs_done",          # useful MACs whose activation was not zero
    "macs_gated",         # useful MACs skipped because the activation was zero
    "stall_load",         # array ready for its next pass, ifmap not yet there
    "stall_drain",        # ifmap there, both partial-sum banks still waiting to drain
    "ifmap_beats",        # words sent into the array
    # Accesses and transfers, all PEs together. Scratchpads of a dataflow that has none stay at 0.
    "ifmap_hops",         # activations delivered to a PE, by a bus or by its neighbour
    "ifmap_writes",       # ifmap scratchpad entries written
    "ifmap_reads",        # ifmap scratchpad entries read
    "filter_hops",        # weights moved from PE to PE
    "filter_writes",      # weights written by the host
    "filter_reads",       # weights read from filter scratchpads or memories
    "psum_hops",          # partial sums moved from PE to PE
    "psum_writes",        # partial sums written
    "psum_reads",         # partial sums read, to add to them or to drain them
    "drain_slots",        # partial-sum rows moved down the chain
    "buffer_reads",       # global buffer words read by the accelerator
    "buffer_writes",      # global buffer words written by the accelerator
    "outputs",            # requantized outputs written
    "link_words_in",
    "link_words_out",
)
COUNTER_WORDS = 2 * len(COUNTERS)
COUNTER_WIDTH = 48

#: The first word of a block of activations: how many raw words it stands for, and whether it is
#: coded. See docs/run-length-coding.md.
CODED_COUNT_WIDTH = 24
CODED_FLAG = 1 << 31
#: In the operand of a command: its data are a block.
CODED_OPERAND = 1 << 15


class Dataflow(IntEnum):
    """What stays where in the array; decided when the hardware is generated."""

    ROW_STATIONARY = 0     #: Filter rows in the PEs, ifmap rows along diagonals (Eyeriss).
    WEIGHT_STATIONARY = 1  #: A weight in each PE, activations and sums move (TPU).


class DescriptorKind(IntEnum):
    """What a descriptor runs on. Convolutions include fully connected layers."""

    CONV = 1      #: A convolution on the row-stationary array.
    VECTOR = 2    #: The post-processing lanes alone: pooling, mean, residual add, copy, fill.
    SYSTOLIC = 3  #: A convolution on the weight-stationary array.


class Rule(IntEnum):
    """Rounding rule of a requantization."""

    SINGLE = 0
    DOUBLE = 1
    #: Average pooling: sign and magnitude, ``sign * ((|acc| + bias) * q31 >> (31 + e))``.
    TRUNCATE = 2


class VectorOp(IntEnum):
    """How a VECTOR descriptor reduces a window."""

    SUM = 0
    MAX = 1
    ADD = 2  #: Two inputs, each requantized, then their sum requantized.


Field = tuple[str, int]

# A field is (name, width); a negative width is a signed field. Fields are packed in order into
# 32-bit words, from bit 0 up; a field that would straddle a word starts the next one.

CONV_FIELDS: tuple[Field, ...] = (
    ("kind", 4), ("rule", 2), ("fold", 1), ("keep", 1), ("hold", 1),
    ("local", 1),                                     # lanes keep the parameters of a tile
    ("zero_point_in", -8), ("zero_point_out", -8),
    ("done_cycle", 32),                               # written by the device at the end
    # Ifmap loader. Addresses are bytes, modulo 2**24.
    ("in_base", 24), ("lane_count", 8),
    ("y_stride", 24), ("span", 8),                    # bytes between ifmap rows; rows a PE takes
    ("x_stride", 24), ("y_origin", -8),               # bytes between ifmap columns; -pad_top
    ("x_origin", -24),                                # -pad_left, in bytes
    ("x_limit", 24), ("t_count", 8),                  # ifmap columns * x_stride
    ("y_limit", 16), ("channels", 16),                # ifmap rows; input channels
    ("x_first", 8), ("x_next", 8), ("y_count", 8), ("y_count_last", 8),
    ("x_skip", 24), ("t_count_last", 8),
    ("block_count", 8), ("block_tag", 8), ("block_step", 16),   # depthwise
    ("q_block_step", 24), ("q_block_count", 8),
    ("q_block_tag", 8), ("c_chunks", 8), ("c_chunk_step", 16),
    ("r_chunk_addr", 24), ("r_chunks", 8),
    ("q_step", 24), ("r_chunk_rows", 8),
    ("strip_addr", 24), ("strip_rows", 8),
    ("q_count", 16), ("strip_count", 16),
    ("tile_count", 16), ("tile_step", 16),            # channels a tile advances: depthwise
    # Compute.
    ("k_count", 16), ("k_count_last", 16),            # window entries of a pass; the last's
    ("entries_next", 16), ("m_count", 8), ("u_count", 8),
    ("filter_base", 16), ("filter_step", 16),
    ("p_count", 8), ("p_last", 8), ("u_last", 8), ("group_count", 8),
    ("q_limit", 16), ("flush_count", 8), ("beat_count", 8),
    # Drain.
    ("out_base", 24), ("low", -8),
    ("out_q_step", 24), ("high", -8),
    ("out_strip_step", 24),
    ("out_tile_step", 24),
    ("run_full", 16), ("run_last", 16),               # bytes of a full, a partial column
    ("parameter_base", 16), ("parameter_step", 16),
)

# One for every array row, after CONV_FIELDS.
ROW_FIELDS: tuple[Field, ...] = (
    ("lane", 8), ("tag", 8), ("group", 8), ("used", 1), ("below_last", 1),
)

# One for every array column, after the rows.
COLUMN_FIELDS: tuple[Field, ...] = (
    ("tag", 8), ("p_index", 6), ("full", 1), ("part", 1), ("q_offset", 16),
    ("out_offset", 24),
)

# As many as the array has columns, after the columns; beat_count of them are used.
BEAT_FIELDS: tuple[Field, ...] = (("mask", 16), ("lane_group", 4), ("parameter_offset", 12))

# A wave multiplies one filter tile, of up to ``rows`` consecutive activations times up to ``cols``
# filters, with all positions of a position tile; docs/hardware.md has the loops.
SYSTOLIC_FIELDS: tuple[Field, ...] = (
    ("kind", 4), ("rule", 2), ("fold", 1), ("keep", 1), ("hold", 1),
    ("diagonal", 1),                                  # depthwise: column n reads row lane_n only
    ("part_each", 1),                                 # columns_last holds in every channel tile
    ("spare", 5),                                     # from here on, fields are whole bytes
    ("zero_point_in", -8), ("zero_point_out", -8),
    ("done_cycle", 32),                               # written by the device at the end
    # Ifmap. Addresses are bytes, modulo 2**24.
    ("in_base", 24), ("row_count", 8),                # rows at work: activations of a word
    ("q_step", 24), ("row_count_last", 8),            # bytes between positions of a row
    ("p_step", 24), ("p_rows", 8),                    # bytes, ifmap rows between output rows
    ("x_stride", 24), ("s_count", 8),                 # filter columns
    ("y_stride", 24), ("r_count", 8),                 # filter rows
    ("x_origin", -24), ("y_origin", -8),              # -pad_left in bytes, -pad_top
    ("x_limit", 24), ("columns", 8),                  # filters of a tile
    ("y_limit", 16), ("c_count", 16),                 # words along the channels
    ("c_step", 16), ("tile_step", 16),                # channels of a word; of a channel tile
    ("q_tile_step", 24), ("columns_last", 8),
    ("p_tile_step", 24), ("group_count", 8),          # lanes' turns for one position
    ("q_count", 16), ("q_last", 16),                  # positions of a tile, of the last
    ("p_count", 16), ("p_last", 16),
    ("q_tiles", 16), ("p_tiles", 16),
    ("p_tile_rows", 16), ("block_count", 16),         # blocks: filter tiles on the same channels
    ("tile_count", 16), ("position_tiles", 16),       # channel tiles: depthwise
    ("filter_base", 16), ("parameter_base", 16),
    # Drain. A position's outputs are contiguous.
    ("out_base", 24), ("low", -8),
    ("out_q_step", 24), ("high", -8),
    ("out_p_step", 24),
    ("out_q_tile_step", 24),
    ("out_p_tile_step", 24),
    ("out_block_step", 16), ("out_tile_step", 16),    # channels: outputs and parameters
    # With ``diagonal``: the row that column n reads.
    *((f"lane_{n}", 4) for n in range(16)),
)

VECTOR_FIELDS: tuple[Field, ...] = (
    ("kind", 4), ("rule", 2), ("op", 2), ("left_shift", 8), ("zero_point_out", -8), ("low", -8),
    ("done_cycle", 32),
    ("in_base", 24), ("high", -8),
    ("window_y_count", 16), ("window_x_count", 16),
    ("window_y_step", 24), ("zero_point_a", -8),      # ADD: count 2, the step leads to input b
    ("window_x_step", 24), ("zero_point_b", -8),
    ("channels", 24),                                 # bytes of one run; lanes at a time
    ("x_count", 16), ("y_count", 16),
    ("in_x_step", 24),
    ("in_y_step", 24),
    ("out_base", 24),
    ("out_x_step", 24),
    ("out_y_step", 24),
    ("bias", -32),
    ("multiplier", 32), ("multiplier_a", 32), ("multiplier_b", 32),
    ("shift", -8), ("shift_a", -8), ("shift_b", -8),
)


def field_positions(fields: Iterable[Field]) -> dict[str, tuple[int, int, bool]]:
    """Place fields into words: ``{name: (bit offset, width, signed)}``."""
    positions, offset = {}, 0
    for name, width in fields:
        size = abs(width)
        if offset // 32 != (offset + size - 1) // 32:
            offset = -(-offset // 32) * 32
        positions[name] = (offset, size, width < 0)
        offset += size
    return positions


def word_count(fields: Iterable[Field]) -> int:
    """Count the words that :func:`pack` makes of these fields."""
    offset, size, _ = list(field_positions(fields).values())[-1]
    return -(-(offset + size) // 32)


def conv_words(rows: int, cols: int) -> int:
    """Count the words of a CONV descriptor."""
    return (word_count(CONV_FIELDS) + rows * word_count(ROW_FIELDS)
            + cols * (word_count(COLUMN_FIELDS) + word_count(BEAT_FIELDS)))


def systolic_words() -> int:
    """Count the words of a SYSTOLIC descriptor."""
    return word_count(SYSTOLIC_FIELDS)


def descriptor_lengths(dataflow: Dataflow, rows: int, cols: int) -> dict[DescriptorKind, int]:
    """Return the words of every kind of descriptor that an array runs, convolutions first."""
    if dataflow == Dataflow.ROW_STATIONARY:
        conv = {DescriptorKind.CONV: conv_words(rows, cols)}
    else:
        conv = {DescriptorKind.SYSTOLIC: systolic_words()}
    return conv | {DescriptorKind.VECTOR: vector_words()}


def vector_words() -> int:
    """Count the words of a VECTOR descriptor."""
    return word_count(VECTOR_FIELDS)


def pack(fields: Iterable[Field], values: Mapping[str, int]) -> list[int]:
    """Pack values into words; missing fields are 0.

    Raises
    ------
    ValueError
        If a value does not fit its field, or a name is no field.
    """
    fields = tuple(fields)
    positions = field_positions(fields)
    unknown = set(values) - set(positions)
    if unknown:
        raise ValueError(f"Descriptor has no field {sorted(unknown)[0]!r}")
    total = 0
    for name, value in values.items():
        offset, size, signed = positions[name]
        low, high = (-(1 << size - 1), (1 << size - 1) - 1) if signed else (0, (1 << size) - 1)
        if not low <= value <= high:
            raise ValueError(f"Field {name} must be in {low}..{high}, not {value!r}")
        total |= (int(value) & ((1 << size) - 1)) << offset
    return [(total >> 32 * n) & 0xFFFFFFFF for n in range(word_count(fields))]


def unpack(fields: Iterable[Field], words: Iterable[int]) -> dict[str, int]:
    """Undo :func:`pack`."""
    total = 0
    for n, word in enumerate(words):
        total |= word << 32 * n
    values = {}
    for name, (offset, size, signed) in field_positions(fields).items():
        value = (total >> offset) & ((1 << size) - 1)
        values[name] = signed_field(value, size) if signed else value
    return values


def signed_field(value: int, width: int) -> int:
    """Read a ``width``-bit pattern as two's complement."""
    return value - (1 << width) if value >> (width - 1) else value


def pack_parameter(bias: int, multiplier: int, shift: int) -> tuple[int, int, int]:
    """Make the three words of one output channel's requantization parameters.

    ``bias`` is an int32, ``multiplier`` in [0, 2**31), ``shift`` the ``s`` of numerics.md in
    -31..31.
    """
    if not (-(1 << 31) <= bias < 1 << 31 and 0 <= multiplier < 1 << 31 and -31 <= shift <= 31):
        raise ValueError(f"Parameter must fit its fields, not {(bias, multiplier, shift)!r}")
    return bias & 0xFFFFFFFF, multiplier, shift & 0x3F


def command(opcode: Opcode, *, memory: int = 0, operand: int = 0, address: int = 0,
            count: int = 0) -> list[int]:
    """Make a command's three words."""
    return [COMMAND_SYNC << 24 | opcode << 20 | memory << 16 | operand, address, count]


def response_fields(word: int) -> tuple[int, int, int, int]:
    """Split a response's first word into sync, opcode, status and payload words."""
    return word >> 24, word >> 20 & 15, word >> 16 & 15, word & 0xFFFF
