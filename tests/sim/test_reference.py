"""The numpy reference against LiteRT, operator by operator and tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import litert
import numpy as np
import pytest
import shared_data
from litert import RESOLVERS
from oarlock.gen.interpret import evaluate, evaluate_layer
from oarlock.gen.network import Network
from oarlock.gen.tflite_import import load
from oarlock.sim import reference
from tflite_builder import Builder


def check_layers(path: Path, network: Network, values: dict[str, np.ndarray], rounding: str,
                 ) -> dict[str, int]:
    """Compare every layer, fed with LiteRT's own inputs, with LiteRT's output.

    Returns how many outputs of each operator that LiteRT computes in floating point lie on the
    other side of a half than under our rule; everything else fails.
    """
    halves: dict[str, int] = {}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        expected = values[layer.output]
        if rounding == "single" and layer.op in litert.FLOAT_OPS:
            kind, rule = np.float32, "single"
        elif layer.op == "fully_connected":
            # Our double rule of this operator is TFLite Micro's; LiteRT has no kernel for it.
            kind, rule = np.float64, "single"
        else:
            kind, rule = None, rounding
        actual = evaluate_layer(layer, network.tensors, inputs, rule)
        if kind is None:
            np.testing.assert_array_equal(actual, expected, err_msg=layer.name)
            continue
        # What LiteRT does is understood to the last bit ...
        floats = litert.float_layer(path, network, layer, inputs[0], kind)
        np.testing.assert_array_equal(floats, expected, err_msg=layer.name)
        # ... and differs from our rule only where float32 cannot tell the side of a half.
        wrong = actual != expected
        assert not np.any(wrong & ~litert.near_half(path, network, layer, inputs[0])), layer.name
        assert np.abs(actual.astype(int) - expected).max(initial=0) <= 1, layer.name
        halves[layer.op] = halves.get(layer.op, 0) + int(wrong.sum())
    return halves


def samples(network: Network, count: int, seed: int = 1) -> np.ndarray:
    """Draw inputs: half of them uniform, half of them like images, of a common brightness."""
    shape = (count, *network.tensors[network.input].shape[1:])
    random = np.random.default_rng(seed)
    if network.tensors[network.input].dtype == "float32":
        return random.normal(0, 3, shape).astype(np.float32)
    x = random.integers(-128, 128, shape, dtype=np.int8)
    centre = random.uniform(-100, 100, (count // 2, *[1] * (len(shape) - 1)))
    soft = random.normal(centre, 30, (count // 2, *shape[1:]))
    x[:count // 2] = np.clip(soft.round(), -128, 127).astype(np.int8)
    return x


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("name", shared_data.MODELS)
def test_network_equals_litert(name: str, rounding: str) -> None:
    path = shared_data.shared_file(f"models/{name}.tflite")
    network = load(path)
    x = samples(network, 100)
    assert litert.is_delegated(path, RESOLVERS[rounding]) == (rounding == "single")
    values = litert.run(path, x, RESOLVERS[rounding])
    halves = check_layers(path, network, values, rounding)
    # About one in two million: 20 of 40.6 million when this was written.
    total = sum(network.tensors[layer.output].size for layer in network.layers) * len(x)
    assert sum(halves.values()) <= 2 + total * 3e-6


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("name", shared_data.REAL_INPUTS)
def test_network_equals_litert_on_real_inputs(name: str, rounding: str) -> None:
    path = shared_data.shared_file(f"models/{name}.tflite")
    network = load(path)
    x = shared_data.real_inputs(name)
    assert x is not None
    x = x.reshape(-1, *network.tensors[network.input].shape[1:])
    values = litert.run(path, x, RESOLVERS[rounding])
    check_layers(path, network, values, rounding)
    # End to end, as a user sees it; on these inputs no half goes the other way.
    if rounding == "single":
        output = litert.run(path, x, RESOLVERS[rounding], every=False)[network.output]
        np.testing.assert_array_equal(evaluate(network, x)[network.output], output)




def operator(function: Callable[[Builder], object], shape: tuple[int, ...] = (9, 8, 6),
             ) -> Callable[[int], Builder]:
    """Make a builder of a network with one operator, of a quantization that the seed decides."""
    def make(seed: int) -> Builder:
        random = np.random.default_rng(seed)
        builder = Builder(shape, scale=float(random.uniform(0.01, 0.1)),
                          zero_point=int(random.integers(-128, 128)), seed=seed)
        function(builder)
        return builder

    return make


def two(builder: Builder, activation: str | None = None, ratio: float = 1.0) -> None:
    """Add the input to a depthwise convolution of itself."""
    other = builder.depthwise((1, 1))
    record = builder.tensors[other]
    record.scales = (float(np.float32(record.scales[0] * ratio)),)
    builder.add(builder.input, other, activation)


OPERATORS: dict[str, Callable[[int], Builder]] = {
    "conv same": operator(lambda b: b.conv(5, (3, 3))),
    "conv same, stride 2": operator(lambda b: b.conv(5, (3, 2), (2, 2), activation="relu")),
    "conv same, stride 3, window 2": operator(lambda b: b.conv(5, (2, 2), (3, 3))),
    "conv same, even window": operator(lambda b: b.conv(5, (4, 2), (1, 2), activation="relu6")),
    "conv same, window over image": operator(lambda b: b.conv(4, (11, 13), (2, 1))),
    "conv valid": operator(lambda b: b.conv(7, (3, 5), (2, 1), "valid")),
    "conv valid, whole image": operator(lambda b: b.conv(7, (9, 8), padding="valid")),
    "conv 1x1, stride 2": operator(lambda b: b.conv(4, (1, 1), (2, 2), "valid", "relu")),
    "conv per tensor": operator(lambda b: b.conv(5, (3, 3), per_channel=False)),
    "conv, deep": operator(lambda b: b.conv(3, (3, 3)), (4, 4, 300)),
    "depthwise": operator(lambda b: b.depthwise((3, 3))),
    "depthwise, stride 2": operator(lambda b: b.depthwise((3, 3), (2, 2), activation="relu6")),
    "depthwise, stride 2 by 1": operator(lambda b: b.depthwise((5, 2), (2, 1), "valid")),
    "depthwise times 3": operator(lambda b: b.depthwise((3, 3), multiplier=3)),
    "depthwise, one channel": operator(lambda b: b.depthwise((3, 3), multiplier=8), (9, 8, 1)),
    "depthwise per tensor": operator(lambda b: b.depthwise((3, 3), per_channel=False)),
    "fully connected": operator(lambda b: b.fully_connected(11, "relu")),
    "fully connected per channel": operator(lambda b: b.fully_connected(11, per_channel=True)),
    "fully connected, vector": operator(lambda b: b.fully_connected(70, bias=False), (100,)),
    "fully connected, dimensions kept": operator(
        lambda b: b.fully_connected(10, "relu6", keep_num_dims=True), (1, 1, 50)),
    "add": operator(two),
    "add, relu": operator(lambda b: two(b, "relu")),
    "add, far scales": operator(lambda b: two(b, None, 37.0)),
    "average pool": operator(lambda b: b.average_pool((3, 3))),
    "average pool same": operator(lambda b: b.average_pool((3, 3), (2, 2), "same", "relu")),
    "average pool same, even": operator(lambda b: b.average_pool((4, 2), (1, 1), "same")),
    "average pool, global": operator(lambda b: b.average_pool((9, 8))),
    "max pool": operator(lambda b: b.max_pool((2, 2))),
    "max pool same": operator(lambda b: b.max_pool((3, 3), (2, 2), "same", "relu6")),
    "max pool valid, overlapping": operator(lambda b: b.max_pool((3, 2), (1, 1), "valid", "relu")),
    "mean": operator(lambda b: b.mean(scale=0.03, zero_point=-5)),
    "mean, dimensions kept": operator(lambda b: b.mean(keep_dims=True, scale=0.02)),
    "mean, same quantization": operator(lambda b: b.mean((2, 1))),
    "mean, power of two": operator(lambda b: b.mean((-3, -2)), (4, 8, 6)),
    "pad": operator(lambda b: b.pad((1, 2), (0, 3))),
    "reshape": operator(lambda b: b.reshape((3, 144))),
    "softmax": operator(lambda b: b.softmax(), (300,)),
    "softmax, beta": operator(lambda b: b.softmax(0.3), (12,)),
}


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_equals_litert(name: str, rounding: str, tmp_path: Path) -> None:
    for seed in range(3):
        path = OPERATORS[name](seed).save(tmp_path / f"{seed}.tflite")
        network = load(path)
        x = samples(network, 24, seed)
        values = litert.run(path, x, RESOLVERS[rounding])
        check_layers(path, network, values, rounding)
        # Not vacuous: outputs differ among themselves and most do not saturate.
        assert len(np.unique(values[network.output])) > 5


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "fully connected"])
def test_requantization_equals_litert_near_halves(kind: str, rounding: str, tmp_path: Path) -> None:
    # Zero weights make each bias an accumulator, so that any value of int32 can be had. These are
    # large and scale to almost a half, where every bit of the multiplier counts.
    count = 20000
    for seed in range(2):
        builder = Builder((1, 1, count if kind == "depthwise" else 1), zero_point=0, seed=seed)
        if kind == "fully connected":
            builder.fully_connected(count, per_channel=seed == 1)
        elif kind == "conv":
            builder.conv(count)
        else:
            builder.depthwise((1, 1))
        source, weights, bias, output = builder.tensors
        assert weights.data is not None and bias.data is not None
        weights.data[...] = 0
        scales = np.array(weights.scales, dtype=np.float32) * np.float32(3e-5)
        weights.scales = tuple(scales.tolist())
        bias.scales = tuple((np.float32(source.scales[0]) * scales).tolist())
        random = np.random.default_rng(seed)
        steps = random.integers(-110, 110, count) + 0.5
        accs = steps * output.scales[0] / (source.scales[0] * scales.astype(np.float64))
        bias.data[...] = (accs + random.integers(-9, 10, count)).round().astype(np.int32)
        path = builder.save(tmp_path / "halves.tflite")
        network = load(path)
        x = np.zeros((1, *network.tensors[network.input].shape[1:]), dtype=np.int8)
        values = litert.run(path, x, RESOLVERS[rounding])
        check_layers(path, network, values, rounding)


def test_add_rules_differ_and_each_equals_its_litert(tmp_path: Path) -> None:
    differences = 0
    for seed in range(12):
        ratio = (1.0, 0.03, 20.0)[seed % 3]
        path = operator(lambda b, ratio=ratio: two(b, None, ratio), (32, 32, 16))(seed).save(
            tmp_path / "add.tflite")
        network = load(path)
        x = samples(network, 4, seed)
        layer = network.layers[-1]
        inputs = {}
        for rounding, resolver in RESOLVERS.items():
            values = litert.run(path, x, resolver)
            inputs[rounding] = [values[name] for name in layer.inputs]
            actual = evaluate_layer(layer, network.tensors, inputs[rounding], rounding)
            np.testing.assert_array_equal(actual, values[layer.output], err_msg=f"{seed}")
        single, double = (evaluate_layer(layer, network.tensors, inputs["single"], rounding)
                          for rounding in RESOLVERS)
        differences += int((single != double).sum())
    assert differences > 0


def test_add_beyond_xnnpack_uses_tflite_constants() -> None:
    assert (reference.add_parameters(300.0, 0.5, 1.0, "single")
            == reference.add_parameters(300.0, 0.5, 1.0, "double"))


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_float_edges_equal_litert(rounding: str, tmp_path: Path) -> None:
    builder = Builder((7, 5, 3), dtype="float32")
    builder.quantize(0.037, 11)
    builder.conv(4, (3, 3))
    builder.dequantize()
    path = builder.save(tmp_path / "edges.tflite")
    network = load(path)
    x = samples(network, 50)
    values = litert.run(path, x, RESOLVERS[rounding])
    check_layers(path, network, values, rounding)


def test_comparison_finds_one_wrong_value(tmp_path: Path) -> None:
    path = OPERATORS["conv same"](0).save(tmp_path / "conv.tflite")
    network = load(path)
    x = samples(network, 4)
    for rounding, resolver in RESOLVERS.items():
        values = litert.run(path, x, resolver)
        output = values[network.output]
        output[2, 3, 1, 0] += 1 if output[2, 3, 1, 0] < 127 else -1
        with pytest.raises(AssertionError):
            check_layers(path, network, values, rounding)


@pytest.mark.parametrize(("rounding", "other"), [("single", "double"), ("double", "single")])
def test_comparison_tells_the_rules_apart(rounding: str, other: str, tmp_path: Path) -> None:
    path = operator(lambda b: b.conv(32, (3, 3)), (16, 16, 8))(3).save(tmp_path / "conv.tflite")
    network = load(path)
    values = litert.run(path, samples(network, 8), RESOLVERS[other])
    with pytest.raises(AssertionError):
        check_layers(path, network, values, rounding)


def test_evaluate_runs_end_to_end_and_keeps_what_is_asked(tmp_path: Path) -> None:
    builder = Builder((8, 8, 3))
    first = builder.conv(8, (3, 3), activation="relu")
    second = builder.depthwise((3, 3))
    builder.add(first, second)
    builder.mean(scale=0.02)
    builder.fully_connected(4)
    path = builder.save(tmp_path / "net.tflite")
    network = load(path)
    x = samples(network, 3)
    values = evaluate(network, x, "double")
    assert set(values) == set(network.tensors)
    kept = evaluate(network, x, "double", keep=[network.output, network.input])
    assert set(kept) == {network.output, network.input}
    np.testing.assert_array_equal(kept[network.output], values[network.output])
    # A batch is nothing but its samples.
    alone = evaluate(network, x[1:2], "double")[network.output]
    np.testing.assert_array_equal(alone, values[network.output][1:2])


def test_evaluate_refuses_other_inputs(tmp_path: Path) -> None:
    builder = Builder((4,))
    builder.fully_connected(2)
    network = load(builder.save(tmp_path / "net.tflite"))
    with pytest.raises(ValueError, match=r"Input must have the shape \(N, 4\), not \(1, 5\)"):
        evaluate(network, np.zeros((1, 5), dtype=np.int8))
    with pytest.raises(ValueError, match="Input must be int8, not int64"):
        evaluate(network, np.zeros((1, 4), dtype=np.int64))
