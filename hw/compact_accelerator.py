"""The accelerator as one microcoded engine, for FPGAs of a few thousand logic cells."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .command_decoder import ANSWER
from .micro_commands import microprogram
from .micro_engine import MicroEngine


__all__ = ["CompactAccelerator"]


class CompactAccelerator(wiring.Component):
    """Run neural network layers, one thing after the other.

    What it can be told and what it answers is in :mod:`oarlock.hw.isa`, as for
    :class:`~oarlock.hw.accelerator.Accelerator`, with the dataflow WEIGHT_STATIONARY. Commands are
    executed by the same engine as descriptors: while one runs, they wait. Filters are written a
    column at a time; there are no counters but ``cycles``, whose upper word is 0.

    Parameters
    ----------
    config : :class:`~oarlock.gen.config.ArrayConfig`
        Sizes of everything.

    Members
    -------
    i : ``In(stream.Signature(32))``
        Commands.
    o : ``Out(stream.Signature(ANSWER))``
        Answers; ``last`` is set with the last word of each.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(ANSWER)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.engine = engine = MicroEngine(
            program=microprogram(self.config).words(), depth=self.config.accumulator_depth)
        connect(m, flipped(self.i), engine.i)
        connect(m, engine.o, flipped(self.o))

        return m
