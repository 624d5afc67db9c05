"""The one memory of the compact core: any four consecutive bytes are a word."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shared import instantiate
from .single_port_memory import SinglePortMemory


__all__ = ["ByteMemory"]


class ByteMemory(wiring.Component):
    """128 kB that are read four bytes at a time from any address, and written word or byte.

    Even and odd words lie in memories of their own, so that a read touches a word of each at most.
    Addresses count modulo the size.

    Members
    -------
    address : ``In(17)``
        Of the first byte.
    read : ``In(1)``
        Reads from there.
    write_word, write_byte : ``In(1)``
        Writes ``data_in``, at a multiple of four; writes its lowest byte, anywhere. At most one of
        the three.
    data_in : ``In(32)``
    data_out : ``Out(32)``
        The bytes, little-endian, from the cycle after ``read`` until the next access.
    """

    BYTES = 2 * 4 * SinglePortMemory.DEPTH

    address: In(17)
    read: In(1)
    write_word: In(1)
    write_byte: In(1)
    data_in: In(32)
    data_out: Out(32)

    def elaborate(self, platform):
        m = Module()

        writes, odd, offset = Signal(), self.address[2], self.address[:2]
        m.d.comb += writes.eq(self.write_word | self.write_byte)
        mask, data = Signal(4), Signal(32)
        m.d.comb += mask.eq(Cat(self.write_word | (self.write_byte & (offset == n))
                                for n in range(4)))
        low = self.data_in[:8]
        m.d.comb += data.eq(Mux(self.write_byte, Cat(low, low, low, low), self.data_in))

        words = []
        for number, name in enumerate(("even", "odd")):
            memory = instantiate(m, name, platform, SinglePortMemory)
            m.d.comb += [
                memory.enable.eq(self.read | (writes & (odd == number))),
                # Behind an odd word comes the even one of the next row.
                memory.address.eq(self.address[3:] + (odd if number == 0 else 0)),
                memory.write.eq(mask & writes.replicate(4)),
                memory.data_in.eq(data),
            ]
            words.append(memory.data_out)

        # A byte lane holds a byte of the first word or, below the offset, of the second.
        s1_odd, s1_offset = Signal(), Signal(2)
        with m.If(self.read):
            m.d.sync += [s1_odd.eq(odd), s1_offset.eq(offset)]
        lanes = []
        for n in range(4):
            lane = Signal(8, name=f"lane_{n}")
            from_odd = s1_odd ^ (s1_offset > n)
            m.d.comb += lane.eq(Mux(from_odd, words[1].word_select(n, 8),
                                    words[0].word_select(n, 8)))
            lanes.append(lane)
        with m.Switch(s1_offset):
            for offset in range(4):
                with m.Case(offset):
                    m.d.comb += self.data_out.eq(Cat(lanes[offset:] + lanes[:offset]))

        return m
