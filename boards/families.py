"""FPGA families: their tools, and what the tools call things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .pll import Ecp5Pll, Ice40Pll, Pll


__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of FPGAs.

    Members
    -------
    synth : tuple of :class:`str`
        Yosys' commands; ``{top}`` stands for the top level.
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
    modules : tuple of :class:`str`
        Modules of the accelerator that have a twin made of the family's own blocks, in
        ``boards/<family>/<module>.v``.
    """

    synth: tuple[str, ...]
    nextpnr: str
    pack: str
    options: tuple[str, ...]
    constraints: str
    routed: str
    bitstream: str
    pack_options: tuple[str, ...]
    resources: dict[str, str]
    pll: Callable[..., Pll]
    modules: tuple[str, ...] = ()

    def synthesis(self, top: str) -> list[str]:
        """Return ``synth`` for a top level."""
        # Yosys 0.70 hands logic to ABC in a new way, after which two registers may drive one wire
        # (YosysHQ/yosys issue 6237). The old one is still there; other versions ignore the switch.
        return ["scratchpad -set abc9.xaiger 1",
                *(command.format(top=top) for command in self.synth)]


# No memory is read where it is written in the same cycle (tests/sim/test_random_layers.py), so none
# needs a bypass: -no-rw-check.
FAMILIES = {
    "ecp5": Family(
        # ABC counts with wires of 0.3 ns, those of a full device are longer: fewer levels of logic,
        # more cells.
        synth=("synth_ecp5 -no-rw-check -top {top} -run begin:map_luts", "abc9 -W 850", "clean",
               "synth_ecp5 -no-rw-check -top {top} -run map_cells:"),
        nextpnr="nextpnr-ecp5", pack="ecppack",
        # router1 does not end on large arrays. A weight of 30 (10 without) makes both wires and
        # the longest path shorter; without rip-up by timing, router2 gives a critical wire of two
        # tiles seven nanoseconds where it is crowded (docs/area.md).
        options=("--router", "router2", "--tmg-ripup", "--placer-heap-timingweight", "30"),
        constraints="lpf", routed="textcfg", bitstream="bit", pack_options=("--compress",),
        resources={"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D",
                   "bram": "DP16KD"},
        pll=Ecp5Pll, modules=("chain_adder", "pipelined_multiplier")),
    "ice40": Family(
        # Not -dsp: its pass takes SB_MAC16 cells that are there already for its own, and rewires
        # them.
        synth=("synth_ice40 -no-rw-check -top {top}",), nextpnr="nextpnr-ice40", pack="icepack",
        options=(),
        constraints="pcf", routed="asc", bitstream="bin", pack_options=(),
        resources={"lut": "ICESTORM_LC", "ff": "ICESTORM_LC", "dsp": "ICESTORM_DSP",
                   "bram": "ICESTORM_RAM"},
        pll=Ice40Pll, modules=("dual_multiplier", "single_port_memory")),
}
"""By the name that a board gives."""
