"""The accelerator's streams over a UART, whatever the cable does to its bytes."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from . import link_isa
from .command_decoder import ANSWER
from .frame_receiver import HEADER, FrameReceiver
from .frame_sender import FrameSender
from .link_isa import Flags
from .receive_window import ReceiveWindow
from .send_window import SendWindow
from .uart_receiver import UartReceiver
from .uart_transmitter import UartTransmitter


__all__ = ["SerialLink"]

#: Cycles for which the accelerator is reset.
RESET_CYCLES = 16


class SerialLink(wiring.Component):
    """Carry words in numbered, checked, acknowledged frames; see ``docs/protocol.md``.

    All waiting and all decisions are the host's: the link answers frames and has no timers. Words
    are lost, doubled or changed in neither direction as long as a session lasts. A session begins
    when the host opens it: the accelerator is reset, and nothing of the session before is left.
    Without one the accelerator is given nothing.

    Words pass at the rate of the line less 18 bytes a frame.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535; see :func:`link_isa.uart_divisor`.
    max_words : :class:`int`
        Words in a frame that is sent, 1 to 255. Those that are received may have any number.
    depth : :class:`int`
        Words that may be under way in either direction, a power of two from 8 to 16384. What it
        takes to keep the line busy is its rate times the host's longest delay: 256 words are 3.4 ms
        at 3 Mbaud.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
        The line; ``rx`` need not be synchronous.
    o : ``Out(stream.Signature(32))``
        Words to the accelerator.
    i : ``In(stream.Signature(ANSWER))``
        Words from it. ``last`` is not needed: frames are cut as the words come.
    reset : ``Out(1)``
        Resets the accelerator, :data:`RESET_CYCLES` cycles long, at the beginning and with each
        session. A register; nothing moves on ``i`` and ``o`` meanwhile.
    session_open : ``Out(1)``
        The host has opened a session since this was started.
    activity : ``Out(1)``
        A pulse with every good frame of the session.
    """

    def __init__(self, *, divisor, max_words=64, depth=256):
        self.divisor = divisor
        self.max_words = max_words
        self.depth = depth
        # Of these, so that wrong parameters are found here.
        self._receiver = UartReceiver(divisor=divisor)
        self._transmitter = UartTransmitter(divisor=divisor)
        self._incoming = ReceiveWindow(depth=depth)
        self._outgoing = SendWindow(depth=depth, max_words=max_words)
        super().__init__({
            "rx": In(1),
            "tx": Out(1, init=1),
            "o": Out(stream.Signature(32)),
            "i": In(stream.Signature(ANSWER)),
            "reset": Out(1, init=1),
            "session_open": Out(1),
            "activity": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver    = receiver    = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.unpack      = unpack      = FrameReceiver()
        m.submodules.incoming    = incoming    = self._incoming
        m.submodules.outgoing    = outgoing    = self._outgoing
        m.submodules += FFSynchronizer(self.rx, receiver.rx, init=1)
        m.d.comb += [
            unpack.i.payload.eq(receiver.o.payload),
            unpack.i.valid.eq(receiver.o.valid),
            unpack.error.eq(receiver.error),
            self.tx.eq(transmitter.tx),
        ]

        # Sessions.
        session = Signal(16, init=link_isa.NO_SESSION)
        header  = unpack.header
        known   = Signal()  # This frame is good and of a version that we know.
        opens   = Signal()  # It begins another session.
        ours    = Signal()  # It belongs to this one.
        countdown = Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        m.d.comb += [
            known.eq(unpack.good & (header.version == link_isa.LINK_VERSION)),
            opens.eq(known & (header.flags & Flags.OPEN).any() & (header.session != session)),
            ours.eq(known & (header.session == session) & self.session_open),
            self.session_open.eq(session != link_isa.NO_SESSION),
        ]
        m.d.sync += [
            self.activity.eq(ours),
            self.reset.eq(opens | (countdown != 0)),
        ]
        with m.If(countdown != 0):
            m.d.sync += countdown.eq(countdown - 1)
        with m.If(opens):
            m.d.sync += [
                session.eq(header.session),
                countdown.eq(RESET_CYCLES - 1),
            ]

        number = Signal(8)
        errors = Signal(8)
        with m.If(ours | opens):
            m.d.sync += number.eq(header.number)
        with m.If(unpack.bad):
            m.d.sync += errors.eq(errors + 1)

        # Words, held back while the accelerator is reset: one cycle longer than ``reset`` is high.
        # A frame of the old session that is being sent is given up.
        closed = Signal(init=1)
        m.d.sync += closed.eq(opens | self.reset)
        m.submodules.pack = pack = ResetInserter(closed)(FrameSender())
        wiring.connect(m, pack.o, transmitter.i)
        m.d.comb += [
            incoming.clear.eq(closed),
            incoming.start.eq(unpack.start),
            incoming.position.eq(header.position),
            incoming.count.eq(header.count),
            incoming.word_valid.eq(unpack.word_valid),
            incoming.word.eq(unpack.word),
            incoming.commit.eq(ours),
            self.o.payload.eq(incoming.o.payload),
            self.o.valid.eq(incoming.o.valid & ~closed),
            incoming.o.ready.eq(self.o.ready & ~closed),

            outgoing.clear.eq(closed),
            outgoing.i.payload.eq(self.i.payload.data),
            outgoing.i.valid.eq(self.i.valid & ~closed),
            self.i.ready.eq(outgoing.i.ready & ~closed),
            outgoing.ack_valid.eq(ours),
            outgoing.ack.eq(header.ack),
        ]

        # Frames of our own: when asked for one, when words wait, when much of the window is free
        # again that the host believes to be full.
        reply  = Signal()
        rewind = Signal()
        told   = Signal(16, init=self.depth)
        freed  = Signal(16)
        m.d.comb += freed.eq(incoming.limit - told)

        own = Signal(HEADER)
        m.d.comb += [
            pack.header.eq(own),
            pack.word.eq(outgoing.word),
            outgoing.next.eq(pack.next),
            outgoing.done.eq(pack.done),
            own.flags.eq(0),
            own.version.eq(link_isa.LINK_VERSION),
            own.session.eq(session),
            own.position.eq(outgoing.position),
            outgoing.start.eq(pack.start),
        ]
        with m.If(~pack.busy & ~closed & ~opens):
            with m.If(rewind):
                m.d.comb += outgoing.rewind.eq(1)
                m.d.sync += rewind.eq(0)
            with m.Elif(reply | (outgoing.count != 0) | (freed >= self.depth // 4)):
                m.d.comb += pack.start.eq(1)
        # What may change while the frame is being sent is what it was when the frame began.
        with m.If(pack.start):
            m.d.sync += [
                reply.eq(0),
                told.eq(incoming.limit),
                own.number.eq(number),
                own.errors.eq(errors),
                own.count.eq(outgoing.count),
                own.ack.eq(incoming.committed),
                own.limit.eq(incoming.limit),
            ]
        with m.If(closed):
            m.d.sync += [
                rewind.eq(0),
                told.eq(self.depth),
            ]
        # After all that resets them: a frame that begins now does not answer one that ends now.
        with m.If(unpack.good & ((header.flags != 0) | (header.count != 0) | ~ours)):
            m.d.sync += reply.eq(1)
        with m.If(ours & (header.flags & Flags.REWIND).any()):
            m.d.sync += rewind.eq(1)

        return m
