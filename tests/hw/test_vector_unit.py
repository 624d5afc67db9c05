# amaranth: UnusedElaboratable=no
"""The vector unit and the post processor on a model of the global buffer, against numpy."""

import random
import re

import numpy as np
import pytest
from amaranth import *
from amaranth.back import verilog
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from oarlock.gen.vector_cycles import vector_cycles
from oarlock.hw.descriptor import layout
from oarlock.hw.global_buffer import GlobalBuffer
from oarlock.hw.isa import VECTOR_FIELDS, DescriptorKind, Rule, VectorOp, pack
from oarlock.hw.post_processor import PostProcessor
from oarlock.hw.vector_unit import VectorUnit
from oarlock.sim import reference


MEMORY_BYTES = 1 << 13
GAP = 5  # idle cycles watched after the last descriptor


class Top(wiring.Component):
    """Vector unit and post processor, as the accelerator connects them."""

    words: In(layout(VECTOR_FIELDS).size)

    def __init__(self, *, lanes, word_bytes, read_latency):
        self.vector = VectorUnit(lanes=lanes, word_bytes=word_bytes, read_latency=read_latency,
                                 tag_shape=2)
        self.post = PostProcessor(lanes=lanes, parameter_depth=4, tag_shape=2)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.vector = self.vector
        m.submodules.post   = self.post
        m.d.comb += [
            self.vector.descriptor.eq(self.words),
            self.post.i.eq(self.vector.post_i),
            self.vector.post_o.eq(self.post.o),
            self.vector.post_raw.eq(self.post.raw),
        ]
        return m


def run(memory, descriptors, *, lanes, word_bytes, read_latency=GlobalBuffer.LATENCY):
    """Run descriptors on a copy of ``memory``; return it and the cycles each took."""
    memory, cycles = bytearray(memory), []
    dut = Top(lanes=lanes, word_bytes=word_bytes, read_latency=read_latency)
    vector = dut.vector
    size = len(memory)

    async def buffer(ctx):
        reads = [None] * read_latency
        while True:
            # Set what was asked for read_latency cycles ago; without a read, garbage.
            address = reads[-read_latency]
            ctx.set(vector.read_data, [0x5A] * word_bytes if address is None else
                    [memory[(address + n) % size] for n in range(word_bytes)])
            *_, read_en, read_addr, write_en, write_addr, count, values = await ctx.tick().sample(
                vector.read_en, vector.read_addr, vector.write_en, vector.write_addr,
                vector.write_count, vector.write_data)
            reads = [*reads[1:], read_addr if read_en else None]
            if write_en:
                assert 1 <= count <= lanes
                for n in range(count):
                    memory[(write_addr + n) % size] = values[n]

    async def drive(ctx):
        for values in descriptors:
            words = pack(VECTOR_FIELDS, {"kind": DescriptorKind.VECTOR, **values})
            ctx.set(dut.words, sum(word << 32 * n for n, word in enumerate(words)))
            ctx.set(vector.start, 1)
            elapsed = 0
            while True:
                *_, done, busy = await ctx.tick().sample(vector.done, vector.busy)
                assert busy == (elapsed > 0 and not done)
                if done:
                    break
                ctx.set(vector.start, 0)
                elapsed += 1
            cycles.append(elapsed)
            # The next descriptor starts in the cycle after done.
        at_done = bytes(memory)
        await ctx.tick().repeat(GAP)
        assert at_done == memory

    async def watchdog(ctx):
        await ctx.delay(1e-8 * 100_000)
        raise TimeoutError("vector unit not done")

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(buffer, background=True)
    sim.add_testbench(drive)
    sim.add_testbench(watchdog, background=True)
    sim.run()
    return bytes(memory), cycles


ROUNDING = {Rule.SINGLE: "single", Rule.DOUBLE: "double"}


