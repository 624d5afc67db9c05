"""FPGA families: their tools, and what the tools call things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .cells import ECP5_CELLS
from .pll import Ecp5Pll, Ice40Pll, Pll


__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of FPGAs.

    Members
    -------
    synth : :class:`str`
        Yosys' command, with options.
    nextpnr, pack : :class:`str`
        Tools of place and route and of packing.
    options : tuple of :class:`str`
        Of nextpnr.
    constraints : :class:`str`
        Suffix of the constraint file, and nextpnr's option for it.
    routed : :class:`str`
        nextpnr's option for its output.
    bitstream : :class:`str`
        Suffix of what is flashed.
    resources : dict of :class:`str` to :class:`str`
        nextpnr's names of LUTs, flip-flops, multipliers and block RAMs.
    pll : callable
        The family's PLL.
    cells : dict of :class:`str` to :class:`str`
        Verilog that takes the place of modules of these names, see :mod:`.cells`.
    """

    synth: str
    nextpnr: str
    pack: str
    options: tuple[str, ...]
    constraints: str
    routed: str
    bitstream: str
    pack_options: tuple[str, ...]
    resources: dict[str, str]
    pll: Callable[..., Pll]
    cells: dict[str, str] = field(default_factory=dict)


FAMILIES = {
    "ecp5": Family(
        synth="synth_ecp5", nextpnr="nextpnr-ecp5", pack="ecppack",
        # router1 does not end on large arrays.
        options=("--router", "router2"),
        constraints="lpf", routed="textcfg", bitstream="bit", pack_options=("--compress",),
        resources={"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D",
                   "bram": "DP16KD"},
        pll=Ecp5Pll, cells=ECP5_CELLS),
    "ice40": Family(
        synth="synth_ice40 -dsp", nextpnr="nextpnr-ice40", pack="icepack",
        options=(),
        constraints="pcf", routed="asc", bitstream="bin", pack_options=(),
        resources={"lut": "ICESTORM_LC", "ff": "ICESTORM_LC", "dsp": "ICESTORM_DSP",
                   "bram": "ICESTORM_RAM"},
        pll=Ice40Pll),
}
"""By the name that a board gives."""
