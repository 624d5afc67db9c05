"""Row-stationary mappings in the terms of the Eyeriss papers: their limits and what they move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np


__all__ = ["Counts", "Layer", "RowStationary", "RowStationaryMachine", "best"]

#: Accesses by (level, operand): numbers, or arrays of them for many mappings at once.
Counts = dict[tuple[str, str], Any]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution as the papers count it.

    Members
    -------
    name : :class:`str`
        For tables.
    h : :class:`int`
        Rows and columns of an ifmap plane, padding included.
    h_stored : :class:`int`
        The same without padding: what is fetched from outside.
    r : :class:`int`
        Rows and columns of the filter.
    e : :class:`int`
        Rows and columns of an ofmap plane.
    c, m : :class:`int`
        Channels and filters of one group.
    groups : :class:`int`
        Convolution groups, one after the other.
    stride : :class:`int`
        Of the filter.
    """

    name: str
    h: int
    h_stored: int
    r: int
    e: int
    c: int
    m: int
    groups: int
    stride: int

    @property
    def macs(self) -> int:
        """Return the multiplications of one image."""
        return self.groups * self.m * self.c * (self.e * self.r) ** 2

    @property
    def filters(self) -> int:
        """Return the number of weights."""
        return self.groups * self.m * self.c * self.r ** 2

    @property
    def ifmaps(self) -> int:
        """Return the values of one image's input, padding included."""
        return self.groups * self.c * self.h ** 2

    @property
    def ofmaps(self) -> int:
        """Return the values of one image's output."""
        return self.groups * self.m * self.e ** 2


