"""Where the PEs of an array stand on a die.

nextpnr's analytic placer pulls everything together and then spreads it out. A design whose only
pins are a serial port holds against that nowhere, so the multipliers and block RAMs of PEs go to
what is free when their turn comes, far from one another and from their logic. With the places of
these two given, the placer begins with an array that is spread out, and the logic finds its PE.
docs/area.md has the measurements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np


__all__ = ["LFE5U_25", "LFE5U_85", "Die", "Site", "place_elements"]

#: A block of a PE: its row, its column.
ELEMENT = re.compile(r"\brow_(\d+)\.pe_(\d+)\.")

#: Tiles from a band to the next.
BAND = 24


@dataclass(frozen=True)
class Site:
    """A place for a block: its column of tiles, its band, nextpnr's name of it."""

    x: int
    band: int
    bel: str


@dataclass(frozen=True, kw_only=True)
class Die:
    """Where a device of the ECP5 family has its multipliers and block RAMs.

    Both stand in rows across the die, four of each in nine columns of tiles. A band is a row of
    multipliers and the row of block RAMs below it.

    Members
    -------
    groups : tuple of :class:`int`
        Columns of tiles at which nine such begin.
    bands : tuple of (:class:`int`, :class:`int`)
        Rows of tiles in which a band has its multipliers and its block RAMs, first those of the
        band that is next to what lies outside of all bands.
    """

    groups: tuple[int, ...]
    bands: tuple[tuple[int, int], ...]

    #: Columns of tiles for a PE: a multiplier's share, and room.
    PITCH = 2.4

    @property
    def begin(self) -> int:
        """First column of tiles with blocks."""
        return self.groups[0]

    @property
    def end(self) -> int:
        """Column behind the last."""
        return self.groups[-1] + 9

    @property
    def multipliers(self) -> list[Site]:
        """Places of the MULT18X18D."""
        return [Site(x + n, band, f"X{x + n}/Y{y}/MULT18_{n}")
                for band, (y, _) in enumerate(self.bands) for x in self.groups
                for n in (0, 1, 4, 5)]

    @property
    def memories(self) -> list[Site]:
        """Places of the DP16KD in the bands."""
        return [Site(x + 2 * n, band, f"X{x + 2 * n}/Y{y}/EBR{n}")
                for band, (_, y) in enumerate(self.bands) for x in self.groups for n in range(4)]

    def wish(self, rows: int, cols: int, row: int, column: int) -> tuple[float, int]:
        """Return where a PE of an array would be best: column of tiles, and band.

        Rows follow one another from the first band to the last, then back beside those, and so on:
        tokens and partial sums always have one step to go.
        """
        bands = len(self.bands)
        strip, band = divmod(row, bands)
        across = -(-rows // bands) * cols
        pitch = min(self.PITCH, (self.end - self.begin) / across)
        left = (self.begin + self.end - across * pitch) / 2
        return left + pitch * (strip * cols + column + 0.5), bands - 1 - band if strip % 2 else band


LFE5U_25 = Die(groups=(4, 13, 22, 33, 42, 51, 60), bands=((13, 25),))
"""The LFE5U-25F, and the 12F that is one."""

LFE5U_85 = Die(groups=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
               bands=((58, 70), (34, 46), (10, 22)))
"""The LFE5U-85F; another row of block RAMs stands at 82."""


def place_elements(cells: dict[str, Any], die: Die) -> int:
    """Give multipliers and block RAMs of PEs places; return how many blocks have one.

    Other multipliers, those of lanes, get places of the first band. Other block RAMs are left to
    nextpnr; if it could use all that the array spares, that is in the first of several bands.
    A kind of block of which there are more than places is left to nextpnr altogether.

    Parameters
    ----------
    cells : dict
        Cells of the top level in Yosys' JSON; their attributes are changed.
    die : :class:`Die`
        The device.
    """
    placed = 0
    for kind, sites in (("MULT18X18D", die.multipliers), ("DP16KD", die.memories)):
        blocks = [name for name, cell in cells.items() if cell["type"] == kind]
        elements = {name: (int(match[1]), int(match[2])) for name in blocks
                    if (match := ELEMENT.search(name))}
        others = [name for name in blocks if name not in elements]
        spare  = len(sites) - len(elements)
        given  = [*elements, *others]
        if kind == "DP16KD":
            given  = [*elements]
            others = others[:spare] if len(die.bands) > 1 and spare < len(others) else []
        if not elements or spare < len(others):
            continue
        rows, cols = (1 + max(index) for index in zip(*elements.values(), strict=True))
        wishes = [die.wish(rows, cols, *index) for index in elements.values()]
        for name, site in zip(given, _assign(die, sites, wishes, len(others)), strict=False):
            cells[name]["attributes"]["BEL"] = site.bel
        placed += len(given)
    return placed


def _assign(die: Die, sites: list[Site], wishes: list[tuple[float, int]], others: int
            ) -> list[Site]:
    """Return the sites for PEs with these wishes, then those for others: the least distance."""
    # Only builds need it, and it takes its time to load.
    from scipy.optimize import linear_sum_assignment

    distances = [[abs(site.x - x) + BAND * abs(site.band - band) for site in sites]
                 for x, band in wishes]
    for n in range(others):
        # Below the first band, around the middle.
        x = die.begin + (die.end - die.begin) * (0.25 + (n + 0.5) / (2 * others))
        distances.append([abs(site.x - x) + BAND * (site.band + 1) for site in sites])
    # More than proportional: two that stand a little off are better than one far away.
    _, chosen = linear_sum_assignment(np.array(distances) ** 1.5)
    return [sites[index] for index in chosen]
