"""What a board is: a configuration, pins, a clock, and a way to its configuration memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..gen.config import PRESETS, ArrayConfig
from ..hw.link_isa import uart_divisor
from .floorplan import Die


__all__ = ["Board"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that building and flashing need to know.

    Parameters
    ----------
    name : :class:`str`
        What users type; also the name of the preset, unless ``preset`` is another.
    title : :class:`str`
        What is printed on the board.
    family : :class:`str`
        A key of :data:`.families.FAMILIES`.
    device : tuple of :class:`str`
        nextpnr's options that name the device.
    input_hz : :class:`int`
        The oscillator.
    baud : :class:`int`
        Bits a second of the serial link.
    platform : callable
        Makes a new platform of amaranth-boards; one builds only once.
    request : callable
        Gets that platform and returns the pins of the link and the LEDs, see :class:`.Pins`.
    flash : tuple of :class:`str`
        The command that programs the board; ``{file}`` stands for the bitstream.
    usb : tuple of (:class:`int`, :class:`int`)
        Vendor and product that the programmer shows.
    preset : :class:`str`, optional
        Name of the accelerator on it.
    die : :class:`.Die`, optional
        Where the device's blocks stand, if PEs are to be given theirs.
    array : :class:`~oarlock.gen.config.ArrayConfig`, optional
        Another accelerator than the preset's.
    """

    name: str
    title: str
    family: str
    device: tuple[str, ...]
    input_hz: int
    baud: int
    platform: Callable[[], Any]
    request: Callable[[Any], Any]
    flash: tuple[str, ...]
    usb: tuple[int, int]
    preset: str = ""
    die: Die | None = None
    array: ArrayConfig | None = None

    @property
    def config(self) -> ArrayConfig:
        """The accelerator on it."""
        return self.array or PRESETS[self.preset_name]

    @property
    def preset_name(self) -> str:
        """The preset that it has, or that ``array`` was made from."""
        return self.preset or self.name

    @property
    def clock_hz(self) -> int:
        """The clock that the build must meet."""
        return self.config.clock_hz

    @property
    def target_hz(self) -> int:
        """The clock that place and route is asked for: a twentieth more.

        nextpnr leaves a path alone that meets what is asked, and so ends beside it, on either side.
        """
        # Without a PLL it is the oscillator's, which the platform asks for.
        return self.clock_hz if self.clock_hz == self.input_hz else self.clock_hz * 21 // 20

    @property
    def divisor(self) -> int:
        """Cycles of a bit on the link."""
        return uart_divisor(clock_hz=self.clock_hz, baud=self.baud)
