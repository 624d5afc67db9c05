"""A device on a serial port."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable

import numpy as np
import serial

from ..hw import link_isa
from .errors import DriverError, LinkLost, LinkTimeout, NoDevice, PortBusy, PortError
from .link import Link
from .transport import Transport


try:
    from termios import error as TerminalError
except ImportError:  # Not on Windows.
    TerminalError = OSError  # type: ignore[assignment,misc]

__all__ = ["BAUD", "TIMEOUT", "SerialTransport"]

#: What a port that is pulled out raises.
PORT_ERRORS = (OSError, TerminalError)

BAUD = 3_000_000

#: Seconds in which something must move; see :class:`SerialTransport`.
TIMEOUT = 10.0

#: Seconds in which a device must say that it is there. It answers within milliseconds, a simulated
#: one within a second.
OPEN_TIMEOUT = 3.0

#: Cycles a second of the slowest device: deadlines in cycles become seconds with it.
SLOWEST_CLOCK = 10e6

#: Seconds of one look at the port.
LOOK = 0.01


class SerialTransport(Transport):
    """A link over a serial port, or over a pseudo-terminal behind which a device is simulated.

    The port belongs to one process at a time. Bytes that are damaged, lost or invented on the way
    are repaired by :class:`~oarlock.sw_driver.link.Link`. No wait is without end: an error is
    raised when for :attr:`timeout` seconds, and the time that the device may need for computing,
    no word has arrived at either side.

    Parameters
    ----------
    port : :class:`str`
        Name of the port: ``/dev/ttyUSB0``, ``COM3``.
    baud : :class:`int`
        Bits a second, as the board was built for.
    timeout : :class:`float`
        Seconds. The default is far more than any board needs and enough for most simulated ones.

    Members
    -------
    link : :class:`~oarlock.sw_driver.link.Link` or None
        The protocol's state, with its counts of errors; of the last session when closed.
    progress : callable or None
        Called now and then with the words that have moved since the link was opened.
    """

    def __init__(self, port: str, *, baud: int = BAUD, timeout: float = TIMEOUT) -> None:
        if not timeout > 0:
            raise ValueError(f"Timeout must be positive, not {timeout!r}")
        self.port = port
        self.baud = baud
        self.timeout = timeout
        self.link: Link | None = None
        self.progress: Callable[[int], None] | None = None
        self._serial: serial.Serial | None = None
        self._out = b""

    def open(self) -> None:
        """Take the port, reset the device and begin a session.

        Raises
        ------
        PortBusy, PortError
            If the port can't be had.
        NoDevice, WrongVersion
            If no device answers, or one that speaks another version of the link.
        """
        self._serial = self._open_port()
        try:
            self._open_session()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        if self._serial is not None:
            port, self._serial = self._serial, None
            try:
                port.close()
            except PORT_ERRORS:
                pass  # It went away.

    def post(self, words: np.ndarray) -> bool:
        """Send ahead; see :class:`~oarlock.sw_driver.transport.Transport`."""
        self._link.send(words)
        self._pump(look=False)
        return True

    def exchange(self, words: np.ndarray, count: int, cycles: int) -> np.ndarray:
        """Send and receive; see :class:`~oarlock.sw_driver.transport.Transport`.

        Raises
        ------
        LinkTimeout, LinkLost, DeviceReset, ProtocolError
            If the device is silent, the port goes away, or what answers is not what was opened.
        """
        link = self._link
        link.send(words)
        allowed = self.timeout + cycles / SLOWEST_CLOCK
        heard = moved = time.monotonic()
        frames, progress = link.frames, link.progress
        # Words posted for later need not have arrived.
        while link.available < count or (not count and link.unsent):
            self._pump(waiting=link.available < count)
            now = time.monotonic()
            if link.frames != frames:
                frames, heard = link.frames, now
            if link.progress != progress:
                progress, moved = link.progress, now
                if self.progress is not None:
                    self.progress(progress)
            if now - heard > self.timeout:
                raise LinkTimeout(f"Device on {self.port} has been silent for {self.timeout:g} s")
            if now - moved > allowed:
                break
        return link.take(count)

    @property
    def _link(self) -> Link:
        if self.link is None or self._serial is None:
            raise DriverError(f"Port {self.port} is not open")
        return self.link

    def _open_port(self) -> serial.Serial:
        try:
            # Reading waits LOOK at most, writing not at all.
            port = serial.Serial(self.port, self.baud, timeout=LOOK, write_timeout=0,
                                 exclusive=True)
        except serial.SerialException as error:
            raise _port_error(self.port, error) from error
        except (OSError, ValueError) as error:
            raise PortError(f"Port {self.port} cannot be used at {self.baud} baud: "
                            f"{error}") from error
        try:
            # Of a bridge that would otherwise keep received bytes for 16 ms. Not all have it.
            port.set_low_latency_mode(True)
        except (OSError, ValueError, NotImplementedError, AttributeError):
            pass
        return port

    def _open_session(self) -> None:
        assert self._serial is not None
        try:
            # What the process before could not send or did not read.
            self._serial.reset_output_buffer()
            self._serial.reset_input_buffer()
        except PORT_ERRORS as error:
            raise LinkLost(f"Port {self.port} went away: was the cable pulled?") from error
        self._out = b""
        self.link = link = Link(1 + secrets.randbelow(link_isa.POSITIONS - 1))
        deadline = time.monotonic() + min(self.timeout, OPEN_TIMEOUT)
        before = 0
        self._heard = 0
        while not link.is_open:
            if link.stale:
                before, link = before + link.frames, Link(link.session % 65535 + 1)
                self.link = link
            if time.monotonic() > deadline:
                if not self._heard:
                    raise NoDevice(f"No device answers on {self.port}")
                if not before + link.frames:
                    raise NoDevice(f"What answers on {self.port} is no Oarlock device, or its baud "
                                   f"rate is not {self.baud}")
                if link.echoes:
                    raise NoDevice(f"What answers on {self.port} is an echo")
                raise NoDevice(f"Device on {self.port} opens no session")
            self._pump(waiting=True)

    def _pump(self, *, look: bool = True, waiting: bool = False) -> None:
        """Write what can be written, and read what is there, or what comes while we look."""
        link, port = self.link, self._serial
        assert link is not None and port is not None
        try:
            while True:
                if not self._out:
                    self._out = link.output(time.monotonic(), waiting=waiting)
                if not self._out:
                    break
                written = port.write(self._out)
                self._out = self._out[written:]
                if self._out:
                    break
            count = port.in_waiting
            data = port.read(count or 1) if look or count else b""
        except PORT_ERRORS as error:
            raise LinkLost(f"Port {self.port} went away: was the cable pulled?") from error
        if data:
            self._heard += len(data)
            link.feed(data, time.monotonic())


def _port_error(port: str, error: serial.SerialException) -> PortError:
    """Say what can be done about a port that could not be opened."""
    if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
        return PortBusy(f"Port {port} is in use by another process")
    if error.errno == errno.EBUSY:
        return PortBusy(f"Port {port} is in use by another process")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortError(f"Port {port} may not be used: permission denied; add yourself to its "
                         "group (usually: sudo usermod -aG dialout $USER) and log in again")
    if error.errno:
        return PortError(f"Port {port} cannot be opened: {os.strerror(error.errno)}")
    return PortError(f"Port {port} is no serial port, or does not work as one: {error}")
