"""The driver against a device made of Python, with every fault that one can have."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oarlock.gen.config import PRESETS
from oarlock.hw import isa
from oarlock.hw.isa import Memory, Opcode, Status
from oarlock.sw_driver import errors, run_length, session
from oarlock.sw_driver.program import Program
from oarlock.sw_driver.session import Session, identify
from oarlock.sw_driver.transport import Transport


CONFIG = PRESETS["tiny"]
DONE = 11  # Program word in which layer 0 finds its end.
RUN_CYCLES = 321
INPUT, OUTPUT = 0x100, 0x4000
INFO_COUNT = len(isa.INFO_FIELDS)


class FakeDevice(Transport):
    """Answers as the hardware does; a run copies the input to the output, each byte plus one.

    ``change`` turns the words of an answer into those that arrive.
    """

    def __init__(self, change: Callable[[int, list[int]], list[int]] | None = None,
                 **info: int) -> None:
        self.change = change or (lambda opcode, words: words)
        self.info = CONFIG.info() | info
        self.opened = self.closed = 0
        self.exchanges: list[tuple[int, int, int]] = []
        self.commands: list[tuple[int, int, int, int]] = []

    def open(self) -> None:
        self.opened += 1
        self.buffer = np.zeros(CONFIG.buffer_bytes, np.uint8)
        self.program = np.zeros(CONFIG.program_depth, np.uint32)
        self.time = 0
        self.out: list[int] = []

    def close(self) -> None:
        self.closed += 1

    def exchange(self, words: np.ndarray, count: int, cycles: int) -> np.ndarray:
        self.exchanges.append((len(words), count, cycles))
        position = 0
        while position < len(words):
            first, address, length = map(int, words[position:position + 3])
            opcode, memory = first >> 20 & 15, first >> 16 & 15
            assert first >> 24 == isa.COMMAND_SYNC
            position += 3
            data = words[position:position + (length if opcode == Opcode.WRITE else 0)]
            position += len(data)
            self.commands.append((opcode, memory, address, length))
            payload = self.answer(opcode, memory, address, length, data)
            header = isa.RESPONSE_SYNC << 24 | opcode << 20 | len(payload)
            self.out += self.change(opcode, [header, *payload])
        received, self.out = self.out[:count], self.out[count:]
        return np.array(received, dtype=np.uint32)

    def answer(self, opcode: int, memory: int, address: int, length: int,
               data: np.ndarray) -> list[int]:
        match opcode:
            case Opcode.INFO:
                return list(self.info.values())
            case Opcode.WRITE if memory == Memory.GLOBAL_BUFFER:
                assert address % 4 == 0
                self.buffer[address:address + 4 * length] = data.astype("<u4").view(np.uint8)
            case Opcode.WRITE if memory == Memory.PROGRAM:
                self.program[address:address + length] = data
            case Opcode.READ if memory == Memory.GLOBAL_BUFFER:
                assert length <= 65535
                return self.buffer[address:address + 4 * length].view("<u4").tolist()
            case Opcode.READ if memory == Memory.PROGRAM:
                return self.program[address:address + length].tolist()
            case Opcode.CLEAR:
                self.time = 0
            case Opcode.RUN:
                self.time += RUN_CYCLES
                self.program[DONE] = self.time - 21
                size = OUTPUT - INPUT
                self.buffer[OUTPUT:OUTPUT + size] = self.buffer[INPUT:INPUT + size] + 1
            case Opcode.WAIT:
                return [self.time, 1]
            case Opcode.COUNTERS:
                return [n for index in range(len(isa.COUNTERS)) for n in (index, index % 2)]
        return []


def send(words: list[int], *commands: list[int]) -> dict[str, Any]:
    start = len(words)
    for one in commands:
        words += one
    return {"do": "send", "start": start, "words": len(words) - start, "commands": len(commands)}


def parts(shape: tuple[int, int, int] = (5, 6, 3)) -> tuple[dict[str, Any], np.ndarray]:
    """Return header and words of a program that copies its input, in two boxes."""
    height, width, channels = shape
    words: list[int] = []
    area = width * channels
    first = {"box": [[0, 1], [0, width], [0, channels]], "tensor": "in", "address": INPUT}
    # Two rows that the device does not find behind the first one, and one column of those.
    rest = {"box": [[1, height], [0, width], [0, channels]], "tensor": "in",
            "address": INPUT + 0x200}
    copy = {"box": rest["box"], "tensor": "out", "address": OUTPUT + 0x200}
    corner = {"box": [[0, 1], [0, width], [0, channels]], "tensor": "out", "address": OUTPUT}
    load = [*isa.command(Opcode.WRITE, memory=Memory.PROGRAM, address=DONE, count=2), 7, 8]
    header = {
        "format": "oarlock-program", "version": 1, "digest": f"{CONFIG.digest:016x}",
        "config": {}, "model": "copy", "rounding": "single",
        "input": {"name": "in", "shape": [1, *shape], "scale": 0.5, "zero_point": 3},
        "output": {"name": "out", "shape": [1, height * area], "scale": 1, "zero_point": 0},
        "host_tensors": {"in": shape, "out": shape},
        "layers": [
            {"name": name, "op": "conv", "macs": 10, "bound_cycles": 5, "mapping": "",
             "runs_on": "array"} for name in ("a", "b", "c")],
        "setup": [send(words, load, isa.command(Opcode.CLEAR))],
        "inference": [
            {"do": "write_box", **first}, {"do": "write_box", **rest}, {"do": "clear"},
            send(words, isa.command(Opcode.RUN, address=3, count=2)),
            {"do": "wait", "layer": 2}, {"do": "timestamps", "entries": [[DONE, 0]]},
            {"do": "read_box", **corner}, {"do": "read_box", **copy},
        ],
    }
    return header, np.array(words, dtype=np.uint32)


def program(**changes: Any) -> Program:
    header, words = parts()
    return Program.from_parts(header | changes, words)


X = np.random.default_rng(1).integers(-128, 128, (5, 6, 3), dtype=np.int8)


def test_inference() -> None:
    device = FakeDevice()
    with Session(device, program()) as run:
        assert run.info["rows"] == CONFIG.rows
        run.load()
        assert device.program[DONE:DONE + 2].tolist() == [7, 8]
        for x in (X, X[None] + np.int8(3)):
            y = run.infer(x)
            assert (y.shape, y.dtype) == ((1, 90), np.int8)
            assert np.array_equal(y.reshape(5, 6, 3), x.reshape(5, 6, 3) + np.int8(1))
        assert run.last_cycles == RUN_CYCLES | 1 << 32
        assert run.layer_cycles == [RUN_CYCLES - 21, 0, 21 + (1 << 32)]
        assert run.counters() == {name: index | index % 2 << 32
                                  for index, name in enumerate(isa.COUNTERS)}
    # Identify, load, one exchange for each inference, counters.
    assert len(device.exchanges) == 5
    assert (run.words_sent, run.words_received) == device.exchanges[2][:2]
    assert (device.opened, device.closed) == (1, 1)


def test_a_large_box_is_read_in_pieces() -> None:
    header, words = parts((5, 6, 3))
    config = CONFIG.buffer_bytes
    shape = [1, 1, 4 * 70000 + 1]
    header["host_tensors"] |= {"big": shape}
    header["inference"] = [
        {"do": "read_box", "tensor": "big", "box": [[0, size] for size in shape], "address": 8}]
    header["output"] = {"name": "big", "shape": shape, "scale": 1, "zero_point": 0}
    device = FakeDevice()
    with Session(device, Program.from_parts(header, words)) as run:
        device.buffer = np.random.default_rng(2).integers(0, 256, 1 << 19, dtype=np.uint8)
        y = run.infer(X)
    assert config < y.size
    assert np.array_equal(y.ravel().view(np.uint8), device.buffer[8:8 + y.size])
    assert [command[2:] for command in device.commands[1:]] == [
        (8, 65535), (8 + 4 * 65535, 70001 - 65535)]


def test_what_was_read_can_be_written_again() -> None:
    header, words = parts()
    steps = header["inference"]
    # The output goes back in: needs what the device has answered.
    for step in [*steps]:
        if step["do"] == "read_box":
            steps.append(step | {"do": "write_box", "address": step["address"] - OUTPUT + INPUT})
    steps += [step for step in steps if step["do"] in ("send", "read_box")]
    device = FakeDevice()
    with Session(device, Program.from_parts(header, words)) as run:
        y = run.infer(X)
        assert np.array_equal(y.reshape(X.shape), X + np.int8(2))
    assert len(device.exchanges) == 3


@pytest.mark.parametrize("x", [
    np.zeros((5, 6, 4), np.int8), np.zeros((5, 6, 3), np.float32), np.zeros((2, 5, 6, 3), np.int8),
    np.zeros(90, np.int8)])
def test_a_wrong_input(x: np.ndarray) -> None:
    with Session(FakeDevice(), program()) as run:
        with pytest.raises(ValueError, match=r"Input must be int8 of shape \(1, 5, 6, 3\), not"):
            run.infer(x)
        # That was no fault of the device.
        run.infer(X)


Change = Callable[[int, list[int]], list[int]]


def on(opcode: Opcode, change: Callable[[list[int]], list[int]]) -> Change:
    return lambda answered, words: change(words) if answered == opcode else words


def header_of(words: list[int], *, sync: int = isa.RESPONSE_SYNC, status: int = 0,
              opcode: int | None = None, count: int | None = None) -> list[int]:
    _, was, _, length = isa.response_fields(words[0])
    return [sync << 24 | (was if opcode is None else opcode) << 20 | status << 16
            | (length if count is None else count), *words[1:]]


FAULTS = {
    "nothing": (on(Opcode.INFO, lambda w: []), errors.NoDevice, "No device answers"),
    "other magic": (on(Opcode.INFO, lambda w: [w[0], 0x12345678, *w[2:]]), errors.NoDevice,
                    "What answers is no Oarlock device: its magic is 0x12345678"),
    "other version": (on(Opcode.INFO, lambda w: [*w[:2], 9, *w[3:]]), errors.WrongVersion,
                      "Device speaks version 9 of the interface, this driver 1"),
    "other version, shorter": (
        on(Opcode.INFO, lambda w: [*header_of(w[:2], count=4), 2, 0, 0]), errors.WrongVersion,
        "version 2"),
    "other version, longer": (
        on(Opcode.INFO, lambda w: [*header_of(w[:2], count=99), 2, *range(97)]),
        errors.WrongVersion, "version 2"),
    "other digest": (on(Opcode.INFO, lambda w: [*w[:3], 1, 2, *w[5:]]), errors.WrongConfiguration,
                     f"0000000200000001 \\(4x4 PEs\\), the program is for {CONFIG.digest:016x}"),
    "an echo": (on(Opcode.INFO, lambda w: [isa.COMMAND_SYNC << 24] * 17), errors.ProtocolError,
                "Answer to INFO begins with 0x4f000000, which is none"),
    "half of INFO": (on(Opcode.INFO, lambda w: w[:9]), errors.LinkTimeout,
                     f"Answer to INFO did not come: 9 of {INFO_COUNT + 1} words did"),
    "INFO of another length": (on(Opcode.INFO, lambda w: header_of(w, count=9)),
                               errors.ProtocolError,
                               f"Answer to INFO has 9 words, not {INFO_COUNT}"),
    "INFO refused": (on(Opcode.INFO, lambda w: header_of(w[:1], status=2, count=0)),
                     errors.DeviceError, "Device refused INFO: BAD_OPCODE"),
    "no answer to RUN and on": (
        lambda opcode, w: w if opcode in (Opcode.INFO, Opcode.WRITE, Opcode.CLEAR) else [],
        errors.LinkTimeout, "Answer to RUN did not come: 3 of"),
    "no answer to WAIT": (
        lambda opcode, w: [] if opcode in (Opcode.WAIT, Opcode.READ) else w,
        errors.LinkTimeout, "Answer to WAIT did not come"),
    "half an answer to READ": (on(Opcode.READ, lambda w: w[:2]), errors.LinkTimeout,
                               "Answer to READ did not come"),
    "a word lost": (on(Opcode.WAIT, lambda w: w[:2]), errors.ProtocolError,
                    "Answer to READ begins with"),
    "a word twice": (on(Opcode.CLEAR, lambda w: w * 2), errors.ProtocolError,
                     "came as one to CLEAR"),
    "a bad address": (on(Opcode.WRITE, lambda w: header_of(w, status=4)), errors.DeviceError,
                      "Device refused WRITE: BAD_ADDRESS"),
    "a bad descriptor": (on(Opcode.WAIT, lambda w: header_of(w, status=5)), errors.DeviceError,
                         "Device refused WAIT: BAD_DESCRIPTOR"),
    "a bad sync": (on(Opcode.RUN, lambda w: header_of(w, status=1, opcode=0)), errors.DeviceError,
                   "Device refused RUN: BAD_SYNC"),
    "an unknown status": (on(Opcode.READ, lambda w: header_of(w[:1], status=14, count=0)),
                          errors.DeviceError, "Device refused READ: status 14"),
    "another command's answer": (on(Opcode.RUN, lambda w: header_of(w, opcode=12)),
                                 errors.ProtocolError, "Answer to RUN came as one to opcode 12"),
    "another length": (on(Opcode.READ, lambda w: header_of(w, count=len(w))),
                       errors.ProtocolError, r"Answer to READ has \d+ words, not \d+"),
    "garbage": (on(Opcode.RUN, lambda w: [0xDEADBEEF]), errors.ProtocolError,
                "Answer to RUN begins with 0xdeadbeef, which is none"),
    "counters too short": (on(Opcode.COUNTERS, lambda w: header_of(w[:3], count=2)),
                           errors.ProtocolError,
                           f"Answer to COUNTERS has 2 words, not {isa.COUNTER_WORDS}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_name(fault: str) -> None:
    change, kind, message = FAULTS[fault]
    device = FakeDevice(change)
    with pytest.raises(kind, match=message) as caught:
        with Session(device, program()) as run:
            run.load()
            run.infer(X)
            run.counters()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert (device.opened, device.closed) == (1, 1)
    # The same device without its fault is as good as new.
    device.change = FakeDevice().change
    with Session(device, program()) as run:
        run.load()
        assert np.array_equal(run.infer(X).reshape(X.shape), X + np.int8(1))


def test_the_status_can_be_asked_for() -> None:
    assert errors.DeviceError("READ", 4).status is Status.BAD_ADDRESS
    assert errors.DeviceError("READ", 15).status == 15


def test_a_session_that_failed_sends_no_more() -> None:
    device = FakeDevice(on(Opcode.WAIT, lambda w: []))
    with Session(device, program()) as run:
        with pytest.raises(errors.DriverError):
            run.infer(X)
        done = len(device.exchanges)
        with pytest.raises(errors.DriverError, match="is not open, or has failed before"):
            run.infer(X)
        assert len(device.exchanges) == done
    with pytest.raises(errors.DriverError, match="is not open"):
        run.counters()


def test_every_exchange_has_a_deadline() -> None:
    device = FakeDevice()
    with Session(device, program()) as run:
        run.load()
        run.infer(X)
    cycles = session.ANSWER_CYCLES
    assert [limit for _, _, limit in device.exchanges] == [
        cycles, cycles + 15 * session.CYCLES_PER_BOUND, cycles + 15 * session.CYCLES_PER_BOUND]
    with Session(device, program(), run_cycles=77) as run:
        run.load()
    assert device.exchanges[-1][2] == cycles + 77


def test_identify() -> None:
    with FakeDevice() as device:
        assert identify(device) == CONFIG.info()


# Program files

def save(path: Path, header: Any, words: Any) -> Path:
    np.savez(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8), words=words)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    read = Program.load(save(tmp_path / "p.npz", *parts()))
    assert (read.digest, read.model, read.rounding) == (CONFIG.digest, "copy", "single")
    assert read.input.shape == (1, 5, 6, 3)
    assert (read.input.scale, read.input.zero_point) == (0.5, 3)
    with Session(FakeDevice(), read) as run:
        run.infer(X)


@pytest.mark.parametrize(("changes", "message"), [
    ({"format": "other"}, "p.npz: is not a program file"),
    ({"version": 2}, "p.npz: has version 2 of the format, this driver reads 1"),
    ({"digest": "xyz"}, "p.npz: is damaged"),
    ({"digest": None}, "p.npz: is damaged"),
    ({"setup": [{"do": "dance"}]}, "p.npz: is damaged"),
    ({"setup": [{"do": "send", "start": 0, "words": 9999, "commands": 1}]}, "p.npz: is damaged"),
    ({"setup": [{"do": "send", "start": 0, "words": 8, "commands": 1}]}, "p.npz: is damaged"),
    ({"setup": [{"do": "send", "start": 1, "words": 7, "commands": 1}]}, "p.npz: is damaged"),
    ({"setup": [{"do": "send", "start": 0, "words": 2, "commands": 1}]}, "p.npz: is damaged"),
    ({"inference": [{"do": "wait", "layer": 3}]}, "p.npz: is damaged"),
    ({"inference": [{"do": "timestamps", "entries": [[0, 3]]}]}, "p.npz: is damaged"),
    ({"inference": [{"do": "read_box", "tensor": "out", "address": 0,
                     "box": [[0, 6], [0, 6], [0, 3]]}]}, "p.npz: is damaged"),
    ({"inference": [{"do": "read_box", "tensor": "none", "address": 0,
                     "box": [[0, 1], [0, 1], [0, 1]]}]}, "p.npz: is damaged"),
    ({"host_tensors": {"in": [5, 6, 3]}}, "p.npz: is damaged"),
    ({"host_tensors": {"in": [5, 6, 3], "out": [5, 6, 4]}}, "p.npz: is damaged"),
    ({"layers": [{"name": "a"}]}, "p.npz: is damaged"),
    ({"layers": None}, "p.npz: is damaged"),
])
def test_a_wrong_header(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    header, words = parts()
    with pytest.raises(errors.ProgramError, match=message):
        Program.load(save(tmp_path / "p.npz", header | changes, words))


def test_a_wrong_file(tmp_path: Path) -> None:
    def refused(data: bytes, message: str) -> None:
        path.write_bytes(data)
        with pytest.raises(errors.ProgramError, match=message):
            Program.load(path)

    path = save(tmp_path / "p.npz", *parts())
    good = path.read_bytes()
    refused(b"", "is not a program file")
    refused(b"something else\n", "is not a program file")
    refused(good[:len(good) // 2], "is not a program file, or is damaged")
    where = good.index(b'"format"')
    refused(good[:where] + b"#" + good[where + 1:], "is damaged")
    np.save(tmp_path / "x.npy", np.zeros(3))
    refused((tmp_path / "x.npy").read_bytes(), "is not a program file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", b"x")
    with pytest.raises(errors.ProgramError, match="is damaged"):
        Program.load(path)
    with pytest.raises(errors.ProgramError, match="is damaged"):
        Program.load(save(path, parts()[0], parts()[1].astype(np.float64)))
    with pytest.raises(errors.ProgramError, match="No such file"):
        Program.load(tmp_path / "none.npz")
    with pytest.raises(errors.ProgramError):
        Program.load(tmp_path)


class CodingDevice(FakeDevice):
    """A device with a codec: the driver's own, which others compare with the gateware's."""

    def exchange(self, words: np.ndarray, count: int, cycles: int) -> np.ndarray:
        self.operands = getattr(self, "operands", [])
        self._queue = [word & 0xFFFF for word in _headers(words)]
        return super().exchange(words, count, cycles)

    def answer(self, opcode: int, memory: int, address: int, length: int,
               data: np.ndarray) -> list[int]:
        operand = self._queue.pop(0)
        if not operand & isa.CODED_OPERAND:
            return super().answer(opcode, memory, address, length, data)
        self.operands.append((opcode, operand))
        zero = isa.signed_field(operand & 0xFF, 8)
        if opcode == Opcode.WRITE:
            raw = run_length.decode(data, zero)
            return super().answer(opcode, memory, address, len(raw), raw)
        raw = np.array(super().answer(opcode, memory, address, length, data), "<u4")
        return run_length.encode(raw, zero).tolist()


def _headers(words: np.ndarray) -> list[int]:
    """Return the first words of commands."""
    found, position = [], 0
    while position < len(words):
        found.append(int(words[position]))
        is_write = found[-1] >> 20 & 15 == Opcode.WRITE
        position += 3 + (int(words[position + 2]) if is_write else 0)
    return found


def coded_program(zero: int = -7) -> Program:
    """Return the copying program for larger boxes, of which all can be coded."""
    header, words = parts((5, 8, 12))
    for step in header["inference"]:
        if "box" in step:
            # The device adds one to every byte.
            step["zero_point"] = zero + (step["do"] == "read_box")
    return Program.from_parts(header, words)


def test_boxes_are_coded_where_that_is_shorter() -> None:
    rng = np.random.default_rng(3)
    dense = rng.integers(0, 128, (5, 8, 12), dtype=np.int8)
    sparse = np.where(rng.random(dense.shape) < 0.8, np.int8(-7), dense)
    moved = {}
    for name, x, run_length_there in (("dense", dense, 1), ("sparse", sparse, 1),
                                      ("off", sparse, 0)):
        device = CodingDevice(run_length=run_length_there)
        with Session(device, coded_program()) as run:
            run.load()
            y = run.infer(x)
        assert np.array_equal(y.reshape(x.shape), x + np.int8(1))
        moved[name] = run.words_sent, run.words_received
        # What is counted is what was moved, in as many exchanges as it took.
        used = device.exchanges[2:]
        assert moved[name] == (sum(one[0] for one in used), sum(one[1] for one in used))
        kinds = {opcode for opcode, _ in device.operands}
        assert kinds == {"dense": {Opcode.READ}, "sparse": {Opcode.READ, Opcode.WRITE},
                         "off": set()}[name]
    # Of two boxes of 24 and 96 words, the first is too short to be read as a block.
    assert moved["dense"] == (moved["off"][0], moved["off"][1] + 1)
    assert moved["sparse"][0] < moved["off"][0] - 60
    assert moved["sparse"][1] < moved["off"][1] - 48


BLOCKS = {
    "too long": (lambda w: header_of(w, count=98), errors.ProtocolError,
                 "Answer to READ has 98 words, not 97"),
    "nothing": (lambda w: header_of(w[:1], count=0), errors.ProtocolError,
                "Answer to READ has 0 words, not 97"),
    "other words": (lambda w: [w[0], w[1] - 1, *w[2:]], run_length.RunLengthError, "Block"),
    "cut off": (lambda w: w[:-1], errors.LinkTimeout, "Answer to READ did not come"),
    "no header": (lambda w: [], errors.LinkTimeout, "Answer to READ did not come"),
    "refused": (lambda w: header_of(w[:1], status=6, count=0), errors.DeviceError,
                "Device refused READ: BAD_CODE"),
}


@pytest.mark.parametrize("fault", BLOCKS)
def test_a_wrong_block_has_its_name(fault: str) -> None:
    change, kind, message = BLOCKS[fault]
    x = np.zeros((5, 8, 12), np.int8)
    reads = 0

    def second(opcode: int, words: list[int]) -> list[int]:
        nonlocal reads
        # The timestamp and the short box come first.
        reads += opcode == Opcode.READ
        return change(words) if opcode == Opcode.READ and reads == 3 else words

    with pytest.raises(kind, match=message):
        with Session(CodingDevice(second), coded_program()) as run:
            run.load()
            run.infer(x)


def test_a_zero_point_is_one() -> None:
    with pytest.raises(errors.ProgramError, match="is damaged"):
        coded_program(127)


class AheadDevice(CodingDevice):
    """One that takes words before they are needed."""

    def post(self, words: np.ndarray) -> bool:
        self.posted = getattr(self, "posted", 0) + 1
        assert not len(self.exchange(words, 0, 0))
        return True


def test_coded_batches_can_be_sent_ahead() -> None:
    rng = np.random.default_rng(3)
    batch = np.where(rng.random((3, 5, 8, 12)) < 0.8, np.int8(-7), np.int8(40))
    device = AheadDevice()
    with Session(device, coded_program()) as run:
        run.load()
        y = run.infer_batch(batch)
    assert device.posted == 3
    assert {opcode for opcode, _ in device.operands} == {Opcode.READ, Opcode.WRITE}
    assert np.array_equal(y.reshape(batch.shape), batch + np.int8(1))
