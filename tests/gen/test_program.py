"""Whole networks, small memories: what the compiler cuts and streams is still exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_data
from descriptor_model import Device, run_program, run_setup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oarlock.gen.config import DATAFLOWS, ArrayConfig, load_config
from oarlock.gen.interpret import evaluate
from oarlock.gen.network import Layer, Network, Tensor
from oarlock.gen.program import Program, compile_network
from oarlock.gen.tflite_import import load
from oarlock.hw import isa
from oarlock.sim.reference import mean_parameters


class Chain:
    """Builds a network of layers with random constants."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.last = self._tensor(shape)

    def _tensor(self, shape: tuple[int, ...], like: str | None = None, **values: Any) -> str:
        name = f"t{len(self.tensors)}"
        source = self.tensors.get(like or "")
        scale = source.scale if source else float(np.float32(self.rng.uniform(0.02, 0.2)))
        zero_point = source.zero_point if source else int(self.rng.integers(-128, 128))
        self.tensors[name] = Tensor(name=name, shape=shape, **{
            "scale": scale, "zero_point": zero_point, **values})
        return name

    def _add(self, op: str, output: str, *inputs: str, **values: Any) -> str:
        index = len(self.layers)
        self.layers.append(Layer(
            name=f"op{index}_{op}", op=op, index=index,  # type: ignore[arg-type]
            inputs=inputs or (self.last,), output=output, **values))
        self.last = output
        return output

    def _weights(self, shape: tuple[int, ...], count: int, taps: int) -> dict[str, np.ndarray]:
        shift = -6 - int(np.log2(taps) / 2)
        return {"weights": self.rng.integers(-127, 128, shape).astype(np.int8),
                "bias": self.rng.integers(-3000, 3000, count).astype(np.int32),
                "multiplier": self.rng.integers(1 << 30, 1 << 31, count),
                "shift": self.rng.integers(shift - 1, shift + 1, count)}

    def _window(self, window: tuple[int, int], stride: tuple[int, int],
                padding: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, int]:
        _, h, w, _ = self.tensors[self.last].shape
        p, q = ((size + sum(pad) - taps) // step + 1 for size, pad, taps, step
                in zip((h, w), padding, window, stride, strict=True))
        return p, q

    def conv(self, m: int, r: int, s: int, stride: tuple[int, int] = (1, 1), pad: int = 0) -> str:
        """Append a convolution."""
        padding = (pad, pad), (pad, pad)
        p, q = self._window((r, s), stride, padding)
        c = self.tensors[self.last].shape[3]
        return self._add("conv", self._tensor((1, p, q, m)), stride=stride, padding=padding,
                         activation=(-128, 120), **self._weights((m, r, s, c), m, r * s * c))

    def depthwise(self, r: int, s: int, multiplier: int = 1, pad: int = 0, stride: int = 1) -> str:
        """Append a depthwise convolution."""
        padding = (pad, pad), (pad, pad)
        p, q = self._window((r, s), (stride, stride), padding)
        m = self.tensors[self.last].shape[3] * multiplier
        return self._add("depthwise_conv", self._tensor((1, p, q, m)), stride=(stride, stride),
                         padding=padding, **self._weights((r, s, m), m, r * s))

    def dense(self, m: int) -> str:
        """Append a fully connected layer."""
        c = self.tensors[self.last].size
        return self._add("fully_connected", self._tensor((1, m)), **self._weights((m, c), m, c))

    def pool(self, op: str, window: tuple[int, int], stride: tuple[int, int], pad: int = 0) -> str:
        """Append a pooling."""
        padding = (pad, pad), (pad, pad)
        c = self.tensors[self.last].shape[3]
        output = self._tensor((1, *self._window(window, stride, padding), c), self.last)
        return self._add(op, output, window=window, stride=stride, padding=padding)

    def mean(self) -> str:
        """Append a mean over the image."""
        _, h, w, c = self.tensors[self.last].shape
        source, output = self.last, self._tensor((1, c))
        q31, shift = mean_parameters(self.tensors[source].scale, self.tensors[output].scale, h * w)
        return self._add("mean", output, multiplier=np.array([q31]), shift=np.array([shift]),
                         bias=np.array([-h * w * self.tensors[source].zero_point], np.int32))

    def add(self, a: str, b: str) -> str:
        """Append a residual addition."""
        return self._add("add", self._tensor(self.tensors[a].shape), a, b)

    def pad(self, padding: tuple[tuple[int, int], tuple[int, int]]) -> str:
        """Append a padding."""
        _, h, w, c = self.tensors[self.last].shape
        output = self._tensor((1, h + sum(padding[0]), w + sum(padding[1]), c), self.last)
        return self._add("pad", output, padding=padding)

    def reshape(self, shape: tuple[int, ...]) -> str:
        """Append a reshape."""
        return self._add("reshape", self._tensor(shape, self.last))

    def network(self) -> Network:
        """Return what was built."""
        return Network(name="chain", tensors=self.tensors, layers=tuple(self.layers), input="t0",
                       output=self.last)


