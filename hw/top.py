"""The accelerator as a Verilog module."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .accelerator import Accelerator


__all__ = ["Top"]


class Top(wiring.Component):
    """Give the accelerator a clock and a registered reset.

    The register keeps the reset's fan-out off the way from the pin. It matters to simulators too:
    logic that hangs on an input port is evaluated at every edge of the clock.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.

    Members
    -------
    clk, rst : ``In(1)``
        Clock; synchronous reset, two cycles at least. Memories keep what they hold.
    i, o : ``In(stream.Signature(32))``, ``Out(stream.Signature(32))``
        See :class:`Accelerator`.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "clk": In(1),
            "rst": In(1),
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()

        m.domains.sync = sync = ClockDomain(reset_less=True)
        m.d.comb += sync.clk.eq(self.clk)

        reset = Signal(init=1)
        m.d.sync += reset.eq(self.rst)
        accelerator = Accelerator(self.config)
        m.submodules.accelerator = ResetInserter(reset)(accelerator)
        connect(m, accelerator.o, flipped(self.o))
        # Nothing is taken that the reset, a cycle behind the pin, would wipe out.
        m.d.comb += [
            accelerator.i.payload.eq(self.i.payload),
            accelerator.i.valid.eq(self.i.valid & ~reset),
            self.i.ready.eq(accelerator.i.ready & ~reset),
        ]

        return m
