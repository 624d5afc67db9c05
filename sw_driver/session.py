"""A conversation with a device: identify it, load a program, infer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ..hw import isa
from .batch import Batch, answer_header, check_header
from .boxes import box_words, coded_operand, read_pieces
from .errors import (
    DriverError,
    LinkTimeout,
    NoDevice,
    ProtocolError,
    WrongConfiguration,
    WrongVersion,
)
from .program import Program, Step
from .run_length import decode
from .transport import Transport


__all__ = ["Session", "identify"]

#: Deadlines, in device cycles: of an answer that needs no run, and of runs by what they compute.
ANSWER_CYCLES = 1_000_000
CYCLES_PER_BOUND = 64


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
    check_header(int(received[0]), answer_header(isa.Opcode.INFO, fields))
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
    layer_counters : dict of :class:`int` to dict of :class:`str` to :class:`int`
        By layer, what it added to the counters; empty unless the program reads them layer by layer.
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
        self.layer_counters: dict[int, dict[str, int]] = {}
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
        run = _Run(self, self.program.setup)
        while run.batch is not None:
            self._exchange(run.batch)
            run.advance()
        self.words_sent, self.words_received = run.sent, run.received

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
        source = self.program.input
        if x.dtype != np.int8 or x.shape not in (source.shape, source.shape[1:]):
            raise ValueError(f"Input must be int8 of shape {source.shape}, "
                             f"not {x.dtype} of shape {x.shape}")
        return self.infer_batch(x.reshape(source.shape))

    def infer_batch(self, batch: np.ndarray,
                    each: Callable[[int], None] | None = None) -> np.ndarray:
        """Run inferences one after the other, the next input sent while one is computed.

        A serial link takes as much ahead as the device has room for in its window: a whole input,
        if it is a small one. :attr:`last_cycles` and the like are the last inference's.

        Parameters
        ----------
        batch : int8 array
            The program's inputs, any number of them along the first axis.
        each : callable, optional
            Called with the number of inferences done.

        Returns
        -------
        int8 array
            The program's outputs, along the first axis.

        Raises
        ------
        ValueError
            If ``batch`` is of another shape or type.
        DriverError
            If anything goes wrong.
        """
        shape = self.program.input.shape[1:]
        if batch.dtype != np.int8 or batch.shape[1:] != shape or not len(batch):
            raise ValueError(f"Input must be int8 of shape (N, {str(shape)[1:-1]}), "
                             f"not {batch.dtype} of shape {batch.shape}")
        outputs: list[np.ndarray] = []
        run = _Run(self, self.program.inference, batch[0])
        for done in range(1, len(batch) + 1):
            following = None
            while run.batch is not None:
                if run.is_last and done < len(batch):
                    following = _Run(self, self.program.inference, batch[done])
                self._exchange(run.batch, None if following is None else following.batch)
                run.advance()
            outputs.append(self._finish(run))
            if each is not None:
                each(done)
            if following is not None:
                run = following
        return np.concatenate(outputs)

    def _finish(self, run: _Run) -> np.ndarray:
        """Note what an inference took, and return its output."""
        self.layer_cycles = [0] * len(self.program.layers)
        before = 0
        for index in sorted(run.ends):
            self.layer_cycles[index] = max(0, run.ends[index] - before)
            before = max(before, run.ends[index])
        self.layer_counters, counted = {}, dict.fromkeys(isa.COUNTERS, 0)
        for index, counts in run.counts.items():
            self.layer_counters[index] = {
                name: count - counted[name] for name, count in counts.items()}
            counted = counts
        self.last_cycles = run.cycles
        self.words_sent, self.words_received = run.sent, run.received
        target = self.program.output
        return run.tensors[target.name].reshape(target.shape)

    def counters(self) -> dict[str, int]:
        """Read the counters; they count since the beginning of the last inference.

        Raises
        ------
        DriverError
            If the device has none, or anything goes wrong.
        """
        if not self.info.get("counters", 1):
            raise DriverError("Device has no counters: its configuration leaves them out")
        found: dict[str, int] = {}
        batch = Batch()
        batch.command(isa.Opcode.COUNTERS, isa.COUNTER_WORDS,
                      lambda payload: found.update(_counts(payload)))
        self._exchange(batch)
        return found

    def _exchange(self, batch: Batch, ahead: Batch | None = None) -> None:
        """Exchange a batch; send another one ahead if the transport can do that."""
        if not batch.sent:
            return
        if not self._ready:
            raise DriverError("Session is not open, or has failed before")
        self._ready = False
        if ahead is not None:
            batch.posted = batch.posted or self.transport.post(batch.words)
            # In this order or not at all.
            if batch.posted and ahead.sent:
                ahead.posted = self.transport.post(ahead.words)
        batch.exchange(
            lambda words, count: self.transport.exchange(words, count, self.run_cycles))
        self._ready = True


class _Run:
    """Steps of a program, on their way: all that can go out together is one batch.

    Members
    -------
    batch, is_last : :class:`Batch` or None, :class:`bool`
        What is to be exchanged before :meth:`advance`; None in the end.
    tensors : dict of :class:`str` to array
        The host's tensors.
    ends : dict of :class:`int` to :class:`int`
        Cycles in which layers ended, by their index.
    counts : dict of :class:`int` to dict of :class:`str` to :class:`int`
        Counters at the ends of layers, by their index.
    cycles : :class:`int`
        Cycles at the end of the last run.
    sent, received : :class:`int`
        Words of all batches that are done.
    """

    def __init__(self, session: Session, steps: Sequence[Step],
                 x: np.ndarray | None = None) -> None:
        self.program = session.program
        self.coded = bool(session.info.get("run_length"))
        self.ends: dict[int, int] = {}
        self.counts: dict[int, dict[str, int]] = {}
        self.cycles = self.sent = self.received = 0
        self.tensors = {name: np.zeros(shape, np.int8)
                        for name, shape in self.program.host_tensors.items()}
        for alias, name in self.program.host_aliases.items():
            self.tensors[alias] = self.tensors[name].reshape(self.tensors[alias].shape)
        if x is not None:
            target = self.tensors[self.program.input.name]
            target[...] = x.reshape(target.shape)
        self.batch: Batch | None = None
        self.is_last = False
        self._batches = self._cut(steps)
        self.advance()

    def advance(self) -> None:
        """Make the next batch, of what the device has answered to those before."""
        if self.batch is not None:
            self.sent += self.batch.sent
            self.received += self.batch.received
        self.batch, self.is_last = next(self._batches, (None, True))

    def _cut(self, steps: Sequence[Step]) -> Iterator[tuple[Batch, bool]]:
        """Yield batches, and whether they are the last."""
        batch = Batch()
        unread: set[str] = set()
        for step in steps:
            name = self.program.host_aliases.get(step.get("tensor"), step.get("tensor"))
            if step["do"] == "write_box" and name in unread:
                yield batch, False
                batch = Batch()
                unread.clear()
            if step["do"] == "read_box":
                unread.add(name)
            self._add(batch, step)
        yield batch, True

    def _add(self, batch: Batch, step: Step) -> None:
        match step["do"]:
            case "send":
                words = self.program.words[step["start"]:step["start"] + step["words"]]
                batch.add(words, self.program.opcodes[step["start"]])
            case "clear":
                batch.command(isa.Opcode.CLEAR)
            case "wait":
                def finish(payload: np.ndarray, layer: int | None = step["layer"]) -> None:
                    self.cycles = int(payload[0]) | int(payload[1]) << 32
                    if layer is not None:
                        self.ends[layer] = self.cycles

                batch.command(isa.Opcode.WAIT, 2, finish)
            case "counters":
                def count(payload: np.ndarray, layer: int = step["layer"]) -> None:
                    self.counts[layer] = _counts(payload)

                batch.command(isa.Opcode.COUNTERS, isa.COUNTER_WORDS, count)
            case "timestamps":
                for address, layer in step["entries"]:
                    def note(payload: np.ndarray, layer: int = layer) -> None:
                        self.ends[layer] = int(payload[0])

                    batch.command(isa.Opcode.READ, 1, note, memory=isa.Memory.PROGRAM,
                                  address=address, count=1)
            case "write_box":
                _add_write(batch, step, self.tensors[step["tensor"]], self._zero(step))
            case "read_box":
                _add_read(batch, step, self.tensors[step["tensor"]], self._zero(step))

    def _zero(self, step: Step) -> int | None:
        """Return the zero point of a box that can be coded."""
        return step.get("zero_point") if self.coded else None


def _counts(payload: np.ndarray) -> dict[str, int]:
    """Return the counters of an answer by their names."""
    values = payload.astype(np.uint64)
    return dict(zip(isa.COUNTERS, (values[::2] | values[1::2] << np.uint64(32)).tolist(),
                    strict=True))


def _slices(step: Step) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in step["box"])


def _add_write(batch: Batch, step: Step, tensor: np.ndarray, zero: int | None) -> None:
    """Write a box."""
    words, operand = box_words(tensor[_slices(step)], zero)
    batch.command(isa.Opcode.WRITE, memory=isa.Memory.GLOBAL_BUFFER, operand=operand,
                  address=step["address"], count=len(words), data=words)


def _add_read(batch: Batch, step: Step, tensor: np.ndarray, zero: int | None) -> None:
    """Read a box in pieces; the last piece brings it into its tensor."""
    target = tensor[_slices(step)]
    count = -(-target.size // 4)
    pieces: list[np.ndarray] = []

    def keep(payload: np.ndarray) -> None:
        pieces.append(payload)
        if sum(map(len, pieces)) == count:
            data = np.concatenate(pieces).astype("<u4").view(np.int8)
            target[...] = data[:target.size].reshape(target.shape)

    for start, piece, coded in read_pieces(target.size, coded=zero is not None):
        def expand(block: np.ndarray, piece: int = piece) -> None:
            words = decode(block, zero)
            if len(words) != piece:
                raise ProtocolError(f"Block must stand for {piece} words, not {len(words)}")
            keep(words)

        batch.command(isa.Opcode.READ, 0 if coded else piece, expand if coded else keep,
                      memory=isa.Memory.GLOBAL_BUFFER,
                      operand=coded_operand(zero) if coded else 0,
                      address=step["address"] + 4 * start, count=piece,
                      limit=piece + 1 if coded else 0)