def check(network: Network, config: ArrayConfig, rounding: str = "single", runs: int = 1,
          ) -> Program:
    """Compile, run on the model, compare with the reference."""
    program = compile_network(network, config, rounding)
    device = Device(config)
    run_setup(device, program)
    rng = np.random.default_rng(5)
    header = program.header
    for _ in range(runs):
        shape = network.tensors[header["input"]["name"]].shape
        x = rng.integers(-128, 128, shape).astype(np.int8)
        device.counters = dict.fromkeys(device.counters, 0)
        out = run_program(device, program, x)
        expected = evaluate(network, x, rounding)[header["output"]["name"]]
        np.testing.assert_array_equal(out.ravel(), expected.ravel())
        macs = device.counters["macs_done"] + device.counters["macs_gated"]
        assert macs == network.macs
    return program


SMALL = load_config("tiny", buffer_bytes=1024, filter_depth=64, parameter_depth=16,
                    program_depth=2 * isa.conv_words(4, 4))


def residual() -> Network:
    chain = Chain((1, 10, 9, 3))
    stem = chain.conv(8, 3, 3, pad=1)
    chain.depthwise(3, 3, pad=1)
    branch = chain.conv(8, 1, 1)
    chain.add(stem, branch)
    chain.pad(((1, 2), (0, 1)))
    chain.conv(10, 3, 3, (2, 2))
    chain.pool("max_pool", (2, 2), (2, 1), 1)
    chain.pool("average_pool", (3, 3), (1, 1), 1)
    chain.mean()
    chain.dense(5)
    return chain.network()


def flattened() -> Network:
    chain = Chain((1, 300))
    chain.reshape((1, 10, 6, 5))
    chain.pad(((1, 0), (2, 1)))
    chain.pool("max_pool", (2, 3), (1, 1))
    chain.depthwise(2, 2, multiplier=3, pad=1)
    chain.conv(20, 2, 3, (1, 2))
    chain.dense(30)
    chain.dense(7)
    return chain.network()


def wide() -> Network:
    chain = Chain((1, 4, 4, 40))
    chain.conv(30, 3, 3, pad=1)
    chain.conv(200, 1, 1)
    chain.conv(3, 4, 4)
    return chain.network()


def reshaped() -> Network:
    """Return a network with tensors that are read in another shape than they were written in."""
    chain = Chain((1, 2400))
    chain.reshape((1, 20, 15, 8))
    chain.pool("max_pool", (3, 3), (1, 2), 1)
    chain.reshape((1, 10, 8, 16))
    chain.reshape((1, 8, 10, 16))
    chain.conv(12, 3, 3)
    chain.reshape((1, 6, 96))
    chain.dense(10)
    return chain.network()


NETWORKS = {"residual": residual, "flattened": flattened, "reshaped": reshaped, "wide": wide}
CONFIGS = {
    "tiny": load_config("tiny"),
    "3x5": load_config("tiny", rows=3, cols=5, lanes=3),
    "ulx3s": load_config("ulx3s-85f"),
    "few filters": load_config("tiny", filter_depth=128),
    "small buffer": load_config("tiny", buffer_bytes=1024),
    "few parameters": load_config("tiny", parameter_depth=16),
    "short program": replace(SMALL, filter_depth=2048, buffer_bytes=8192, parameter_depth=100),
    "small": SMALL,
    "one": load_config("tiny", rows=1, cols=1, lanes=1, word_bytes=4, ifmap_depth=16, psum_depth=2,
                       buffer_bytes=2048, filter_depth=2048),
}


# One PE takes a minute for the others.
PAIRS = [(name, config) for name in NETWORKS for config in CONFIGS
         if config != "one" or name == "flattened"]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("name", "config"), PAIRS)
def test_network(name: str, config: str, dataflow: str) -> None:
    rounding = "double" if config in ("3x5", "few filters") else "single"
    check(NETWORKS[name](), replace(CONFIGS[config], dataflow=dataflow), rounding)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_early_end_of_a_run(dataflow: str) -> None:
    network, config = residual(), replace(CONFIGS["small"], dataflow=dataflow)
    program = compile_network(network, config)
    x = np.random.default_rng(5).integers(-128, 128, network.tensors["t0"].shape).astype(np.int8)
    outputs = []
    for late in (False, True):
        device = Device(config, late=late)
        run_setup(device, program)
        outputs.append(run_program(device, program, x))
    np.testing.assert_array_equal(*outputs)


def test_a_missing_wait_is_found() -> None:
    network, config = wide(), CONFIGS["few filters"]
    program = compile_network(network, config)
    x = np.random.default_rng(5).integers(-128, 128, network.tensors["t0"].shape).astype(np.int8)
    expected = evaluate(network, x)[network.output]
    waits = [step for step in program.inference if step["do"] == "wait"][:-1]
    # Some waits are only there to time layers; without any of them something is overwritten.
    program.header["inference"] = [step for step in program.inference if step not in waits]
    device = Device(config)
    run_setup(device, program)
    assert (run_program(device, program, x).ravel() != expected.ravel()).any()


