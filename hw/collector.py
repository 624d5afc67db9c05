"""Gather the outputs of every column into words and write them to the global buffer."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import isa
from .descriptor import layout
from .drain_scheduler import segment_job


__all__ = ["Collector"]


class Collector(wiring.Component):
    """Transpose: columns deliver a byte each at a time, the buffer takes words of one column.

    While one segment fills, the one before is written, one column a cycle. Of a beat all bytes have
    the same place in the words of their columns, so there is a memory for each place: an FPGA has
    LUTs for those, where registers would need a multiplexer of all columns as well.

    Parameters
    ----------
    cols, lanes, word_bytes : :class:`int`
        Of the array, of post-processing, of the global buffer.
    depth : :class:`int`
        Segments that may be on their way between drain scheduler and collector.

    Members
    -------
    columns : ``In(layout(COLUMN_FIELDS)).array(cols)``
    flush_count : ``In(8)``
        From the descriptor; columns from this one on have nothing to write.
    job, job_valid : ``In``
        From :class:`DrainScheduler`, ahead of the segment's outputs.
    valid, values : ``In(1)``, ``In(signed(8)).array(lanes)``
        Outputs of a beat: lane ``n`` is that of column ``group * lanes + n``, if ``mask[n]``.
    group, mask, index, last : ``In``
        Which columns, which lanes; byte of the segment, last beat of the segment.
    busy : ``Out(1)``
        A job waits, or a segment is being written.
    write_enable, write_address, write_count, write_data : ``Out``
        Port of the global buffer. Registered.
    """

    #: From a segment's last beat to its first write.
    LATENCY = 2

    def __init__(self, *, cols, lanes, word_bytes, depth):
        self.cols = cols
        self.lanes = lanes
        self.word_bytes = word_bytes
        self.depth = depth

        super().__init__({
            "columns": In(layout(isa.COLUMN_FIELDS)).array(cols),
            "flush_count": In(8),
            "job": In(segment_job(cols=cols, word_bytes=word_bytes)),
            "job_valid": In(1),
            "valid": In(1),
            "values": In(signed(8)).array(lanes),
            "group": In(range(self.groups(cols, lanes))),
            "mask": In(lanes),
            "index": In(range(word_bytes)),
            "last": In(1),
            "busy": Out(1),
            "write_enable": Out(1),
            "write_address": Out(24),
            "write_count": Out(range(word_bytes + 1)),
            "write_data": Out(8).array(word_bytes),
        })

    @staticmethod
    def groups(cols, lanes):
        """Return how many beats it takes to get a byte from every column."""
        return -(-cols // lanes)

    def elaborate(self, platform):
        m = Module()

        # Buffered, so that a block RAM and its clock-to-output are on one side of a register.
        m.submodules.jobs = jobs = SyncFIFOBuffered(
            width=Shape.cast(self.job.shape()).width, depth=self.depth)
        m.d.comb += [jobs.w_data.eq(self.job), jobs.w_en.eq(self.job_valid)]

        # Fill one side.
        side, group = Signal(), Signal(self.group.shape())
        groups = self.groups(self.cols, self.lanes)
        filled = []
        for k in range(self.word_bytes):
            m.submodules[f"place_{k}"] = place = Memory(
                shape=data.ArrayLayout(8, self.lanes), depth=2 * groups, init=[])
            write, read = place.write_port(granularity=1), place.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(Cat(side, self.group)),
                Cat(write.data).eq(Cat(self.values)),
                write.en.eq(self.mask & (self.valid & (self.index == k)).replicate(self.lanes)),
                read.addr.eq(Cat(~side, group)),
            ]
            filled.append(read.data)
        with m.If(self.valid & self.last):
            m.d.sync += side.eq(~side)

        # Write the other.
        job      = Signal(self.job.shape(), reset_less=True)
        writing  = Signal()
        column   = Signal(range(max(2, self.cols)))
        written  = Signal()  # beside the registered write, whether that has bytes or not
        finished = Signal()
        last_lane = Signal()
        highest  = Signal.like(column)
        # The descriptor holds long before the first output.
        m.d.sync += highest.eq(self.flush_count - 1)
        starts   = Signal()
        m.d.comb += [
            starts.eq(self.valid & self.last),
            jobs.r_en.eq(starts),
            finished.eq(column == highest),
            self.busy.eq(self.job_valid | (jobs.level != 0) | writing | written),
        ]
        with m.If(starts):
            m.d.sync += [job.eq(jobs.r_data), column.eq(0), group.eq(0), writing.eq(1)]
        with m.Elif(writing):
            m.d.sync += [
                column.eq(column + 1), group.eq(group + last_lane), writing.eq(~finished)]

        m.d.sync += [written.eq(writing), self.write_enable.eq(0)]
        with m.If(writing):
            with m.Switch(column):
                for n in range(self.cols):
                    with m.Case(n):
                        count = Signal(range(self.word_bytes + 1), name=f"count_{n}")
                        m.d.comb += count.eq(Mux(job.whole[n], job.whole_count,
                                                 Mux(job.part[n], job.part_count, 0)))
                        m.d.sync += [
                            self.write_enable.eq(count != 0),
                            self.write_count.eq(count),
                            self.write_address.eq(job.address + self.columns[n].out_offset),
                        ]
                        m.d.sync += [
                            self.write_data[k].eq(place[n % self.lanes])
                            for k, place in enumerate(filled)]
                        m.d.comb += last_lane.eq(n % self.lanes == self.lanes - 1)

        return m
