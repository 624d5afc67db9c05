"""Serial ports of this machine, and what is likely to be behind them."""

from __future__ import annotations

from dataclasses import dataclass

from serial.tools import list_ports

from .errors import DriverError
from .serial_transport import BAUD, SerialTransport
from .session import identify


__all__ = ["BOARDS_BY_USB_ID", "Device", "list_devices", "probe", "probed"]

#: Boards by vendor and product of their USB bridge. The bridges are in other products, too.
BOARDS_BY_USB_ID = {
    (0x0403, 0x6015): "FT231X: ULX3S",
    (0x0403, 0x6010): "FT2232H: iCEBreaker",
    (0x1209, 0x5AF0): "OrangeCrab",
    (0x1209, 0x5BF0): "OrangeCrab",
}

#: Seconds in which a device that is probed must answer.
PROBE_TIMEOUT = 1.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """A serial port.

    Members
    -------
    port : :class:`str`
        Its name.
    usb_id, serial_number, description : :class:`str` or None
        What its USB bridge says of itself, if it is one.
    board : :class:`str` or None
        Boards with such a bridge.
    info : dict or None
        What the device answered, if it was probed and is one of ours.
    problem : :class:`str` or None
        Why it did not.
    """

    port: str
    usb_id: str | None = None
    serial_number: str | None = None
    description: str | None = None
    board: str | None = None
    info: dict[str, int] | None = None
    problem: str | None = None


def list_devices(*, all_ports: bool = False) -> list[Device]:
    """Return the ports with a known bridge, or all ports; nothing is opened."""
    found = []
    for port in sorted(list_ports.comports()):
        known = port.vid is not None and port.pid is not None
        board = BOARDS_BY_USB_ID.get((port.vid, port.pid)) if known else None
        if board is not None or all_ports:
            found.append(Device(
                port=port.device, board=board, serial_number=port.serial_number,
                usb_id=f"{port.vid:04x}:{port.pid:04x}" if known else None,
                description=port.description if port.description != "n/a" else None))
    return found


def probe(port: str, *, baud: int = BAUD, timeout: float = PROBE_TIMEOUT) -> dict[str, int]:
    """Open a port, begin a session and ask the device what it is.

    Raises
    ------
    DriverError
        If the port can't be had or no device answers.
    """
    with SerialTransport(port, baud=baud, timeout=timeout) as transport:
        return identify(transport)


def probed(device: Device, *, baud: int = BAUD) -> Device:
    """Return a device with what it answered, or with the reason why not."""
    info, problem = None, None
    try:
        info = probe(device.port, baud=baud)
    except DriverError as error:
        problem = str(error)
    return Device(port=device.port, usb_id=device.usb_id, serial_number=device.serial_number,
                  description=device.description, board=device.board, info=info, problem=problem)
