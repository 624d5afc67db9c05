"""A ConvEngine with its memories, on Amaranth's simulator: one layer in, one feature map out."""

import numpy as np
from amaranth import *
from amaranth.sim import Simulator
from oarlock.gen.dataflow import dataflow_of
from oarlock.gen.lower import parameter_entries
from oarlock.hw.accelerator import ENGINES
from oarlock.hw.engine import connect_engine
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.hw.post_processor import PostProcessor


class EngineBench(Elaboratable):
    """Buffer, engine and post-processing, connected as the accelerator connects them."""

    def __init__(self, config):
        self.config = config
        engine_of = ENGINES[config.dataflow_code]
        self.buffer = GlobalBuffer(size_bytes=config.buffer_bytes, word_bytes=config.word_bytes,
                                   banks=config.buffer_banks)
        self.post = PostProcessor(lanes=config.lanes, parameter_depth=config.parameter_depth,
                                  lane_depth=config.lane_depth,
                                  tag_shape=engine_of.tag_shape(config))
        self.engine = engine_of(config, read_latency=GlobalBuffer.LATENCY,
                                scale_latency=PostProcessor.LATENCY)
        self.filter = Signal(self.engine.filter.shape())

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer, m.submodules.post, m.submodules.engine = (
            self.buffer, self.post, self.engine)
        connect_engine(m, self.engine, self.buffer, self.post)
        m.d.comb += self.engine.filter.eq(self.filter)
        return m


def run_in_order(config, descriptors, filters, parameters, x, in_base, out_base, size, *,
                 limit=200_000):
    """Run descriptors one after the other; return output bytes, cycles of each, and MACs.

    Parameters
    ----------
    config : :class:`oarlock.gen.config.ArrayConfig`
        The array.
    descriptors : list
        What :func:`lower_conv` of its dataflow returns.
    filters : list of :class:`oarlock.gen.lower.FilterWrite`
        Written first.
    parameters : list
        Entries of the parameter memory.
    x : int8 array
        Ifmap.
    in_base, out_base, size : :class:`int`
        Where ``x`` goes, where outputs are, and how many bytes of them.
    limit : :class:`int`
        Cycles after which it is an error not to be done.
    """
    bench = EngineBench(config)
    result = {"cycles": [], "done": 0, "gated": 0}

    async def testbench(ctx):
        engine, post, buffer = bench.engine, bench.post, bench.buffer
        ctx.set(post.w_en, 1)
        for entry, words in enumerate(parameters):
            for word, value in enumerate(words):
                ctx.set(post.w_entry, entry)
                ctx.set(post.w_word, word)
                ctx.set(post.w_data, value)
                await ctx.tick()
        ctx.set(post.w_en, 0)
        for write in filters:
            for n, weights in enumerate(write.data):
                ctx.set(bench.filter, {
                    "valid": 1, "columns": write.columns, "block": write.block,
                    "address": write.entry + n, "weights": [int(w) for w in weights]})
                await ctx.tick()
        ctx.set(bench.filter.valid, 0)
        data = x.tobytes() + bytes(-x.size % 4)
        ctx.set(buffer.host_write.valid, 1)
        for n in range(0, len(data), 4):
            ctx.set(buffer.host_write.payload, {
                "addr": in_base + n, "data": int.from_bytes(data[n:n + 4], "little")})
            await ctx.tick()
        ctx.set(buffer.host_write.valid, 0)
        # Filters are still on their way to the last row or column.
        await ctx.tick().repeat(20)
        for descriptor in descriptors:
            for n, word in enumerate(descriptor.words()):
                ctx.set(engine.words[n], word)
            ctx.set(engine.start, 1)
            await ctx.tick()
            ctx.set(engine.start, 0)
            cycles = 0
            while ctx.get(engine.busy):
                await ctx.tick()
                cycles += 1
                result["done"] += ctx.get(engine.events.macs_done)
                result["gated"] += ctx.get(engine.events.macs_gated)
                assert cycles < limit, "the engine is not done"
            result["cycles"].append(cycles)
        # The last write is read from two cycles later on.
        await ctx.tick()
        out = b""
        ctx.set(buffer.host_read.valid, 1)
        for n in range(0, size, 4):
            ctx.set(buffer.host_read.payload, out_base + n)
            await ctx.tick().repeat(GlobalBuffer.LATENCY)
            out += ctx.get(buffer.host_read_data).to_bytes(4, "little")
        result["out"] = np.frombuffer(out[:size], np.int8)

    simulator = Simulator(bench)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return result


def run_conv(config, mapping, x, weights, bias, multiplier, shift, requantization, out_size):
    """Run one mapped convolution of ``x`` (H, W, C) int8; the result also has the ``fields``."""
    tools = dataflow_of(config)
    out_base = config.buffer_bytes - out_size - 16 & ~3
    descriptor = tools.lower_conv(mapping, config, requantization, in_base=16, out_base=out_base,
                                  filter_base=5, parameter_base=3)
    parameters = [(0, 0, 0)] * 3 + parameter_entries(bias, multiplier, shift)
    result = run_in_order(config, [descriptor], tools.filter_writes(mapping, config, weights, 5),
                          parameters, x, 16, out_base, out_size)
    return result | {"cycles": result["cycles"][0], "fields": descriptor.fields}
