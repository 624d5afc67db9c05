"""Energy of the six dataflows that ISCA 2016 compares, from how each reuses its operands.

Chen, Emer, Sze: Eyeriss: a spatial architecture for energy-efficient dataflow for convolutional
neural networks, ISCA 2016, sections IV and VI. An access costs what its level costs; a level at
which an operand is not reused is bypassed. Every dataflow has the same number of PEs and the same
area for storage; each may choose its mapping, layer by layer, for the least energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from math import ceil, isqrt
from typing import Any

from .energy import EnergyTable
from .row_stationary import Counts, Layer, RowStationaryMachine, best


__all__ = ["DATAFLOWS", "buffer_values", "counts", "energy_per_mac"]

#: Values of a PE's register file in RS, and of the global buffer for each PE: 512 bytes each.
REGISTER_FILE = BUFFER_PER_PE = 256
#: A dataflow with (next to) no register file has a larger buffer on the same area: the paper says,
#: up to 2.6 times that of RS.
BUFFER_GAIN = 2.6


def buffer_values(dataflow: str, pes: int) -> int:
    """Return the 16-bit values that the global buffer holds."""
    return int(pes * BUFFER_PER_PE * (1 if dataflow == "RS" else BUFFER_GAIN))


def _sizes(value: int) -> list[int]:
    """Return the sizes that cut ``value`` into different numbers of parts."""
    return sorted({ceil(value / parts) for parts in range(1, value + 1)})


def _base(layer: Layer, batch: int) -> Counts:
    """Return what no mapping changes: every output is written once, every MAC done once."""
    return {("mac", "mac"): batch * layer.macs, ("dram", "psum"): batch * layer.ofmaps}


def _filters_stay(layer: Layer, batch: int, free: int, inputs: int, tile: int) -> Iterator[Counts]:
    """Yield DRAM reads if as many filters stay in the buffer as fit, for the whole batch.

    Parameters
    ----------
    layer, batch
        What is computed, for how many images.
    free : :class:`int`
        Values that the buffer holds.
    inputs : :class:`int`
        Reads that fetch an image's input once, tile by tile.
    tile : :class:`int`
        Values of a tile that must be there beside the filters.
    """
    held = min(layer.m, (free - tile) // (layer.c * layer.r ** 2))
    if held > 0:
        yield {("dram", "weight"): layer.filters,
               ("dram", "ifmap"): batch * inputs * ceil(layer.m / held)}


def _inputs_stay(layer: Layer, batch: int, free: int, inputs: int, tile: int, tiles: int,
                 ) -> Iterator[Counts]:
    """Yield DRAM reads if as many of the ``tiles`` of an image's input stay in the buffer as fit.

    Parameters
    ----------
    layer, batch, free, inputs, tile, tiles
        As above.
    """
    if tile <= free:
        together = min(batch * tiles, free // tile)
        yield {("dram", "weight"): layer.filters * ceil(batch * tiles / together),
               ("dram", "ifmap"): batch * inputs}


def row_stationary(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield the best RS mapping: rows of filters and windows stay, on an array near a square."""
    rows = 1 << (isqrt(pes).bit_length() - 1)
    machine = RowStationaryMachine(
        rows=rows, cols=pes // rows, filter_spad=REGISTER_FILE, ifmap_spad=REGISTER_FILE,
        psum_spad=REGISTER_FILE, spad_total=REGISTER_FILE, banks=buffer_values("RS", pes),
        bank_values=1)

    def adapted(found: Counts) -> Counts:
        # The buffer adds to a sum from its second visit on.
        return found | {("buffer", "psum"): found["buffer", "psum"] - 2 * batch * layer.ofmaps}

    yield adapted(best(layer, machine, batch,
                       lambda found, _: [_cost(adapted(found), table)]).counts)


