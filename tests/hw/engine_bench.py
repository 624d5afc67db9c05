"""A ConvEngine with its memories, on Amaranth's simulator: one layer in, one feature map out."""

import numpy as np
from amaranth import *
from amaranth.sim import Simulator
from oarlock.gen.lower import filter_writes, lower_conv
from oarlock.hw import isa
from oarlock.hw.array_row import filter_word
from oarlock.hw.conv_engine import ConvEngine
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.hw.post_processor import PostProcessor


class EngineBench(Elaboratable):
    """Buffer, engine and post-processing, connected as the accelerator connects them."""

    def __init__(self, config):
        self.config = config
        self.buffer = GlobalBuffer(size_bytes=config.buffer_bytes, word_bytes=config.word_bytes)
        tag = ConvEngine.tag_shape(cols=config.cols, word_bytes=config.word_bytes)
        self.post = PostProcessor(lanes=config.lanes, parameter_depth=config.parameter_depth,
                                  lane_depth=config.lane_depth,
                                  tag_shape=tag)
        self.engine = ConvEngine(
            rows=config.rows, cols=config.cols, ifmap_depth=config.ifmap_depth,
            filter_depth=config.filter_depth, psum_depth=config.psum_depth,
            word_bytes=config.word_bytes, lanes=config.lanes,
            lane_depth=config.lane_depth, zero_gating=config.zero_gating,
            read_latency=GlobalBuffer.LATENCY, scale_latency=PostProcessor.LATENCY)
        self.filter = Signal(filter_word(cols=config.cols, filter_depth=config.filter_depth))
        self.low, self.high = Signal(signed(8)), Signal(signed(8))
        self.local = Signal()
        self.zero_point, self.rule = Signal(signed(8)), Signal(isa.Rule)

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer, m.submodules.post, m.submodules.engine = (
            self.buffer, self.post, self.engine)
        buffer, post, engine = self.buffer, self.post, self.engine
        m.d.comb += [
            engine.filter.eq(self.filter),
            buffer.read_en.eq(engine.read_enable),
            buffer.read_addr.eq(engine.read_address),
            Cat(engine.read_data).eq(buffer.read_data),
            buffer.write_en.eq(engine.write_enable),
            buffer.write_addr.eq(engine.write_address),
            buffer.write_count.eq(engine.write_count),
            Cat(buffer.write_data).eq(Cat(engine.write_data)),
            post.i.valid.eq(engine.scale_valid),
            post.i.rule.eq(self.rule),
            Cat(post.i.sums).eq(Cat(engine.scale_sums)),
            post.i.parameter.eq(engine.scale_entry),
            post.i.local.eq(self.local),
            post.load_en.eq(engine.parameter_load),
            post.load_lanes.eq(engine.parameter_lanes),
            post.load_entry.eq(engine.parameter_entry),
            post.load_address.eq(engine.parameter_address),
            post.i.zero_point.eq(self.zero_point),
            post.i.low.eq(self.low),
            post.i.high.eq(self.high),
            post.i.tag.eq(engine.scale_tag),
            engine.scaled_valid.eq(post.o.valid),
            Cat(engine.scaled_values).eq(post.o.values),
            engine.scaled_tag.eq(post.o.tag),
        ]
        return m


def run_conv(config, mapping, x, weights, bias, multiplier, shift, requantization, out_size, *,
             limit=200_000):
    """Run one mapped convolution; return the output bytes, counts and cycles.

    ``x`` is (H, W, C) int8. Raises AssertionError if the engine is not done after ``limit`` cycles.
    """
    bench = EngineBench(config)
    in_base, out_base = 16, config.buffer_bytes - out_size - 16 & ~3
    descriptor = lower_conv(mapping, config, requantization, in_base=in_base, out_base=out_base,
                            filter_base=5, parameter_base=3)
    writes = filter_writes(mapping, config, weights, 5)
    result = {}

    async def testbench(ctx):
        engine, post, buffer = bench.engine, bench.post, bench.buffer
        for n, word in enumerate(descriptor.words()):
            ctx.set(engine.words[n], word)
        ctx.set(bench.rule, requantization.rule)
        ctx.set(bench.local, descriptor.fields["local"])
        ctx.set(bench.low, requantization.low)
        ctx.set(bench.high, requantization.high)
        ctx.set(bench.zero_point, requantization.zero_point_out)
        ctx.set(post.w_en, 1)
        for n in range(len(bias)):
            entry = isa.pack_parameter(int(bias[n]), int(multiplier[n]), int(shift[n]))
            for word in range(3):
                ctx.set(post.w_entry, 3 + n)
                ctx.set(post.w_word, word)
                ctx.set(post.w_data, entry[word])
                await ctx.tick()
        ctx.set(post.w_en, 0)
        for write in writes:
            for n, word in enumerate(write.data):
                ctx.set(bench.filter, {"valid": 1, "columns": write.columns, "block": write.block,
                                       "address": write.entry + n,
                                       "weights": [int(v) for v in word]})
                await ctx.tick()
        ctx.set(bench.filter.valid, 0)
        data = x.tobytes() + b"\0" * 3
        ctx.set(buffer.host_write.valid, 1)
        for n in range(0, len(data) - 3, 4):
            ctx.set(buffer.host_write.payload, {
                "addr": in_base + n, "data": int.from_bytes(data[n:n + 4], "little")})
            await ctx.tick()
        ctx.set(buffer.host_write.valid, 0)
        for _ in range(config.rows + 10):
            await ctx.tick()
        ctx.set(engine.start, 1)
        await ctx.tick()
        ctx.set(engine.start, 0)
        cycles, done, gated = 0, 0, 0
        while ctx.get(engine.busy):
            await ctx.tick()
            cycles += 1
            done += ctx.get(engine.done)
            gated += ctx.get(engine.gated)
            assert cycles < limit, "the engine is not done"
        out = bytearray()
        ctx.set(buffer.host_read.valid, 1)
        for n in range(0, out_size + 3, 4):
            ctx.set(buffer.host_read.payload, out_base + n)
            await ctx.tick()
            await ctx.tick()
            out += ctx.get(buffer.host_read_data).to_bytes(4, "little")
        result.update(out=np.frombuffer(bytes(out[:out_size]), np.int8), cycles=cycles, done=done,
                      gated=gated, fields=descriptor.fields)

    simulator = Simulator(bench)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return result
