"""OrangeCrab r0.2 by Good Stuff Department: ECP5-25F, 48 MHz, flashed by its own USB bootloader."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
from amaranth_boards.resources import UARTResource

from .board import Board
from .floorplan import LFE5U_25
from .top import Pins


__all__ = ["ORANGECRAB_25F"]


def _request(platform: Any) -> Pins:
    # The board has no USB serial chip: a cable with 3.3 V levels goes to the pins marked 0 and 1,
    # where every Feather board has its receiver and transmitter.
    platform.add_resources([UARTResource(0, rx="0", tx="1", conn=("io", 0),
                                         attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP"))])
    uart = platform.request("uart", 0, dir="-")
    led  = platform.request("rgb_led", 0, dir="-")
    return Pins(clk=platform.request("clk", 0, dir="-"), rx=uart.rx, tx=uart.tx,
                session=led.g, activity=led.b)


ORANGECRAB_25F = Board(
    name="orangecrab-25f", title="OrangeCrab r0.2 25F", family="ecp5",
    device=("--25k", "--package", "CSFBGA285", "--speed", "8"),
    input_hz=48_000_000, baud=3_000_000, die=LFE5U_25, platform=OrangeCrabR0_2_25FPlatform,
    request=_request,
    flash=("dfu-util", "-d", "1209:5af0", "-a", "0", "-D", "{file}"), usb=(0x1209, 0x5AF0))
