"""Clocks of another frequency than the oscillator's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Ecp5Pll", "Ecp5Settings", "Ice40Pll", "Ice40Settings", "Pll"]


class Pll(wiring.Component):
    """Make a clock; this portable one only passes on the one it gets.

    Parameters
    ----------
    input_hz, output_hz : :class:`int`
        Frequencies.

    Members
    -------
    clk_i, clk_o : ``In(1)``, ``Out(1)``
        Clocks.
    locked : ``Out(1)``
        ``clk_o`` runs, and at the right frequency.
    """

    #: It takes the oscillator's pin itself, :attr:`pad`, and ``clk_i`` is not used.
    FROM_PAD = False

    #: Port of a platform.
    pad: Any = None

    def __init__(self, *, input_hz: int, output_hz: int) -> None:
        self.input_hz = input_hz
        self.output_hz = output_hz
        super().__init__({"clk_i": In(1), "clk_o": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.clk_o.eq(self.clk_i), self.locked.eq(1)]
        return m


@dataclass(frozen=True)
class Ecp5Settings:
    """Dividers of an EHXPLLL: ``output = input / refclk * feedback``.

    Its phase detector works at 3.125 to 400 MHz, its oscillator at 400 to 800 MHz.
    Ref: ECP5 and ECP5-5G Family Data Sheet, FPGA-DS-02012, sysCLOCK PLL Timing.
    """

    refclk: int
    feedback: int
    output: int

    @classmethod
    def find(cls, *, input_hz: int, output_hz: int) -> Ecp5Settings:
        """Return settings that hit the frequency exactly.

        Raises
        ------
        ValueError
            If there are none.
        """
        for refclk in range(1, 129):
            feedback, rest = divmod(output_hz * refclk, input_hz)
            if rest or not (1 <= feedback <= 80 and 3_125_000 <= input_hz / refclk <= 400e6):
                continue
            for output in range(1, 129):
                if 400e6 <= output_hz * output <= 800e6:
                    return cls(refclk, feedback, output)
        raise ValueError(f"Output clock must be one that the PLL can make of {input_hz:,} Hz, "
                         f"not {output_hz:,} Hz")


class Ecp5Pll(Pll):
    """:class:`Pll` for ECP5."""

    def __init__(self, *, input_hz: int, output_hz: int) -> None:
        self.settings = Ecp5Settings.find(input_hz=input_hz, output_hz=output_hz)
        super().__init__(input_hz=input_hz, output_hz=output_hz)

    def elaborate(self, platform):
        settings = self.settings
        return Instance(
            "EHXPLLL",
            # Trellis and nextpnr take the analog settings of the bandwidth from these.
            a_FREQUENCY_PIN_CLKI=str(self.input_hz / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(self.output_hz / 1e6),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=settings.refclk,
            p_CLKFB_DIV=settings.feedback,
            p_CLKOP_DIV=settings.output,
            p_CLKOP_CPHASE=settings.output - 1,
            p_CLKOP_FPHASE=0,
            i_CLKI=self.clk_i,
            i_CLKFB=self.clk_o,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=self.clk_o,
            o_LOCK=self.locked,
        )


@dataclass(frozen=True)
class Ice40Settings:
    """Dividers of an SB_PLL40: ``output = input * (divf + 1) / 2**divq / (divr + 1)``.

    Its phase detector works at 10 to 133 MHz, its oscillator at 533 to 1066 MHz.
    Ref: iCE40 sysCLOCK PLL Design and Usage Guide, FPGA-TN-02052.
    """

    divr: int
    divf: int
    divq: int

    @property
    def filter_range(self) -> int:
        """Range of the loop filter at 12 MHz; the boards here have no other oscillator."""
        return 1

    @classmethod
    def find(cls, *, input_hz: int, output_hz: int) -> Ice40Settings:
        """Return settings that hit the frequency exactly.

        Raises
        ------
        ValueError
            If there are none.
        """
        for divr in range(16):
            if not 10e6 <= input_hz / (divr + 1) <= 133e6:
                continue
            for divq in range(1, 7):
                divf, rest = divmod(output_hz * 2 ** divq * (divr + 1), input_hz)
                if not rest and 1 <= divf <= 128 and 533e6 <= output_hz * 2 ** divq <= 1066e6:
                    return cls(divr, divf - 1, divq)
        raise ValueError(f"Output clock must be one that the PLL can make of {input_hz:,} Hz, "
                         f"not {output_hz:,} Hz")


class Ice40Pll(Pll):
    """:class:`Pll` for iCE40, fed by a pad.

    An iCE40UP5K's has the place of the one pin that it can be fed by, whose input nothing else can
    use.
    """

    FROM_PAD = True

    def __init__(self, *, input_hz: int, output_hz: int) -> None:
        self.settings = Ice40Settings.find(input_hz=input_hz, output_hz=output_hz)
        super().__init__(input_hz=input_hz, output_hz=output_hz)

    def elaborate(self, platform):
        settings = self.settings
        return Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=settings.divr,
            p_DIVF=settings.divf,
            p_DIVQ=settings.divq,
            p_FILTER_RANGE=settings.filter_range,
            io_PACKAGEPIN=self.pad.io,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=self.clk_o,
            o_LOCK=self.locked,
        )
