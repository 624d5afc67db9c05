"""Descriptors of the vector unit: pooling, mean, residual add, padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..hw import isa
from ..sim.reference import AddParameters, reciprocal
from .lower import ADDRESS_MASK, Requantization


__all__ = ["Pool", "View", "lower_add", "lower_pad", "lower_pool"]

# A factor of one: shifted left once, times 2**30, shifted right by 31.
IDENTITY = {"multiplier": 1 << 30, "shift": 1}


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a feature map, or a box of one, lies: address of its first byte, pitches in bytes."""

    address: int
    y: int
    x: int


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Geometry of a pooling: (y, x) pairs, and channels.

    Members
    -------
    size, outputs, window, stride, pad : pairs of :class:`int`
        Ifmap, output, window, stride, padding before the image.
    channels : :class:`int`
        Channels.
    """

    size: tuple[int, int]
    outputs: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    channels: int


def _segments(pool: Pool, axis: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first output, outputs, first input, window) of runs with one window size."""
    size, stride, pad = pool.size[axis], pool.stride[axis], pool.pad[axis]
    spans = [(max(0, n * stride - pad), min(size, n * stride - pad + pool.window[axis]))
             for n in range(pool.outputs[axis])]
    first = 0
    for n in range(1, len(spans) + 1):
        if (n == len(spans) or spans[n][0] - spans[n - 1][0] != stride
                or spans[n][1] - spans[n - 1][1] != stride):
            start, end = spans[first]
            yield first, n - first, start, end - start
            first = n


def lower_pool(
    op: str, pool: Pool, source: View, target: View, requantization: Requantization, *,
    bias: int = 0, multiplier: int = 0, shift: int = 0,
) -> list[dict[str, int]]:
    """Make the descriptors of a pooling, one for every rectangle of windows of one size.

    Parameters
    ----------
    op : :class:`str`
        ``"average_pool"``, ``"max_pool"`` or ``"mean"``.
    pool : :class:`Pool`
        Geometry.
    source, target : :class:`View`
        Ifmap and output.
    requantization : :class:`Requantization`
        Clamp; for ``mean`` zero point of the output and rule.
    bias, multiplier, shift : :class:`int`
        Of ``mean``.
    """
    descriptors = []
    for y, y_count, in_y, window_y in _segments(pool, 0):
        for x, x_count, in_x, window_x in _segments(pool, 1):
            count = window_y * window_x
            if op == "mean":
                how = {"op": isa.VectorOp.SUM, "rule": requantization.rule, "bias": bias,
                       "multiplier": multiplier, "shift": shift,
                       "zero_point_out": requantization.zero_point_out}
            elif op == "average_pool" and count > 1:
                q, e = reciprocal(count)
                how = {"op": isa.VectorOp.SUM, "rule": isa.Rule.TRUNCATE, "bias": count // 2,
                       "multiplier": q, "shift": -e}
            else:
                how = {"op": isa.VectorOp.MAX, **IDENTITY}
            descriptors.append(_descriptor(
                how, low=requantization.low, high=requantization.high,
                in_base=source.address + in_y * source.y + in_x * source.x,
                window_y_count=window_y, window_x_count=window_x,
                window_y_step=source.y, window_x_step=source.x, channels=pool.channels,
                x_count=x_count, y_count=y_count,
                in_x_step=source.x * pool.stride[1], in_y_step=source.y * pool.stride[0],
                out_base=target.address + y * target.y + x * target.x,
                out_x_step=target.x, out_y_step=target.y))
    return descriptors


def lower_add(
    size: int, a: int, b: int, target: int, zero_points: tuple[int, int],
    parameters: AddParameters, requantization: Requantization,
) -> list[dict[str, int]]:
    """Make the descriptor that adds ``size`` bytes at ``a`` and ``b`` into ``target``."""
    (multiplier_a, multiplier_b, multiplier), (shift_a, shift_b, shift) = (
        parameters.multipliers, parameters.shifts)
    how = {
        "op": isa.VectorOp.ADD, "rule": requantization.rule, "left_shift": parameters.left_shift,
        "zero_point_a": zero_points[0], "zero_point_b": zero_points[1],
        "zero_point_out": requantization.zero_point_out,
        "multiplier_a": multiplier_a, "multiplier_b": multiplier_b, "multiplier": multiplier,
        "shift_a": shift_a, "shift_b": shift_b, "shift": shift,
    }
    return [_descriptor(
        how, low=requantization.low, high=requantization.high, in_base=a, window_y_count=2,
        window_x_count=1, window_y_step=b - a, channels=size, x_count=1, y_count=1,
        out_base=target)]


def lower_pad(
    rows: int, row_bytes: int, source: View, target: View, *, fill_bytes: int, fill_address: int,
    zero_point: int,
) -> list[dict[str, int]]:
    """Fill a run of bytes with the zero point, then copy ``rows`` rows into it.

    Parameters
    ----------
    rows, row_bytes : :class:`int`
        What is copied; nothing if ``rows`` is 0.
    source, target : :class:`View`
        From where and to where.
    fill_bytes, fill_address : :class:`int`
        The whole output, contiguous.
    zero_point : :class:`int`
        What it is filled with.
    """
    how = {"op": isa.VectorOp.MAX, **IDENTITY}
    descriptors = [_descriptor(
        how, low=zero_point, high=zero_point, in_base=fill_address, window_y_count=1,
        window_x_count=1, channels=fill_bytes, x_count=1, y_count=1, out_base=fill_address)]
    if rows and row_bytes:
        descriptors.append(_descriptor(
            how, low=-128, high=127, in_base=source.address, window_y_count=1, window_x_count=1,
            channels=row_bytes, x_count=1, y_count=rows, in_y_step=source.y,
            out_base=target.address, out_y_step=target.y))
    return descriptors


ADDRESSES = frozenset(name for name, width in isa.VECTOR_FIELDS
                      if width == 24 and name != "channels")


def _descriptor(how: dict[str, int], **values: int) -> dict[str, int]:
    """Join fields, addresses and steps modulo 2**24."""
    fields = {"kind": isa.DescriptorKind.VECTOR} | how | values
    return {name: value & ADDRESS_MASK if name in ADDRESSES else value
            for name, value in fields.items()}
