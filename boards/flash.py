"""Putting a bitstream onto a board."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from ..gen.errors import OarlockError
from .board import Board


__all__ = ["FlashError", "command", "flash", "udev_rule"]

#: What installs a programmer on Debian and its descendants.
INSTALL = {"openFPGALoader": "apt-get install openfpgaloader",
           "dfu-util": "apt-get install dfu-util", "iceprog": "apt-get install fpga-icestorm"}

#: How programmers say that the operating system keeps the device from them.
DENIED = ("permission denied", "access denied", "insufficient permissions", "libusb_error_access",
          "cannot open dfu device", "usb_open", "unable to open ftdi device",
          "can't open iceftdi usb device", "-3 (access")


class FlashError(OarlockError):
    """The board could not be programmed; says what mends that."""


def command(board: Board, file: Path) -> list[str]:
    """Return the command that programs a board."""
    return [part.format(file=file) for part in board.flash]


def udev_rule(board: Board) -> str:
    """Return the line that lets whoever sits at the machine use the programmer."""
    vendor, product = board.usb
    return (f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor:04x}", '
            f'ATTR{{idProduct}}=="{product:04x}", TAG+="uaccess"')


def flash(board: Board, file: Path) -> None:
    """Program a board.

    Raises
    ------
    FlashError
        If there is no bitstream, no programmer, no permission, or no board.
    """
    if not file.is_file():
        raise FlashError(f"{file}: no bitstream; make it with: oarlock build --board {board.name} "
                         f"-o {shlex.quote(str(file.parent))}")
    arguments = command(board, file)
    tool = arguments[0]
    if shutil.which(tool) is None:
        raise FlashError(f"{tool} was not found; install it with: {INSTALL[tool]}")
    run = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", check=False)
    if run.returncode == 0:
        return
    said = " ".join(run.stdout.split())
    if any(text in said.lower() for text in DENIED):
        rule = shlex.quote(udev_rule(board))
        raise FlashError(
            f"{tool} may not use the board; allow it, then plug it in again: echo {rule} | "
            f"sudo tee /etc/udev/rules.d/60-oarlock.rules && sudo udevadm control --reload")
    raise FlashError(f"{tool} failed with status {run.returncode}: {said[-300:] or 'no message'}; "
                     f"is a {board.title} plugged in?")
