"""Read words of the ifmap and make activations of them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .processing_element import activation_layout


__all__ = ["IfmapReader"]


class IfmapReader(wiring.Component):
    """Fetch ``word_bytes`` consecutive bytes of the ifmap a cycle, wherever they begin.

    The zero point is subtracted; what is outside of the image is zero, what is beyond the channels
    is a hole. Nothing stalls.

    Parameters
    ----------
    word_bytes : :class:`int`
        Of the global buffer.
    read_latency : :class:`int`
        Cycles from ``read_address`` to ``read_data``.
    sideband : shape-like
        What a word takes along.

    Members
    -------
    zero_point, fold, y_limit : ``In``
        Of the descriptor; stable while words are about. With ``fold`` the bytes of a word are
        consecutive along the columns too, and each is tested against the edges of the image.
    i : ``In(StructLayout)``
        ``valid``; the ``address``; the ifmap ``row``; ``to_left`` and ``to_right``, bytes up to the
        edges of the image; ``left``, the number of channels from the first byte on; ``sideband``.
    read_enable, read_address, read_data
        Port of the global buffer.
    o : ``Out(StructLayout)``
        ``valid``, ``lanes`` and ``sideband``, :attr:`LATENCY` cycles after ``i``.
    """

    #: Registers before the buffer's read port, and behind its data.
    ADDRESS_STAGES, DATA_STAGES = 1, 1

    def __init__(self, *, word_bytes, read_latency, sideband):
        self.word_bytes = word_bytes
        self.read_latency = read_latency
        self.sideband = sideband

        super().__init__({
            "zero_point": In(signed(8)),
            "fold": In(1),
            "y_limit": In(16),
            "i": In(data.StructLayout({
                "valid": 1, "address": 24, "row": signed(18), "to_left": signed(26),
                "to_right": signed(26), "left": signed(18), "sideband": sideband})),
            "read_enable": Out(1),
            "read_address": Out(24),
            "read_data": In(8).array(word_bytes),
            "o": Out(data.StructLayout({
                "valid": 1, "lanes": data.ArrayLayout(activation_layout, word_bytes),
                "sideband": sideband})),
        })

    @classmethod
    def latency(cls, read_latency):
        """From a word's address to its activations."""
        return cls.ADDRESS_STAGES + read_latency + cls.DATA_STAGES

    @property
    def LATENCY(self):
        """:meth:`latency` of this reader."""
        return self.latency(self.read_latency)

    def elaborate(self, platform):
        m = Module()
        W = self.word_bytes

        def clamp(value):
            return Mux(value < 0, 0, Mux(value > W, W, value))

        def lanes(count):
            return Mux(self.fold, clamp(count), Mux(count > 0, W, 0))

        # The address, and the range of byte lanes that hold image and channels.
        range_layout = data.StructLayout({
            "in_rows": 1, "low": range(W + 1), "high": range(W + 1), "left": range(W + 1),
            "sideband": self.sideband})
        s1_valid, s1 = Signal(), Signal(range_layout, reset_less=True)
        m.d.sync += [
            s1_valid.eq(self.i.valid),
            self.read_address.eq(self.i.address),
            s1.in_rows.eq((self.i.row >= 0) & (self.i.row < self.y_limit)),
            s1.low.eq(lanes(self.i.to_left)),
            s1.high.eq(lanes(self.i.to_right)),
            s1.left.eq(clamp(self.i.left)),
            s1.sideband.eq(self.i.sideband),
        ]
        m.d.comb += self.read_enable.eq(s1_valid)

        # Beside the buffer's own latency.
        valid = delay(m, s1_valid, self.read_latency, name="valid", reset_less=False)
        beside = Signal(range_layout)
        m.d.comb += beside.eq(delay(m, s1, self.read_latency, name="beside"))
        m.d.sync += [self.o.valid.eq(valid), self.o.sideband.eq(beside.sideband)]
        for lane in range(W):
            inside = beside.in_rows & (lane >= beside.low) & (lane < beside.high)
            m.d.sync += [
                self.o.lanes[lane].hole.eq(lane >= beside.left),
                self.o.lanes[lane].value.eq(
                    Mux(inside, self.read_data[lane].as_signed() - self.zero_point, 0)),
            ]

        return m
