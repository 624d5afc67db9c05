"""How long a VECTOR descriptor takes."""

from __future__ import annotations

from collections.abc import Mapping

from ..hw import isa
from ..hw.global_buffer import GlobalBuffer
from ..hw.post_processor import PostProcessor
from ..hw.vector_unit import VectorUnit


__all__ = ["vector_cycles"]


def vector_cycles(
    values: Mapping[str, int], lanes: int, *, read_latency: int = GlobalBuffer.LATENCY,
) -> int:
    """Return the cycles from ``start`` to ``done`` of the vector unit.

    Parameters
    ----------
    values : mapping
        Fields of the descriptor, see :data:`isa.VECTOR_FIELDS`.
    lanes, read_latency : :class:`int`
        As those of :class:`VectorUnit`.
    """
    groups = values["y_count"] * values["x_count"] * -(-values["channels"] // lanes)
    latency = read_latency + PostProcessor.LATENCY
    if values["op"] == isa.VectorOp.ADD:
        # Two reads and a pause; the last sum enters REENTRY cycles after the last first input.
        return 3 * groups + latency + VectorUnit.REENTRY
    # Two registers: the one behind ``start`` and the one in which a window is reduced.
    return groups * values["window_y_count"] * values["window_x_count"] + latency + 2