@dataclass(frozen=True, kw_only=True)
class RowStationaryMachine:
    """What bounds a row-stationary mapping.

    Members
    -------
    rows, cols : :class:`int`
        PEs.
    filter_spad, ifmap_spad, psum_spad : :class:`int`
        Values of a PE's scratchpads.
    spad_total : :class:`int`
        Values of all three together: less than their sum if one register file serves all.
    banks, bank_values : :class:`int`
        Of the part of the global buffer that holds ifmaps and partial sums; a bank holds either.
    side_by_side : :class:`bool`
        Whether PE sets that could be stacked may stand side by side as well.
    """

    rows: int
    cols: int
    filter_spad: int
    ifmap_spad: int
    psum_spad: int
    spad_total: int
    banks: int
    bank_values: int
    side_by_side: bool = True

    def sets(self, r: int, e: int) -> int:
        """Return how many sets of ``r`` x ``e`` PEs the array holds.

        Wide sets are cut and stacked.
        """
        stacked = self.rows // r
        if e > self.cols:
            return stacked // ceil(e / self.cols)
        if stacked > 1 and not self.side_by_side:
            return stacked
        return stacked * (self.cols // e)


@dataclass(frozen=True, kw_only=True)
class RowStationary:
    """One layer, one mapping: the seven parameters of JSSC 2017, Table II.

    Members
    -------
    layer, batch
        What is computed, for how many images.
    m, n, e : :class:`int`
        Ofmap channels, images and ofmap rows whose partial sums the global buffer holds.
    p, q : :class:`int`
        Filters and channels interleaved in a PE.
    r, t : :class:`int`
        PE sets that take different channels, different filters.
    """

    layer: Layer
    batch: int
    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int

    @property
    def active_pes(self) -> int:
        """Return the PEs at work."""
        return self.layer.r * self.e * self.r * self.t

    @property
    def strips(self) -> list[int]:
        """Return the ofmap rows of each strip."""
        return _strips(self.layer, self.e)

    def window_rows(self, e: int) -> int:
        """Return the ifmap rows that ``e`` ofmap rows need."""
        return (e - 1) * self.layer.stride + self.layer.r

    @property
    def channel_passes(self) -> int:
        """Return how often a partial sum visits the array."""
        return ceil(self.layer.c / (self.q * self.r))

    @property
    def filter_passes(self) -> int:
        """Return how often an ifmap value visits the array."""
        return ceil(self.layer.m / (self.p * self.t))

    @property
    def text(self) -> str:
        """Return the parameters for a table."""
        return " ".join(f"{name}{getattr(self, name)}" for name in "mnepqrt")

    @property
    def stored_ifmaps(self) -> int:
        """Return the ifmap values fetched from outside, without padding."""
        layer = self.layer
        rows = sum(map(self.window_rows, self.strips)) - (layer.h - layer.h_stored)
        return (self.batch * layer.groups * layer.c * rows * layer.h_stored
                * ceil(layer.m / self.m))

    def fits(self, machine: RowStationaryMachine) -> bool:
        """Tell whether scratchpads, array and global buffer hold it."""
        layer = self.layer
        filters, ifmap = self.p * self.q * layer.r, self.q * layer.r
        if (filters > machine.filter_spad or ifmap > machine.ifmap_spad
                or self.p > machine.psum_spad or filters + ifmap + self.p > machine.spad_total):
            return False
        if self.r * self.t > machine.sets(layer.r, self.e):
            return False
        psums = self.n * self.m * self.e * layer.e
        ifmaps = self.n * self.q * self.r * self.window_rows(self.e) * layer.h
        return ceil(psums / machine.bank_values) + ceil(ifmaps / machine.bank_values) \
            <= machine.banks

    @property
    def counts(self) -> Counts:
        """Return the accesses of the whole batch, see :func:`_counts`."""
        return _counts(self.layer, self.batch, self.m, self.n, self.e, self.p, self.q, self.r,
                       self.t)


def _strips(layer: Layer, e: int) -> list[int]:
    full, rest = divmod(layer.e, e)
    return [e] * full + [rest] * (rest > 0)


def _counts(layer: Layer, batch: int, m: Any, n: Any, e: int, p: Any, q: Any, r: int, t: int,
            ) -> Counts:
    """Return accesses by (level, operand) for the whole batch; ``m n p q`` may be arrays.

    ``array``: values received by PEs, partial sums handed from PE to PE. ``buffer``: reads of
    ifmaps, reads and writes of partial sums; filters only pass through and are not counted (nor
    does JSSC 2017 count them). Padding counts like data, as the papers' H does.
    """
    macs = batch * layer.macs
    planes = batch * layer.groups * layer.c
    psums = batch * layer.ofmaps
    strips = _strips(layer, e)
    rows = sum((size - 1) * layer.stride + layer.r for size in strips)
    chunks = -(-batch // n)
    filter_passes, channel_passes = -(-layer.m // (p * t)), -(-layer.c // (q * r))
    return {
        ("dram", "ifmap"): planes * rows * layer.h * -(-layer.m // m),
        ("dram", "weight"): layer.filters * len(strips) * chunks,
        ("dram", "psum"): psums,
        ("buffer", "ifmap"): planes * rows * layer.h * filter_passes,
        ("buffer", "weight"): 0,
        ("buffer", "psum"): 2 * psums * channel_passes,
        # A PE receives the rows it works on anew in every pass, its weights as well.
        ("array", "ifmap"): planes * layer.r * layer.e * t * filter_passes * layer.h,
        ("array", "weight"): layer.filters * layer.e * chunks,
        ("array", "psum"): psums * channel_passes * (layer.r * r - 1),
        ("scratchpad", "ifmap"): macs,
        ("scratchpad", "weight"): macs,
        ("scratchpad", "psum"): 2 * (macs - macs // (q * layer.r)),
        ("mac", "mac"): macs,
    }


def _parts(value: int, most: int) -> list[int]:
    """Return the sizes up to ``most`` that cut ``value`` into different numbers of parts."""
    return sorted({size for size in (ceil(value / parts) for parts in range(1, value + 1))
                   if size <= most})


def _sets(layer: Layer, machine: RowStationaryMachine) -> Iterator[tuple[int, int, int]]:
    """Yield (e, r, t) that the array holds."""
    for e in range(1, layer.e + 1):
        sets = machine.sets(layer.r, e)
        for r in range(1, min(sets, layer.c) + 1):
            for t in range(1, min(sets // r, layer.m) + 1):
                yield e, r, t


def _fitting(layer: Layer, machine: RowStationaryMachine, batch: int, e: int, r: int, t: int,
             ) -> np.ndarray:
    """Return the rows m, n, p, q of the mappings that fit, with as many filters as possible."""
    p, q, n = (np.array(grid).ravel() for grid in np.meshgrid(
        _parts(ceil(layer.m / t), machine.psum_spad),
        _parts(ceil(layer.c / r), machine.ifmap_spad // layer.r), _parts(batch, batch)))
    weights, window = p * q * layer.r, q * layer.r
    fits = (weights <= machine.filter_spad) & (weights + window + p <= machine.spad_total)
    ifmaps = n * window * r * ((e - 1) * layer.stride + layer.r) * layer.h // layer.r
    banks = machine.banks - -(-ifmaps // machine.bank_values)
    held = np.maximum(banks, 0) * machine.bank_values // (n * e * layer.e)
    m = np.minimum(held // (p * t), -(-layer.m // (p * t))) * (p * t)
    fits &= m > 0
    m, n, p, q = np.stack([m, n, p, q])[:, fits]
    # Fewer filters do as well if the layer needs no more parts.
    share = np.ceil(layer.m / np.ceil(layer.m / m))
    m = np.ceil(share / (p * t)).astype(np.int64) * p * t
    return np.stack([m, n, p, q])


def best(layer: Layer, machine: RowStationaryMachine, batch: int,
         rank: Callable[[Counts, int], list[Any]], *, floor: float = 0) -> RowStationary:
    """Return the mapping of the lowest rank.

    Parameters
    ----------
    layer, machine, batch
        What is computed, on what, for how many images.
    rank : callable
        Takes :data:`Counts` of arrays and the number of active PEs, returns what decides, first
        things first.
    floor : :class:`float`
        The least share of the most PEs that any mapping of the layer can use.

    Raises
    ------
    ValueError
        If nothing fits.
    """
    sets = list(_sets(layer, machine))
    least = floor * max((e * r * t for e, r, t in sets), default=0)
    found = []
    for e, r, t in sets:
        if e * r * t < least:
            continue
        m, n, p, q = _fitting(layer, machine, batch, e, r, t)
        if not m.size:
            continue
        keys = [np.broadcast_to(key, m.shape) for key in
                rank(_counts(layer, batch, m, n, e, p, q, r, t), layer.r * e * r * t)]
        first = int(np.lexsort(keys[::-1])[0])
        found.append(([key[first].item() for key in keys],
                      {"m": int(m[first]), "n": int(n[first]), "e": e, "p": int(p[first]),
                       "q": int(q[first]), "r": r, "t": t}))
    if not found:
        raise ValueError(f"no mapping of {layer.name} fits")
    values = min(found, key=lambda pair: pair[0])[1]
    return RowStationary(layer=layer, batch=batch, **values)
