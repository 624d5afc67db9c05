"""From a convolution on the weight-stationary array to its descriptor and filter image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..hw import isa
from .config import ArrayConfig
from .lower import ADDRESS_MASK, FilterWrite, Requantization
from .systolic_mapping import SystolicMapping


__all__ = ["SystolicDescriptor", "filter_writes", "lower_conv"]


@dataclass(frozen=True, kw_only=True)
class SystolicDescriptor:
    """A SYSTOLIC descriptor, field by field."""

    fields: dict[str, int]

    def words(self) -> list[int]:
        """Pack the descriptor as the program memory holds it."""
        return isa.pack(isa.SYSTOLIC_FIELDS, self.fields)


def lower_conv(
    mapping: SystolicMapping, config: ArrayConfig, requantization: Requantization, *, in_base: int,
    out_base: int, filter_base: int, parameter_base: int, keep: bool = False, hold: bool = False,
) -> SystolicDescriptor:
    """Make the descriptor of a convolution.

    Parameters are those of :func:`oarlock.gen.lower.lower_conv`.
    """
    shape, rows = mapping.shape, mapping.row_count
    p_count, q_count = mapping.p_count, mapping.q_count
    p_step, q_step = shape.stride_y * shape.in_y, shape.stride_x * shape.in_x
    multiplier = shape.multiplier if shape.depthwise else 1
    # What is not full: the last word of channels, the last filter tile.
    rest = shape.c - (max(mapping.c_count, mapping.tiles) - 1) * rows
    each = shape.depthwise and mapping.blocks > 1
    filters = multiplier if each else rest * multiplier if shape.depthwise else shape.m
    masks = {
        "in_base": in_base - shape.pad_y * shape.in_y,
        "q_step": q_step, "p_step": p_step,
        "x_stride": shape.in_x, "y_stride": shape.in_y,
        "q_tile_step": q_count * q_step, "p_tile_step": p_count * p_step,
        "x_limit": shape.w * shape.in_x,
        "out_base": out_base, "out_q_step": shape.out_x, "out_p_step": shape.out_y,
        "out_q_tile_step": q_count * shape.out_x, "out_p_tile_step": p_count * shape.out_y,
    }
    fields = {name: value & ADDRESS_MASK for name, value in masks.items()} | {
        "kind": isa.DescriptorKind.SYSTOLIC, "rule": requantization.rule,
        "fold": int(shape.fold), "keep": int(keep), "hold": int(hold),
        "diagonal": int(shape.depthwise), "part_each": int(each),
        "zero_point_in": requantization.zero_point_in,
        "zero_point_out": requantization.zero_point_out,
        "low": requantization.low, "high": requantization.high,
        "row_count": rows, "row_count_last": rest,
        "p_rows": shape.stride_y, "p_tile_rows": p_count * shape.stride_y,
        "x_origin": -shape.pad_x * shape.in_x, "y_origin": -shape.pad_y, "y_limit": shape.h,
        "s_count": shape.s, "r_count": shape.r,
        "c_count": mapping.c_count, "c_step": 0 if shape.depthwise else rows,
        "tile_count": mapping.tiles, "tile_step": rows if shape.depthwise else 0,
        "block_count": mapping.blocks, "columns": mapping.columns,
        "columns_last": filters - (mapping.blocks - 1) * mapping.columns,
        "group_count": mapping.groups,
        "q_count": q_count, "q_last": shape.q - (mapping.q_tiles - 1) * q_count,
        "p_count": p_count, "p_last": shape.p - (mapping.p_tiles - 1) * p_count,
        "q_tiles": mapping.q_tiles, "p_tiles": mapping.p_tiles,
        "position_tiles": mapping.q_tiles * mapping.p_tiles,
        "filter_base": filter_base, "parameter_base": parameter_base,
        "out_block_step": mapping.columns,
        "out_tile_step": rows * multiplier if shape.depthwise else 0,
    }
    if shape.depthwise and not each:
        fields |= {f"lane_{n}": n // multiplier for n in range(mapping.columns)}
    return SystolicDescriptor(fields=fields)


def filter_writes(mapping: SystolicMapping, config: ArrayConfig, weights: np.ndarray,
                  filter_base: int = 0) -> list[FilterWrite]:
    """Return how a layer's weights are laid into the filter memories.

    The order of entries: for channel tile, for filter tile, for word of channels, for filter row,
    for filter column. Parameters are those of :func:`oarlock.gen.lower.filter_writes`.
    """
    image = _filter_image(mapping, mapping.shape.weights(weights))
    columns, rows, entries = image.shape
    padded = np.zeros((columns, -(-rows // 4) * 4, entries), dtype=np.int8)
    padded[:, :rows] = image
    return [
        FilterWrite(columns=1 << column, block=row // 4, entry=filter_base,
                    data=np.ascontiguousarray(padded[column, row:row + 4].T))
        for column in range(columns) for row in range(0, padded.shape[1], 4)
    ]


def _filter_image(mapping: SystolicMapping, weights: np.ndarray) -> np.ndarray:
    """Return the filters (columns, rows, entries) of weights (m, r, s, c)."""
    shape, rows, columns = mapping.shape, mapping.row_count, mapping.columns
    tiles, blocks = mapping.tiles, mapping.blocks
    if not shape.depthwise:
        full = np.zeros((blocks * columns, shape.r, shape.s, mapping.c_count * rows), np.int8)
        full[:shape.m, :, :, :shape.c] = weights
        parts = full.reshape(blocks, columns, shape.r, shape.s, mapping.c_count, rows)
        # (column, row, block, word, filter row, filter column)
        return parts.transpose(1, 5, 0, 4, 2, 3).reshape(columns, rows, -1)
    # Filters of a channel lie side by side; a column has a weight in the row of its channel only.
    per_channel = shape.multiplier if blocks == 1 else columns
    channels = np.zeros((tiles * rows, blocks * per_channel, shape.r, shape.s), np.int8)
    channels[:shape.c, :shape.multiplier] = weights[..., 0].reshape(
        shape.c, shape.multiplier, shape.r, shape.s)
    parts = channels.reshape(tiles, rows, blocks, per_channel, shape.r, shape.s)
    image = np.zeros((columns, rows, tiles, blocks, shape.r, shape.s), np.int8)
    for column in range(columns):
        lane, place = divmod(column, per_channel)
        image[column, lane] = parts[:, lane, :, place]
    return image.reshape(columns, rows, -1)