def scaled(acc, values, suffix=""):
    """Scale integers by the descriptor's multiplier, as docs/hardware.md says."""
    q, shift = values[f"multiplier{suffix}"], values[f"shift{suffix}"]
    if values["rule"] == Rule.TRUNCATE:
        magnitude = (np.abs(acc) + values["bias"]) * q >> 31 - shift
        return np.where(acc < 0, -magnitude, magnitude)
    bias = 0 if suffix else values["bias"]
    return reference.scale_accumulator(acc + bias, q, shift, ROUNDING[values["rule"]])


def expected(memory, values):
    """Run a descriptor one output at a time, all channels of a run at once."""
    memory = np.frombuffer(memory, dtype=np.int8).copy()
    size, channel = len(memory), np.arange(values["channels"])
    for y in range(values["y_count"]):
        for x in range(values["x_count"]):
            taps = np.array([
                memory[(values["in_base"] + y * values["in_y_step"] + x * values["in_x_step"]
                        + wy * values["window_y_step"] + wx * values["window_x_step"]
                        + channel) % size]
                for wy in range(values["window_y_count"])
                for wx in range(values["window_x_count"])], dtype=np.int64)
            if values["op"] == VectorOp.ADD:
                a, b = (tap - values[f"zero_point{suffix}"] << values["left_shift"]
                        for tap, suffix in zip(taps, ("_a", "_b"), strict=True))
                result = scaled(scaled(a, values, "_a") + scaled(b, values, "_b"), values)
            else:
                reduced = taps.max(axis=0) if values["op"] == VectorOp.MAX else taps.sum(axis=0)
                result = scaled(reduced, values)
            out = values["out_base"] + y * values["out_y_step"] + x * values["out_x_step"]
            memory[(out + channel) % size] = np.clip(
                result + values["zero_point_out"], values["low"], values["high"])
    return memory.tobytes()


def random_descriptor(rng, *, op, rule, channels):
    """Draw a descriptor that reads the lower half of the memory and writes the upper one."""
    window_y, window_x = (2, 1) if op == VectorOp.ADD else (rng.randint(1, 3), rng.randint(1, 3))
    x_count, y_count = rng.randint(1, 3), rng.randint(1, 3)
    # Addresses may step backwards, modulo 2**24, and below zero, which is the end of the memory;
    # but never as far as the results.
    steps = [rng.randint(-300, 300) for _ in range(4)]
    out_base = MEMORY_BYTES // 2 + rng.randint(600, 700)
    shift = rng.choice((-6, -2, -1, 0, 1))
    values = {
        "op": op, "rule": rule, "channels": channels, "x_count": x_count, "y_count": y_count,
        "window_y_count": window_y, "window_x_count": window_x,
        "in_base": rng.randint(0, 2000), "out_base": out_base,
        "window_y_step": steps[0] % (1 << 24), "window_x_step": steps[1] % (1 << 24),
        "in_x_step": steps[2] % (1 << 24), "in_y_step": steps[3] % (1 << 24),
        "out_x_step": rng.randint(-100, 100) % (1 << 24), "out_y_step": rng.randint(0, 300),
        "zero_point_a": rng.randint(-128, 127), "zero_point_b": rng.randint(-128, 127),
        "zero_point_out": rng.randint(-20, 20), "low": rng.randint(-128, -100),
        "high": rng.randint(100, 127), "bias": rng.randint(-50, 50), "left_shift": 20,
        **{f"multiplier{suffix}": rng.randint(1 << 30, (1 << 31) - 1)
           for suffix in ("", "_a", "_b")},
        "shift": shift, "shift_a": rng.randint(-3, 0), "shift_b": rng.randint(-3, 0),
    }
    if op == VectorOp.ADD:
        values |= {"shift": rng.randint(-20, -18), "bias": rng.randint(-1 << 20, 1 << 20)}
    if rule == Rule.TRUNCATE:
        values |= {"bias": abs(values["bias"]), "shift": min(shift, 0)}
    return values


def random_memory(seed):
    """Fill the memory with random bytes."""
    return np.random.default_rng(seed).integers(0, 256, MEMORY_BYTES, dtype=np.uint8).tobytes()


