"""What the driver asks of a link."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np


__all__ = ["Transport"]


class Transport(ABC):
    """A reliable link to one device: a stream of 32-bit words in either direction.

    A context manager: :meth:`open` on the way in, :meth:`close` on the way out.
    """

    @abstractmethod
    def open(self) -> None:
        """Take hold of the link and bring it into its first state, with nothing in flight."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the link; may be called twice."""

    @abstractmethod
    def exchange(self, words: np.ndarray, count: int, cycles: int) -> np.ndarray:
        """Send words and receive ``count`` words, both at the same time.

        A device that is not listened to stops to listen: a transport must take in words while it
        sends. The round trip is paid once, however many commands the words are.

        Parameters
        ----------
        words : uint32 array
            What to send.
        count : :class:`int`
            How many words to receive.
        cycles : :class:`int`
            Deadline: cycles that the device may need in all. The transport knows how long a cycle
            is, and adds the time that the link itself needs for the words.

        Returns
        -------
        uint32 array
            What was received: less than ``count`` words if the deadline has passed.
        """

    def post(self, words: np.ndarray) -> bool:
        """Send words before they are needed, if the transport can do that while it does nothing.

        Returns
        -------
        bool
            Whether it took them. If not, they are to be sent with the next exchange. Answers to
            them are received by a later exchange in either case.
        """
        return False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
