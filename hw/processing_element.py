"""One PE: three scratchpads, a gated multiplier, one link of the partial-sum chain."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .chain_adder import ChainAdder
from .pipelined_multiplier import PipelinedMultiplier
from .shared import instantiate


__all__ = ["ProcessingElement", "activation_layout", "bank_access"]


#: An entry of the ifmap scratchpad. A hole is a place where the layer has no channel.
activation_layout = data.StructLayout({"value": signed(9), "hole": 1})


def bank_access(*, psum_depth):
    """Lay out what happens to a bank of partial sums in a cycle.

    A MAC goes to entry ``u`` (``accumulate``), or the chain takes a copy of it (``drain``), or
    neither: a bank has one address.
    """
    return data.StructLayout({"u": range(psum_depth), "accumulate": 1, "drain": 1})


class ProcessingElement(wiring.Component):
    """Multiply one weight with one activation a cycle into a scratchpad of partial sums.

    All control comes from the row, once for all its PEs and delayed by the stage at which it acts:
    a MAC that enters in cycle 0 reads its activation in cycle 0, its weight in cycle 1 and its
    partial sum in cycle :attr:`SUM_STAGE`. A drain slot reads the other bank at the same stage, and
    adds what it read a cycle later. Registers stand between the filter scratchpad and the product,
    and behind the product; they are those of a DSP block where there is one. Another stands between
    the tags and the ifmap scratchpad. Nothing here needs a reset.

    Parameters
    ----------
    ifmap_depth, filter_depth, psum_depth : :class:`int`
        Entries of the scratchpads; ``psum_depth`` is that of one of the two banks.
    psum_width : :class:`int`
        Bits of a partial sum in the scratchpad.
    sum_width : :class:`int`
        Bits of a sum in the chain, no less.
    zero_gating : :class:`bool`
        Whether a zero activation keeps filter scratchpad and multiplier still.

    Members
    -------
    tag_valid, tag, column_tag, span : ``In(1)``, ``In(8)``
        Multicast: an activation is on its way, for this PE if ``0 <= tag - column_tag < span``; the
        tag is relative to the row. See docs/hardware.md.
    load : ``In(StructLayout)``
        A cycle later: ``valid``, ``sync`` (take ``start`` as the position to write), and the
        activation.
    filter_write : ``In(StructLayout)``
        ``valid``, ``address``, ``weight``.
    mac : ``In(StructLayout)``
        Cycle 0: ``active`` (this PE takes part) and the ring position of the activation.
    filter_address : ``In``
        Cycle 1.
    first : ``In(1)``
        Cycle ``SUM_STAGE``: the MAC overwrites instead of adding.
    banks : ``In(ArrayLayout(bank_access(psum_depth=psum_depth), 2))``
        Cycle ``SUM_STAGE``: ``accumulate`` in the bank to which the MAC goes, ``drain`` in the one
        from which this row has a share in the sum passing by.
    sum_in, sum_out : ``In(signed(sum_width))``, ``Out(signed(sum_width))``
        The chain; one cycle a link. What a drain slot reads is added to the ``sum_in`` of cycle
        :attr:`CHAIN_STAGE`.
    took, done, gated : ``Out(1)``
        For the counters: an activation was taken from the bus; a MAC was executed; a MAC was gated
        (cycle 1).
    """

    #: Cycle in which a MAC updates its partial sum, counted from the one in which it enters.
    SUM_STAGE = 4

    #: Cycle in which a drain slot adds the partial sum that it read.
    CHAIN_STAGE = SUM_STAGE + 1

    def __init__(self, *, ifmap_depth, filter_depth, psum_depth, psum_width, sum_width,
                 zero_gating):
        self.ifmap_depth = ifmap_depth
        self.filter_depth = filter_depth
        self.psum_depth = psum_depth
        self.psum_width = psum_width
        self.sum_width = sum_width
        self.zero_gating = zero_gating

        position = range(ifmap_depth)
        super().__init__({
            "tag_valid": In(1),
            "tag": In(8),
            "column_tag": In(8),
            "span": In(8),
            "load": In(data.StructLayout({
                "valid": 1, "sync": 1, "start": position, "activation": activation_layout})),
            "filter_write": In(data.StructLayout({
                "valid": 1, "address": range(filter_depth), "weight": signed(8)})),
            "mac": In(data.StructLayout({"active": 1, "position": position})),
            "filter_address": In(range(filter_depth)),
            "first": In(1),
            "banks": In(data.ArrayLayout(bank_access(psum_depth=psum_depth), 2)),
            "sum_in": In(signed(sum_width)),
            "sum_out": Out(signed(sum_width)),
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
        mine     = register(1, "mine")
        m.d.sync += mine.eq(self.tag_valid & (distance < self.span))
        m.d.comb += [
            distance.eq(self.tag - self.column_tag),
            self.took.eq(mine),
            ifmap_write.addr.eq(Mux(self.load.sync, self.load.start, position)),
            ifmap_write.data.eq(self.load.activation),
            ifmap_write.en.eq(mine),
        ]
        with m.If(self.load.valid):
            m.d.sync += position.eq(ifmap_write.addr + mine)

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

        # Cycle 1: read the weight. A gated MAC reads none, and multiplies the last one with 0.
        fires = s1_activation != 0 if self.zero_gating else C(1)
        m.d.comb += [
            self.done.eq(s1_valid & fires),
            self.gated.eq(s1_valid & ~fires),
            filter_read.addr.eq(self.filter_address),
            filter_read.en.eq(self.done),
        ]
        s2_fires, s3_fires, s4_fires = (register(1, f"s{n}_fires") for n in (2, 3, 4))
        s2_activation = register(signed(9), "s2_activation")
        m.d.sync += [s2_fires.eq(self.done), s3_fires.eq(s2_fires), s4_fires.eq(s3_fires)]
        # The product of a MAC that is none must be 0. Registers have a reset for that.
        m.d.sync += s2_activation.eq(Mux(self.done, s1_activation, 0))

        # Cycles 2 and 3: operands, product.
        multiplier = instantiate(m, "multiplier", platform, PipelinedMultiplier)
        s4_product = Signal(signed(17))
        m.d.comb += [
            multiplier.activation.eq(s2_activation),
            multiplier.weight.eq(filter_read.data),
            s4_product.eq(multiplier.o),
        ]

        # Cycle 4: accumulate in one bank, drain the other. What is read for the chain waits in a
        # register of its bank, which is 0 after a slot that is not of this row.
        held    = Array(Signal(signed(self.psum_width), name=f"held_{bank}") for bank in range(2))
        updated = Signal(signed(self.psum_width))
        m.d.comb += updated.eq(Mux(self.first, 0, held[self.banks[1].accumulate]) + s4_product)
        s5_drained = []
        for bank, access in enumerate(self.banks):
            m.submodules[f"psum_{bank}"] = psum = Memory(
                shape=signed(self.psum_width), depth=self.psum_depth, init=[])
            read, write = psum.read_port(domain="comb"), psum.write_port()
            m.d.comb += [
                read.addr.eq(access.u),
                held[bank].eq(read.data),
                write.addr.eq(access.u),
                write.data.eq(updated),
                write.en.eq(access.accumulate & (s4_fires | self.first)),
            ]
            drained = register(signed(self.psum_width), f"s5_drained_{bank}")
            m.d.sync += drained.eq(Mux(access.drain, held[bank], 0))
            s5_drained.append(drained)

        # Cycle 5: the chain.
        adder  = instantiate(m, "chain", platform, ChainAdder, width=self.sum_width)
        passed = register(signed(self.sum_width), "passed")
        m.d.comb += [
            adder.passing.eq(self.sum_in),
            adder.bank_0.eq(s5_drained[0]),
            adder.bank_1.eq(s5_drained[1]),
            self.sum_out.eq(passed),
        ]
        m.d.sync += passed.eq(adder.o)

        return m
