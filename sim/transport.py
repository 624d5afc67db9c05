"""The simulated accelerator behind the driver's interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..sw_driver.transport import Transport
from .simulator import Simulator


__all__ = ["SimTransport"]

#: Cycles added to a deadline for each word that moves.
CYCLES_PER_WORD = 4


class SimTransport(Transport):
    """A link of one word a cycle each way, whose time is the accelerator's own.

    Parameters
    ----------
    simulator : :class:`~oarlock.sim.simulator.Simulator`
        The device; reset when the link is opened, and left to its owner when it is closed.
    tick : callable, optional
        Called now and then with the cycles of this exchange.
    """

    def __init__(self, simulator: Simulator, *, tick: Callable[[int], None] | None = None) -> None:
        self.simulator = simulator
        self.tick = tick

    def open(self) -> None:
        """Reset the accelerator."""
        self.simulator.reset()

    def close(self) -> None:
        """Do nothing: the simulator is its owner's."""

    def exchange(self, words: np.ndarray, count: int, cycles: int) -> np.ndarray:
        """Send and receive; see :class:`~oarlock.sw_driver.transport.Transport`."""
        deadline = cycles + CYCLES_PER_WORD * (len(words) + count)
        return self.simulator.exchange(words, count, deadline, self.tick).words
