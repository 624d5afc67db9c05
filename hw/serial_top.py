"""The accelerator with a serial link: what a board needs besides pins and a clock."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cores import make_accelerator
from .serial_link import SerialLink


__all__ = ["SerialAccelerator"]


class SerialAccelerator(wiring.Component):
    """An accelerator that is talked to over a UART, in the clock domain ``sync``.

    Nothing is needed besides the two lines. The domain may be without reset.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535; see :func:`link_isa.uart_divisor`.
    max_words, depth : :class:`int`
        Sizes of the link; see :class:`~oarlock.hw.serial_link.SerialLink`.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
        The line; ``rx`` need not be synchronous.
    session_open : ``Out(1)``
        A host has opened a session: for an LED.
    activity : ``Out(1)``
        A pulse with every good frame.
    """

    def __init__(self, config, *, divisor, max_words=64, depth=256):
        self.config = config
        self.divisor = divisor
        self.max_words = max_words
        self.depth = depth
        self._link = SerialLink(divisor=divisor, max_words=max_words, depth=depth)
        super().__init__({
            "rx": In(1),
            "tx": Out(1, init=1),
            "session_open": Out(1),
            "activity": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.link = link = self._link
        accelerator = make_accelerator(self.config)
        m.submodules.accelerator = ResetInserter(link.reset)(accelerator)
        wiring.connect(m, link.o, accelerator.i)
        wiring.connect(m, accelerator.o, link.i)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.session_open.eq(link.session_open),
            self.activity.eq(link.activity),
        ]

        return m
