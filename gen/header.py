"""The C header of a configuration: the constants of :mod:`oarlock.hw.isa` for other drivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from enum import IntEnum

from ..hw import isa
from .config import ArrayConfig


__all__ = ["DESCRIPTORS", "c_header"]

#: Parts of a dataflow's descriptors, by name; see :mod:`oarlock.hw.isa`.
DESCRIPTORS = {
    isa.Dataflow.ROW_STATIONARY: {
        "conv": isa.CONV_FIELDS, "row": isa.ROW_FIELDS, "column": isa.COLUMN_FIELDS,
        "beat": isa.BEAT_FIELDS, "vector": isa.VECTOR_FIELDS},
    isa.Dataflow.WEIGHT_STATIONARY: {
        "systolic": isa.SYSTOLIC_FIELDS, "vector": isa.VECTOR_FIELDS},
}

Define = tuple[str, int]


def c_header(config: ArrayConfig) -> str:
    """Return the text of ``oarlock.h``."""
    lines = ["/* Oarlock, an accelerator for neural networks. Made by: oarlock verilog */",
             "#ifndef OARLOCK_H", "#define OARLOCK_H", "", "#include <stdint.h>"]
    for title, defines in _sections(config):
        lines += ["", f"/* {title} */", *(f"#define OARLOCK_{name.upper()} {_number(value)}"
                                           for name, value in defines)]
    return "\n".join([*lines, *FUNCTIONS, "", "#endif", ""])


def _number(value: int) -> str:
    return f"0x{value:X}u" if 0x10000 <= value < 1 << 32 else \
        f"0x{value:016X}ull" if value > 0xFFFFFFFF else str(value)


def _sections(config: ArrayConfig) -> Iterator[tuple[str, Iterable[Define]]]:
    values = asdict(config)
    dataflow = values.pop("dataflow")
    yield f"Configuration; the dataflow is {dataflow}.", [
        *((name, int(value)) for name, value in values.items()), ("digest", config.digest)]
    yield "Framing of commands and answers.", [
        ("magic", isa.MAGIC), ("version", isa.VERSION), ("command_sync", isa.COMMAND_SYNC),
        ("response_sync", isa.RESPONSE_SYNC), ("command_words", isa.COMMAND_WORDS)]
    for title, prefix, enum in (
            ("Opcodes of commands.", "op", isa.Opcode),
            ("Memories that WRITE and READ address.", "memory", isa.Memory),
            ("Status codes of answers.", "status", isa.Status),
            ("Kinds of descriptors.", "kind", isa.DescriptorKind),
            ("Rounding rules.", "rule", isa.Rule),
            ("Reductions of VECTOR descriptors.", "vector_op", isa.VectorOp)):
        yield title, _enum(prefix, enum)
    yield "Words of the answer to INFO, after its first.", [
        (f"info_{name}", n) for n, name in enumerate(isa.INFO_FIELDS)] + [
        ("info_words", len(isa.INFO_FIELDS))]
    yield "Counters: the low word of counter n is word 2 * n of the answer, after its first.", [
        (f"counter_{name}", n) for n, name in enumerate(isa.COUNTERS)] + [
        ("counter_words", isa.COUNTER_WORDS)]
    for part, fields in DESCRIPTORS[config.dataflow_code].items():
        yield f"Fields of the {part} part of a descriptor; SIGNED is two's complement.", [
            ("words_" + part, isa.word_count(fields)), *_fields(part, fields)]
    yield "Words of whole descriptors.", [
        (f"{kind.name}_descriptor_words", words)
        for kind, words in config.descriptor_lengths.items()]


def _enum(prefix: str, enum: type[IntEnum]) -> list[Define]:
    return [(f"{prefix}_{member.name}", int(member)) for member in enum]


def _fields(part: str, fields: Iterable[isa.Field]) -> Iterator[Define]:
    for name, (offset, width, signed) in isa.field_positions(fields).items():
        yield f"{part}_{name}_word", offset // 32
        yield f"{part}_{name}_shift", offset % 32
        yield f"{part}_{name}_width", width
        yield f"{part}_{name}_signed", int(signed)


FUNCTIONS = """
/* Makes the three words of a command. */
static inline void oarlock_command(uint32_t words[OARLOCK_COMMAND_WORDS], uint32_t opcode,
                                   uint32_t memory, uint32_t operand, uint32_t address,
                                   uint32_t count)
{
    words[0] = (uint32_t)OARLOCK_COMMAND_SYNC << 24 | opcode << 20 | memory << 16 | operand;
    words[1] = address;
    words[2] = count;
}

/* Fields of the first word of an answer. */
static inline uint32_t oarlock_response_sync(uint32_t word) { return word >> 24; }
static inline uint32_t oarlock_response_opcode(uint32_t word) { return word >> 20 & 15; }
static inline uint32_t oarlock_response_status(uint32_t word) { return word >> 16 & 15; }
static inline uint32_t oarlock_response_words(uint32_t word) { return word & 0xFFFF; }
""".rstrip().split("\n")
