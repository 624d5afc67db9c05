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
    """Byte-addressed memory of banks that lie side by side, 2 W bytes across.

    Any W consecutive bytes touch one word of each bank at most, so one read and one write of up to
    W bytes at any address are done in every cycle. The accelerator is always granted; the host is
    given the cycles that it leaves, independently for reading and writing.

    Addresses count modulo the power of two at or above ``size_bytes``: a read at ``-3`` delivers
    byte 0 in lane 3. Lanes outside of the memory read as anything, and must not be written.
    A write is seen by reads from two cycles later on; a byte read in the cycle in which it is
    written, or in the next, is undefined. The contents survive reset.

    Parameters
    ----------
    size_bytes : :class:`int`
        Size, a multiple of ``2 * word_bytes``; not necessarily a power of two.
    word_bytes : :class:`int`
        W, a power of two, at least 4.
    banks : :class:`int`
        Memories of ``2 * word_bytes / banks`` bytes across, a power of two, at least 2.

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

    #: Cycles from an address to its data: the memory, the choice among banks, the alignment.
    LATENCY = 3

    def __init__(self, *, size_bytes, word_bytes, banks=2):
        if word_bytes < 4 or word_bytes & word_bytes - 1:
            raise ValueError(f"Word must be a power of two of at least 4 bytes, not {word_bytes!r}")
        if not (0 < size_bytes <= 1 << ADDRESS_WIDTH and size_bytes % (2 * word_bytes) == 0):
            raise ValueError(f"Size must be a multiple of {2 * word_bytes} bytes up to "
                             f"{1 << ADDRESS_WIDTH}, not {size_bytes!r}")
        if banks not in (1 << n for n in range(1, exact_log2(word_bytes) + 2)):
            raise ValueError(f"Banks must be a power of two from 2 to {2 * word_bytes}, "
                             f"not {banks!r}")

        self.size_bytes = size_bytes
        self.word_bytes = word_bytes
        self.banks = banks

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

        # Few wide memories rather than one a byte lane: a simulator then does few accesses a cycle.
        across = 2 * self.word_bytes // self.banks
        depth  = self.size_bytes // (2 * self.word_bytes)
        memories = [Memory(shape=unsigned(8 * across), depth=depth, init=[])
                    for _ in range(self.banks)]
        for n, memory in enumerate(memories):
            m.submodules[f"bank_{n}"] = memory
        self._elaborate_read(m, [memory.read_port() for memory in memories])
        self._elaborate_write(m, [memory.write_port(granularity=8) for memory in memories])

        return m

    def _address(self, m, addr, ports):
        """Address all banks; return the offset of the first byte in its row of all banks.

        Banks that end before the first byte have the window's end, one row on.
        """
        across = 2 * self.word_bytes // self.banks
        address = data.View(data.StructLayout({
            "offset": exact_log2(2 * self.word_bytes),
            "row":    ceil_log2(self.size_bytes // (2 * self.word_bytes)),
        }), addr[:ceil_log2(self.size_bytes)])
        for n, port in enumerate(ports):
            m.d.comb += port.addr.eq(address.row + (address.offset >= (n + 1) * across))
        return address.offset

    def _elaborate_read(self, m, ports):
        W = self.word_bytes
        s0_addr = Signal(ADDRESS_WIDTH)
        s0_en   = Signal()
        m.d.comb += [
            self.host_read.ready.eq(~self.read_en),
            s0_addr.eq(Mux(self.read_en, self.read_addr, self.host_read.payload)),
            s0_en.eq(self.read_en | self.host_read.valid),
        ]
        m.d.comb += [port.en.eq(s0_en) for port in ports]
        offset = self._address(m, s0_addr, ports)

        s1_en       = Signal()
        s1_host     = Signal()
        s1_offset   = Signal(exact_log2(W))
        s1_from_odd = Signal(W)
        m.d.sync += [
            s1_en.eq(s0_en),
            s1_host.eq(self.host_read.valid & self.host_read.ready),
            s1_offset.eq(offset),
            # Bytes below the offset are those of the second word.
            s1_from_odd.eq(Cat(offset[-1] ^ (lane < offset[:-1]) for lane in range(W))),
        ]

        row = Signal(data.ArrayLayout(8, 2 * W), name="s1_row")
        s1_merged = Signal(8 * W)
        m.d.comb += [
            row.eq(Cat(port.data for port in ports)),
            s1_merged.eq(Cat(Mux(from_odd, row[W + lane], row[lane])
                             for lane, from_odd in enumerate(s1_from_odd))),
        ]

        # Block RAMs are slow, and far from each other: what they put out is in a register before it
        # is rotated.
        s2_merged = Signal(8 * W, reset_less=True)
        s2_offset = Signal.like(s1_offset, reset_less=True)
        s2_en, s2_host = Signal(), Signal()
        m.d.sync += [
            s2_merged.eq(s1_merged),
            s2_offset.eq(s1_offset),
            s2_en.eq(s1_en),
            s2_host.eq(s1_host),
        ]
        s2_rotated = _rotate_right(m, s2_merged, s2_offset, step=8)
        with m.If(s2_en):
            m.d.sync += self.read_data.eq(s2_rotated)
        m.d.sync += self.host_read_valid.eq(s2_host)
        m.d.comb += self.host_read_data.eq(Cat(self.read_data[lane] for lane in range(4)))

    def _elaborate_write(self, m, ports):
        W = self.word_bytes
        # Those who write choose among engines, and the banks are far away.
        en     = Signal()
        addr   = Signal(ADDRESS_WIDTH, reset_less=True)
        count  = Signal.like(self.write_count, reset_less=True)
        values = Signal(8 * W, reset_less=True)
        m.d.comb += self.host_write.ready.eq(~self.write_en)
        m.d.sync += en.eq(self.write_en | self.host_write.valid)
        with m.If(self.write_en):
            m.d.sync += [
                addr.eq(self.write_addr),
                count.eq(self.write_count),
                values.eq(self.write_data),
            ]
        with m.Else():
            m.d.sync += [
                addr.eq(self.host_write.payload.addr),
                count.eq(4),
                values.eq(self.host_write.payload.data),
            ]
        offset = self._address(m, addr, ports)
        within, is_odd = offset[:-1], offset[-1]

        stop   = Signal(range(2 * W))
        first  = Signal(W)
        second = Signal(W)
        enable = Signal(2 * W)
        m.d.comb += [
            stop.eq(within + count),
            first.eq(Cat(en & (lane >= within) & (lane < stop) for lane in range(W))),
            second.eq(Cat(en & (lane + W < stop) for lane in range(W))),
            enable.eq(Mux(is_odd, Cat(second, first), Cat(first, second))),
        ]

        # A byte lands in the same lane of either half, so that only the enables differ.
        rotated = _rotate_right(m, values, within, step=-8)
        across = 2 * W // self.banks
        for n, port in enumerate(ports):
            m.d.comb += [
                port.en.eq(enable[n * across:(n + 1) * across]),
                port.data.eq(Cat(rotated, rotated)[8 * n * across:8 * (n + 1) * across]),
            ]


def _rotate_right(m, value, amount, *, step):
    """Rotate by ``amount`` steps of ``step`` bits (negative: to the left), one stage a bit."""
    for bit, enable in enumerate(amount):
        rotated = Signal.like(value, name=f"rotated_{bit}")
        m.d.comb += rotated.eq(Mux(enable, value.rotate_right(step * (1 << bit)), value))
        value = rotated
    return value
