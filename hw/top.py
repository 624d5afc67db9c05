"""The accelerator as a Verilog module."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cores import make_accelerator
from .port_reset import clock_and_reset


__all__ = ["Top"]


class Top(wiring.Component):
    """Give the accelerator a clock and a registered reset.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.

    Members
    -------
    clk, rst : ``In(1)``
        Clock; synchronous reset, two cycles at least. Memories keep what they hold.
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast
        Commands, an AXI4-Stream of 32 bits. ``s_axis_tlast`` may mark the last word of a command
        and is ignored: a command states its length.
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast
        Answers; ``m_axis_tlast`` marks the last word of each.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "clk": In(1),
            "rst": In(1),
            "s_axis_tdata": In(32),
            "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1),
            "s_axis_tlast": In(1),
            "m_axis_tdata": Out(32),
            "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1),
            "m_axis_tlast": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        reset = clock_and_reset(m, self.clk, self.rst)
        accelerator = make_accelerator(self.config)
        m.submodules.accelerator = ResetInserter(reset)(accelerator)
        m.d.comb += [
            # Nothing is taken that the reset, a cycle behind the pin, would wipe out.
            accelerator.i.payload.eq(self.s_axis_tdata),
            accelerator.i.valid.eq(self.s_axis_tvalid & ~reset),
            self.s_axis_tready.eq(accelerator.i.ready & ~reset),
            self.m_axis_tdata.eq(accelerator.o.payload.data),
            self.m_axis_tlast.eq(accelerator.o.payload.last),
            self.m_axis_tvalid.eq(accelerator.o.valid),
            accelerator.o.ready.eq(self.m_axis_tready),
        ]

        return m
