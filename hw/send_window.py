"""The words that the host has not acknowledged: kept, to be sent again."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from . import link_isa
from .receive_window import check_depth


__all__ = ["SendWindow"]


class SendWindow(wiring.Component):
    """A queue of words that leave only when they are acknowledged.

    Positions count modulo 2**16. Frames are cut as the words come: whatever is there when the last
    one has been sent, but not more than ``max_words``.

    Parameters
    ----------
    depth : :class:`int`
        Words, a power of two from 8 to 16384.
    max_words : :class:`int`
        Words of a frame, 1 to 255.

    Members
    -------
    clear : ``In(1)``
        Empties the window; it begins with position 0 again.
    i : ``In(stream.Signature(32))``
        Words.
    ack_valid, ack : ``In(1)``, ``In(16)``
        Forgets the words before position ``ack``; ignored if those were never sent.
    rewind : ``In(1)``
        The next frame begins with the first word not acknowledged. Not while one is being sent.
    position, count : ``Out(16)``, ``Out(8)``
        Where the next frame begins, and how many words it could have now.
    start : ``In(1)``
        A frame of ``count`` words is being sent from now on.
    word : ``Out(32)``
        Its next word, two cycles after ``start`` or ``next``.
    next : ``In(1)``
        The word was sent.
    done : ``In(1)``
        The frame was sent. Its count of words lies behind :attr:`position` from the next cycle on.
    """

    def __init__(self, *, depth, max_words):
        check_depth(depth)
        if not (isinstance(max_words, int) and 1 <= max_words <= link_isa.MAX_COUNT):
            raise ValueError(
                f"Words of a frame must be 1 to {link_isa.MAX_COUNT}, not {max_words!r}")
        self.depth = depth
        self.max_words = max_words
        super().__init__({
            "clear": In(1),
            "i": In(stream.Signature(32)),
            "ack_valid": In(1),
            "ack": In(16),
            "rewind": In(1),
            "position": Out(16),
            "count": Out(8),
            "start": In(1),
            "word": Out(32),
            "next": In(1),
            "done": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        bits = exact_log2(self.depth)
        m.submodules.memory = memory = Memory(shape=32, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()

        base    = Signal(16)  # Of the first word that is kept.
        written = Signal(16)  # Behind the last.
        m.d.comb += [
            self.i.ready.eq((written - base)[:bits + 1] != self.depth),
            write.addr.eq(written[:bits]),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
        ]
        with m.If(write.en):
            m.d.sync += written.eq(written + 1)

        waiting = Signal(bits + 1)
        m.d.comb += [
            waiting.eq((written - self.position)[:bits + 1]),
            self.count.eq(Mux(waiting > self.max_words, self.max_words, waiting)),
        ]
        fetch = Signal(16)
        m.d.comb += [
            read.addr.eq(fetch[:bits]),
            self.word.eq(read.data),
        ]
        with m.If(self.start):
            m.d.sync += fetch.eq(self.position)
        with m.If(self.next):
            m.d.sync += fetch.eq(fetch + 1)
        with m.If(self.done):
            m.d.sync += self.position.eq(fetch)

        # A frame that is being sent is not acknowledged: only what lies before its position is.
        kept = Signal(16)
        m.d.comb += kept.eq(base)
        with m.If(self.ack_valid & ((self.ack - base)[:16] <= (self.position - base)[:16])):
            m.d.comb += kept.eq(self.ack)
        m.d.sync += base.eq(kept)
        with m.If(self.rewind):
            m.d.sync += self.position.eq(kept)

        with m.If(self.clear):
            m.d.sync += [
                base.eq(0),
                written.eq(0),
                self.position.eq(0),
            ]

        return m
