"""From a mapped convolution to what the device is told: descriptor, filter image, parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..hw import isa
from .config import ArrayConfig
from .mapping import Mapping, keeps_parameters


__all__ = [
    "ADDRESS_MASK", "RULES", "ConvDescriptor", "FilterWrite", "Requantization", "filter_writes",
    "lower_conv", "parameter_entries",
]

#: Addresses and steps of the global buffer are taken modulo this plus one.
ADDRESS_MASK = (1 << 24) - 1
RULES = {"single": isa.Rule.SINGLE, "double": isa.Rule.DOUBLE}
#: Column number of a column without work, group of a row without work.
NO_COLUMN, NO_GROUP = 63, 255


@dataclass(frozen=True, kw_only=True)
class Requantization:
    """What post-processing does with all channels of a descriptor alike.

    Members
    -------
    zero_point_in, zero_point_out : :class:`int`
        Subtracted from activations, added to outputs.
    low, high : :class:`int`
        Clamp.
    rule : :class:`oarlock.hw.isa.Rule`
        Rounding.
    """

    zero_point_in: int
    zero_point_out: int
    low: int
    high: int
    rule: isa.Rule


@dataclass(frozen=True, kw_only=True)
class ConvDescriptor:
    """A CONV descriptor, field by field."""

    fields: dict[str, int]
    rows: list[dict[str, int]]
    columns: list[dict[str, int]]
    beats: list[dict[str, int]]

    def words(self) -> list[int]:
        """Pack the descriptor as the program memory holds it."""
        words = isa.pack(isa.CONV_FIELDS, self.fields)
        for kind, items in ((isa.ROW_FIELDS, self.rows), (isa.COLUMN_FIELDS, self.columns),
                            (isa.BEAT_FIELDS, self.beats)):
            for item in items:
                words += isa.pack(kind, item)
        return words


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterWrite:
    """Filters for four array rows of some columns.

    Members
    -------
    columns : :class:`int`
        Mask of the columns that take them.
    block : :class:`int`
        Rows ``4 * block`` to ``4 * block + 3``.
    entry : :class:`int`
        First scratchpad entry.
    data : int8 array (n, 4)
        Weights by entry and row.
    """

    columns: int
    block: int
    entry: int
    data: np.ndarray


def lower_conv(
    mapping: Mapping, config: ArrayConfig, requantization: Requantization, *, in_base: int,
    out_base: int, filter_base: int, parameter_base: int, keep: bool = False, hold: bool = False,
) -> ConvDescriptor:
    """Make the descriptor of a convolution.

    Parameters
    ----------
    mapping : :class:`oarlock.gen.mapping.Mapping`
        The mapping.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array it was made for.
    requantization : :class:`Requantization`
        Zero points, clamp, rule.
    in_base, out_base : :class:`int`
        Byte addresses of the first pixel of ifmap and output.
    filter_base, parameter_base : :class:`int`
        First entry in the filter scratchpads and in the parameter memory.
    keep, hold : :class:`bool`
        Go on adding to the partial sums of the descriptor before; leave them for the next.
    """
    shape = mapping.shape
    # One filter row needs no ifmap rows between those of two outputs: count in strides.
    subsample = shape.stride_y if shape.r == 1 else 1
    row_step, y_stride = shape.stride_y // subsample, shape.in_y * subsample
    pad_rows = -(-shape.pad_y // subsample)
    y_limit = (shape.h - 1 + shape.pad_y) // subsample + 1 - pad_rows

    group_rows = shape.r // mapping.r_groups
    chunk_rows = group_rows // mapping.r_chunks
    strips = -(-shape.p // mapping.pc)
    p_last = shape.p - (strips - 1) * mapping.pc
    q_count = -(-shape.q // mapping.qc)
    one_pass = mapping.r_chunks == mapping.c_chunks == 1
    x_next = min(shape.s, shape.stride_x) if one_pass else shape.s
    t_count, steps = mapping.t_count, mapping.channel_steps
    t_last = steps - (mapping.c_chunks - 1) * t_count

    def y_count(outputs: int) -> int:
        return (outputs - 1) * row_step + (mapping.r_groups - 1) * group_rows + chunk_rows

    # Tags of different blocks must not meet; gen.mapping keeps the last of them below 2**8.
    block_tag = y_count(mapping.pc)
    own_blocks = mapping.mc if shape.depthwise else 1
    block_channels = t_count * mapping.lanes
    block_outputs = mapping.u_count * mapping.groups
    tile_outputs = mapping.mc * block_outputs
    q_step = shape.stride_x * shape.in_x
    masks = {
        "in_base": in_base - shape.pad_y * shape.in_y,
        "y_stride": y_stride,
        "x_stride": shape.in_x,
        "x_limit": shape.w * shape.in_x,
        "x_skip": (shape.s - x_next) * shape.in_x,
        "q_step": q_step,
        "q_block_step": q_count * q_step,
        "r_chunk_addr": chunk_rows * y_stride,
        "strip_addr": mapping.pc * row_step * y_stride,
        "out_base": out_base,
        "out_q_step": shape.out_x,
        "out_strip_step": mapping.pc * shape.out_y,
        "out_tile_step": tile_outputs,
    }
    last = _last_tile(mapping, tile_outputs, block_outputs)
    fields = {name: value & ADDRESS_MASK for name, value in masks.items()} | {
        "kind": isa.DescriptorKind.CONV, "rule": requantization.rule,
        "fold": int(shape.fold), "keep": int(keep),
        "hold": int(hold),
        "zero_point_in": requantization.zero_point_in,
        "zero_point_out": requantization.zero_point_out,
        "low": requantization.low, "high": requantization.high,
        "lane_count": mapping.lanes, "span": chunk_rows,
        "y_origin": -pad_rows, "x_origin": -shape.pad_x * shape.in_x,
        "y_limit": y_limit, "channels": shape.c,
        "x_first": shape.s, "x_next": x_next,
        "y_count": y_count(mapping.pc), "y_count_last": y_count(p_last),
        "t_count": t_count, "t_count_last": t_last,
        "block_count": own_blocks, "block_tag": block_tag,
        "block_step": block_channels if shape.depthwise else 0,
        "q_block_count": mapping.qc, "q_block_tag": block_tag * own_blocks & 0xFF,
        "c_chunks": mapping.c_chunks, "c_chunk_step": block_channels if not one_pass else 0,
        "r_chunks": mapping.r_chunks, "r_chunk_rows": chunk_rows,
        "strip_rows": mapping.pc * row_step, "strip_count": strips, "q_count": q_count,
        "tile_count": mapping.tiles,
        "tile_step": own_blocks * block_channels if shape.depthwise else 0,
        "k_count": shape.s * chunk_rows * t_count,
        "k_count_last": shape.s * chunk_rows * t_last,
        "entries_next": x_next * chunk_rows * t_count,
        "m_count": mapping.m_count, "u_count": mapping.u_count,
        "filter_base": filter_base,
        "filter_step": shape.s * group_rows * steps * mapping.m_count,
        "p_count": mapping.pc, "p_last": p_last, "u_last": last // mapping.groups,
        "group_count": mapping.groups, "q_limit": shape.q,
        "flush_count": mapping.pc * mapping.qc * mapping.mc,
        "run_full": block_outputs, "run_last": last,
        "parameter_base": parameter_base, "parameter_step": tile_outputs,
    }
    beats = _beats(mapping, config, block_outputs)
    fields["beat_count"] = len(beats)
    fields["local"] = int(not hold and keeps_parameters(mapping.mc, block_outputs, config))
    return ConvDescriptor(
        fields=fields,
        rows=_rows(mapping, config, group_rows, last % mapping.groups),
        columns=_columns(mapping, config, row_step, q_count, block_tag),
        beats=beats + [{}] * (config.cols - len(beats)),
    )


def _last_tile(mapping: Mapping, tile_outputs: int, block_outputs: int) -> int:
    """Return the output channels of the one filter block of the last tile that is not full."""
    return (mapping.shape.m - (mapping.tiles - 1) * tile_outputs) % block_outputs


def _rows(mapping: Mapping, config: ArrayConfig, group_rows: int, below_last: int,
          ) -> list[dict[str, int]]:
    """Return the array rows: group outermost, then r-group, then (dense) lane."""
    rows = []
    for group in range(mapping.groups):
        for r_group in range(mapping.r_groups):
            own = [group * mapping.lanes // mapping.groups] if mapping.shape.depthwise else range(
                mapping.lanes)
            rows += [{"lane": lane, "tag": r_group * group_rows, "group": group, "used": 1,
                      "below_last": int(group < below_last)} for lane in own]
    return rows + [{"group": NO_GROUP}] * (config.rows - len(rows))


def _columns(mapping: Mapping, config: ArrayConfig, row_step: int, q_count: int, block_tag: int,
             ) -> list[dict[str, int]]:
    """Return the array columns: filter block outermost, then q-block, then p."""
    shape = mapping.shape
    own_blocks = mapping.mc if shape.depthwise else 1
    run = mapping.u_count * mapping.groups
    left = shape.m - (mapping.tiles - 1) * mapping.mc * run
    columns = []
    for block in range(mapping.mc):
        for q_block in range(mapping.qc):
            tag = q_block * own_blocks + (block if shape.depthwise else 0)
            columns += [{
                "tag": p * row_step + tag * block_tag & 0xFF, "p_index": p,
                "full": int(left >= (block + 1) * run),
                "part": int(block * run < left < (block + 1) * run),
                "q_offset": q_block * q_count,
                "out_offset": (p * shape.out_y + q_block * q_count * shape.out_x
                               + block * run) & ADDRESS_MASK,
            } for p in range(mapping.pc)]
    return columns + [{"p_index": NO_COLUMN}] * (config.cols - len(columns))


def _beats(mapping: Mapping, config: ArrayConfig, block_outputs: int) -> list[dict[str, int]]:
    """Return the beats of a slot: columns of one filter block that post-process on other lanes."""
    per_block = mapping.pc * mapping.qc
    masks: dict[tuple[int, int], int] = {}
    for column in range(per_block * mapping.mc):
        key = (column // config.lanes, column // per_block)
        masks[key] = masks.get(key, 0) | 1 << column
    return [{"mask": mask, "lane_group": lane_group, "parameter_offset": block * block_outputs}
            for (lane_group, block), mask in masks.items()]


def filter_writes(
    mapping: Mapping, config: ArrayConfig, weights: np.ndarray, filter_base: int = 0,
) -> list[FilterWrite]:
    """Arrange weights for the scratchpads.

    Parameters
    ----------
    mapping : :class:`oarlock.gen.mapping.Mapping`
        The mapping.
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array.
    weights : int8 array
        As in :class:`oarlock.gen.network.Layer`.
    filter_base : :class:`int`
        First entry, 0 to place them later.

    Returns
    -------
    list of :class:`FilterWrite`
        The order of a scratchpad's entries: for tile, for r_chunk, for c_chunk, for ifmap entry
        (x, y, t), for filter.
    """
    image = _filter_image(mapping, mapping.shape.weights(weights))
    blocks, used, entries = image.shape
    padded = np.zeros((blocks, -(-used // 4) * 4, entries), dtype=np.int8)
    padded[:, :used] = image
    per_block = mapping.pc * mapping.qc
    return [
        FilterWrite(columns=((1 << per_block) - 1) << block * per_block, block=row // 4,
                    entry=filter_base, data=np.ascontiguousarray(padded[block, row:row + 4].T))
        for block in range(blocks) for row in range(0, padded.shape[1], 4)
    ]


def _filter_image(mapping: Mapping, weights: np.ndarray) -> np.ndarray:
    """Return the filters (filter blocks, rows at work, entries) of weights (m, r, s, c)."""
    shape = mapping.shape
    tiles, steps, lanes = mapping.tiles, mapping.channel_steps, mapping.lanes
    group_rows = shape.r // mapping.r_groups
    chunk_rows = group_rows // mapping.r_chunks
    # The window entries in order, as (filter row of the r-group, filter column, channel step).
    row, column, step = np.array([
        (r_chunk * chunk_rows + y, x, c_chunk * mapping.t_count + t)
        for r_chunk in range(mapping.r_chunks) for c_chunk in range(mapping.c_chunks)
        for x in range(shape.s) for y in range(chunk_rows)
        for t in range(min(mapping.t_count, steps - c_chunk * mapping.t_count))
    ]).T
    outputs = tiles * mapping.mc * mapping.u_count * mapping.groups
    channels = 1 if shape.depthwise else steps * lanes
    full = np.zeros((outputs, shape.r, shape.s, channels), dtype=np.int8)
    full[:weights.shape[0], :, :, :weights.shape[3]] = weights
    if shape.depthwise:
        parts = full.reshape(tiles, mapping.mc, steps, mapping.m_count, mapping.groups,
                             mapping.r_groups, group_rows, shape.s)
        # (tile, block, filter, group, r-group, row, column, step)
        picked = parts.transpose(0, 1, 3, 4, 5, 6, 7, 2)[..., row, column, step]
        image = picked.transpose(1, 3, 4, 0, 5, 2)
    else:
        parts = full.reshape(tiles, mapping.mc, mapping.m_count, mapping.groups, mapping.r_groups,
                             group_rows, shape.s, steps, lanes)
        # (tile, block, filter, group, r-group, lane, row, column, step)
        picked = parts.transpose(0, 1, 2, 3, 4, 8, 5, 6, 7)[..., row, column, step]
        image = picked.transpose(1, 3, 4, 5, 0, 6, 2)
    rows = mapping.groups * mapping.r_groups * (1 if shape.depthwise else lanes)
    return image.reshape(mapping.mc, rows, -1)


def parameter_entries(bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray,
                      ) -> list[tuple[int, int, int]]:
    """Return the parameter memory's entries of output channels: three words each."""
    return [isa.pack_parameter(int(b), int(q), int(s))
            for b, q, s in zip(bias, multiplier, shift, strict=True)]
