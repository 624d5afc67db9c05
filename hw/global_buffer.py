"""The global buffer: any W consecutive bytes read, and any others written, in every cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2


__all__ = ["ADDRESS_WIDTH", "HOST_WRITE", "GlobalBuffer"]

ADDRESS_WIDTH = 24
HOST_WRITE    = data.StructLayout({"addr": ADDRESS_WIDTH, "data": 32})


class GlobalBuffer(wiring.Component):
    """Byte-addressed memory of two banks, one of the even and one of the odd W-byte words.

    Any W consecutive bytes touch one word of each bank at most, so one read and one write of up to
    W bytes at any address are done in every cycle. The accelerator is always granted; the host is
    given the cycles that it leaves, independently for reading and writing.

    Addresses count modulo the power of two at or above ``size_bytes``: a read at ``-3`` delivers
    byte 0 in lane 3. Lanes outside of the memory read as anything, and must not be written.
    A write is seen by reads from the next cycle on; a byte read in the cycle in which it is written
    is undefined. The contents survive reset.

    Parameters
    ----------
    size_bytes : :class:`int`
        Size, a multiple of ``2 * word_bytes``; not necessarily a power of two.
    word_bytes : :class:`int`
        W, a power of two, at least 4.

    Members
    -------
    read_en, read_addr : ``In(1)``, ``In(24)``
        Reads W bytes from byte address ``read_addr`` on.
    read_data : ``Out(data.ArrayLayout(unsigned(8), W))``
        What was read, :attr:`LATENCY` cycles after ``read_en``; kept until the next read's.
    write_en, write_addr, write_count : ``In(1)``, ``In(24)``, ``In(range(W + 1))``
        Writes 1 to W bytes from byte address ``write_addr`` on.
    write_data : ``In(data.ArrayLayout(unsigned(8), W))``
        Bytes to write; those from ``write_count`` on are ignored.
    host_read : ``In(stream.Signature(24))``
        Addresses, multiples of 4, of words to be read. Ready when ``read_en`` is low.
    host_read_valid, host_read_data : ``Out(1)``, ``Out(32)``
        The little-endian word, :attr:`LATENCY` cycles after its address was taken.
    host_write : ``In(stream.Signature(HOST_WRITE))``
        Words to be written, at multiples of 4. Ready when ``write_en`` is low.
    """

    #: Cycles from an address to its data: the memory, then the alignment.
    LATENCY = 2

    def __init__(self, *, size_bytes, word_bytes):
        if word_bytes < 4 or word_bytes & word_bytes - 1:
            raise ValueError(f"Word must be a power of two of at least 4 bytes, not {word_bytes!r}")
        if not (0 < size_bytes <= 1 << ADDRESS_WIDTH and size_bytes % (2 * word_bytes) == 0):
            raise ValueError(f"Size must be a multiple of {2 * word_bytes} bytes up to "
                             f"{1 << ADDRESS_WIDTH}, not {size_bytes!r}")

        self.size_bytes = size_bytes
        self.word_bytes = word_bytes

        word_shape = data.ArrayLayout(unsigned(8), word_bytes)
        super().__init__({
            "read_en":         In(1),
            "read_addr":       In(ADDRESS_WIDTH),
            "read_data":       Out(word_shape),
            "write_en":        In(1),
            "write_addr":      In(ADDRESS_WIDTH),
            "write_count":     In(range(word_bytes + 1)),
            "write_data":      In(word_shape),
            "host_read":       In(stream.Signature(ADDRESS_WIDTH)),
            "host_read_valid": Out(1),
            "host_read_data":  Out(32),
            "host_write":      In(stream.Signature(HOST_WRITE)),
        })

    def elaborate(self, platform):
        m = Module()

        bank_depth = self.size_bytes // (2 * self.word_bytes)
        m.submodules.even = even = self._bank(bank_depth)
        m.submodules.odd  = odd  = self._bank(bank_depth)
        self._elaborate_read(m, even.read_port(), odd.read_port())
        self._elaborate_write(m, even.write_port(granularity=8), odd.write_port(granularity=8))

        return m

    def _bank(self, depth):
        # One wide memory rather than one a byte lane: a simulator then does one access a cycle.
        return Memory(shape=unsigned(8 * self.word_bytes), depth=depth, init=[])

    def _split(self, m, addr, even_port, odd_port):
        """Address both banks; return the byte offset and whether the first word is the odd one."""
        address = data.View(data.StructLayout({
            "offset": exact_log2(self.word_bytes),
            "is_odd": 1,
            "row":    ceil_log2(self.size_bytes // (2 * self.word_bytes)),
        }), addr[:ceil_log2(self.size_bytes)])
        m.d.comb += [
            odd_port.addr.eq(address.row),
            even_port.addr.eq(address.row + address.is_odd),
        ]
        return address.offset, address.is_odd

    def _elaborate_read(self, m, even_port, odd_port):
        s0_addr = Signal(ADDRESS_WIDTH)
        s0_en   = Signal()
        m.d.comb += [
            self.host_read.ready.eq(~self.read_en),
            s0_addr.eq(Mux(self.read_en, self.read_addr, self.host_read.payload)),
            s0_en.eq(self.read_en | self.host_read.valid),
            even_port.en.eq(s0_en),
            odd_port.en.eq(s0_en),
        ]
        offset, is_odd = self._split(m, s0_addr, even_port, odd_port)

        s1_en       = Signal()
        s1_host     = Signal()
        s1_offset   = Signal.like(offset)
        s1_from_odd = Signal(self.word_bytes)
        m.d.sync += [
            s1_en.eq(s0_en),
            s1_host.eq(self.host_read.valid & self.host_read.ready),
            s1_offset.eq(offset),
            # Bytes below the offset are those of the second word.
            s1_from_odd.eq(Cat(is_odd ^ (lane < offset) for lane in range(self.word_bytes))),
        ]

        s1_merged = Signal(8 * self.word_bytes)
        m.d.comb += s1_merged.eq(Cat(
            Mux(from_odd, odd_port.data.word_select(lane, 8), even_port.data.word_select(lane, 8))
            for lane, from_odd in enumerate(s1_from_odd)
        ))
        s1_rotated = _rotate_right(m, s1_merged, s1_offset, step=8)
        with m.If(s1_en):
            m.d.sync += self.read_data.eq(s1_rotated)
        m.d.sync += self.host_read_valid.eq(s1_host)
        m.d.comb += self.host_read_data.eq(Cat(self.read_data[lane] for lane in range(4)))

    def _elaborate_write(self, m, even_port, odd_port):
        en     = Signal()
        addr   = Signal(ADDRESS_WIDTH)
        count  = Signal.like(self.write_count)
        values = Signal(8 * self.word_bytes)
        m.d.comb += self.host_write.ready.eq(~self.write_en)
        with m.If(self.write_en):
            m.d.comb += [
                en.eq(1),
                addr.eq(self.write_addr),
                count.eq(self.write_count),
                values.eq(self.write_data),
            ]
        with m.Else():
            m.d.comb += [
                en.eq(self.host_write.valid),
                addr.eq(self.host_write.payload.addr),
                count.eq(4),
                values.eq(self.host_write.payload.data),
            ]
        offset, is_odd = self._split(m, addr, even_port, odd_port)

        stop   = Signal(range(2 * self.word_bytes))
        first  = Signal(self.word_bytes)
        second = Signal(self.word_bytes)
        lanes  = range(self.word_bytes)
        m.d.comb += [
            stop.eq(offset + count),
            first.eq(Cat(en & (lane >= offset) & (lane < stop) for lane in lanes)),
            second.eq(Cat(en & (lane + self.word_bytes < stop) for lane in lanes)),
            even_port.en.eq(Mux(is_odd, second, first)),
            odd_port.en.eq(Mux(is_odd, first, second)),
        ]

        # A byte lands in the same lane of either bank, so that only the enables differ.
        rotated = _rotate_right(m, values, offset, step=-8)
        m.d.comb += [even_port.data.eq(rotated), odd_port.data.eq(rotated)]


def _rotate_right(m, value, amount, *, step):
    """Rotate by ``amount`` steps of ``step`` bits (negative: to the left), one stage a bit."""
    for bit, enable in enumerate(amount):
        rotated = Signal.like(value, name=f"rotated_{bit}")
        m.d.comb += rotated.eq(Mux(enable, value.rotate_right(step * (1 << bit)), value))
        value = rotated
    return value
