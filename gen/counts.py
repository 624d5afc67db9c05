"""Exact counts of what the array and its memories do, for every layer of a program.

A descriptor says everything that happens but for what depends on the activations' values: see
:mod:`.value_counts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from ..hw import isa
from .compact_cycles import compact_timing
from .config import ArrayConfig
from .dataflow import dataflow_of
from .vector_cycles import vector_cycles


__all__ = ["CompiledProgram", "Run", "descriptor_counts", "layer_counts", "predicted", "runs_of"]

#: Cycles of the sequencer: from a fetch's beginning to the descriptor's start, beyond its words.
FETCH_CYCLES = 2


class CompiledProgram(Protocol):
    """What has to be known of a program, as the driver reads it."""

    @property
    def setup(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def inference(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def layers(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def words(self) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one RUN command starts.

    Members
    -------
    descriptors : list of (:class:`int`, list of :class:`int`)
        Address in the program memory and words of each.
    layers : list of :class:`int`
        The layer that each belongs to, by its place in the program's list.
    shifts : list of :class:`int`
        Those in the parameter memory.
    """

    descriptors: list[tuple[int, list[int]]]
    layers: list[int]
    shifts: list[int]


def runs_of(program: CompiledProgram, config: ArrayConfig) -> list[Run]:
    """Return the runs of an inference, in order."""
    memory = [0] * config.program_depth
    shifts = [0] * config.parameter_depth
    found: list[list[tuple[int, list[int]]]] = []
    known_shifts: list[list[int]] = []
    ends: list[int] = []            # layer of the runs so far, as soon as it is known
    owners: list[list[int]] = []
    for step in (*program.setup, *program.inference):
        if step["do"] == "wait" and step["layer"] is not None:
            ends += [step["layer"]] * (len(found) - len(ends))
        if step["do"] == "timestamps":
            # One run of all layers: each ends with the descriptor whose end is read.
            for run in found:
                order = sorted(step["entries"])
                owners.append([next(layer for end, layer in order if address < end)
                               for address, _ in run])
        if step["do"] != "send":
            continue
        words = [int(word) for word in program.words[step["start"]:step["start"] + step["words"]]]
        while words:
            head, address, count = words[:3]
            opcode, target = head >> 20 & 15, head >> 16 & 15
            if opcode == isa.Opcode.WRITE and target == isa.Memory.PROGRAM:
                memory[address:address + count] = words[3:3 + count]
            if opcode == isa.Opcode.WRITE and target == isa.Memory.PARAMETERS:
                shifts[address:address + count // 3] = [
                    isa.signed_field(word, 6) for word in words[5:3 + count:3]]
            if opcode == isa.Opcode.RUN:
                run = []
                for _ in range(count):
                    length = config.descriptor_lengths[isa.DescriptorKind(memory[address] & 15)]
                    run.append((address, memory[address:address + length]))
                    address += length
                found.append(run)
                known_shifts.append([*shifts])
            del words[:3 + (count if opcode == isa.Opcode.WRITE else 0)]
    if not owners:
        owners = [[layer] * len(run) for run, layer in zip(found, ends, strict=True)]
    return [Run(descriptors=run, layers=layers, shifts=known)
            for run, layers, known in zip(found, owners, known_shifts, strict=True)]


def descriptor_counts(words: Sequence[int], config: ArrayConfig,
                      shifts: Sequence[int] | None = None) -> tuple[int, dict[str, int]]:
    """Return the cycles of a descriptor and what it adds to the device's counters.

    Of those counters that depend on values, partial sums, only what does not: the first sums of
    all PEs as ``psum_writes``, what is drained as ``psum_reads``; see :mod:`.value_counts`. The
    compact core counts nothing; its cycles depend on the ``shifts`` of output channels.
    """
    if config.compact:
        return compact_timing(config).descriptor(words, shifts)[0], {}
    if words[0] & 15 == isa.DescriptorKind.VECTOR:
        fields = isa.unpack(isa.VECTOR_FIELDS, words)
        return vector_cycles(fields, config.lanes), _vector_accesses(fields, config)
    dataflow = dataflow_of(config)
    length = isa.word_count(dataflow.fields)
    fields = isa.unpack(dataflow.fields, words[:length])
    timing = dataflow.conv_cycles(fields, config)
    # A beat is one read of the buffer, also of padding.
    counts = timing.counts | {"buffer_reads": timing.counts["ifmap_beats"]}
    if config.dataflow_code == isa.Dataflow.WEIGHT_STATIONARY:
        return timing.cycles, counts | _systolic_writes(fields, config)
    rows, columns = _conv_parts(words[length:], config)
    taken = _ifmap_writes(fields, rows, columns)
    steps = fields["tile_count"] * fields["strip_count"] * fields["q_count"]
    sums = steps * fields["u_count"]
    return timing.cycles, counts | {
        "ifmap_hops": taken, "ifmap_writes": taken,
        "ifmap_reads": _ifmap_reads(fields, rows, columns),
        "psum_writes": 0 if fields["keep"] else sums * config.pes,
        "psum_reads": 0 if fields["hold"] else (
            sums * config.cols * sum(row["used"] for row in rows)),
        **_output_accesses(fields, columns, config),
    }


