"""What a session with a device can end in; every message is one line."""

from __future__ import annotations

from ..hw import isa


__all__ = [
    "DeviceError", "DeviceReset", "DriverError", "LinkLost", "LinkTimeout", "NoDevice", "PortBusy",
    "PortError", "ProgramError", "ProtocolError", "WrongConfiguration", "WrongVersion",
]


class DriverError(Exception):
    """Base of everything that the driver raises on its own account."""


class ProgramError(DriverError):
    """A program file that cannot be read, is damaged, or has another format or version."""


class PortError(DriverError):
    """The port cannot be opened: there is none, or it may not be used."""


class PortBusy(PortError):
    """Another process has the port."""


class LinkLost(DriverError):
    """The port went away: the cable was pulled, or the bridge on the board lost power."""


class DeviceReset(DriverError):
    """The device no longer knows the session: it was started again, or another host opened one."""


class NoDevice(DriverError):
    """Nothing answers, or what answers is no Oarlock device."""


class WrongVersion(DriverError):
    """The device speaks another version of the interface."""


class WrongConfiguration(DriverError):
    """The device is of another configuration than the program was compiled for."""


class LinkTimeout(DriverError):
    """An answer, or the rest of one, did not come before its deadline."""


class ProtocolError(DriverError):
    """An answer that does not belong to the command."""


class DeviceError(DriverError):
    """The device refused a command.

    Members
    -------
    status : :class:`int`
        What the device said; one of :class:`oarlock.hw.isa.Status` if it is a known one.
    """

    def __init__(self, command: str, status: int) -> None:
        self.status = isa.Status(status) if status in [*isa.Status] else status
        super().__init__(f"Device refused {command}: "
                         f"{getattr(self.status, 'name', f'status {status}')}")