KINDS = [(op, rule) for op in VectorOp for rule in Rule
         if (op, rule) != (VectorOp.ADD, Rule.TRUNCATE)]


@pytest.mark.parametrize(("lanes", "word_bytes", "read_latency"), [(1, 4, 1), (3, 8, 2), (4, 4, 4)])
def test_random_descriptors(lanes, word_bytes, read_latency):
    rng, memory = random.Random(lanes), random_memory(lanes)
    descriptors = [random_descriptor(rng, op=op, rule=rule, channels=channels)
                   for op, rule in KINDS for channels in (1, lanes, lanes + 1, 3 * lanes - 1)]
    rng.shuffle(descriptors)
    want = memory
    for values in descriptors:
        want = expected(want, values)
    got, cycles = run(memory, descriptors, lanes=lanes, word_bytes=word_bytes,
                      read_latency=read_latency)
    assert got == want
    assert got != memory
    assert cycles == [vector_cycles(values, lanes, read_latency=read_latency)
                      for values in descriptors]


#: A copy of one byte; tests add what they need.
PLAIN = {
    "op": VectorOp.SUM, "rule": Rule.SINGLE, "channels": 1, "x_count": 1, "y_count": 1,
    "window_y_count": 1, "window_x_count": 1, "low": -128, "high": 127,
    "multiplier": 1 << 30, "shift": 1,
}


def load(x):
    """Put a feature map (1, H, W, C) at address 0 of a memory."""
    return x.tobytes() + bytes(MEMORY_BYTES - x.size)


def pool(x, *, window, stride, **values):
    """Make the descriptor of a pool without padding and run it."""
    _, height, width, channels = x.shape
    rows, columns = (height - window[0]) // stride + 1, (width - window[1]) // stride + 1
    descriptor = PLAIN | {
        "channels": channels, "y_count": rows, "x_count": columns, "out_base": x.size,
        "window_y_count": window[0], "window_x_count": window[1],
        "window_y_step": width * channels, "window_x_step": channels,
        "in_y_step": stride * width * channels, "in_x_step": stride * channels,
        "out_y_step": columns * channels, "out_x_step": channels, **values}
    memory, (cycles,) = run(load(x), [descriptor], lanes=3, word_bytes=4)
    assert cycles == vector_cycles(descriptor, lanes=3)
    out = np.frombuffer(memory, dtype=np.int8)[x.size:][:rows * columns * channels]
    return out.reshape(1, rows, columns, channels)


