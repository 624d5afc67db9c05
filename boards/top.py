"""The top level of a board: clock, reset, link, LEDs, and the accelerator between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import *
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from ..gen.verilog import TOP
from .board import Board
from .families import FAMILIES


__all__ = ["BoardTop", "Pins"]


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Ports of a platform, as :meth:`request` with ``dir="-"`` returns them.

    Members
    -------
    clk, rx, tx
        Oscillator and link.
    session, activity
        LEDs, or None.
    high
        Outputs that must be high for the link to work.
    """

    clk: Any
    rx: Any
    tx: Any
    session: Any = None
    activity: Any = None
    high: tuple[Any, ...] = ()


class BoardTop(Elaboratable):
    """Connect the accelerator's Verilog module to pins.

    The module is the text that :func:`oarlock.gen.verilog.emit` makes and the simulator runs; here
    it is a black box with a clock, a reset and two lines.

    Parameters
    ----------
    board : :class:`.Board`
        The board.
    """

    #: An activity pulse is made visible: 2**20 cycles are 17 ms at 60 MHz.
    BLINK_BITS = 20

    def __init__(self, board: Board) -> None:
        self.board = board

    def elaborate(self, platform):
        m = Module()
        board = self.board
        pins  = board.request(platform)

        def pad(name, direction, port):
            m.submodules[name] = buffer = io.Buffer(direction, port)
            return buffer

        # A domain of our own: that of the platform knows nothing of the PLL. Registers start from
        # their initial values; until the PLL has locked, the accelerator is held in reset.
        m.domains.sync = sync = ClockDomain(reset_less=True)
        # Yosys would leave another name of this wire, and nextpnr a constraint for this one.
        clk = Signal(attrs={"keep": 1})
        m.d.comb += sync.clk.eq(clk)
        if board.clock_hz == board.input_hz:
            locked = C(1, 1)
            m.d.comb += clk.eq(pad("clk_pin", "i", pins.clk).i)
        else:
            pll = FAMILIES[board.family].pll(input_hz=board.input_hz, output_hz=board.clock_hz)
            if pll.FROM_PAD:
                pll.pad = pins.clk
            else:
                m.d.comb += pll.clk_i.eq(pad("clk_pin", "i", pins.clk).i)
            m.submodules.pll = pll
            locked = pll.locked
            m.d.comb += clk.eq(pll.clk_o)
            platform.add_clock_constraint(clk, board.target_hz)
        reset = Signal(init=1)
        m.submodules += FFSynchronizer(~locked, reset, init=1)

        tx, session, activity = Signal(init=1), Signal(), Signal()
        m.submodules.accelerator = Instance(
            TOP,
            i_clk=clk, i_rst=reset, i_rx=pad("rx_pin", "i", pins.rx).i,
            o_tx=tx, o_session_open=session, o_activity=activity)
        m.d.comb += pad("tx_pin", "o", pins.tx).o.eq(tx)
        for n, port in enumerate(pins.high):
            m.d.comb += pad(f"high_pin_{n}", "o", port).o.eq(1)

        if pins.session is not None:
            m.d.comb += pad("session_pin", "o", pins.session).o.eq(session)
        if pins.activity is not None:
            count = Signal(self.BLINK_BITS)
            with m.If(activity):
                m.d.sync += count.eq(-1)
            with m.Elif(count != 0):
                m.d.sync += count.eq(count - 1)
            m.d.comb += pad("activity_pin", "o", pins.activity).o.eq(count != 0)

        return m
