"""What a configuration may be, and what is said of one that can't work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oarlock.gen.cli import main
from oarlock.gen.config import DATAFLOWS, PRESETS, ArrayConfig, load_config, preset_with_digest
from oarlock.gen.errors import ConfigError
from oarlock.hw import isa


#: As of the version before there was the compact core.
DIGEST_OF_TINY = 0x1610f205dfc3b39d

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rows": 0}, "rows must be 1 to 16, not 0"),
    ({"rows": 17}, "rows must be 1 to 16, not 17"),
    ({"rows": True}, "rows must be of type int, not True"),
    ({"rows": 4.0}, "rows must be of type int, not 4.0"),
    ({"cols": -1}, "cols must be 1 to 16, not -1"),
    ({"ifmap_depth": 48}, "ifmap_depth must be a power of two from 16 to 256, not 48"),
    ({"filter_depth": 32}, "filter_depth must be a power of two from 64 to 32768, not 32"),
    ({"psum_depth": 0}, "psum_depth must be a power of two from 1 to 64, not 0"),
    ({"accumulator_depth": 1}, "accumulator_depth must be a power of two from 2 to 4096, not 1"),
    ({"accumulator_depth": 8192},
     "accumulator_depth must be a power of two from 2 to 4096, not 8192"),
    ({"psum_width": 15}, "psum_width must be 16 to 32, not 15"),
    ({"psum_width": 33}, "psum_width must be 16 to 32, not 33"),
    ({"word_bytes": 12}, "word_bytes must be 4, 8, 16 or 32, not 12"),
    ({"buffer_bytes": 1000},
     "buffer_bytes must be a multiple of 2 * word_bytes from 1024 to 8388608, not 1000"),
    ({"buffer_banks": 1}, "buffer_banks must be a power of two from 2 to 2 * word_bytes, not 1"),
    ({"buffer_banks": 32}, "buffer_banks must be a power of two from 2 to 2 * word_bytes, not 32"),
    ({"lanes": 9}, "lanes must be 1 to the smaller of 16 and word_bytes, not 9"),
    ({"lane_depth": 1}, "lane_depth must be a power of two from 2 to 64, not 1"),
    ({"lane_depth": 2, "lanes": 1, "dataflow": "weight-stationary"},
     "lane_depth must be at least cols / lanes if the dataflow is weight-stationary, not 2"),
    ({"parameter_depth": 15}, "parameter_depth must be 16 to 65536, not 15"),
    ({"program_depth": 20}, "program_depth must be room for two descriptors, and at most 65536, "
                            "not 20"),
    ({"zero_gating": 1}, "zero_gating must be of type bool, not 1"),
    ({"counters": 0}, "counters must be of type bool, not 0"),
    ({"run_length": 1}, "run_length must be of type bool, not 1"),
    ({"dataflow": "output-stationary"},
     "dataflow must be row-stationary or weight-stationary, not 'output-stationary'"),
    ({"compact": 1}, "compact must be of type bool, not 1"),
    ({"compact": True}, "word_bytes must be 4 if compact, not 8"),
    ({"clock_hz": 0}, "clock_hz must be positive, not 0"),
    ({"colour": 1}, "configuration has no key 'colour'"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG)
def test_what_cannot_work_is_refused_in_words(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("tiny", **wrong)
    assert str(error.value) == text


@pytest.mark.parametrize(("wrong", "text"), [
    ({"rows": 3}, "rows must be 4 if compact, not 3"),
    ({"dataflow": "row-stationary"},
     "dataflow must be 'weight-stationary' if compact, not 'row-stationary'"),
    ({"counters": True}, "counters must be False if compact, not True"),
    ({"accumulator_depth": 512}, "accumulator_depth must be at most 256 if compact, not 512"),
    ({"buffer_bytes": 65536}, "buffer_bytes must be less than 65536 if compact, not 65536"),
    ({"buffer_bytes": 49160}, "buffer_bytes must be what program, parameters and filters leave of "
                              "131072 if compact, not 49160"),
])
def test_what_the_compact_core_cannot_be_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("icebreaker", **wrong)
    assert str(error.value) == text


def test_without_the_compact_core_digests_are_as_before() -> None:
    """Bitstreams that were built before it are still known."""
    assert load_config("tiny").digest == DIGEST_OF_TINY


def test_every_parameter_is_checked_and_documented() -> None:
    documented = ArrayConfig.__doc__ or ""
    names = set(ArrayConfig.__dataclass_fields__)
    assert names == {next(iter(wrong)) for wrong, _ in WRONG} - {"colour"}
    for name in names:
        assert f"    {name} : " in documented or name in ("rows", "cols")


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_is_enough_of_everything(dataflow: str) -> None:
    config = ArrayConfig(
        dataflow=dataflow, rows=1, cols=1, ifmap_depth=16, filter_depth=64, psum_depth=1,
        accumulator_depth=2, psum_width=16, word_bytes=4, buffer_bytes=1024, lanes=1, lane_depth=2,
        parameter_depth=16, program_depth=200)
    assert config.pes == 1
    assert config.info()["dataflow"] == DATAFLOWS.index(dataflow) == config.dataflow_code


def test_a_dataflow_is_another_device() -> None:
    # The compact core has but one.
    presets = [preset for preset in PRESETS if not PRESETS[preset].compact]
    digests = {load_config(preset, dataflow=dataflow).digest
               for preset in presets for dataflow in DATAFLOWS}
    configs = {load_config(preset, dataflow=dataflow)
               for preset in presets for dataflow in DATAFLOWS}
    assert len(digests) == len({config.digest for config in configs}) > 3
    kinds = [set(load_config("tiny", dataflow=dataflow).descriptor_lengths)
             for dataflow in DATAFLOWS]
    assert kinds == [{isa.DescriptorKind.CONV, isa.DescriptorKind.VECTOR},
                     {isa.DescriptorKind.SYSTOLIC, isa.DescriptorKind.VECTOR}]


def test_a_wrong_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("rows = 0\n")
    assert main(["verilog", "--preset", "tiny", "--config", str(file), "-o",
                 str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "oarlock: rows must be 1 to 16, not 0\n"
    assert not (tmp_path / "out").exists()


def test_a_preset_is_known_by_its_digest() -> None:
    for preset in PRESETS.values():
        name, found = preset_with_digest(preset.digest)
        assert found == PRESETS[name] and found.digest == preset.digest
    other = load_config("tiny", dataflow="weight-stationary")
    assert preset_with_digest(other.digest) == ("tiny", other)
    with pytest.raises(ConfigError, match=r"no preset's, 0123456789abcdef; say with --preset and"):
        preset_with_digest(0x0123456789ABCDEF)