def feature_map(seed, *shape):
    """Draw int8 values, the ends more often than others."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.integers(-170, 170, (1, *shape)), -128, 127).astype(np.int8)


def test_max_pool():
    x = feature_map(1, 7, 9, 5)
    want = reference.max_pool(x, window=(3, 3), stride=(2, 2), activation=(-100, 90))
    got = pool(x, window=(3, 3), stride=2, op=VectorOp.MAX, low=-100, high=90)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("window", [(2, 2), (5, 5), (3, 2)])
def test_average_pool(window):
    x = feature_map(2, 6, 6, 5)
    q, e = reference.reciprocal(window[0] * window[1])
    want = reference.average_pool(x, window=window, stride=(1, 1))
    got = pool(x, window=window, stride=1, rule=Rule.TRUNCATE, multiplier=q, shift=-e,
               bias=window[0] * window[1] // 2)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("rule", [Rule.SINGLE, Rule.DOUBLE])
def test_mean(rule):
    x = feature_map(3, 6, 5, 7)
    q, shift = reference.mean_parameters(0.05, 0.02, 30)
    want = reference.mean(x, q, shift, input_zero_point=-3, output_zero_point=4,
                          rounding=ROUNDING[rule])
    got = pool(x, window=(6, 5), stride=1, rule=rule, multiplier=q, shift=shift, bias=3 * 30,
               zero_point_out=4)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("rule", [Rule.SINGLE, Rule.DOUBLE])
@pytest.mark.parametrize("scales", [(0.11, 0.04, 0.12), (0.02, 0.021, 0.02)])
def test_add(rule, scales):
    a, b = feature_map(4, 1, 1, 450), feature_map(5, 1, 1, 450)
    parameters = reference.add_parameters(*scales, ROUNDING[rule])
    want = reference.add(a, b, parameters, zero_points=(-7, 127, 2), activation=(-120, 127),
                         rounding=ROUNDING[rule])
    descriptor = PLAIN | {
        "op": VectorOp.ADD, "rule": rule, "channels": 450, "out_base": 900,
        "window_y_count": 2, "window_y_step": 450, "zero_point_a": -7, "zero_point_b": 127,
        "zero_point_out": 2, "low": -120, "left_shift": parameters.left_shift,
        **{f"{name}{suffix}": value
           for name, of in (("multiplier", parameters.multipliers), ("shift", parameters.shifts))
           for suffix, value in zip(("_a", "_b", ""), of, strict=True)},
    }
    memory, (cycles,) = run(load(np.stack((a, b))), [descriptor], lanes=4, word_bytes=8)
    assert np.array_equal(np.frombuffer(memory, dtype=np.int8)[900:1350], want.ravel())
    assert cycles == vector_cycles(descriptor, lanes=4)


def test_copy_and_fill():
    x = feature_map(6, 1, 1, 50)
    fill = PLAIN | {"channels": 30, "out_base": 101, "multiplier": 0, "zero_point_out": -9}
    copy = PLAIN | {"channels": 50, "out_base": 51}
    memory, _ = run(load(x), [copy, fill], lanes=4, word_bytes=4)
    assert memory[:131] == x.tobytes() + b"\0" + x.tobytes() + bytes([256 - 9] * 30)


@pytest.mark.parametrize("mutant", [
    {"window_x_step": 4}, {"in_y_step": 1}, {"out_x_step": 4}, {"bias": 1}, {"zero_point_a": 1},
    {"zero_point_b": 1}, {"left_shift": 19}, {"multiplier_b": 1 << 29}, {"shift_a": -4},
    {"low": -90},
])
def test_stimulus_tells_mutants_apart(mutant):
    rng, memory = random.Random(3), random_memory(3)
    descriptors = [random_descriptor(rng, op=op, rule=rule, channels=8) for op, rule in KINDS]
    assert any(expected(memory, values) != expected(memory, values | mutant)
               for values in descriptors)


def test_cycles_tell_one_group_apart():
    values = PLAIN | {"channels": 9}
    _, (cycles,) = run(bytes(MEMORY_BYTES), [values], lanes=3, word_bytes=4)
    assert cycles == vector_cycles(values, lanes=3) != vector_cycles(values | {"channels": 10}, 3)


def constants_never_driven(component):
    """Find constants that the Verilog assigns where a simulator never gets to.

    If one field of a signal is driven under a condition, Yosys declares the whole signal ``reg``
    and drives its constant fields by ``always @*`` blocks that read nothing. Verilator never runs
    them: the fields stay 0.
    """
    text = verilog.convert(component, emit_src=False, strip_internal_attrs=True)
    return re.findall(r"always @\*\s+(\S+) = \d+'[bdh][0-9a-f]*[1-9a-f][0-9a-f]*;", text)


def test_verilog_drives_its_constants():
    dut = VectorUnit(lanes=1, word_bytes=4, read_latency=1)
    assert not constants_never_driven(dut)

    class Mixed(wiring.Component):
        enable: In(1)
        o: Out(data.StructLayout({"constant": 1, "conditional": 1}))

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.constant.eq(1)
            with m.If(self.enable):
                m.d.comb += self.o.conditional.eq(1)
            return m

    assert constants_never_driven(Mixed()) == ["o[0]"]


def test_wrong_parameters():
    with pytest.raises(ValueError, match=r"^Lanes must be 1 to 4, not 5$"):
        VectorUnit(lanes=5, word_bytes=4, read_latency=2)
    with pytest.raises(ValueError, match=r"^Read latency must be at least 1, not 0$"):
        VectorUnit(lanes=2, word_bytes=4, read_latency=0)
