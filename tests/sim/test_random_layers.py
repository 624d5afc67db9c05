"""Drawn layers on drawn arrays, Verilated: outputs, counters and cycles, all exact.

But for the presets, memories are such that a word read while it is written comes out wrong.

``OARLOCK_EXAMPLES`` multiplies the number of layers, ``OARLOCK_ARRAYS`` is the number of drawn
arrays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import layer_networks
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from layer_networks import NetworkBuilder, random_input
from memory_collisions import spoil_collisions
from oarlock.gen import counts
from oarlock.gen.compact_cycles import compact_timing
from oarlock.gen.config import DATAFLOWS, PRESETS, ArrayConfig, load_config
from oarlock.gen.counts import predicted
from oarlock.gen.interpret import evaluate
from oarlock.gen.network import Network
from oarlock.gen.value_counts import value_counts
from oarlock.gen.verilog import verilog_of
from oarlock.hw import isa
from oarlock.sim.reference import Rounding
from oarlock.sim.simulator import Simulator, build
from oarlock.sim.transport import SimTransport
from oarlock.sw_driver.errors import ProtocolError
from oarlock.sw_driver.session import Session


CONFIGS = {
    # As small as can be: everything is cut, nothing stays.
    "1x1": ArrayConfig(rows=1, cols=1, ifmap_depth=16, filter_depth=512, psum_depth=1, word_bytes=4,
                       buffer_bytes=4096, lanes=1, parameter_depth=16, program_depth=160,
                       zero_gating=False),
    # Odd sizes; a lane for every column, which then keeps its parameters.
    "3x5": ArrayConfig(rows=3, cols=5, ifmap_depth=64, filter_depth=1024, psum_depth=8,
                       word_bytes=16, buffer_bytes=8192, lanes=5, parameter_depth=100,
                       program_depth=512),
    # Short steps, many beats to a slot; three lanes do not divide seven columns.
    "2x7": ArrayConfig(rows=2, cols=7, ifmap_depth=16, filter_depth=256, psum_depth=2, word_bytes=8,
                       buffer_bytes=2048, lanes=3, parameter_depth=16, program_depth=512),
    "4x4": load_config("tiny"),
    # The same for the other dataflow: one PE, odd sizes of which nothing divides another, a preset.
    "1x1 weight-stationary": ArrayConfig(
        dataflow="weight-stationary", rows=1, cols=1, filter_depth=512, accumulator_depth=2,
        word_bytes=4, buffer_bytes=4096, lanes=1, lane_depth=2, parameter_depth=16,
        program_depth=64, zero_gating=False),
    "5x3 weight-stationary": ArrayConfig(
        dataflow="weight-stationary", rows=5, cols=3, filter_depth=256, accumulator_depth=32,
        word_bytes=8, buffer_bytes=2048, buffer_banks=8, lanes=2, lane_depth=2, parameter_depth=16,
        program_depth=512),
    "4x4 weight-stationary": load_config("tiny", dataflow="weight-stationary"),
    # One engine for everything; and with next to no memory.
    "compact": load_config("icebreaker"),
    "compact, small": load_config("icebreaker", filter_depth=256, accumulator_depth=8,
                                  buffer_bytes=2048, parameter_depth=16, program_depth=128),
}


def random_config(seed: int) -> ArrayConfig:
    """Draw an array; sizes from all over their ranges, dataflows in turn."""
    rng = np.random.default_rng(seed)

    def power(low: int, high: int) -> int:
        return 1 << int(rng.integers(low, high + 1))

    rows, cols = (int(rng.choice([1, 2, 3, 5, 7, 11, 16])) for _ in range(2))
    word_bytes = power(2, 5)
    lanes = int(rng.integers(1, min(16, word_bytes) + 1))
    return ArrayConfig(
        dataflow=DATAFLOWS[seed % len(DATAFLOWS)], rows=rows, cols=cols,
        ifmap_depth=power(4, 8), filter_depth=power(8, 12), psum_depth=power(0, 6),
        accumulator_depth=power(1, 9), psum_width=int(rng.integers(24, 33)), word_bytes=word_bytes,
        buffer_bytes=2 * word_bytes * int(rng.integers(128, 1024)),
        buffer_banks=power(1, word_bytes.bit_length()), lanes=lanes,
        lane_depth=max(power(1, 6), 1 << (-(-cols // lanes) - 1).bit_length()),
        parameter_depth=int(rng.integers(16, 300)),
        program_depth=int(rng.integers(400, 2000)), zero_gating=bool(rng.integers(2)))


CONFIGS |= {f"drawn {seed}": random_config(seed)
            for seed in range(int(os.environ.get("OARLOCK_ARRAYS", "4")))}

#: A PE does a MAC a cycle: what takes the largest array a moment takes the smallest a while.
MACS_PER_PE = 25_000

ROUNDINGS = st.sampled_from(["single", "double"])


def drawn(examples: int) -> settings:
    """Return settings for so many examples, the same in every run."""
    return settings(
        max_examples=round(examples * float(os.environ.get("OARLOCK_EXAMPLES", "1"))),
        deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.fixture(scope="module", params=CONFIGS)
def device(request: pytest.FixtureRequest) -> Iterator[tuple[ArrayConfig, Simulator]]:
    config = CONFIGS[request.param]
    verilog = verilog_of(config)
    if config not in PRESETS.values():
        verilog, _ = spoil_collisions(verilog)
    with Simulator(build(verilog)) as simulator:
        yield config, simulator


def check(device: tuple[ArrayConfig, Simulator], network: Network, rounding: Rounding,
          seed: int) -> None:
    """Run a network, and compare output, counters and cycles with what they must be."""
    config, simulator = device
    program = layer_networks.program_of(network, config, rounding)
    x = random_input(network, seed)
    values = evaluate(network, x, rounding)
    counters, ends = predicted(program, config, value_counts(network, config, values))
    transport = SimTransport(simulator)
    with Session(transport, program) as session:
        session.load()
        out = session.infer(x)
        found = session.counters() if config.counters else {}
        commands = [word for address in ends for word in isa.command(
            isa.Opcode.READ, memory=isa.Memory.PROGRAM, address=address, count=1)]
        answers = transport.exchange(np.array(commands, np.uint32), 2 * len(ends), 100_000)
    np.testing.assert_array_equal(out, values[network.output])

    if config.counters:
        assert found["macs_done"] + found["macs_gated"] == network.macs
        assert config.zero_gating or not found["macs_gated"]
        assert {name: found[name] for name in counters} == counters
    done = answers[1::2].astype(np.int64)
    wanted = np.array(list(ends.values()))
    np.testing.assert_array_equal(done - done[0], wanted - wanted[0])
    # One run of everything, which starts the timer itself: nothing is written between.
    if any(step["do"] == "timestamps" for step in program.inference):
        assert done[0] == wanted[0], "cycle of the first end"


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a layer."""
    op = draw(st.sampled_from(["conv", "conv", "conv", "depthwise", "depthwise", "dense", "pool",
                               "mean", "add"]))
    event(op)

    def size(usual: int, most: int) -> int:
        return draw(st.integers(1, most) if draw(st.integers(0, 3)) == 0 else st.integers(1, usual))

    window = size(4, 15), size(4, 15)
    stride = size(2, 4), size(2, 4)
    padding = tuple((draw(st.integers(0, taps // 2)), draw(st.integers(0, taps // 2)))
                    for taps in window) if draw(st.booleans()) else ((0, 0), (0, 0))
    if op in ("dense", "mean", "add"):
        window, padding = (1, 1), ((0, 0), (0, 0))
    h, w = (max(1, taps - sum(pad)) + draw(st.integers(0, 11))
            for taps, pad in zip(window, padding, strict=True))
    c = size(9, 40)
    low = draw(st.integers(-128, 20))
    activation = (low, draw(st.integers(low, 127))) if draw(st.booleans()) else (-128, 127)
    extreme = draw(st.booleans())
    builder = NetworkBuilder((h, w, c), draw(st.integers(0, 1 << 20)), zero_point=draw(
        st.sampled_from([-128, -127, 127, 0, 5, -31])))
    if op in ("conv", "depthwise"):
        m = draw(st.integers(1, 4)) if op == "depthwise" else size(12, 40)
        builder.conv(m, window, stride=stride, padding=padding, depthwise=op == "depthwise",
                     extreme=extreme, activation=activation)
    elif op == "dense":
        builder.dense(size(12, 60), extreme=extreme, activation=activation)
    elif op == "pool":
        builder.pool(draw(st.sampled_from(["average_pool", "max_pool"])), window, stride, padding,
                     activation=activation)
    elif op == "mean":
        builder.mean()
    else:
        builder.conv(c, (1, 1)).add("t0", activation=activation)
    return builder.network()


@drawn(100)
@given(network=networks(), rounding=ROUNDINGS, seed=st.integers(0, 99))
def test_drawn_layer(device: tuple[ArrayConfig, Simulator], network: Network, rounding: Rounding,
                     seed: int) -> None:
    assume(network.macs <= MACS_PER_PE * device[0].pes)
    check(device, network, rounding, seed)


@st.composite
def chains(draw: st.DrawFn) -> Network:
    """Draw some layers after one another: descriptors that were fetched while others ran."""
    shape = draw(st.integers(2, 9)), draw(st.integers(2, 9)), draw(st.integers(1, 8))
    builder = NetworkBuilder(shape, draw(st.integers(0, 1 << 20)))
    for op in draw(st.lists(st.sampled_from(["wide", "narrow", "depthwise", "pool", "add"]),
                            min_size=2, max_size=4)):
        last = builder.last
        if op == "add":
            builder.conv(builder.tensors[last].shape[3], (1, 1)).add(last)
        elif op == "pool":
            builder.pool("max_pool", (2, 2), (1, 1), ((1, 0), (0, 1)))
        else:
            size = 3 if op != "narrow" else 1
            stride = draw(st.integers(1, 2))
            builder.conv(1 if op == "depthwise" else draw(st.integers(1, 9)), (size, size),
                         stride=(stride, stride), padding=((size // 2, size // 2),) * 2,
                         depthwise=op == "depthwise")
    if draw(st.booleans()):
        builder.mean()
    return builder.network()


@drawn(25)
@given(network=chains(), rounding=ROUNDINGS, seed=st.integers(0, 99))
def test_drawn_chain(device: tuple[ArrayConfig, Simulator], network: Network, rounding: Rounding,
                     seed: int) -> None:
    assume(network.macs <= MACS_PER_PE * device[0].pes)
    check(device, network, rounding, seed)


def test_kernels_and_strides_at_their_limits(device: tuple[ArrayConfig, Simulator]) -> None:
    for window, stride in (((15, 15), (1, 1)), ((15, 1), (4, 1)), ((1, 15), (1, 4)),
                           ((15, 15), (4, 4))):
        pads = tuple((taps // 2, taps // 2) for taps in window)
        for image in ((1, 1, 3), (17, 16, 2)):
            network = NetworkBuilder(image, 1).conv(3, window, stride=stride, padding=pads)
            check(device, network.network(), "double", 1)


def test_a_spoiled_word_is_noticed() -> None:
    config = CONFIGS["1x1"]
    verilog, ports = spoil_collisions(verilog_of(config), anywhere=True)
    assert ports >= 8
    network = NetworkBuilder((3, 3, 4), 1).conv(4, (3, 3)).network()
    # Even of the queue of answers, which is written while it is read.
    with Simulator(build(verilog)) as simulator, pytest.raises(ProtocolError):
        check((config, simulator), network, "single", 1)


def test_a_wrong_weight_is_noticed(device: tuple[ArrayConfig, Simulator],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    network = NetworkBuilder((3, 3, 4), 1).conv(4, (3, 3)).network()
    right = layer_networks.program_of

    def wrong(network: Network, *options: object) -> object:
        layer = network.layers[0]
        assert layer.weights is not None
        weights = layer.weights.copy()
        weights[2, 1, 1, 3] ^= 64
        return right(replace(network, layers=(replace(layer, weights=weights),)), *options)

    check(device, network, "single", 1)
    monkeypatch.setattr(layer_networks, "program_of", wrong)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        check(device, network, "single", 1)


def test_a_wrong_cycle_is_noticed(device: tuple[ArrayConfig, Simulator],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    network = NetworkBuilder((3, 3, 4), 1).conv(4, (3, 3)).network()
    if device[0].compact:
        monkeypatch.setattr(compact_timing(device[0]), "_prepare", 0)
        complaint = "cycle of the first end"
    else:
        monkeypatch.setattr(counts, "FETCH_CYCLES", counts.FETCH_CYCLES + 1)
        complaint = "busy_cycles"
    with pytest.raises(AssertionError, match=complaint):
        check(device, network, "single", 1)


def test_a_wrong_count_is_noticed(device: tuple[ArrayConfig, Simulator],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """An access more in the model, of whatever kind, is one too many."""
    if not device[0].counters:
        pytest.skip("this device counts nothing")
    right = counts.descriptor_counts
    network = NetworkBuilder((3, 3, 4), 1).conv(4, (3, 3)).network()
    names = set(isa.COUNTERS) - {"cycles", "busy_cycles", "macs_done", "macs_gated",
                                 "filter_writes", "link_words_in", "link_words_out"}
    for name in names:
        def wrong(*options: object, name: str = name) -> tuple[int, dict[str, int]]:
            cycles, found = right(*options)
            return cycles, found | {name: found.get(name, 0) + 1}

        monkeypatch.setattr(counts, "descriptor_counts", wrong)
        with pytest.raises(AssertionError, match=name):
            check(device, network, "single", 1)
