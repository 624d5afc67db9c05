"""The clock and reset pins of a Verilog module."""

from amaranth import *


__all__ = ["clock_and_reset"]


def clock_and_reset(m, clk, rst):
    """Make the ``sync`` domain of a clock pin; return the reset pin as it was a cycle ago.

    The register keeps the reset's fan-out off the way from the pin. It matters to simulators too:
    logic that hangs on an input port is evaluated at every edge of the clock.
    """
    m.domains.sync = sync = ClockDomain(reset_less=True)
    m.d.comb += sync.clk.eq(clk)

    reset = Signal(init=1)
    m.d.sync += reset.eq(rst)
    return reset
