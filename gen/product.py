"""What ``oarlock verilog`` writes into a folder: Verilog, and all that goes with it."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path

from ..hw import isa
from . import cache
from .config import ArrayConfig
from .header import DESCRIPTORS, c_header
from .verilog import TOP, tool_versions, verilog_of


__all__ = ["WAIVERS", "manifest", "ports", "write"]

MEANINGS = {
    "clk": "Clock of everything.",
    "rst": "Synchronous reset, active high, registered inside; at least two cycles. Memories keep "
           "what they hold.",
    "s_axis_tdata": "Words of commands.",
    "s_axis_tvalid": "AXI4-Stream.",
    "s_axis_tready": "AXI4-Stream; low during reset.",
    "s_axis_tlast": "May mark the last word of a command; ignored, since a command's third word "
                    "says how many words follow.",
    "m_axis_tdata": "Words of answers, one answer a command, in order.",
    "m_axis_tvalid": "AXI4-Stream.",
    "m_axis_tready": "AXI4-Stream. While answers are not taken, commands wait.",
    "m_axis_tlast": "Marks the last word of every answer.",
}

#: Of the module with a serial link, beside clock and reset.
SERIAL_MEANINGS = {
    "rx": "The line from the host; need not be synchronous.",
    "tx": "The line to the host.",
    "session_open": "A host has opened a session.",
    "activity": "A pulse with every good frame.",
}

MEMORY_UNITS = {
    isa.Memory.GLOBAL_BUFFER: ("byte, a multiple of 4; words are little-endian", True),
    isa.Memory.PROGRAM: ("word", True),
    isa.Memory.PARAMETERS: ("entry of three words: bias, multiplier, shift", False),
    isa.Memory.FILTER: ("bits 31:24 block of four rows, bits 23:0 scratchpad entry; operand: mask "
                        "of columns; byte n of a word is for row 4 * block + n", False),
}

#: What Verilator's lint says of Yosys' Verilog, and why it may.
WAIVERS = {
    "CASEINCOMPLETE": "Every such case stands behind a default assignment.",
    "CMPCONST": "Comparisons with the end of a range that a narrow field cannot leave.",
    "DECLFILENAME": "All modules are in one file.",
    "PROCASSINIT": "Initial values are what an FPGA's flip-flops have after configuration, and "
                   "what the testbench begins with.",
    "UNUSEDSIGNAL": "Yosys names fields and copies of clocks that nobody reads; s_axis_tlast is "
                    "ignored.",
    "WIDTHEXPAND": "Operands are extended by the rules of the language, as Amaranth relies on.",
    "WIDTHTRUNC": "Results are truncated by the rules of the language, as Amaranth relies on.",
}


def ports(verilog: str) -> list[dict[str, object]]:
    """Return the top module's ports: ``name``, ``direction``, ``width``, ``meaning``."""
    meanings = MEANINGS | SERIAL_MEANINGS
    module = re.search(rf"^module {TOP}\(.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    found = {
        name: {"name": name, "direction": direction, "width": int(high or 0) + 1,
               "meaning": meanings[name]}
        for direction, high, name in re.findall(
            r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", module[0] if module else "",
            re.MULTILINE)}
    return [found[name] for name in meanings if name in found]


def manifest(config: ArrayConfig, verilog: str) -> dict[str, object]:
    """Return what a stranger wants to know of the Verilog; nothing that changes with time."""
    depths = {isa.Memory.GLOBAL_BUFFER: config.buffer_bytes,
              isa.Memory.PROGRAM: config.program_depth,
              isa.Memory.PARAMETERS: config.parameter_depth, isa.Memory.FILTER: config.filter_depth}
    return {
        "config": asdict(config),
        "digest": f"{config.digest:016x}",
        "version": importlib.metadata.version("oarlock"),
        "interface_version": isa.VERSION,
        "tools": tool_versions(),
        "top": TOP,
        "ports": ports(verilog),
        "framing": {
            "command": "{sync:8, opcode:4, memory:4, operand:16}, address, count, then count words "
                       "if it is a WRITE",
            "answer": "{sync:8, opcode:4, status:4, words:16}, then so many words",
            "command_sync": isa.COMMAND_SYNC, "response_sync": isa.RESPONSE_SYNC,
        },
        "opcodes": _values(isa.Opcode),
        "memories": [
            {"name": memory.name, "value": int(memory), "address": unit, "size": depths[memory],
             "readable": readable} for memory, (unit, readable) in MEMORY_UNITS.items()],
        "statuses": _values(isa.Status),
        "info": list(isa.INFO_FIELDS),
        "info_values": config.info(),
        "counters": list(isa.COUNTERS),
        "counter_width": isa.COUNTER_WIDTH,
        "kinds": _values(isa.DescriptorKind),
        "rules": _values(isa.Rule),
        "vector_ops": _values(isa.VectorOp),
        "descriptors": {part: _fields(fields)
                        for part, fields in DESCRIPTORS[config.dataflow_code].items()},
        "descriptor_words": {kind.name.lower(): words
                             for kind, words in config.descriptor_lengths.items()},
    }


def _values(enum: type[IntEnum]) -> dict[str, int]:
    return {member.name: int(member) for member in enum}


def _fields(fields: tuple[isa.Field, ...]) -> list[Mapping[str, object]]:
    return [{"name": name, "word": offset // 32, "bit": offset % 32, "width": width,
             "signed": signed}
            for name, (offset, width, signed) in isa.field_positions(fields).items()]


def _waiver_file() -> str:
    lines = ["`verilator_config"]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*{TOP}*.v"']
    return "\n".join(lines) + "\n"


def write(config: ArrayConfig, folder: Path, *, extra: Mapping[str, str | bytes] | None = None,
          progress: cache.Progress = cache.no_progress) -> list[Path]:
    """Write the files into a folder; return their paths.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The accelerator.
    folder : :class:`~pathlib.Path`
        Made if it is not there; other files in it stay.
    extra : mapping, optional
        More files by name, as :func:`oarlock.gen.testbench.files` returns them.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what takes its time.
    """
    verilog = verilog_of(config, progress=progress)
    files: dict[str, str | bytes] = {
        "oarlock.v": verilog,
        "oarlock.h": c_header(config),
        "oarlock.vlt": _waiver_file(),
        "manifest.json": json.dumps(manifest(config, verilog), indent=2) + "\n",
        **(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if name.endswith(".sh"):
            path.chmod(0o755)
    return [folder / name for name in files]
