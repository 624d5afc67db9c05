"""A conversation with a device: identify it, load a program, infer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from ..hw import isa
from .errors import (
    DeviceError,
    DriverError,
    LinkTimeout,
    NoDevice,
    ProtocolError,
    WrongConfiguration,
    WrongVersion,
)
from .program import Program, Step
from .transport import Transport


__all__ = ["Session", "identify"]

READ_LIMIT = 0xFFFF

#: Deadlines, in device cycles: of an answer that needs no run, and of runs by what they compute.
ANSWER_CYCLES = 1_000_000
CYCLES_PER_BOUND = 64

Handler = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class _Answer:
    """Expected first words, one a command, and the payload after the last of them."""

    headers: np.ndarray
    payload: int = 0
    then: Handler | None = None


def _header(opcode: int, payload: int = 0) -> int:
    return isa.RESPONSE_SYNC << 24 | opcode << 20 | isa.Status.OK << 16 | payload


def _name(opcode: int) -> str:
    return isa.Opcode(opcode).name if opcode in [*isa.Opcode] else f"opcode {opcode}"


def _check_header(word: int, expected: int) -> None:
    """Raise what is wrong with the first word of an answer, if anything is."""
    sync, opcode, status, payload = isa.response_fields(word)
    _, wanted, _, wanted_payload = isa.response_fields(expected)
    if sync != isa.RESPONSE_SYNC:
        raise ProtocolError(f"Answer to {_name(wanted)} begins with {word:#010x}, which is none")
    if status != isa.Status.OK:
        raise DeviceError(_name(wanted), status)
    if opcode != wanted:
        raise ProtocolError(f"Answer to {_name(wanted)} came as one to {_name(opcode)}")
    if payload != wanted_payload:
        raise ProtocolError(f"Answer to {_name(wanted)} has {payload} words, "
                            f"not {wanted_payload}")


class _Batch:
    """Commands that go out together, and what is expected in return."""

    def __init__(self) -> None:
        self.words: list[np.ndarray] = []
        self.answers: list[_Answer] = []
        self.sent = 0
        self.wanted = 0

    def add(self, words: np.ndarray, opcodes: np.ndarray, payload: int = 0,
            then: Handler | None = None) -> None:
        """Append commands; only the last may have a payload."""
        headers = _header(0) | opcodes.astype(np.uint32) << 20
        headers[-1] |= payload
        self.words.append(words)
        self.answers.append(_Answer(headers, payload, then))
        self.sent += len(words)
        self.wanted += len(headers) + payload

    def command(self, opcode: isa.Opcode, payload: int = 0, then: Handler | None = None, *,
                memory: int = 0, address: int = 0, count: int = 0,
                data: np.ndarray | None = None) -> None:
        """Append one command."""
        words = np.array(isa.command(opcode, memory=memory, address=address, count=count),
                         dtype=np.uint32)
        if data is not None:
            words = np.concatenate([words, data])
        self.add(words, np.array([opcode]), payload, then)

    def check(self, received: np.ndarray) -> None:
        """Compare what came with what was expected, and hand payloads on."""
        position = 0
        for answer in self.answers:
            headers = received[position:position + len(answer.headers)]
            wrong = np.flatnonzero(headers != answer.headers[:len(headers)])
            if wrong.size:
                _check_header(int(headers[wrong[0]]), int(answer.headers[wrong[0]]))
            position += len(answer.headers)
            payload = received[position:position + answer.payload]
            position += answer.payload
            if position > len(received):
                missing = answer.headers[min(len(headers), len(answer.headers) - 1)]
                raise LinkTimeout(f"Answer to {_name(isa.response_fields(int(missing))[1])} did "
                                  f"not come: {len(received)} of {self.wanted} words did")
            if answer.then is not None:
                answer.then(payload)


def identify(transport: Transport) -> dict[str, int]:
    """Ask the device behind an open transport what it is; answers :data:`isa.INFO_FIELDS`.

    Raises
    ------
    NoDevice, WrongVersion, ProtocolError, DeviceError, LinkTimeout
        If there is none, or none that this driver can talk to.
    """
    fields = len(isa.INFO_FIELDS)
    received = transport.exchange(
        np.array(isa.command(isa.Opcode.INFO), dtype=np.uint32), 1 + fields, ANSWER_CYCLES)
    if not len(received):
        raise NoDevice("No device answers")
    sync, opcode, status, _ = isa.response_fields(int(received[0]))
    if (sync, opcode, status) == (isa.RESPONSE_SYNC, isa.Opcode.INFO, isa.Status.OK):
        # First what any version answers.
        if len(received) > 1 and received[1] != isa.MAGIC:
            raise NoDevice(f"What answers is no Oarlock device: its magic is {received[1]:#010x}")
        if len(received) > 2 and received[2] != isa.VERSION:
            raise WrongVersion(f"Device speaks version {received[2]} of the interface, "
                               f"this driver {isa.VERSION}")
    _check_header(int(received[0]), _header(isa.Opcode.INFO, fields))
    if len(received) < 1 + fields:
        raise LinkTimeout(f"Answer to INFO did not come: {len(received)} of {1 + fields} words did")
    return dict(zip(isa.INFO_FIELDS, map(int, received[1:]), strict=True))


class Session:
    """A device with a program on it.

    A context manager: on the way in it opens the transport and identifies the device, on the way
    out it closes the transport. Every answer is checked; every wait has a deadline. After an error
    the session is of no more use, but the next one is.

    Parameters
    ----------
    transport : :class:`~oarlock.sw_driver.transport.Transport`
        The link; not open.
    program : :class:`~oarlock.sw_driver.program.Program`
        What to run.
    run_cycles : :class:`int`, optional
        Deadline of one inference; by default far more than the compiler's bound.

    Members
    -------
    info : dict of :class:`str` to :class:`int`
        What the device said that it is.
    last_cycles : :class:`int`
        Device cycles of the last inference.
    layer_cycles : list of :class:`int`
        The same for every layer of the program; 0 for those that the device does not run.
    words_sent, words_received : :class:`int`
        What the last inference moved over the link.
    """

    def __init__(self, transport: Transport, program: Program, *,
                 run_cycles: int | None = None) -> None:
        self.transport = transport
        self.program = program
        if run_cycles is None:
            run_cycles = CYCLES_PER_BOUND * sum(
                int(layer["bound_cycles"] or 0) for layer in program.layers)
        self.run_cycles = ANSWER_CYCLES + run_cycles
        self.info: dict[str, int] = {}
        self.last_cycles = 0
        self.layer_cycles = [0] * len(program.layers)
        self.words_sent = self.words_received = 0
        self._ready = False

    def __enter__(self) -> Self:
        self.transport.open()
        try:
            self.info = identify(self.transport)
            digest = self.info["digest_high"] << 32 | self.info["digest_low"]
            if digest != self.program.digest:
                raise WrongConfiguration(
                    f"Device has the configuration {digest:016x} ({self.info['rows']}x"
                    f"{self.info['cols']} PEs), the program is for {self.program.digest:016x}")
        except BaseException:
            self.transport.close()
            raise
        self._ready = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._ready = False
        self.transport.close()

    def load(self) -> None:
        """Send what all inferences need: weights, parameters, descriptors."""
        self._run(self.program.setup, self._tensors(), {})

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Run one inference.

        Parameters
        ----------
        x : int8 array
            The program's input, with or without its leading 1.

        Returns
        -------
        int8 array
            The program's output.

        Raises
        ------
        ValueError
            If ``x`` is of another shape or type.
        DriverError
            If anything goes wrong.
        """
        source, target = self.program.input, self.program.output
        if x.dtype != np.int8 or x.shape not in (source.shape, source.shape[1:]):
            raise ValueError(f"Input must be int8 of shape {source.shape}, "
                             f"not {x.dtype} of shape {x.shape}")
        tensors = self._tensors()
        tensors[source.name][...] = x.reshape(tensors[source.name].shape)
        ends: dict[int, int] = {}
        self._run(self.program.inference, tensors, ends)
        self.layer_cycles = [0] * len(self.program.layers)
        before = 0
        for index in sorted(ends):
            self.layer_cycles[index] = max(0, ends[index] - before)
            before = max(before, ends[index])
        return tensors[target.name].reshape(target.shape)

    def counters(self) -> dict[str, int]:
        """Read the counters; they count since the beginning of the last inference."""
        found: dict[str, int] = {}

        def keep(payload: np.ndarray) -> None:
            values = payload.astype(np.uint64)
            found.update(zip(isa.COUNTERS, (values[::2] | values[1::2] << np.uint64(32)).tolist(),
                             strict=True))

        batch = _Batch()
        batch.command(isa.Opcode.COUNTERS, isa.COUNTER_WORDS, keep)
        self._exchange(batch)
        return found

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {name: np.zeros(shape, np.int8)
                   for name, shape in self.program.host_tensors.items()}
        for alias, name in self.program.host_aliases.items():
            tensors[alias] = tensors[name].reshape(tensors[alias].shape)
        return tensors

    def _run(self, steps: Sequence[Step], tensors: dict[str, np.ndarray],
             ends: dict[int, int]) -> None:
        """Take steps, all that can go out together in one exchange."""
        batches = [_Batch()]
        unread: set[str] = set()
        aliases = self.program.host_aliases
        for step in steps:
            name = aliases.get(step.get("tensor"), step.get("tensor"))
            if step["do"] == "write_box" and name in unread:
                self._exchange(batches[-1])
                batches.append(_Batch())
                unread.clear()
            if step["do"] == "read_box":
                unread.add(name)
            self._add(batches[-1], step, tensors, ends)
        self._exchange(batches[-1])
        self.words_sent = sum(batch.sent for batch in batches)
        self.words_received = sum(batch.wanted for batch in batches)

    def _add(self, batch: _Batch, step: Step, tensors: dict[str, np.ndarray],
             ends: dict[int, int]) -> None:
        match step["do"]:
            case "send":
                words = self.program.words[step["start"]:step["start"] + step["words"]]
                batch.add(words, self.program.opcodes[step["start"]])
            case "clear":
                batch.command(isa.Opcode.CLEAR)
            case "wait":
                def finish(payload: np.ndarray, layer: int | None = step["layer"]) -> None:
                    self.last_cycles = int(payload[0]) | int(payload[1]) << 32
                    if layer is not None:
                        ends[layer] = self.last_cycles

                batch.command(isa.Opcode.WAIT, 2, finish)
            case "timestamps":
                for address, layer in step["entries"]:
                    def note(payload: np.ndarray, layer: int = layer) -> None:
                        ends[layer] = int(payload[0])

                    batch.command(isa.Opcode.READ, 1, note, memory=isa.Memory.PROGRAM,
                                  address=address, count=1)
            case "write_box":
                data = tensors[step["tensor"]][_slices(step)].tobytes()
                words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
                batch.command(isa.Opcode.WRITE, memory=isa.Memory.GLOBAL_BUFFER,
                              address=step["address"], count=len(words), data=words)
            case "read_box":
                _add_read(batch, step, tensors[step["tensor"]])

    def _exchange(self, batch: _Batch) -> None:
        if not batch.answers:
            return
        if not self._ready:
            raise DriverError("Session is not open, or has failed before")
        self._ready = False
        received = self.transport.exchange(
            np.concatenate(batch.words), batch.wanted, self.run_cycles)
        batch.check(received)
        self._ready = True


def _slices(step: Step) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in step["box"])


def _add_read(batch: _Batch, step: Step, tensor: np.ndarray) -> None:
    """Read a box in pieces; the last piece brings it into its tensor."""
    target = tensor[_slices(step)]
    count = -(-target.size // 4)
    pieces: list[np.ndarray] = []

    def keep(payload: np.ndarray) -> None:
        pieces.append(payload)
        if sum(map(len, pieces)) == count:
            data = np.concatenate(pieces).astype("<u4").view(np.int8)
            target[...] = data[:target.size].reshape(target.shape)

    for start in range(0, count, READ_LIMIT):
        piece = min(READ_LIMIT, count - start)
        batch.command(isa.Opcode.READ, piece, keep, memory=isa.Memory.GLOBAL_BUFFER,
                      address=step["address"] + 4 * start, count=piece)
