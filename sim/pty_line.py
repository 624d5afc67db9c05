"""A pseudo-terminal that a serial port's user can take for one."""

from __future__ import annotations

import os
import select
import tty
from pathlib import Path
from types import TracebackType
from typing import Self


__all__ = ["PtyLine"]

#: Bytes kept for a user who does not read; a real bridge has less.
KEPT_BYTES = 65536


class PtyLine:
    """The far end of a serial port: what is written to the port can be read here.

    Users may come and go. What a user leaves unread is the next one's to discard.

    Parameters
    ----------
    link : :class:`~pathlib.Path`, optional
        A symbolic link to the port, for a name that stays when the cable is pulled.

    Members
    -------
    port : :class:`str`
        Name of the port.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.link = link
        self._master = self._slave = -1
        self._pending = b""
        self.plug_in()

    def plug_in(self) -> None:
        """Make the port appear."""
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        # Held open here, so that the line lives on when its user goes; no echo, no line editing.
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._pending = b""
        if self.link is not None:
            temporary = self.link.with_name(f".{self.link.name}.{os.getpid()}")
            temporary.symlink_to(self.port)
            temporary.replace(self.link)
            self.port = str(self.link)

    def pull(self) -> None:
        """Make the port disappear, from under its user."""
        if self._master >= 0:
            os.close(self._slave)
            os.close(self._master)
            self._master = self._slave = -1
            if self.link is not None:
                self.link.unlink(missing_ok=True)

    @property
    def is_plugged_in(self) -> bool:
        """Whether there is a port."""
        return self._master >= 0

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes that the user has written, without waiting."""
        try:
            return os.read(self._master, count) if self._master >= 0 else b""
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Give bytes to the user; what he does not read is lost, as with a real bridge."""
        self._pending = (self._pending + data)[:KEPT_BYTES]
        if self._pending and self._master >= 0:
            try:
                self._pending = self._pending[os.write(self._master, self._pending):]
            except BlockingIOError:
                pass

    def wait(self, seconds: float) -> None:
        """Wait until the user has written something, but not longer than this."""
        select.select([self._master] if self._master >= 0 else [], [], [], seconds)

    def close(self) -> None:
        """Make the port disappear; may be called twice."""
        self.pull()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
