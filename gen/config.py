"""The configuration of an accelerator: one frozen dataclass, named presets, a digest."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from ..hw import isa
from .errors import ConfigError


__all__ = ["PRESETS", "WORD_BYTES", "ArrayConfig", "load_config"]

#: Names of :class:`isa.Dataflow`, in its order.
DATAFLOWS = tuple(dataflow.name.lower().replace("_", "-") for dataflow in isa.Dataflow)

#: What the global buffer may read and write a cycle.
WORD_BYTES = (4, 8, 16, 32)


#: Four SPRAMs of an iCE40UP5K.
COMPACT_BYTES = 1 << 17


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Everything that decides the Verilog.

    Parameters
    ----------
    rows, cols : :class:`int`
        PEs down and across, 1 to 16 each.
    ifmap_depth : :class:`int`
        Entries of a PE's ifmap scratchpad, a power of two, 16 to 256. Row-stationary only.
    filter_depth : :class:`int`
        Weights (bytes) of every PE that are kept on chip, a power of two, 64 to 32768: in its
        filter scratchpad (row-stationary), or in the filter memory of its column
        (weight-stationary). One filter of one channel must fit: 256 for kernels up to 15x15.
    psum_depth : :class:`int`
        Partial sums in each of a PE's two banks, a power of two, 1 to 64. Row-stationary only.
    accumulator_depth : :class:`int`
        Partial sums in each of a column's two banks, a power of two, 2 to 4096. Weight-stationary
        only.
    psum_width : :class:`int`
        Bits of a partial sum, 16 to 32. A layer whose sums may need more is divided among PEs when
        it is compiled, or refused.
    word_bytes : :class:`int`
        Bytes the global buffer reads and writes a cycle: 4, 8, 16 or 32.
    buffer_bytes : :class:`int`
        Size of the global buffer, a multiple of ``2 * word_bytes``, 1024 to 8388608.
    buffer_banks : :class:`int`
        Memories that the global buffer is made of, a power of two, 2 to ``2 * word_bytes``.
    lanes : :class:`int`
        Outputs that post-processing finishes a cycle, 1 to ``min(16, word_bytes)``.
    lane_depth : :class:`int`
        Channels whose parameters a lane keeps (twice), a power of two, 2 to 64. Weight-stationary:
        at least ``cols / lanes``.
    parameter_depth : :class:`int`
        Output channels whose requantization parameters fit at once, 16 to 65536.
    program_depth : :class:`int`
        32-bit words of program memory.
    zero_gating : :class:`bool`
        Skip the filter read and the multiplication where the activation is zero.
    counters : :class:`bool`
        Count events. Without, only cycles are; an FPGA is some thousand cells less full.
    run_length : :class:`bool`
        Take and send activations run-length coded. Without, an FPGA is 3,000 LUTs less full.
    dataflow : :class:`str`
        ``"row-stationary"`` or ``"weight-stationary"``.
    compact : :class:`bool`
        One microcoded engine in place of everything: for FPGAs of a few thousand logic cells. It is
        weight-stationary, has four rows, four columns and 128 kB for all memories together, and
        none of the options.
    clock_hz : :class:`int`
        Clock at which latencies are stated. Not part of the digest.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    rows: int
    cols: int
    ifmap_depth: int = 64
    filter_depth: int = 2048
    psum_depth: int = 16
    accumulator_depth: int = 256
    psum_width: int = 32
    word_bytes: int = 16
    buffer_bytes: int = 81920
    buffer_banks: int = 2
    lanes: int = 12
    lane_depth: int = 16
    parameter_depth: int = 4096
    program_depth: int = 4096
    zero_gating: bool = True
    counters: bool = True
    run_length: bool = True
    dataflow: str = "row-stationary"
    compact: bool = False
    clock_hz: int = 80_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = {"bool": bool, "str": str}.get(str(field.type), int)
            if type(value) is not kind:
                raise ConfigError(f"{field.name} must be of type {kind.__name__}, not {value!r}")

        def require(name: str, ok: bool, rule: str) -> None:
            if not ok:
                raise ConfigError(f"{name} must be {rule}, not {getattr(self, name)!r}")

        require("rows", 1 <= self.rows <= 16, "1 to 16")
        require("cols", 1 <= self.cols <= 16, "1 to 16")
        require("ifmap_depth", _power_of_two(self.ifmap_depth) and 16 <= self.ifmap_depth <= 256,
                "a power of two from 16 to 256")
        require("filter_depth",
                _power_of_two(self.filter_depth) and 64 <= self.filter_depth <= 32768,
                "a power of two from 64 to 32768")
        require("psum_depth", _power_of_two(self.psum_depth) and self.psum_depth <= 64,
                "a power of two from 1 to 64")
        require("accumulator_depth",
                _power_of_two(self.accumulator_depth) and 2 <= self.accumulator_depth <= 4096,
                "a power of two from 2 to 4096")
        require("psum_width", 16 <= self.psum_width <= 32, "16 to 32")
        require("word_bytes", self.word_bytes in WORD_BYTES, "4, 8, 16 or 32")
        require("buffer_bytes", self.buffer_bytes % (2 * self.word_bytes) == 0
                and 1024 <= self.buffer_bytes <= 1 << 23,
                "a multiple of 2 * word_bytes from 1024 to 8388608")
        require("buffer_banks",
                _power_of_two(self.buffer_banks) and 2 <= self.buffer_banks <= 2 * self.word_bytes,
                "a power of two from 2 to 2 * word_bytes")
        require("lanes", 1 <= self.lanes <= min(16, self.word_bytes),
                "1 to the smaller of 16 and word_bytes")
        require("lane_depth", _power_of_two(self.lane_depth) and 2 <= self.lane_depth <= 64,
                "a power of two from 2 to 64")
        require("parameter_depth", 16 <= self.parameter_depth <= 65536, "16 to 65536")
        require("dataflow", self.dataflow in DATAFLOWS, " or ".join(DATAFLOWS))
        require("lane_depth", self.lane_depth * self.lanes >= self.cols
                or self.dataflow_code == isa.Dataflow.ROW_STATIONARY,
                "at least cols / lanes if the dataflow is weight-stationary")
        if self.compact:
            self._check_compact(require)
        require("program_depth",
                2 * max(self.descriptor_lengths.values()) <= self.program_depth <= 65536,
                "room for two descriptors, and at most 65536")
        require("clock_hz", self.clock_hz > 0, "positive")

    def _check_compact(self, require: Callable[[str, bool, str], None]) -> None:
        """Refuse what the compact core cannot be."""
        for name, value in (("rows", 4), ("cols", 4), ("word_bytes", 4), ("lanes", 1),
                            ("psum_width", 32), ("zero_gating", False), ("counters", False),
                            ("run_length", False), ("dataflow", "weight-stationary")):
            require(name, getattr(self, name) == value, f"{value!r} if compact")
        require("accumulator_depth", self.accumulator_depth <= 256, "at most 256 if compact")
        require("buffer_bytes", self.buffer_bytes < 1 << 16, "less than 65536 if compact")
        require("buffer_bytes", self.buffer_bytes + 4 * self.program_depth
                + 12 * self.parameter_depth + 16 * self.filter_depth <= COMPACT_BYTES,
                "what program, parameters and filters leave of 131072 if compact")

    @property
    def pes(self) -> int:
        """Number of processing elements."""
        return self.rows * self.cols

    @property
    def dataflow_code(self) -> isa.Dataflow:
        """The dataflow as the hardware knows it."""
        return isa.Dataflow(DATAFLOWS.index(self.dataflow))

    @property
    def descriptor_lengths(self) -> dict[isa.DescriptorKind, int]:
        """Words of every kind of descriptor."""
        return isa.descriptor_lengths(self.dataflow_code, self.rows, self.cols)

    @cached_property
    def digest(self) -> int:
        """Return 64 bits that identify the hardware: configuration and interface version."""
        values = asdict(self)
        del values["clock_hz"]
        # It came late: without, everything is as it was, and so is its digest.
        if not self.compact:
            del values["compact"]
        # Its descriptors changed under the same interface version.
        if self.dataflow_code == isa.Dataflow.WEIGHT_STATIONARY:
            values["fields"] = isa.SYSTOLIC_FIELDS
        text = json.dumps([isa.VERSION, values], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def info(self) -> dict[str, int]:
        """Return what the device answers to ``INFO``, by the names of :data:`isa.INFO_FIELDS`."""
        values = {
            "magic": isa.MAGIC, "version": isa.VERSION,
            "digest_low": self.digest & 0xFFFFFFFF, "digest_high": self.digest >> 32,
            "dataflow": int(self.dataflow_code), "zero_gating": int(self.zero_gating),
            "counters": int(self.counters), "run_length": int(self.run_length),
        }
        return {name: values[name] if name in values else getattr(self, name)
                for name in isa.INFO_FIELDS}


# Of 28 multipliers one a PE, four a lane; of 56 block RAMs one a PE, 24 for the global buffer. More
# than 12 PEs and a lane do not route (docs/area.md). At 45 and 60 MHz PLL and baud rate are exact.
_ECP5_25F = ArrayConfig(
    rows=3, cols=4, ifmap_depth=32, word_bytes=8, buffer_bytes=49152, lanes=1, parameter_depth=1024,
    program_depth=2048, run_length=False, clock_hz=60_000_000)

PRESETS: dict[str, ArrayConfig] = {
    "tiny": ArrayConfig(rows=4, cols=4, ifmap_depth=32, word_bytes=8, buffer_bytes=32768, lanes=2,
                        parameter_depth=1024, program_depth=2048, clock_hz=50_000_000),
    "ulx3s-85f": ArrayConfig(rows=12, cols=12, ifmap_depth=32),
    # The same array with what an 85F has beside it: twelve of 156 multipliers for lanes, 64 of 208
    # block RAMs for all that is not a PE (docs/area.md).
    "ulx3s-85f-three-lanes": ArrayConfig(
        rows=12, cols=12, ifmap_depth=16, psum_width=24, buffer_bytes=65536, lanes=3, lane_depth=8,
        parameter_depth=2048, counters=False, run_length=False, clock_hz=60_000_000),
    "ulx3s-25f": _ECP5_25F,
    "orangecrab-25f": _ECP5_25F,
    # All of four SPRAMs: 48 kB for activations, 64 kB for weights.
    "icebreaker": ArrayConfig(
        compact=True, dataflow="weight-stationary", rows=4, cols=4, filter_depth=4096,
        accumulator_depth=256, word_bytes=4, buffer_bytes=49152, lanes=1, lane_depth=4,
        parameter_depth=704, program_depth=1984, zero_gating=False, counters=False,
        run_length=False, clock_hz=18_000_000),
}


#: What is meant where none is named.
DEFAULT_PRESET = "ulx3s-85f"


def preset_with_digest(digest: int) -> tuple[str, ArrayConfig]:
    """Return name and configuration of the preset, of either dataflow, that a device says it has.

    Raises
    ------
    ConfigError
        If it has another.
    """
    for name, preset in PRESETS.items():
        for dataflow in DATAFLOWS:
            with suppress(ConfigError):  # Not every preset has both.
                config = replace(preset, dataflow=dataflow)
                if config.digest == digest:
                    return name, config
    raise ConfigError(f"the device has a configuration that is no preset's, {digest:016x}; say "
                      f"with --preset and --config what it was built from")


def load_config(preset: str, *, file: Path | None = None, dataflow: str | None = None,
                **overrides: object) -> ArrayConfig:
    """Return a preset, changed by a TOML file and then by keyword; None is the preset's dataflow.

    Raises
    ------
    ConfigError
        If the preset is unknown, the file can't be read, or a key or value is wrong.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    values: dict[str, object] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(file.read_text()))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: {error}") from error
    values.update(overrides)
    if dataflow is not None:
        values["dataflow"] = dataflow
    unknown = set(values) - {field.name for field in fields(ArrayConfig)}
    if unknown:
        raise ConfigError(f"configuration has no key {sorted(unknown)[0]!r}")
    return replace(PRESETS[preset], **values)  # type: ignore[arg-type]
