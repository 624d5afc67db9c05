"""Delay lines."""

from amaranth import *


__all__ = ["delay"]


def delay(m, value, cycles, *, name, reset_less=True):
    """Return ``value`` as it was ``cycles`` ago.

    The registers are called ``<name>_1``, ``<name>_2``, and so on. Data need no reset; what says
    that data are valid does.
    """
    for n in range(1, cycles + 1):
        stage = Signal(value.shape(), name=f"{name}_{n}", reset_less=reset_less)
        m.d.sync += stage.eq(value)
        value = stage
    return value
