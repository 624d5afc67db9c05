"""Program files: what the compiler made of a network, for one configuration of the device."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..hw import isa
from .errors import ProgramError


__all__ = ["FORMAT", "VERSION", "Program", "Step", "TensorInfo"]

FORMAT = "oarlock-program"
VERSION = 1

#: ``{"do": name, ...}``; see :class:`Program`.
Step = Mapping[str, Any]


@dataclass(frozen=True)
class TensorInfo:
    """Input or output of the device: name, shape, and ``real = scale * (q - zero_point)``."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A program, checked for consistency: a session need not expect nonsense in it.

    Members
    -------
    digest : :class:`int`
        Digest of the configuration that the program is for.
    config : :class:`dict`
        That configuration.
    model, rounding : :class:`str`
        Name of the network; rounding rule of its requantizations.
    input, output : :class:`TensorInfo`
        What :meth:`Session.infer` takes and returns.
    host_tensors : dict of :class:`str` to (H, W, C)
        Tensors that steps copy from and to.
    host_aliases : dict of :class:`str` to :class:`str`
        Host tensors that are another one's data in a shape of their own.
    layers : sequence of :class:`dict`
        ``name``, ``op``, ``macs``, ``bound_cycles``, ``mapping``, ``runs_on``.
    setup, inference : sequence of :data:`Step`
        Steps to load the program, and steps of one inference:

        ``send`` (``start``, ``words``, ``commands``)
            Send ``words[start:start + words]``, so many commands, each answered without payload.
        ``clear``
            Zero the counters.
        ``wait`` (``layer``)
            Wait for the end of the run; layer number ``layer`` ends with it, unless it is None.
        ``write_box``, ``read_box`` (``tensor``, ``box``, ``address``)
            Copy ``[[y0, y1], [x0, x1], [c0, c1]]`` of a host tensor to or from the global buffer.
            With ``zero_point``, the tensor's, run-length coded where the device can.
        ``counters`` (``layer``)
            Read all counters after a layer.
        ``timestamps`` (``entries``)
            Read when layers ended: ``[[program word, layer], ...]``.
    words : uint32 array
        Commands of the ``send`` steps.
    opcodes : dict of :class:`int` to uint32 array
        Opcodes of the commands of a ``send`` step, by its ``start``.
    """

    digest: int
    config: Mapping[str, Any]
    model: str
    rounding: str
    input: TensorInfo
    output: TensorInfo
    host_tensors: Mapping[str, tuple[int, int, int]]
    host_aliases: Mapping[str, str]
    layers: Sequence[Mapping[str, Any]]
    setup: Sequence[Step]
    inference: Sequence[Step]
    words: np.ndarray
    opcodes: Mapping[int, np.ndarray]

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read a program file.

        Raises
        ------
        ProgramError
            If it cannot be read, is none, is damaged, or has another format or version.
        """
        try:
            # np.load leaves a file open that it does not understand.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
                header, words = members["header"], members["words"]
        except OSError as error:
            raise ProgramError(f"{path}: {error.strerror or 'is not a program file'}") from error
        # What np.load raises for something else, and what a damaged zip or member leads to.
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile,
                zlib.error, NotImplementedError) as error:
            raise ProgramError(f"{path}: is not a program file, or is damaged") from error
        try:
            return cls.from_parts(json.loads(bytes(header)), words)
        except ValueError as error:
            raise ProgramError(f"{path}: is damaged") from error
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from error

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], words: np.ndarray) -> Program:
        """Check the two members of a program file.

        Raises
        ------
        ProgramError
            If they are not what :class:`Program` says.
        """
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ProgramError("is not a program file")
        if header.get("version") != VERSION:
            raise ProgramError(
                f"has version {header.get('version')!r} of the format, this driver reads {VERSION}")
        try:
            _require(words.dtype == np.uint32 and words.ndim == 1)
            program = cls(
                digest=int(header["digest"], 16), config=header["config"],
                model=header["model"], rounding=header["rounding"],
                input=_tensor(header["input"]), output=_tensor(header["output"]),
                host_tensors={name: _shape(shape, 3)
                              for name, shape in header["host_tensors"].items()},
                host_aliases=dict(header.get("host_aliases", {})), layers=header["layers"],
                setup=header["setup"], inference=header["inference"], words=words, opcodes={})
            for info in (program.input, program.output):
                _require(_size(program.host_tensors[info.name]) == _size(info.shape))
            for alias, name in program.host_aliases.items():
                _require(name not in program.host_aliases)
                _require(_size(program.host_tensors[alias]) == _size(program.host_tensors[name]))
            for layer in program.layers:
                _require({"name", "op", "macs", "bound_cycles", "mapping", "runs_on"} <= {*layer})
            for step in (*program.setup, *program.inference):
                program._check(step)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ProgramError("is damaged") from error
        return program

    def _check(self, step: Step) -> None:
        match step["do"]:
            case "send":
                start, count = step["start"], step["words"]
                _require(0 <= start and 0 < count and start + count <= len(self.words))
                opcodes = _opcodes(self.words[start:start + count])
                _require(len(opcodes) == step["commands"])
                self.opcodes[start] = opcodes  # type: ignore[index]
            case "write_box" | "read_box":
                box = step["box"]
                _require(len(box) == 3 and step["address"] >= 0 and all(
                    0 <= low < high <= size for (low, high), size
                    in zip(box, self.host_tensors[step["tensor"]], strict=True)))
                zero = step.get("zero_point")
                _require(zero is None or (type(zero) is int and -128 <= zero <= 127))
            case "wait":
                _require(step["layer"] is None or 0 <= step["layer"] < len(self.layers))
            case "timestamps":
                _require(all(address >= 0 and 0 <= layer < len(self.layers)
                             for address, layer in step["entries"]))
            case "counters":
                _require(0 <= step["layer"] < len(self.layers))
            case "clear":
                pass
            case _:
                raise ValueError


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _shape(shape: Sequence[int], length: int | None = None) -> tuple[int, ...]:
    _require(all(type(size) is int and size > 0 for size in shape))
    _require(length is None or len(shape) == length)
    return tuple(shape)


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _tensor(entry: Mapping[str, Any]) -> TensorInfo:
    return TensorInfo(name=entry["name"], shape=_shape(entry["shape"]),
                      scale=float(entry["scale"]), zero_point=int(entry["zero_point"]))


def _opcodes(words: np.ndarray) -> np.ndarray:
    """Return the opcodes of whole commands, laid end to end, that are answered without payload."""
    opcodes, position = [], 0
    while position < len(words):
        first = int(words[position])
        opcode = isa.Opcode(first >> 20 & 15)
        _require(first >> 24 == isa.COMMAND_SYNC)
        _require(opcode in (isa.Opcode.WRITE, isa.Opcode.RUN, isa.Opcode.CLEAR))
        opcodes.append(opcode)
        count = int(words[position + 2])
        position += isa.COMMAND_WORDS + (count if opcode == isa.Opcode.WRITE else 0)
    _require(position == len(words))
    return np.array(opcodes, dtype=np.uint32)
