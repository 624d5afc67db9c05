# amaranth: UnusedElaboratable=no
"""Boards: configurations that fit, clocks that exist, pins that do not move by themselves."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from oarlock.boards.build import read_commands, sources, twins
from oarlock.boards.families import FAMILIES
from oarlock.boards.pll import Ecp5Pll, Ecp5Settings, Ice40Settings
from oarlock.boards.registry import BOARDS, board_named
from oarlock.gen.config import PRESETS
from oarlock.gen.errors import OarlockError
from oarlock.gen.verilog import verilog_of
from oarlock.hw.micro_commands import microprogram


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_has_a_preset(name: str) -> None:
    board = BOARDS[name]
    assert board.name == name
    assert board.preset_name == {"ulx3s-85f": "ulx3s-85f-three-lanes"}.get(name, name)
    assert board.config is PRESETS[board.preset_name]
    assert abs(board.divisor * board.baud / board.clock_hz - 1) <= 0.02


def test_an_unknown_board_is_named() -> None:
    with pytest.raises(OarlockError, match=r"^board must be one of ulx3s-85f, .*, not 'ulx3s'$"):
        board_named("ulx3s")


@pytest.mark.parametrize("name", BOARDS)
def test_pins_and_clock_reach_the_constraints(name: str) -> None:
    board = BOARDS[name]
    files = sources(board)
    constraints = FAMILIES[board.family].constraints
    text = files[f"top.{constraints}"]
    pattern, clock = {
        "lpf": (r'LOCATE COMP "(\S+)" SITE "(\w+)"', r'FREQUENCY NET "\S+" (\d+\.0) HZ'),
        "pcf": (r"set_io (\S+) (\w+)", r"set_frequency (?!\S+__io)\S+ (\S+)"),
    }[constraints]
    located = re.findall(pattern, text)
    assert len({site for _, site in located}) == len(located) >= 4
    assert any("clk" in pin for pin, _ in located)
    assert any("rx" in pin for pin, _ in located) and any("tx" in pin for pin, _ in located)
    # Every pin of the top level is located.
    ports = re.findall(r"^  wire (?:width 1 )?(?:input|output|inout) \d+ +\\(\S+__io)$",
                       files["top.il"], re.MULTILINE)
    assert {pin for pin, _ in located} == set(ports)
    constraint = re.search(clock, text)
    assert constraint is not None
    # One file is in Hz, the other in MHz.
    assert float(constraint[1]) in (board.target_hz, board.target_hz / 1e6)


def test_more_is_asked_for_than_the_clock_needs() -> None:
    board = BOARDS["ulx3s-25f"]
    assert (board.clock_hz, board.target_hz) == (60_000_000, 63_000_000)
    # The oscillator itself: the platform says how fast it is.
    slow = replace(board, input_hz=board.clock_hz)
    assert slow.target_hz == slow.clock_hz


def test_the_pins_of_a_ulx3s() -> None:
    """The oscillator, and the FT231X as the schematic of v3.0.8 has it: TXD on M1, RXD on L4."""
    lpf = sources(BOARDS["ulx3s-25f"])["top.lpf"]
    for pin, site in (("clk25_0__io", "G2"), ("uart_0__rx__io", "M1"), ("uart_0__tx__io", "L4")):
        assert f'LOCATE COMP "{pin}" SITE "{site}"' in lpf


@pytest.mark.parametrize("name", BOARDS)
def test_a_preset_has_no_more_memories_than_the_device(name: str) -> None:
    """Multipliers and block RAMs of 2 kB, counted by hand; what remains is for the link."""
    config = BOARDS[name].config
    if config.compact:
        # Four SPRAMs; of 30 block RAMs 8 for sums, 2 for registers, 14 for the microprogram.
        assert 0 < len(microprogram(config).words()) <= 1024
        assert 8 * config.accumulator_depth // 256 + 2 + 14 <= 30 - 4
        return
    blocks = {"ulx3s-85f": 208}.get(name, 56)
    buffer = -(-config.buffer_bytes // 2048)
    filters = config.pes * -(-config.filter_depth // 2048)
    assert buffer + filters + config.program_depth // 512 <= blocks - 4


def test_the_pins_of_an_icebreaker() -> None:
    """The oscillator, the FT2232H's port B, and the clock pin itself in the PLL."""
    files = sources(BOARDS["icebreaker"])
    for pin, site in (("clk12_0__io", "35"), ("uart_0__rx__io", "6"), ("uart_0__tx__io", "9")):
        assert f"set_io {pin} {site}" in files["top.pcf"]
    assert "connect \\PACKAGEPIN \\clk12_0__io" in files["top.il"]


def test_modules_have_twins_where_they_are_used() -> None:
    """Of the accelerator's own modules, those with twins are replaced; ports are the same."""
    verilog = verilog_of(PRESETS["icebreaker"])
    found = twins("ice40", verilog)
    assert set(found) == {f"{name}.v" for name in FAMILIES["ice40"].modules}
    for file, text in found.items():
        name = file.removesuffix(".v")
        own = re.search(rf"^module {name}\((.*?)\);", verilog, re.MULTILINE)
        twin = re.search(rf"^module {name} \((.*?)\);", text, re.MULTILINE | re.DOTALL)
        assert own is not None and twin is not None
        assert set(own[1].split(", ")) == set(re.findall(r"(\w+)(?=,|\n)", twin[1]))
    commands = read_commands("ice40", verilog)
    assert commands.index("delete dual_multiplier") < commands.index(
        "read_verilog dual_multiplier.v")
    assert read_commands("ice40", verilog_of(PRESETS["tiny"])) == ["read_verilog -sv oarlock.v"]
    assert twins("ecp5", verilog) == {}


@pytest.mark.parametrize(("input_hz", "output_hz"), [
    (25_000_000, 60_000_000), (25_000_000, 80_000_000), (48_000_000, 60_000_000)])
def test_ecp5_settings_make_the_frequency(input_hz: int, output_hz: int) -> None:
    found = Ecp5Settings.find(input_hz=input_hz, output_hz=output_hz)
    assert input_hz * found.feedback == output_hz * found.refclk
    assert 400e6 <= output_hz * found.output <= 800e6
    assert 3.125e6 <= input_hz / found.refclk <= 400e6


@pytest.mark.parametrize("output_hz", [18_000_000, 24_000_000, 36_000_000])
def test_ice40_settings_make_the_frequency(output_hz: int) -> None:
    found = Ice40Settings.find(input_hz=12_000_000, output_hz=output_hz)
    oscillator = 12_000_000 * (found.divf + 1) // (found.divr + 1)
    assert 533e6 <= oscillator <= 1066e6
    assert oscillator == output_hz << found.divq


def test_an_impossible_clock_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Output clock must be one that the PLL can make of "
                                         r"25,000,000 Hz, not 60,000,001 Hz$"):
        Ecp5Pll(input_hz=25_000_000, output_hz=60_000_001)
