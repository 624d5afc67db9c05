"""One PE: three scratchpads, a gated multiplier, one link of the partial-sum chain."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


__all__ = ["ProcessingElement", "activation_layout"]


#: An entry of the ifmap scratchpad. A hole is a place where the layer has no channel.
activation_layout = data.StructLayout({"value": signed(9), "hole": 1})


class ProcessingElement(wiring.Component):
    """Multiply one weight with one activation a cycle into a scratchpad of partial sums.

    All control comes from the row, once for all its PEs and delayed by the stage at which it acts:
    a MAC that enters in cycle 0 reads its activation in cycle 0, its weight in cycle 1 and its
    partial sum in cycle :attr:`SUM_STAGE`. A drain slot reads the other bank at the same stage. Two
    registers stand between the filter scratchpad and the product (they become the output register
    of a block RAM and the input register of a DSP block). Nothing here needs a reset.

    Parameters
    ----------
    ifmap_depth, filter_depth, psum_depth : :class:`int`
        Entries of the scratchpads; ``psum_depth`` is that of one of the two banks.
    psum_width : :class:`int`
        Bits of a partial sum.
    zero_gating : :class:`bool`
        Whether a zero activation keeps filter scratchpad and multiplier still.

    Members
    -------
    load : ``In(StructLayout)``
        Multicast: ``valid``, ``sync`` (take ``start`` as the position to write), the tag relative
        to the row, and the activation. Taken if ``0 <= tag - column_tag < span``.
    column_tag, span : ``In(8)``
        See docs/hardware.md.
    filter_write : ``In(StructLayout)``
        ``valid``, ``address``, ``weight``.
    mac : ``In(StructLayout)``
        Cycle 0: ``active`` (this PE takes part) and the ring position of the activation.
    filter_address : ``In``
        Cycle 1.
    accumulate : ``In(StructLayout)``
        Cycle ``SUM_STAGE``: ``valid``, ``bank``, ``u``, and ``first``: overwrite instead of adding.
    drain : ``In(StructLayout)``
        Cycle ``SUM_STAGE``: ``bank``, ``u``, and ``add``: this row has a share in the sum passing
        by.
    sum_in, sum_out : ``In(signed(psum_width))``, ``Out(signed(psum_width))``
        The chain; one cycle a link.
    took, done, gated : ``Out(1)``
        For the counters: an activation was taken from the bus; a MAC was executed; a MAC was gated
        (cycle 1).
    """

    #: Cycle in which a MAC updates its partial sum, counted from the one in which it enters.
    SUM_STAGE = 4

    def __init__(self, *, ifmap_depth, filter_depth, psum_depth, psum_width, zero_gating):
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth
        self.psum_width = psum_width
        self.zero_gating = zero_gating

        position = range(ifmap_depth)
        partial_sum = {"bank": 1, "u": range(psum_depth)}
        super().__init__({
            "load": In(data.StructLayout({
                "valid": 1, "sync": 1, "start": position, "tag": 8,
                "activation": activation_layout})),
            "column_tag": In(8),
            "span": In(8),
            "filter_write": In(data.StructLayout({
                "valid": 1, "address": range(filter_depth), "weight": signed(8)})),
            "mac": In(data.StructLayout({"active": 1, "position": position})),
            "filter_address": In(range(filter_depth)),
            "accumulate": In(data.StructLayout({"valid": 1, "first": 1, **partial_sum})),
            "drain": In(data.StructLayout({"add": 1, **partial_sum})),
            "sum_in": In(signed(psum_width)),
            "sum_out": Out(signed(psum_width)),
            "took": Out(1),
            "done": Out(1),
            "gated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.ifmap = ifmap = Memory(
            shape=activation_layout, depth=self.ifmap_depth, init=[])
        m.submodules.filter = filters = Memory(
            shape=signed(8), depth=self.filter_depth, init=[])
        ifmap_write, ifmap_read = ifmap.write_port(), ifmap.read_port(domain="comb")
        filter_write, filter_read = filters.write_port(), filters.read_port()

        def register(shape, name):
            # What a reset leaves behind is gone before the next start can matter.
            return Signal(shape, name=name, reset_less=True)

        # Ifmap: append what is meant for this PE.
        position = register(range(self.ifmap_depth), "position")
        distance = Signal(8)
        m.d.comb += [
            distance.eq(self.load.tag - self.column_tag),
            self.took.eq(self.load.valid & (distance < self.span)),
            ifmap_write.addr.eq(Mux(self.load.sync, self.load.start, position)),
            ifmap_write.data.eq(self.load.activation),
            ifmap_write.en.eq(self.took),
        ]
        with m.If(self.load.valid):
            m.d.sync += position.eq(ifmap_write.addr + self.took)

        # Filter: loaded by the host, read where the activation is not zero.
        m.d.comb += [
            filter_write.addr.eq(self.filter_write.address),
            filter_write.data.eq(self.filter_write.weight),
            filter_write.en.eq(self.filter_write.valid),
        ]

        # Cycle 0: read the activation.
        s1_valid      = register(1, "s1_valid")
        s1_activation = register(signed(9), "s1_activation")
        m.d.comb += ifmap_read.addr.eq(self.mac.position)
        m.d.sync += s1_valid.eq(self.mac.active & ~ifmap_read.data.hole)
        with m.If(self.mac.active):
            m.d.sync += s1_activation.eq(ifmap_read.data.value)

        # Cycle 1: read the weight. A gated MAC changes nothing from here on, so nothing toggles.
        fires = s1_activation != 0 if self.zero_gating else C(1)
        m.d.comb += [
            self.done.eq(s1_valid & fires),
            self.gated.eq(s1_valid & ~fires),
            filter_read.addr.eq(self.filter_address),
            filter_read.en.eq(self.done),
        ]
        s2_fires, s3_fires, s4_fires = (register(1, f"s{n}_fires") for n in (2, 3, 4))
        s2_activation, s3_activation = (register(signed(9), f"s{n}_activation") for n in (2, 3))
        s3_weight  = register(signed(8), "s3_weight")
        s4_product = register(signed(17), "s4_product")
        m.d.sync += [s2_fires.eq(self.done), s3_fires.eq(s2_fires), s4_fires.eq(s3_fires)]
        with m.If(self.done):
            m.d.sync += s2_activation.eq(s1_activation)

        # Cycles 2 and 3: operands, product. A product that is none is 0: registers have a reset for
        # that, an adder would need logic in front.
        with m.If(s2_fires):
            m.d.sync += [s3_activation.eq(s2_activation), s3_weight.eq(filter_read.data)]
        m.d.sync += s4_product.eq(Mux(s3_fires, s3_activation * s3_weight, 0))

        # Cycle 4: accumulate in one bank, drain the other. A bank has one read port; it never does
        # both.
        held    = Array(Signal(signed(self.psum_width), name=f"held_{bank}") for bank in range(2))
        updated = Signal(signed(self.psum_width))
        passed  = register(signed(self.psum_width), "passed")
        m.d.comb += updated.eq(Mux(self.accumulate.first, 0, held[self.accumulate.bank])
                               + s4_product)
        for bank in range(2):
            m.submodules[f"psum_{bank}"] = psum = Memory(
                shape=signed(self.psum_width), depth=self.psum_depth, init=[])
            read, write = psum.read_port(domain="comb"), psum.write_port()
            accumulates = self.accumulate.valid & (self.accumulate.bank == bank)
            m.d.comb += [
                read.addr.eq(Mux(accumulates, self.accumulate.u, self.drain.u)),
                held[bank].eq(read.data),
                write.addr.eq(self.accumulate.u),
                write.data.eq(updated),
                write.en.eq(accumulates & (s4_fires | self.accumulate.first)),
            ]
        m.d.sync += passed.eq(self.sum_in + Mux(self.drain.add, held[self.drain.bank], 0))
        m.d.comb += self.sum_out.eq(passed)

        return m
