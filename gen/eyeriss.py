"""The Eyeriss chip of 2016 as a model, to be held against what was measured on it.

Everything here is a fact of Chen, Krishna, Emer, Sze: Eyeriss, JSSC 52(1), 2017, or a rule that is
stated where it stands; the only number fitted to a measurement is :data:`MAC_PJ`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from .energy import EnergyTable
from .row_stationary import Counts, Layer, RowStationary, RowStationaryMachine, best


__all__ = ["CHIP", "MAC_PJ", "PRINTED", "ChipLayer", "coded_share", "choose"]

#: 12 x 14 PEs with scratchpads for 224 weights, 12 activations and 24 partial sums, 16 bits each;
#: of the 108 kB of the global buffer, 25 banks of 512 x 64 bits hold ifmaps and partial sums (the
#: other 8 kB only prefetch filters). PE sets stand side by side only where no two can be stacked:
#: so do all five mappings that the paper prints.
CHIP = RowStationaryMachine(rows=12, cols=14, filter_spad=224, ifmap_spad=12, psum_spad=24,
                            spad_total=260, banks=25, bank_values=2048,
                            side_by_side=False)

CORE_HZ, LINK_HZ = 200e6, 60e6
#: Values that the buses between global buffer and array, and the chip's link, carry a cycle.
FILTER_BUS, IFMAP_BUS, PSUM_BUS, LINK = 4, 1, 4, 4
#: A mapping must use this share of the most PEs that any mapping of the layer can use. The papers
#: say that mappings keep utilization high and do not say how high; anything from 0.86 to 0.92 gives
#: the same active PEs.
FLOOR = 0.9
#: Pairs of a 5-bit run and a 16-bit level in a word of 64 bits.
RUN_MAX, PAIRS = 31, 3

#: The one fitted constant: pJ of the whole chip (clock, control and leakage included) for what ISCA
#: 2016 calls the energy of one 16-bit MAC. It makes the energy of AlexNet's five layers that of the
#: chip (278 mW for 115.3 ms); no layer, and nothing of VGG-16, has a constant of its own.
MAC_PJ = 3.60

#: The parameters that JSSC 2017 prints for AlexNet.
PRINTED = {
    "CONV1": {"m": 96, "n": 1, "e": 7, "p": 16, "q": 1, "r": 1, "t": 2},
    "CONV2": {"m": 64, "n": 1, "e": 27, "p": 16, "q": 2, "r": 1, "t": 1},
    "CONV3": {"m": 64, "n": 4, "e": 13, "p": 16, "q": 4, "r": 1, "t": 4},
    "CONV4": {"m": 64, "n": 4, "e": 13, "p": 16, "q": 3, "r": 2, "t": 2},
    "CONV5": {"m": 64, "n": 4, "e": 13, "p": 16, "q": 3, "r": 2, "t": 2},
}


def coded_share(zeros: float) -> float:
    """Return the share of raw size that run-length coding leaves, at most 1: raw is sent else.

    Zeros are taken to be independent. A pair ends with the first value that is not zero, or with
    the last that its run can cover.
    """
    if zeros >= 1:
        pairs = 1 / (RUN_MAX + 1)
    else:
        pairs = (1 - zeros) / (1 - zeros ** (RUN_MAX + 1))
    return min(1.0, pairs * 64 / PAIRS / 16)


def choose(layer: Layer, batch: int, machine: RowStationaryMachine = CHIP) -> RowStationary:
    """Return the mapping with the fewest DRAM accesses, the most PEs, the least energy on chip."""
    def rank(counts: Counts, active_pes: int) -> list[Any]:
        dram = sum(count for (level, _), count in counts.items() if level == "dram")
        # Of accesses inside the chip, after Table IV of ISCA 2016.
        inside = sum({"buffer": 6, "array": 2, "scratchpad": 1}.get(level, 0) * count
                     for (level, _), count in counts.items())
        return [dram, -active_pes, inside]

    return best(layer, machine, batch, rank, floor=FLOOR)


@dataclass(frozen=True, kw_only=True)
class ChipLayer:
    """One layer on the chip.

    Members
    -------
    mapping : :class:`RowStationary`
        How it is laid out.
    zeros, zeros_out : :class:`float`
        Share of zeros in the input, and in the output as it leaves the chip.
    """

    mapping: RowStationary
    zeros: float
    zeros_out: float

    @cached_property
    def processing_cycles(self) -> int:
        """Return the cycles in which the array is busy, or waits for the global buffer.

        A pass loads its weights into the scratchpads, fills the first windows, and then is as fast
        as the slowest of the PEs, the ifmap bus and the partial sums' bus. Not modelled: a cycle of
        the PE's adder for each partial sum that comes in (it would add 8 to 11 %, and miss CONV5).
        """
        it = self.mapping
        layer = it.layer
        cycles = 0
        for e in it.strips:
            rows = it.window_rows(e)
            channels = it.q * it.r
            load = ceil(it.p * it.t * channels * layer.r ** 2 / FILTER_BUS)
            fill = ceil(rows * channels * layer.r / IFMAP_BUS)
            step = max(it.p * it.q * layer.r, ceil(rows * channels * layer.stride / IFMAP_BUS),
                       ceil(it.p * it.t * e / PSUM_BUS))
            cycles += load + fill + it.n * layer.e * step
        return (cycles * it.channel_passes * it.filter_passes * layer.groups
                * ceil(it.batch / it.n))

    @property
    def processing_ms(self) -> float:
        """Return the same as time."""
        return self.processing_cycles / CORE_HZ * 1e3

    @property
    def dram_bytes(self) -> dict[str, float]:
        """Return bytes over the link by operand, activations coded where that is shorter."""
        counts = self.mapping.counts
        return {
            "ifmap": 2 * self.mapping.stored_ifmaps * coded_share(self.zeros),
            "weight": 2.0 * counts["dram", "weight"],
            "psum": 2 * counts["dram", "psum"] * coded_share(self.zeros_out),
        }

    @property
    def total_ms(self) -> float:
        """Return the time including the link's.

        Filters are prefetched; the buffer holds ifmaps and partial sums once, so their transfers
        are taken to overlap with nothing.
        """
        exposed = self.dram_bytes["ifmap"] + self.dram_bytes["psum"]
        return self.processing_ms + exposed / 2 / LINK / LINK_HZ * 1e3

    @property
    def buffer_bytes(self) -> float:
        """Return bytes read from and written to the global buffer, as the paper counts them."""
        return 2.0 * sum(count for (level, _), count in self.mapping.counts.items()
                         if level == "buffer")

    def energy(self, table: EnergyTable) -> dict[tuple[str, str], float]:
        """Return the chip's energy by (level, operand), in the table's unit; DRAM is not on it.

        A zero activation keeps multiplier, filter scratchpad and partial sum still.
        """
        found = {}
        for (level, operand), count in self.mapping.counts.items():
            if level == "dram":
                continue
            action = {"mac": "mac_done", "buffer": "buffer_read", "array": "array",
                      "scratchpad": f"scratchpad_{operand}"}[level]
            done = 1.0
            if level == "mac" or (level == "scratchpad" and operand != "ifmap"):
                done = 1 - self.zeros
            found[level, operand] = count * done * table.cost(action)
        return found

    def power_mw(self, table: EnergyTable, mac_pj: float = MAC_PJ) -> float:
        """Return the mean power while the layer runs, from a table relative to a MAC."""
        return sum(self.energy(table).values()) * mac_pj * 1e-9 / (self.total_ms * 1e-3)
