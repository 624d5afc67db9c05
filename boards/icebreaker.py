"""iCEBreaker by 1BitSquared: iCE40UP5K, 12 MHz, an FT2232H for both link and flash memory."""

from __future__ import annotations

from typing import Any

from amaranth_boards.icebreaker import ICEBreakerPlatform

from .board import Board
from .top import Pins


__all__ = ["ICEBREAKER"]


def _request(platform: Any) -> Pins:
    uart = platform.request("uart", 0, dir="-")
    return Pins(
        clk=platform.request("clk12", 0, dir="-"), rx=uart.rx, tx=uart.tx,
        session=platform.request("led_g", 0, dir="-"),
        activity=platform.request("led_r", 0, dir="-"))


ICEBREAKER = Board(
    name="icebreaker", title="iCEBreaker", family="ice40",
    device=("--up5k", "--package", "sg48"),
    # Six cycles a bit.
    input_hz=12_000_000, baud=3_000_000, platform=ICEBreakerPlatform, request=_request,
    flash=("iceprog", "{file}"), usb=(0x0403, 0x6010))
