"""Exact cycles of SYSTOLIC descriptors: the schedulers of ``hw/`` as recurrences over tiles."""

from __future__ import annotations

from collections.abc import Mapping

from ..hw.global_buffer import GlobalBuffer
from ..hw.post_processor import PostProcessor
from ..hw.systolic_array import SystolicArray
from ..hw.systolic_engine import SystolicEngine
from ..hw.systolic_scheduler import SystolicScheduler
from .config import ArrayConfig
from .cycles import ConvTiming


__all__ = ["systolic_cycles"]


def systolic_cycles(fields: Mapping[str, int], config: ArrayConfig) -> ConvTiming:
    """Compute when everything in a SYSTOLIC descriptor happens.

    Waves of one position tile follow each other at a constant distance; position tiles meet the
    drain at the two banks, and the drain meets the parameters at filter tiles.

    Parameters
    ----------
    fields : mapping
        Values of :data:`oarlock.hw.isa.SYSTOLIC_FIELDS`.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array.
    """
    feed = SystolicScheduler.feed_cycles(config.rows)
    settle = SystolicEngine.settle_cycles(config, read_latency=GlobalBuffer.LATENCY)
    waves = fields["r_count"] * fields["s_count"] * fields["c_count"]
    groups, hold = fields["group_count"], fields["hold"]

    def sizes(axis: str) -> list[int]:
        return [fields[f"{axis}_count"]] * (fields[f"{axis}_tiles"] - 1) + [fields[f"{axis}_last"]]

    positions = [p * q for p in sizes("p") for q in sizes("q")]
    blocks = fields["block_count"] * fields["tile_count"]

    wave_end = 1              # first cycle in which the next wave may begin
    fed = 1 + feed            # likewise, for its weights
    free = [0, 0]             # when the banks of the last two position tiles are free
    copied = 0                # last cycle in which a parameter is copied to the lanes
    drained = [-SystolicArray.DRAIN_LATENCY] * 2  # last beat of the filter tile before last, last
    last_beat = 0
    sent = stall_load = stall_drain = 0
    for _ in range(blocks):
        copied = (max(copied, drained[0] + SystolicArray.DRAIN_LATENCY) + groups * config.lanes)
        for number, count in enumerate(positions):
            begin = max(wave_end, fed)
            stall_load += begin - wave_end
            if not hold:
                stall_drain += max(free[0] - begin, 0)
                begin = max(begin, free[0])
            distance = max(count, feed)
            last_wave = begin + (waves - 1) * distance
            stall_load += (waves - 1) * (distance - count)
            fed, wave_end = last_wave + feed, last_wave + count
            sent += waves * count
            if not hold:
                start = max(last_beat + 1, wave_end - 1 + settle)
                if number == 0:
                    start = max(start, copied + 1)
                last_beat = start + count * groups - 1
                free = [free[1], last_beat + 1]
        drained = [drained[1], last_beat]

    finish = SystolicEngine.finish_cycles(scale_latency=PostProcessor.LATENCY)
    cycles = wave_end + settle if hold else last_beat + 1 + finish
    pes, columns = config.pes, config.cols
    entries = waves * len(positions) * blocks
    drains = 0 if hold else sum(positions) * groups * blocks
    # The first wave of a position tile begins its sums, unless the descriptor before left some.
    adds = sent - (0 if fields["keep"] else sum(positions) * blocks)
    return ConvTiming(cycles=cycles, counts={
        "mac_cycles": sent, "stall_load": stall_load, "stall_drain": stall_drain,
        "ifmap_beats": sent, "ifmap_hops": sent * pes, "ifmap_writes": 0, "ifmap_reads": 0,
        "filter_hops": entries * (pes * (config.rows + 1) // 2), "filter_reads": entries * pes,
        "psum_hops": sent * pes, "psum_writes": sent * columns,
        "psum_reads": (adds + drains) * columns, "drain_slots": drains})
