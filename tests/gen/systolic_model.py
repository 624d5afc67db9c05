"""What a SYSTOLIC descriptor does, for :class:`descriptor_model.Device`; as slow and literal."""

from __future__ import annotations

from typing import Any

import numpy as np
from arithmetic import requantize, wrap


__all__ = ["systolic"]


def systolic(device: Any, f: dict[str, int]) -> None:
    """Run a SYSTOLIC descriptor on a device's memories."""
    config = device.config
    blocks = [(tile, block) for tile in range(f["tile_count"]) for block in range(f["block_count"])]
    p_tiles, q_tiles = range(f["p_tiles"]), range(f["q_tiles"])
    assert f["position_tiles"] == len(p_tiles) * len(q_tiles)
    assert not f["hold"] or len(blocks) * f["position_tiles"] == 1
    assert bool(f["keep"]) == device.held
    base = f["filter_base"]
    for tile, block in blocks:
        used = _used(f, config, tile, block)
        for p_tile in p_tiles:
            for q_tile in q_tiles:
                place = _positions(f, p_tile, q_tile)
                entries = _accumulate(device, f, used, base, tile, place)
                if not f["hold"]:
                    _drain(device, f, tile, block, place)
        base += entries
    device.held = bool(f["hold"])


def _used(f: dict[str, int], config: Any, tile: int, block: int) -> np.ndarray:
    """Return which PEs have a weight, for a word of channels that is full and for the last."""
    row, column = np.arange(config.rows)[:, None], np.arange(config.cols)[None, :]
    last = block == f["block_count"] - 1 and (tile == f["tile_count"] - 1 or f["part_each"])
    columns = f["columns_last" if last else "columns"]
    assert columns <= min(config.cols, f["group_count"] * config.lanes)
    lane = np.array([f[f"lane_{n}"] for n in range(config.cols)])
    return np.stack([
        (column < columns) & ((lane == row) if f["diagonal"] else (row < f[name]))
        for name in ("row_count", "row_count_last")])


def _positions(f: dict[str, int], p_tile: int, q_tile: int) -> dict[str, np.ndarray]:
    """Return rows, columns, and their tiles, of the positions of a tile in order."""
    p_count = f["p_last" if p_tile == f["p_tiles"] - 1 else "p_count"]
    q_count = f["q_last" if q_tile == f["q_tiles"] - 1 else "q_count"]
    p, q = (axis.ravel() for axis in np.indices((p_count, q_count)))
    return {"p": p, "q": q, "p_tile": np.full_like(p, p_tile), "q_tile": np.full_like(q, q_tile)}


def _accumulate(device: Any, f: dict[str, int], used: np.ndarray, base: int, tile: int,
                place: dict[str, np.ndarray]) -> int:
    """Send the waves of a position tile; return how many there were."""
    config = device.config
    count = len(place["p"])
    assert count <= config.accumulator_depth
    lanes = np.arange(min(config.rows, config.word_bytes))
    if not f["keep"]:
        device.sums = np.zeros((count, config.cols), dtype=np.int64)
    wave = 0
    for c in range(f["c_count"]):
        for y in range(f["r_count"]):
            for x in range(f["s_count"]):
                offset = (place["q"] * f["q_step"] + place["q_tile"] * f["q_tile_step"]
                          + x * f["x_stride"])
                address = (f["in_base"] + f["x_origin"] + offset + place["p"] * f["p_step"]
                           + place["p_tile"] * f["p_tile_step"] + y * f["y_stride"]
                           + c * f["c_step"] + tile * f["tile_step"])
                row = (f["y_origin"] + place["p"] * f["p_rows"]
                       + place["p_tile"] * f["p_tile_rows"] + y)
                column = (f["x_origin"] + offset)[:, None] + (
                    c * f["c_step"] + lanes if f["fold"] else 0 * lanes)
                value = device.read(address[:, None] + lanes).astype(np.int64) - f["zero_point_in"]
                inside = (((row >= 0) & (row < f["y_limit"]))[:, None]
                          & (column >= 0) & (column < f["x_limit"]))
                value = np.where(inside, value, 0)
                works = used[int(c == f["c_count"] - 1), :len(lanes)]
                assert not used[int(c == f["c_count"] - 1), len(lanes):].any()
                weights = device.filters[:len(lanes), :, base + wave] * works
                device.sums = wrap(device.sums + value @ weights)
                zeros = (value == 0).sum(axis=0) @ works.sum(axis=1)
                device.counters["macs_gated"] += int(zeros)
                device.counters["macs_done"] += int(works.sum() * count - zeros)
                device.counters["mac_cycles"] += count
                wave += 1
    return wave


def _drain(device: Any, f: dict[str, int], tile: int, block: int, place: dict[str, np.ndarray],
           ) -> None:
    """Requantize and write, position by position."""
    channel = tile * f["out_tile_step"] + block * f["out_block_step"]
    last = block == f["block_count"] - 1 and (tile == f["tile_count"] - 1 or f["part_each"])
    columns = f["columns_last" if last else "columns"]
    first = f["parameter_base"] + channel
    assert first + columns <= len(device.parameters)
    bias, multiplier, shift = device.parameters[first:first + columns].T
    out = requantize(device.sums[:, :columns], multiplier, shift, f["rule"], bias)
    out = np.clip(out + f["zero_point_out"], f["low"], f["high"]).astype(np.int8)
    address = (f["out_base"] + channel + place["q"] * f["out_q_step"]
               + place["q_tile"] * f["out_q_tile_step"] + place["p"] * f["out_p_step"]
               + place["p_tile"] * f["out_p_tile_step"])
    for start, values in zip(address, out, strict=True):
        device.store(int(start), values)
