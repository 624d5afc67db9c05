"""A large memory with one port: what an iCE40UP5K has as SPRAM."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


__all__ = ["SinglePortMemory"]


class SinglePortMemory(wiring.Component):
    """16,384 words of 32 bits; a word is read or bytes of one are written in a cycle.

    This is the portable twin: a board may have a module of the same name and ports made of its
    FPGA's own blocks (``boards/ice40/single_port_memory.v``).

    Members
    -------
    enable, address : ``In(1)``, ``In(14)``
        Access a word; without, what was read stays.
    write, data_in : ``In(4)``, ``In(32)``
        Bytes to be written; if there are any, nothing is read, and ``data_out`` is anything.
    data_out : ``Out(32)``
        What was read, a cycle later.
    """

    DEPTH = 16384

    enable: In(1)
    address: In(14)
    write: In(4)
    data_in: In(32)
    data_out: Out(32)

    def elaborate(self, platform):
        m = Module()

        m.submodules.memory = memory = Memory(shape=32, depth=self.DEPTH, init=[])
        read, write = memory.read_port(), memory.write_port(granularity=8)
        m.d.comb += [
            read.en.eq(self.enable & ~self.write.any()),
            read.addr.eq(self.address),
            write.en.eq(self.write & self.enable.replicate(4)),
            write.addr.eq(self.address),
            write.data.eq(self.data_in),
            self.data_out.eq(read.data),
        ]

        return m
