"""Verilog whose memories answer with garbage where they are written in the cycle of a read.

FPGA tools are told that this never matters (``-no-rw-check``, in boards/families.py), and block
RAMs promise nothing then. A simulator would deliver what stood there before.
"""

from __future__ import annotations

import re


__all__ = ["spoil_collisions"]

#: An address, which may have a range of its own, and the bits of a word.
ADDRESS, BITS = r"(?:[^\[\]]|\[[^\]]*\])*", r"\[\d+(?::\d+)?\]"


def spoil_collisions(verilog: str, *, anywhere: bool = False) -> tuple[str, int]:
    """Return the Verilog with spoiled reads, and how many read ports it has.

    Only clocked read ports; those without a clock are LUT RAMs. With ``anywhere`` a read is spoiled
    by a write to whatever address, to show that it would be noticed.
    """
    modules = re.split(r"(?m)^(?=module )", verilog)
    ports = 0
    for n, module in enumerate(modules):
        memories = re.findall(r"(?m)^  reg \[\d+:0\] (\w+(?= )|\\\S+ ) ?\[\d+:0\];", module)
        for memory in memories:
            name = re.escape(memory)
            writes = re.findall(
                rf"(?m)^(?:    if \((.*)\)\n  )?    {name}\[({ADDRESS})\]({BITS})? <= ", module)

            def spoil(match: re.Match[str], memory: str = memory,
                      writes: list[tuple[str, str, str]] = writes) -> str:
                nonlocal ports
                ports += 1
                register, address = match[1], match[2]
                return match[0] + "".join(
                    f"if (({enable or 1}) && (({address}) == ({written}) || {int(anywhere)}))\n"
                    f"{register}{bits} <= ~{memory}[{address}]{bits};\n"
                    for enable, written, bits in writes)

            module = re.sub(rf"(?m)^ +(_\d+_) <= {name}\[({ADDRESS})\];\n", spoil, module)
        modules[n] = module
    return "".join(modules), ports
