"""A device in numpy that does with descriptors what docs/hardware.md says, and a driver for it.

Slow and literal: the oracle of the compiler. Nothing here is shared with the compiler except the
field positions of :mod:`oarlock.hw.isa`. All memories start out as garbage, and what a descriptor
may not rely on (taking too few entries, a hole where a sum must begin, a column without
parameters) is an assertion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from arithmetic import requantize, wrap
from oarlock.gen.config import ArrayConfig
from oarlock.hw import isa
from systolic_model import systolic


__all__ = ["Device", "run_program", "run_setup"]

MASK = (1 << 24) - 1


class Device:
    """All memories of an accelerator, and what commands and descriptors do to them.

    Parameters
    ----------
    config : :class:`oarlock.gen.config.ArrayConfig`
        The accelerator.
    seed : :class:`int`
        Of the garbage.
    late : :class:`bool`
        Be as slow as can be: what RUN starts happens when the next RUN or WAIT waits for it, so
        that a write that should have waited does its damage. Otherwise as fast as can be.
    """

    def __init__(self, config: ArrayConfig, seed: int = 0, *, late: bool = True) -> None:
        self.config = config
        self.late = late
        self.pending: tuple[int, int] | None = None
        rng = np.random.default_rng(seed)
        shape = (config.rows, config.cols)

        def garbage(*size: int) -> np.ndarray:
            return rng.integers(-128, 128, size).astype(np.int64)

        self.buffer = garbage(config.buffer_bytes).astype(np.int8)
        self.program = [0xDEADBEEF] * config.program_depth
        self.parameters = garbage(config.parameter_depth, 3)
        self.filters = garbage(*shape, config.filter_depth)
        self.ring = garbage(*shape, config.ifmap_depth)
        self.hole = np.zeros((*shape, config.ifmap_depth), dtype=bool)
        self.psum = garbage(*shape, config.psum_depth)
        self.sums = garbage(config.accumulator_depth, config.cols)
        self.held = False
        self.counters = dict.fromkeys(isa.COUNTERS, 0)
        self.runs = 0

    # Commands.

    def send(self, words: list[int]) -> int:
        """Execute encoded commands and return how many there were; none may fail or answer data."""
        position = commands = 0
        while position < len(words):
            first, address, count = words[position:position + isa.COMMAND_WORDS]
            assert first >> 24 == isa.COMMAND_SYNC
            opcode, memory, operand = first >> 20 & 15, first >> 16 & 15, first & 0xFFFF
            position += isa.COMMAND_WORDS
            commands += 1
            if opcode == isa.Opcode.WRITE:
                self._write(memory, operand, address, words[position:position + count])
                position += count
            else:
                assert opcode == isa.Opcode.RUN
                self.wait()
                self.pending = address, count
                if not self.late:
                    self.wait()
        assert position == len(words)
        return commands

    def _write(self, memory: int, operand: int, address: int, words: list[int]) -> None:
        data = np.array(words, dtype=np.uint32)
        match memory:
            case isa.Memory.GLOBAL_BUFFER:
                assert address % 4 == 0 and address + 4 * len(words) <= len(self.buffer)
                self.buffer[address:address + 4 * len(words)] = data.view(np.int8)
            case isa.Memory.PROGRAM:
                assert address + len(words) <= len(self.program)
                self.program[address:address + len(words)] = words
            case isa.Memory.PARAMETERS:
                entries = data.view(np.int32).reshape(-1, 3).astype(np.int64)
                assert address + len(entries) <= len(self.parameters)
                entries[:, 2] = (entries[:, 2] + 32 & 63) - 32
                self.parameters[address:address + len(entries)] = entries
            case isa.Memory.FILTER:
                block, entry = address >> 24, address & MASK
                assert entry + len(words) <= self.config.filter_depth
                rows = data.view(np.int8).reshape(-1, 4).T[:self.config.rows - 4 * block]
                assert len(rows) and 0 < operand < 1 << self.config.cols
                for column in range(self.config.cols):
                    if operand >> column & 1:
                        self.filters[4 * block:4 * block + len(rows), column,
                                     entry:entry + len(words)] = rows
            case _:
                raise AssertionError(f"memory {memory}")

    def wait(self) -> None:
        """Let the run under way end."""
        if self.pending is not None:
            address, count = self.pending
            self.pending = None
            self.run(address, count)

    def run(self, address: int, count: int) -> None:
        """Run descriptors."""
        self.runs += 1
        for _ in range(count):
            kind = self.program[address] & 15
            assert kind in self.config.descriptor_lengths
            self.program[address + 1] = self.runs  # done_cycle
            if kind == isa.DescriptorKind.CONV:
                fields, address = self._take(isa.CONV_FIELDS, address)
                groups = []
                for kind, number in ((isa.ROW_FIELDS, self.config.rows),
                                     (isa.COLUMN_FIELDS, self.config.cols),
                                     (isa.BEAT_FIELDS, self.config.cols)):
                    items = []
                    for _ in range(number):
                        item, address = self._take(kind, address)
                        items.append(item)
                    groups.append(items)
                self.conv(fields, *groups)
            elif kind == isa.DescriptorKind.SYSTOLIC:
                fields, address = self._take(isa.SYSTOLIC_FIELDS, address)
                systolic(self, fields)
            else:
                assert kind == isa.DescriptorKind.VECTOR
                fields, address = self._take(isa.VECTOR_FIELDS, address)
                self.vector(fields)

    def _take(self, fields: tuple[isa.Field, ...], address: int) -> tuple[dict[str, int], int]:
        end = address + isa.word_count(fields)
        assert end <= len(self.program)
        return isa.unpack(fields, self.program[address:end]), end

    def read(self, addresses: np.ndarray) -> np.ndarray:
        """Read bytes; beyond the buffer lies whatever its start holds."""
        return self.buffer[(addresses & MASK) % len(self.buffer)]

    def store(self, address: int, data: np.ndarray) -> None:
        address &= MASK
        assert address + len(data) <= len(self.buffer)
        self.buffer[address:address + len(data)] = data
        self.counters["outputs"] += len(data)

    # The PE array.

    def conv(self, f: dict[str, int], rows: list[dict[str, int]], columns: list[dict[str, int]],
             beats: list[dict[str, int]]) -> None:
        """Run a CONV descriptor."""
        assert bool(f["keep"]) == self.held
        assert not f["hold"] or f["tile_count"] * f["strip_count"] * f["q_count"] == 1
        assert f["c_chunks"] > 1 or f["t_count"] == f["t_count_last"]
        row = {name: np.array([r[name] for r in rows])[:, None] for name, _ in isa.ROW_FIELDS}
        column = {name: np.array([c[name] for c in columns])[None, :]
                  for name, _ in isa.COLUMN_FIELDS}
        single = f["r_chunks"] == f["c_chunks"] == 1
        load = window = 0
        for tile in range(f["tile_count"]):
            for strip in range(f["strip_count"]):
                for q in range(f["q_count"]):
                    active = self._active(f, row, column, tile, strip, q)
                    done = 0
                    for r_chunk in range(f["r_chunks"]):
                        for c_chunk in range(f["c_chunks"]):
                            last = c_chunk == f["c_chunks"] - 1
                            size = f["k_count_last" if last else "k_count"]
                            new = f["entries_next"] if single and q else size
                            self._load(f, row, column, (tile, strip, q, r_chunk, c_chunk), load,
                                       new, active.any(axis=2))
                            window = window + new if single and q else load
                            load += new
                            start = f["filter_base"] + tile * f["filter_step"] + done
                            done += self._compute(f, active, window, size, start, done)
                    assert done == f["filter_step"]
                    if not f["hold"]:
                        self._drain(f, row, column, beats, active, tile, strip, q)
        self.held = bool(f["hold"])

    def _active(self, f: dict[str, int], row: dict[str, np.ndarray], column: dict[str, np.ndarray],
                tile: int, strip: int, q: int) -> np.ndarray:
        """Return which PEs take part with which partial sums, (rows, cols, u_count)."""
        outputs = f["p_last" if strip == f["strip_count"] - 1 else "p_count"]
        works = (row["used"] == 1) & (column["p_index"] < outputs) & (
            column["q_offset"] + q < f["q_limit"])
        u = np.arange(f["u_count"])
        exists = np.ones((*works.shape, len(u)), dtype=bool)
        if tile == f["tile_count"] - 1:
            below = (u < f["u_last"]) | (u == f["u_last"]) & (row["below_last"] == 1)[..., None]
            exists = (column["full"] == 1)[..., None] | (column["part"] == 1)[..., None] & below
        return works[..., None] & exists

    def _load(self, f: dict[str, int], row: dict[str, np.ndarray], column: dict[str, np.ndarray],
              place: tuple[int, int, int, int, int], position: int, expected: int,
              needed: np.ndarray) -> None:
        """Multicast the beats of a pass; every PE appends what it takes from ``position`` on."""
        tile, strip, q, r_chunk, c_chunk = place
        follows = q > 0 and f["r_chunks"] == f["c_chunks"] == 1
        y_count = f["y_count_last" if strip == f["strip_count"] - 1 else "y_count"]
        t_count = f["t_count_last" if c_chunk == f["c_chunks"] - 1 else "t_count"]
        q_block, block, x, y, t = (axis.ravel() for axis in np.indices((
            f["q_block_count"], f["block_count"], f["x_next" if follows else "x_first"], y_count,
            t_count)))
        x0 = f["x_origin"] + (f["x_skip"] if follows else 0)
        address = (
            f["in_base"] + tile * f["tile_step"] + strip * f["strip_addr"] + q * f["q_step"]
            + r_chunk * f["r_chunk_addr"] + c_chunk * f["c_chunk_step"]
            + q_block * f["q_block_step"] + block * f["block_step"] + x * f["x_stride"]
            + y * f["y_stride"] + t * f["lane_count"] + x0)
        image_row = f["y_origin"] + strip * f["strip_rows"] + r_chunk * f["r_chunk_rows"] + y
        image_column = q * f["q_step"] + q_block * f["q_block_step"] + x * f["x_stride"] + x0
        tag = q_block * f["q_block_tag"] + block * f["block_tag"] + y
        left = (f["channels"] - tile * f["tile_step"] - c_chunk * f["c_chunk_step"]
                - block * f["block_step"] - t * f["lane_count"])
        lane = np.arange(self.config.word_bytes)
        data = self.read(address[:, None] + lane).astype(np.int64) - f["zero_point_in"]
        place_x = image_column[:, None] + (
            t[:, None] * f["lane_count"] + lane if f["fold"] else 0 * lane)
        outside = (image_row < 0) | (image_row >= f["y_limit"])
        data[outside[:, None] | (place_x < 0) | (place_x >= f["x_limit"])] = 0
        hole = lane >= left[:, None]
        self.counters["ifmap_beats"] += len(tag)

        distance = (tag[:, None] - row["tag"][:, 0] & 0xFF)[:, :, None] - column["tag"] & 0xFF
        taken = distance < f["span"]                       # (beats, rows, cols)
        counts = taken.sum(axis=0)
        assert counts.max() <= self.config.ifmap_depth
        assert (counts[needed] == expected).all()
        beat, i, j = np.nonzero(taken)
        slot = (position + np.cumsum(taken, axis=0)[beat, i, j] - 1) % self.config.ifmap_depth
        self.ring[i, j, slot] = data[beat, row["lane"][i, 0]]
        self.hole[i, j, slot] = hole[beat, row["lane"][i, 0]]
        self.counters["ifmap_writes"] += len(beat)

    def _compute(self, f: dict[str, int], active: np.ndarray, window: int, size: int, start: int,
                 done: int) -> int:
        """Execute the MACs of a pass and return their number per PE."""
        assert size <= self.config.ifmap_depth
        assert f["u_count"] <= self.config.psum_depth
        count = size * f["m_count"]
        assert start + count <= self.config.filter_depth
        slots = (window + np.arange(size)) % self.config.ifmap_depth
        value = np.repeat(self.ring[:, :, slots], f["m_count"], axis=2)
        hole = np.repeat(self.hole[:, :, slots], f["m_count"], axis=2)
        u = (done + np.arange(count)) % f["u_count"]
        useful = active[:, :, u] & ~hole
        product = np.where(useful, value * self.filters[:, :, start:start + count], 0)
        if done == 0 and not f["keep"]:
            assert not (hole & active[:, :, u])[:, :, :f["u_count"]].any()
            self.psum[:, :, :f["u_count"]][active] = 0
        assert count % f["u_count"] == 0 == done % f["u_count"]
        self.psum[:, :, :f["u_count"]] = wrap(
            self.psum[:, :, :f["u_count"]]
            + product.reshape(*product.shape[:2], -1, f["u_count"]).sum(axis=2))
        self.counters["mac_cycles"] += count
        self.counters["macs_done"] += int((useful & (value != 0)).sum())
        self.counters["macs_gated"] += int((useful & (value == 0)).sum())
        return count

    def _drain(self, f: dict[str, int], row: dict[str, np.ndarray], column: dict[str, np.ndarray],
               beats: list[dict[str, int]], active: np.ndarray, tile: int, strip: int, q: int,
               ) -> None:
        """Add up the columns, requantize and write."""
        channels = np.arange(f["u_count"] * f["group_count"])
        u, group = np.divmod(channels, f["group_count"])
        adds = row["group"] == group                       # (rows, channels)
        last = tile == f["tile_count"] - 1
        self.counters["drain_slots"] += len(channels)
        flushed = 0
        for j in range(self.config.cols):
            flushed += column["p_index"][0, j] < 63
            run = f["run_full"]
            if last and not column["full"][0, j]:
                run = f["run_last"] if column["part"][0, j] else 0
            if not active[:, j].any() or not run:
                continue
            beat = [b for b in beats[:f["beat_count"]] if b["mask"] >> j & 1]
            assert len(beat) == 1 and beat[0]["lane_group"] == j // self.config.lanes
            first = (f["parameter_base"] + tile * f["parameter_step"]
                     + beat[0]["parameter_offset"])
            assert first + run <= len(self.parameters)
            sums = wrap((self.psum[:, j][:, u] * adds).sum(axis=0))[:run]
            bias, multiplier, shift = self.parameters[first:first + run].T
            out = requantize(sums, multiplier, shift, f["rule"], bias) + f["zero_point_out"]
            self.store(f["out_base"] + q * f["out_q_step"] + strip * f["out_strip_step"]
                        + tile * f["out_tile_step"] + int(column["out_offset"][0, j]),
                        np.clip(out, f["low"], f["high"]).astype(np.int8))
        assert flushed <= f["flush_count"]

    # The vector unit.

    def vector(self, f: dict[str, int]) -> None:
        """Run a VECTOR descriptor."""
        channel = np.arange(f["channels"])
        for y in range(f["y_count"]):
            for x in range(f["x_count"]):
                base = f["in_base"] + y * f["in_y_step"] + x * f["in_x_step"]
                window = np.stack([
                    self.read(base + wy * f["window_y_step"] + wx * f["window_x_step"] + channel)
                    for wy in range(f["window_y_count"]) for wx in range(f["window_x_count"])
                ]).astype(np.int64)
                match f["op"]:
                    case isa.VectorOp.SUM:
                        total = window.sum(axis=0)
                    case isa.VectorOp.MAX:
                        total = window.max(axis=0)
                    case isa.VectorOp.ADD:
                        assert len(window) == 2 == f["window_y_count"]
                        total = sum(
                            requantize((window[n] - f[f"zero_point_{k}"]) << f["left_shift"],
                                       f[f"multiplier_{k}"], f[f"shift_{k}"], f["rule"])
                            for n, k in enumerate("ab"))
                    case _:
                        raise AssertionError(f["op"])
                out = requantize(total, f["multiplier"], f["shift"], f["rule"], f["bias"])
                self.store(f["out_base"] + y * f["out_y_step"] + x * f["out_x_step"],
                            np.clip(out + f["zero_point_out"], f["low"], f["high"]).astype(np.int8))


def run_setup(device: Device, program: Any) -> None:
    """Load what stays resident."""
    _steps(device, program, program.setup, {})


def run_program(device: Device, program: Any, x: np.ndarray) -> np.ndarray:
    """Run one inference: int8 (H, W, C) of the device part's input to the same of its output."""
    header = program.header
    tensors = {name: np.zeros(shape, dtype=np.int8)
               for name, shape in header["host_tensors"].items()}
    for alias, base in header["host_aliases"].items():
        tensors[alias] = tensors[base].reshape(tensors[alias].shape)
    source = tensors[header["input"]["name"]]
    source[...] = x.reshape(source.shape)
    _steps(device, program, program.inference, tensors)
    assert device.pending is None
    return tensors[header["output"]["name"]]


def _steps(device: Device, program: Any, steps: list[dict[str, Any]],
           tensors: dict[str, np.ndarray]) -> None:
    for step in steps:
        match step["do"]:
            case "send":
                words = program.words[step["start"]:step["start"] + step["words"]]
                assert device.send([int(word) for word in words]) == step["commands"]
            case "write_box":
                box = tensors[step["tensor"]][tuple(slice(*edge) for edge in step["box"])]
                assert box.size == np.prod([end - start for start, end in step["box"]])
                data = box.tobytes()
                words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4")
                device._write(isa.Memory.GLOBAL_BUFFER, 0, step["address"], list(words))
            case "read_box":
                box = tensors[step["tensor"]][tuple(slice(*edge) for edge in step["box"])]
                assert device.pending is None
                assert step["address"] % 4 == 0
                assert step["address"] + box.size <= len(device.buffer)
                box[...] = device.buffer[step["address"]:step["address"] + box.size].reshape(
                    box.shape)
            case "timestamps":
                for address, _ in step["entries"]:
                    assert device.program[address] == device.runs
            case "wait":
                device.wait()
            case "clear" | "counters":
                assert device.pending is None
            case _:
                raise AssertionError(step)
