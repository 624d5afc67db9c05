"""The accelerator with a serial link as a Verilog module."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .port_reset import clock_and_reset
from .serial_top import SerialAccelerator


__all__ = ["SerialModule"]


class SerialModule(wiring.Component):
    """Give the accelerator with a serial link a clock and a registered reset.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535.

    Members
    -------
    clk, rst : ``In(1)``
        Clock; synchronous reset, two cycles at least: as if the board were started again.
    rx, tx : ``In(1)``, ``Out(1)``
        The line; ``rx`` need not be synchronous.
    session_open, activity : ``Out(1)``
        A host has opened a session; a pulse with every good frame.
    """

    def __init__(self, config, *, divisor):
        self.config = config
        self.divisor = divisor
        self._accelerator = SerialAccelerator(config, divisor=divisor)
        super().__init__({
            "clk": In(1),
            "rst": In(1),
            "rx": In(1),
            "tx": Out(1, init=1),
            "session_open": Out(1),
            "activity": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        reset = clock_and_reset(m, self.clk, self.rst)
        m.submodules.accelerator = accelerator = ResetInserter(reset)(self._accelerator)
        m.d.comb += [
            accelerator.rx.eq(self.rx),
            self.tx.eq(accelerator.tx),
            self.session_open.eq(accelerator.session_open),
            self.activity.eq(accelerator.activity),
        ]

        return m