def weight_stationary(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield WS mappings: planes of r x r weights stay; inputs are broadcast to all of them.

    A row of a plane adds up its r products as the sums shift along, over all channels at work. The
    rows of a plane meet a line later, so sums go through the buffer from row to row: all of them
    wait there for as long as filters are at work.
    """
    macs, plane = batch * layer.macs, layer.r ** 2
    for channels in _sizes(layer.c):
        filters = min(layer.m, pes // (plane * channels),
                      buffer_values("WS", pes) // (batch * layer.e ** 2))
        if filters < 1:
            continue
        visits = layer.r * ceil(layer.c / channels)
        chain = layer.r * channels
        yield _base(layer, batch) | {
            ("dram", "weight"): layer.filters,
            ("dram", "ifmap"): batch * layer.ifmaps * ceil(layer.m / filters),
            ("buffer", "psum"): 2 * batch * layer.ofmaps * (visits - 1),
            ("array", "ifmap"): macs,
            ("array", "psum"): macs * (1 - 1 / chain),
            ("scratchpad", "weight"): macs,
        }


def _output_stationary(layer: Layer, batch: int) -> Counts:
    """Return what all OS mappings share: each MAC receives both operands from the array.

    All outputs are walked with one group of filters before the next comes: weights are fetched
    once a batch. (The published bars say so: N = 1 and N = 16 differ by 15/16 of the weights.)
    """
    macs = batch * layer.macs
    return _base(layer, batch) | {
        ("array", "ifmap"): macs, ("array", "weight"): macs,
        ("scratchpad", "psum"): 2 * (macs - batch * layer.ofmaps)}


def output_stationary_a(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield OSA mappings: a tile of one output plane; inputs shift from PE to PE."""
    for height in _sizes(layer.e):
        width = min(layer.e, pes // height)
        if width < 1:
            break

        def halo(size: int) -> tuple[int, int]:
            """Return the number of tiles along an axis and the inputs that they need."""
            full, rest = divmod(layer.e, size)
            sizes = [size] * full + [rest] * (rest > 0)
            return len(sizes), sum((n - 1) * layer.stride + layer.r for n in sizes)

        (down, seen_y), (across, seen_x) = halo(height), halo(width)
        window = seen_y * seen_x * layer.c
        tile = (((height - 1) * layer.stride + layer.r) * ((width - 1) * layer.stride + layer.r)
                * layer.c)
        own = _output_stationary(layer, batch) | {
            ("buffer", "weight"): layer.filters * batch * down * across,
            ("buffer", "ifmap"): batch * layer.groups * layer.m * window}
        for reads in _filters_stay(layer, batch, buffer_values("OSA", pes),
                                   layer.groups * window, tile):
            yield own | reads


def output_stationary_b(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield OSB mappings: a part of one output row, of several filters and images.

    Neighbours along the row share inputs; the r input rows of an output row are fetched for it.
    """
    for width in _sizes(layer.e):
        for images in _sizes(batch):
            filters = min(layer.m, pes // (width * images))
            if filters < 1:
                break
            parts = ceil(layer.e / width)
            row = layer.r * (layer.e * layer.stride + parts * (layer.r - layer.stride)) * layer.c
            own = _output_stationary(layer, batch) | {
                ("buffer", "weight"): layer.filters * layer.e * parts * ceil(batch / images),
                ("buffer", "ifmap"): batch * layer.groups * layer.e * row
                * ceil(layer.m / filters)}
            for reads in _filters_stay(layer, batch, buffer_values("OSB", pes),
                                       layer.groups * layer.e * row, row * images):
                yield own | reads


def output_stationary_c(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield OSC mappings: one pixel of several filters and images; its window is fetched for it."""
    pixels, window = layer.e ** 2, layer.c * layer.r ** 2
    for images in _sizes(batch):
        filters = min(layer.m, pes // images)
        if filters < 1:
            break
        own = _output_stationary(layer, batch) | {
            ("buffer", "weight"): layer.filters * pixels * ceil(batch / images),
            ("buffer", "ifmap"): batch * layer.groups * pixels * window
            * ceil(layer.m / filters)}
        for reads in _filters_stay(layer, batch, buffer_values("OSC", pes),
                                   layer.groups * pixels * window, window * images):
            yield own | reads


def no_local_reuse(layer: Layer, batch: int, pes: int, table: EnergyTable,
        ) -> Iterator[Counts]:
    """Yield NLR mappings: channels x filters; every weight comes from the buffer for every MAC.

    An input is broadcast to all filters, sums add up over the channels at work.
    """
    macs = batch * layer.macs
    for channels in _sizes(layer.c):
        filters = min(layer.m, pes // channels)
        if filters < 1:
            break
        visits = layer.r ** 2 * ceil(layer.c / channels)
        own = _base(layer, batch) | {
            ("buffer", "weight"): macs,
            ("buffer", "ifmap"): macs / filters,
            ("buffer", "psum"): 2 * batch * layer.ofmaps * (visits - 1),
            ("array", "ifmap"): macs,
            ("array", "psum"): macs * (1 - 1 / channels)}
        for strip in _sizes(layer.e):
            rows = (strip - 1) * layer.stride + layer.r
            strips = ceil(layer.e / strip)
            inputs = (layer.h + (strips - 1) * (layer.r - layer.stride)) * layer.h * layer.c
            sizes = (layer, batch, buffer_values("NLR", pes), layer.groups * inputs,
                     rows * layer.h * layer.c)
            for reads in (*_filters_stay(*sizes), *_inputs_stay(*sizes, strips)):
                yield own | reads


DATAFLOWS: dict[str, Callable[[Layer, int, int, EnergyTable], Iterator[Counts]]] = {
    "RS": row_stationary,
    "WS": weight_stationary,
    "OSA": output_stationary_a,
    "OSB": output_stationary_b,
    "OSC": output_stationary_c,
    "NLR": no_local_reuse,
}


def _cost(found: Counts, table: EnergyTable) -> Any:
    names = {"mac": "mac_done", "dram": "dram", "buffer": "buffer_read", "array": "array",
             "scratchpad": "scratchpad_weight"}
    costs = {level: table.cost(name) for level, name in names.items()}
    return sum(costs[level] * count for (level, _), count in found.items())


@lru_cache(maxsize=256)
def _best(dataflow: str, layer: Layer, batch: int, pes: int, costs: tuple[tuple[str, float], ...],
          ) -> Counts | None:
    table = EnergyTable(source="", node_nm=0, bits=16, unit="MAC", costs=dict(costs))
    return min(DATAFLOWS[dataflow](layer, batch, pes, table), key=lambda found: _cost(found, table),
               default=None)


def counts(dataflow: str, layers: Iterable[Layer], batch: int, pes: int, table: EnergyTable,
           ) -> Counts | None:
    """Return accesses by (level, operand) of layers together, each mapped for the least energy.

    None if a layer cannot be mapped: WS keeps the partial sums of a whole batch in the buffer.
    """
    total: Counts = {}
    for layer in layers:
        found = _best(dataflow, layer, batch, pes, tuple(sorted(table.costs.items())))
        if found is None:
            return None
        for key, count in found.items():
            total[key] = total.get(key, 0) + count
    return total


def energy_per_mac(found: Counts, table: EnergyTable) -> dict[str, float]:
    """Return energy per MAC by level, of what :func:`counts` returned."""
    macs = found["mac", "mac"]
    levels: dict[str, float] = {}
    for (level, operand), count in found.items():
        levels[level] = levels.get(level, 0) + _cost({(level, operand): count}, table) / macs
    return levels