def test_one_wrong_weight_is_found() -> None:
    network, config = flattened(), CONFIGS["tiny"]
    program = compile_network(network, config)
    send = next(step for step in program.setup if step["do"] == "send")
    end, position, filters = send["start"] + send["words"], send["start"], None
    while position < end:
        first, _, count = (int(word) for word in program.words[position:position + 3])
        if first >> 16 & 15 == isa.Memory.FILTER:
            filters = position + isa.COMMAND_WORDS
        position += isa.COMMAND_WORDS + count
    assert filters is not None
    # The last layer's first weight: filters are written in the order of the layers.
    program.words[filters] ^= 64
    x = np.random.default_rng(5).integers(-128, 128, network.tensors["t0"].shape).astype(np.int8)
    device = Device(config)
    run_setup(device, program)
    out = run_program(device, program, x)
    assert (out.ravel() != evaluate(network, x)[network.output].ravel()).any()


def test_program_file(tmp_path: Path) -> None:
    network, config = residual(), CONFIGS["ulx3s"]
    paths = [tmp_path / name for name in ("a.npz", "b.npz")]
    for path in paths:
        compile_network(network, config).save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with np.load(paths[0]) as members:
        header, words = json.loads(bytes(members["header"])), members["words"]
    assert words.dtype == np.uint32
    assert header["format"] == "oarlock-program"
    assert header["version"] == 1
    assert header["digest"] == f"{config.digest:016x}"
    assert ArrayConfig(**header["config"]) == config
    assert header["input"] | {"scale": 0} == {"name": "t0", "shape": [1, 10, 9, 3], "scale": 0,
                                              "zero_point": network.tensors["t0"].zero_point}
    assert [layer["runs_on"] for layer in header["layers"]] == [
        "array", "array", "array", "vector", "none", "array", "vector", "vector", "vector", "array"]
    assert sum(layer["macs"] for layer in header["layers"]) == network.macs
    assert [step["do"] for step in header["setup"]] == ["send"]
    assert [step["do"] for step in header["inference"]] == [
        "write_box", "clear", "send", "wait", "timestamps", "read_box"]


def test_streamed_program_times_every_layer() -> None:
    network = wide()
    program = check(network, CONFIGS["few filters"])
    timed = [step["layer"] for step in program.inference if step["do"] == "wait"]
    assert [layer for layer in timed if layer is not None] == [0, 1, 2]


@pytest.mark.parametrize("model", shared_data.MODELS)
def test_weights_of_real_networks_stay_in_the_array(model: str) -> None:
    network = load(shared_data.shared_file(f"models/{model}.tflite"))
    program = compile_network(network, load_config("ulx3s-85f"))
    assert [step["do"] for step in program.inference].count("send") == 1


@pytest.mark.parametrize("model", ["ad01_int8", "str_ww_ref_model"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"])
def test_real_network(model: str, preset: str, dataflow: str) -> None:
    check(load(shared_data.shared_file(f"models/{model}.tflite")),
          load_config(preset, dataflow=dataflow))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("preset", ["tiny", "ulx3s-85f"])
def test_network_larger_than_any_memory(preset: str, dataflow: str) -> None:
    chain = Chain((1, 80, 64, 16))
    chain.depthwise(3, 3, pad=1, stride=2)
    chain.conv(60, 1, 1)
    chain.pool("average_pool", (5, 4), (5, 4))
    chain.dense(160)
    network = chain.network()
    assert sum(layer.weights.size for layer in network.layers
               if layer.weights is not None) > 600_000
    check(network, load_config(preset, dataflow=dataflow))


@st.composite
def configurations(draw: st.DrawFn) -> ArrayConfig:
    """Draw an array with memories of any size."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    word_bytes = draw(st.sampled_from([4, 8, 16]))
    return ArrayConfig(
        dataflow=draw(st.sampled_from(DATAFLOWS)),
        rows=rows, cols=cols, word_bytes=word_bytes, lanes=draw(st.integers(1, word_bytes)),
        accumulator_depth=draw(st.sampled_from([2, 16, 256])),
        ifmap_depth=draw(st.sampled_from([16, 32, 64])),
        filter_depth=draw(st.sampled_from([64, 128, 512, 2048])),
        psum_depth=draw(st.sampled_from([1, 2, 8, 16])),
        buffer_bytes=draw(st.sampled_from([1024, 1536, 4096, 65536])),
        parameter_depth=draw(st.sampled_from([16, 40, 1000])),
        program_depth=draw(st.sampled_from([2, 5, 30])) * isa.conv_words(rows, cols))


@settings(max_examples=8, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])
@given(config=configurations(), name=st.sampled_from(["residual", "flattened", "reshaped"]))
def test_network_on_any_configuration(config: ArrayConfig, name: str) -> None:
    check(NETWORKS[name](), config)
