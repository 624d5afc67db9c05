"""ULX3S by Radiona: ECP5, 25 MHz, an FT231X for both link and JTAG."""

from __future__ import annotations

from typing import Any

from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_85F_Platform

from .board import Board
from .floorplan import LFE5U_25, LFE5U_85, Die
from .top import Pins


__all__ = ["ULX3S_25F", "ULX3S_85F"]


def _request(platform: Any) -> Pins:
    uart = platform.request("uart", 0, dir="-")
    return Pins(
        clk=platform.request("clk25", 0, dir="-"), rx=uart.rx, tx=uart.tx,
        session=platform.request("led", 0, dir="-"),
        activity=platform.request("led", 1, dir="-"))


def _ulx3s(size: str, platform: type, die: Die, preset: str = "") -> Board:
    return Board(
        name=f"ulx3s-{size}f", preset=preset, title=f"ULX3S {size.upper()}F", family="ecp5",
        device=(f"--{size}k", "--package", "CABGA381", "--speed", "6"),
        input_hz=25_000_000, baud=3_000_000, die=die, platform=platform, request=_request,
        # The FPGA's memory, not the flash: a power cycle brings back what was there before.
        flash=("openFPGALoader", "-b", "ulx3s", "-m", "{file}"), usb=(0x0403, 0x6015))


#: nextpnr and Trellis know the 12F as the 25F under another IDCODE; see docs/adding-a-board.md.
ULX3S_25F = _ulx3s("25", ULX3S_25F_Platform, LFE5U_25)
#: The flagship, which is the preset of the board's name, has twelve lanes: too large.
ULX3S_85F = _ulx3s("85", ULX3S_85F_Platform, LFE5U_85, "ulx3s-85f-three-lanes")