def _vector_accesses(fields: Mapping[str, int], config: ArrayConfig) -> dict[str, int]:
    pixels = fields["y_count"] * fields["x_count"]
    groups = pixels * -(-fields["channels"] // config.lanes)
    return {
        "buffer_reads": groups * fields["window_y_count"] * fields["window_x_count"],
        "buffer_writes": groups,
        "outputs": pixels * fields["channels"],
    }


Fields = list[dict[str, int]]


def _conv_parts(words: Sequence[int], config: ArrayConfig) -> tuple[Fields, Fields]:
    """Return the fields of rows and of columns."""
    size_r, size_c = isa.word_count(isa.ROW_FIELDS), isa.word_count(isa.COLUMN_FIELDS)
    rows = [isa.unpack(isa.ROW_FIELDS, words[n * size_r:(n + 1) * size_r])
            for n in range(config.rows)]
    words = words[config.rows * size_r:]
    columns = [isa.unpack(isa.COLUMN_FIELDS, words[n * size_c:(n + 1) * size_c])
               for n in range(config.cols)]
    return rows, columns


def _ifmap_writes(fields: Mapping[str, int], rows: Fields, columns: Fields) -> int:
    """Return entries that PEs take from the bus: the multicast's transfers."""
    offsets = (np.array([row["tag"] for row in rows])[:, None]
               + np.array([column["tag"] for column in columns])).ravel()
    # Beats of a pass carry the same tags in every column of the window and for every channel.
    takers = 0
    strips = {fields["y_count_last"]: 1}
    if fields["strip_count"] > 1:
        strips[fields["y_count"]] = strips.get(fields["y_count"], 0) + fields["strip_count"] - 1
    for y_count, count in strips.items():
        tags = (np.arange(fields["q_block_count"])[:, None, None] * fields["q_block_tag"]
                + np.arange(fields["block_count"])[:, None] * fields["block_tag"]
                + np.arange(y_count)).ravel()
        distance = (tags[:, None] - offsets) % 256
        takers += count * int(np.count_nonzero(distance < fields["span"]))
    passes = fields["r_chunks"] * fields["c_chunks"]
    # Beats of a step per tag: columns of the window, times channels over all channel chunks.
    following = fields["x_next"] if passes == 1 else fields["x_first"]
    x = fields["x_first"] + (fields["q_count"] - 1) * following
    t = (fields["c_chunks"] - 1) * fields["t_count"] + fields["t_count_last"]
    return fields["tile_count"] * takers * fields["r_chunks"] * x * t


def _strips_of(fields: Mapping[str, int], column: Mapping[str, int]) -> int:
    """Return in how many strips a column takes part."""
    p = column["p_index"]
    return (fields["strip_count"] - 1) * (p < fields["p_count"]) + (p < fields["p_last"])


def _steps_of(fields: Mapping[str, int], column: Mapping[str, int]) -> int:
    """Return in how many steps of a tile a column takes part."""
    return _strips_of(fields, column) * max(
        0, min(fields["q_count"], fields["q_limit"] - column["q_offset"]))


def _ifmap_reads(fields: Mapping[str, int], rows: Fields, columns: Fields) -> int:
    """Return MAC tokens at PEs that take part; each reads an activation, if only a hole."""
    k = (fields["c_chunks"] - 1) * fields["k_count"] + fields["k_count_last"]
    # The tokens of a step are spread evenly over its partial sums.
    each = fields["r_chunks"] * k * fields["m_count"] // fields["u_count"]
    whole = fields["u_count"] * sum(row["used"] for row in rows)
    part = sum(fields["u_last"] + row["below_last"] for row in rows if row["used"])
    reads = 0
    for column in columns:
        last = whole if column["full"] else part if column["part"] else 0
        reads += _steps_of(fields, column) * ((fields["tile_count"] - 1) * whole + last)
    return reads * each


def _output_accesses(fields: Mapping[str, int], columns: Fields, config: ArrayConfig,
                     ) -> dict[str, int]:
    """Return writes of the collector and the bytes in them."""
    if fields["hold"]:
        return {"buffer_writes": 0, "outputs": 0}
    writes = outputs = 0
    last_tile = fields["tile_count"] - 1
    for column in columns:
        steps = _steps_of(fields, column)
        # Bytes of a column in a tile: whole ones, then those of the last.
        last = (fields["run_full"] if column["full"] else
                fields["run_last"] if column["part"] else 0)
        for size, tiles in ((fields["run_full"], last_tile), (last, 1)):
            writes += steps * tiles * -(-size // config.word_bytes)
            outputs += steps * tiles * size
    return {"buffer_writes": writes, "outputs": outputs}


def _systolic_writes(fields: Mapping[str, int], config: ArrayConfig) -> dict[str, int]:
    """Return writes of the weight-stationary engine and the bytes in them."""
    if fields["hold"]:
        return {"buffer_writes": 0, "outputs": 0}
    positions = prod((fields[f"{axis}_tiles"] - 1) * fields[f"{axis}_count"]
                     + fields[f"{axis}_last"] for axis in "pq")
    blocks, tiles = fields["block_count"], fields["tile_count"]
    parts = tiles if fields["part_each"] else 1
    sizes = {fields["columns"]: blocks * tiles - parts}
    sizes[fields["columns_last"]] = sizes.get(fields["columns_last"], 0) + parts
    return {
        "buffer_writes": positions * sum(
            count * -(-size // config.lanes) for size, count in sizes.items()),
        "outputs": positions * sum(count * size for size, count in sizes.items()),
    }


def predicted(program: CompiledProgram, config: ArrayConfig,
              of_values: Mapping[int, Mapping[str, int]] | None = None,
              ) -> tuple[dict[str, int], dict[int, int]]:
    """Return counters of an inference, and for the last run when its descriptors end.

    Parameters
    ----------
    program : :class:`CompiledProgram`
        What runs.
    config : :class:`~oarlock.gen.config.ArrayConfig`
        On what.
    of_values : mapping, optional
        What :func:`~oarlock.gen.value_counts.value_counts` returned. Without, counters that depend
        on values are left out.

    Returns
    -------
    counters : dict of :class:`str` to :class:`int`
        Of :data:`isa.COUNTERS`, all but ``cycles`` and what only the link knows.
    ends : dict of :class:`int` to :class:`int`
        By address of the word that holds it: the cycle, counted from the RUN.
    """
    counters: Counter[str] = Counter()
    ends: dict[int, int] = {}
    for run in runs_of(program, config):
        if config.compact:
            ends = _compact_ends(run, config)
            continue
        ends = {}
        start = fetch = 0
        for address, words in run.descriptors:
            # A descriptor starts when it is fetched and the one before has ended.
            start = max(start, fetch + FETCH_CYCLES + len(words))
            cycles, counts = descriptor_counts(words, config)
            counters.update(counts)
            ends[address + 1] = start + 1 + cycles
            fetch, start = start, start + 1 + cycles + 1
        counters["busy_cycles"] += start - 1
    for counts in (of_values or {}).values():
        counters.update(counts)
    if of_values is None and config.dataflow_code == isa.Dataflow.ROW_STATIONARY:
        counters.pop("psum_writes", None)
        counters.pop("psum_reads", None)
    return dict(counters), ends


def _compact_ends(run: Run, config: ArrayConfig) -> dict[int, int]:
    """Return when the descriptors of a run end, as :func:`predicted` does."""
    timing = compact_timing(config)
    now, ends = timing.before, {}
    for address, words in run.descriptors:
        cycles, after = timing.descriptor(words, run.shifts)
        ends[address + 1] = now + cycles
        now += cycles + after
    return ends


def layer_counts(program: CompiledProgram, config: ArrayConfig) -> list[Counter[str]]:
    """Return, for every layer of a program, the counts of :func:`descriptor_counts`.

    Beside them ``cycles``: of its descriptors, without fetching the first of a run; and
    ``vector_reads`` and ``vector_writes``, the share of the vector unit in the buffer's accesses.
    """
    found: list[Counter[str]] = [Counter() for _ in program.layers]
    for run in runs_of(program, config):
        for (_, words), layer in zip(run.descriptors, run.layers, strict=True):
            cycles, counts = descriptor_counts(words, config, run.shifts)
            found[layer].update(counts)
            found[layer]["cycles"] += cycles
            if words[0] & 15 == isa.DescriptorKind.VECTOR:
                found[layer]["vector_reads"] += counts.get("buffer_reads", 0)
                found[layer]["vector_writes"] += counts.get("buffer_writes", 0)
    return found
