"""The words that the host may have sent: taken back unless their frame was good."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2


__all__ = ["ReceiveWindow", "check_depth"]


def check_depth(depth):
    """Raise if a window cannot have ``depth`` words."""
    if not (isinstance(depth, int) and 8 <= depth <= 16384 and depth & depth - 1 == 0):
        raise ValueError(f"Depth must be a power of two from 8 to 16384, not {depth!r}")


class ReceiveWindow(wiring.Component):
    """A queue of words whose last frame is provisional, at positions that count modulo 2**16.

    A frame is taken if it begins where the last good one ended and if there is room for all of it;
    if not, its words are dropped, and :attr:`committed` stays.

    Parameters
    ----------
    depth : :class:`int`
        Words, a power of two from 8 to 16384.

    Members
    -------
    clear : ``In(1)``
        Empties the window; it begins with position 0 again.
    start, position, count : ``In(1)``, ``In(16)``, ``In(8)``
        A frame of ``count`` words from ``position`` on begins; what the frame before has left
        without ``commit`` is dropped.
    word_valid, word : ``In(1)``, ``In(32)``
        Its words, from two cycles after ``start`` on.
    commit : ``In(1)``
        It was good.
    committed : ``Out(16)``
        Position behind the last good word.
    limit : ``Out(16)``
        Position of the first word for which there is no room. A word that waits at ``o`` takes
        none.
    o : ``Out(stream.Signature(32))``
        Good words.
    """

    def __init__(self, *, depth):
        check_depth(depth)
        self.depth = depth
        super().__init__({
            "clear": In(1),
            "start": In(1),
            "position": In(16),
            "count": In(8),
            "word_valid": In(1),
            "word": In(32),
            "commit": In(1),
            "committed": Out(16),
            "limit": Out(16, init=depth),
            "o": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()

        bits = exact_log2(self.depth)
        m.submodules.memory = memory = Memory(shape=32, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()

        # limit is the read position plus depth: one counter serves for both.
        taken  = Signal()
        target = Signal(16)
        room   = Signal(bits + 1)
        m.d.comb += room.eq((self.limit - self.committed)[:bits + 1])
        with m.If(self.start):
            m.d.sync += [
                taken.eq((self.position == self.committed) & (self.count <= room)),
                target.eq(self.committed),
            ]
        m.d.comb += [
            write.addr.eq(target[:bits]),
            write.data.eq(self.word),
            write.en.eq(self.word_valid & taken),
        ]
        with m.If(self.word_valid & taken):
            m.d.sync += target.eq(target + 1)
        with m.If(self.commit & taken):
            m.d.sync += [
                self.committed.eq(target),
                taken.eq(0),
            ]

        # Block RAMs are slow: a word stands in a register before anything is decided by it, so one
        # leaves every other cycle. Lines are slower.
        fetched, moved = Signal(), Signal()
        after = Signal(16)  # The limit in the next cycle.
        m.d.comb += [
            moved.eq(fetched & ~self.o.valid),
            after.eq(self.limit + moved),
            read.addr.eq(after[:bits]),
        ]
        m.d.sync += [
            self.limit.eq(after),
            # Nothing committed in this cycle is read: it was written at least one cycle before.
            fetched.eq((after - self.committed)[:bits + 1] != self.depth),
        ]
        with m.If(moved):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(read.data)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.If(self.clear):
            m.d.sync += [
                self.committed.eq(0),
                self.limit.eq(self.depth),
                fetched.eq(0),
                self.o.valid.eq(0),
                taken.eq(0),
            ]

        return m
