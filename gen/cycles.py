"""Exact cycles of descriptors: the schedulers of ``hw/`` as recurrences over passes and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..hw.array_row import ArrayRow
from ..hw.collector import Collector
from ..hw.global_buffer import GlobalBuffer
from ..hw.ifmap_loader import IfmapLoader
from ..hw.post_processor import PostProcessor
from .config import ArrayConfig


__all__ = ["ConvTiming", "conv_cycles"]


@dataclass(frozen=True, kw_only=True)
class ConvTiming:
    """What a descriptor of a convolution takes and does.

    Members
    -------
    cycles : :class:`int`
        From the engine's start to the cycle in which it is idle.
    counts : dict of :class:`str` to :class:`int`
        What it adds to the counters of :data:`oarlock.hw.isa.COUNTERS`, as far as that does not
        depend on the data.
    """

    cycles: int
    counts: dict[str, int]


def _segments(beats: int, most: int) -> list[int]:
    """Return the beats of a bank's segments."""
    full, rest = divmod(beats, most)
    return [most] * full + [rest] * (rest > 0)


def conv_cycles(fields: Mapping[str, int], config: ArrayConfig) -> ConvTiming:
    """Compute when everything in a CONV descriptor happens.

    The three schedulers meet at passes and steps only; between those, each needs a constant number
    of cycles. So their times obey a max-plus recurrence, which this evaluates (see the components'
    docstrings for the conditions it states).

    Parameters
    ----------
    fields : mapping
        Values of :data:`oarlock.hw.isa.CONV_FIELDS`.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array.
    """
    r_chunks, c_chunks = fields["r_chunks"], fields["c_chunks"]
    one_pass = r_chunks == c_chunks == 1
    depth = config.ifmap_depth
    loads_to_macs = IfmapLoader.latency(GlobalBuffer.LATENCY) + 1

    blocks = fields["block_count"] * fields["q_block_count"]
    window = {False: fields["k_count"], True: fields["k_count_last"]}

    def a_pass(last_c: bool, whole: bool, slides: bool,
               last_strip: bool) -> tuple[int, int, int, int]:
        """Return beats, entries, MAC cycles, and entries released."""
        beats = (blocks * (fields["x_first"] if whole else fields["x_next"])
                 * (fields["y_count_last"] if last_strip else fields["y_count"])
                 * (fields["t_count_last"] if last_c else fields["t_count"]))
        entries = window[last_c] if whole else fields["entries_next"]
        released = fields["entries_next"] if slides else window[last_c]
        return beats, entries, window[last_c] * fields["m_count"], released

    # The passes of a step, by (first q, last q, last strip).
    steps = {
        (first, last, strip): [
            a_pass(c == c_chunks - 1, first or not one_pass, one_pass and not last, strip)
            for _ in range(r_chunks) for c in range(c_chunks)]
        for first in (False, True) for last in (False, True) for strip in (False, True)}
    flush = fields["flush_count"]
    beats_per_slot = 1 if fields["local"] else fields["beat_count"]
    segments = _segments(fields["run_full"] * beats_per_slot, config.word_bytes * beats_per_slot)
    chain = ArrayRow.CHAIN_LATENCY + config.rows - 1
    copy = fields["run_full"] * fields["beat_count"]

    load_end = 2              # first cycle in which the loader may send the next pass
    mac_end = 1               # likewise for MACs
    in_use = 0                # ring entries taken by the passes sent so far, less those released
    released: list[tuple[int, int]] = []   # (first cycle in which they are free, entries)
    next_release = 0
    free = [0, 0]             # when the banks of the last two steps are free
    last_beat = -flush        # that completed a segment
    macs = stall_load = stall_drain = beats_sent = 0

    q_count, strips = fields["q_count"], fields["strip_count"]
    hold = fields["hold"]
    copied = 0                # last cycle in which a parameter of the tile is copied to the lanes
    drained = [-chain - 2, -chain - 2]  # last beat of the tile before last, of the last
    for _ in range(fields["tile_count"]):
        if fields["local"]:
            copied = max(copied, drained[0] + chain + 2) + copy
        tile_first = True
        for strip in range(strips):
            for q in range(q_count):
                first_pass = True
                passes = steps[q == 0, q == q_count - 1, strip == strips - 1]
                for beats, entries, work, gives in passes:
                    # Load: room in the ring, counting what earlier passes give back until then.
                    start = load_end
                    while next_release < len(released) and released[next_release][0] <= start:
                        in_use -= released[next_release][1]
                        next_release += 1
                    while in_use + entries > depth:
                        start = max(start, released[next_release][0])
                        in_use -= released[next_release][1]
                        next_release += 1
                    in_use += entries
                    load_end = start + beats
                    beats_sent += beats
                    # Compute: the pass is loaded, and a bank is free if it is the first of a step.
                    loaded = load_end - 1 + loads_to_macs
                    begin = max(mac_end, loaded)
                    stall_load += begin - mac_end
                    if first_pass and not hold:
                        begin_free = max(begin, free[0])
                        stall_drain += begin_free - begin
                        begin = begin_free
                    first_pass = False
                    mac_end = begin + work
                    macs += work
                    released.append((mac_end, gives))
                if not hold:
                    # Drain: segments complete at least as far apart as it takes to write one.
                    begin = max(last_beat + 1, mac_end)
                    if tile_first and fields["local"]:
                        begin = max(begin, copied + 1)
                    tile_first = False
                    for work in segments:
                        complete = begin + work - 1
                        last_beat = max(complete, last_beat + flush)
                        begin = last_beat + 1
                    freed = last_beat if beats_per_slot == 1 else complete - beats_per_slot + 1
                    free = [free[1], freed + 1]
        drained = [drained[1], last_beat]

    if hold:
        cycles = mac_end + 1 + chain
        slots = 0
    else:
        # Two registers, the chain, post-processing, the collector, its last column, and idle.
        collected = last_beat + 2 + chain + PostProcessor.LATENCY
        cycles = collected + Collector.LATENCY + flush
        slots = fields["run_full"] * fields["tile_count"] * strips * q_count
    return ConvTiming(cycles=cycles, counts={
        "mac_cycles": macs, "stall_load": stall_load, "stall_drain": stall_drain,
        "ifmap_beats": beats_sent, "drain_slots": slots, "psum_hops": slots * config.pes,
        "filter_hops": 0})
