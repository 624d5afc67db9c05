"""Import of TFLite files: what is read, and that everything else is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shared_data
from oarlock.gen.errors import ModelError, OarlockError
from oarlock.gen.interpret import evaluate
from oarlock.gen.tflite_import import load
from tflite_builder import Builder


# Section 3 of the architecture: multiply-accumulates and bytes of weights.
DEMAND = {
    "kws_ref_model": (2_656_768, 22_016),
    "pretrainedResnet_quant": (12_501_632, 77_360),
    "vww_96_int8": (7_489_664, 208_112),
    "ad01_int8": (264_192, 264_192),
    "str_ww_ref_model": (826_368, 46_040),
}


@pytest.mark.parametrize("name", shared_data.MODELS)
def test_networks_have_the_published_size(name: str) -> None:
    network = load(shared_data.shared_file(f"models/{name}.tflite"))
    weights = sum(layer.weights.size for layer in network.layers if layer.weights is not None)
    assert network.name == name
    assert (network.macs, weights) == DEMAND[name]
    assert [layer.index for layer in network.layers] == list(range(len(network.layers)))
    seen = {network.input}
    for layer in network.layers:
        assert seen.issuperset(layer.inputs)
        seen.add(layer.output)
    assert seen == set(network.tensors)


def small() -> Builder:
    """Build a network with every operator."""
    builder = Builder((6, 6, 2), dtype="float32")
    builder.quantize()
    first = builder.conv(2, (3, 3), activation="relu")
    second = builder.depthwise((3, 3))
    builder.add(first, second, "relu6")
    builder.pad((1, 0), (0, 1))
    builder.max_pool((2, 2))
    builder.average_pool((1, 1))
    builder.mean(keep_dims=True)
    builder.reshape((2,))
    builder.fully_connected(3)
    builder.softmax()
    builder.dequantize()
    return builder


def test_every_operator_becomes_a_layer(tmp_path: Path) -> None:
    network = load(small().save(tmp_path / "small.tflite"))
    assert [layer.op for layer in network.layers] == [
        "quantize", "conv", "depthwise_conv", "add", "pad", "max_pool", "average_pool", "mean",
        "reshape", "fully_connected", "softmax", "dequantize"]
    conv, mean = network.layers[1], network.layers[7]
    assert conv.name == "op1_conv"
    assert conv.padding == ((1, 1), (1, 1))
    assert conv.activation == (-128, 127)
    assert conv.weights.shape == (2, 3, 3, 2)
    assert conv.multiplier.dtype == conv.shift.dtype == np.int64
    assert network.layers[2].weights.shape == (3, 3, 2)
    assert network.layers[4].padding == ((1, 0), (0, 1))
    source = network.tensors[mean.inputs[0]]
    assert mean.bias.tolist() == [-9 * source.zero_point]
    assert network.tensors[network.output].dtype == "float32"
    outputs = evaluate(network, np.zeros((2, 6, 6, 2), dtype=np.float32))
    assert outputs[network.output].shape == (2, 3)


def test_same_padding_puts_the_odd_row_last(tmp_path: Path) -> None:
    builder = Builder((6, 7, 1))
    builder.conv(1, (3, 4), (2, 1))
    layer = load(builder.save(tmp_path / "m.tflite")).layers[0]
    assert layer.padding == ((0, 1), (1, 2))


def test_relu6_clamps_at_six(tmp_path: Path) -> None:
    builder = Builder((1, 1, 1))
    builder.conv(1, activation="relu6")
    builder.tensors[-1].scales, builder.tensors[-1].zero_points = (0.25,), (-100,)
    layer = load(builder.save(tmp_path / "m.tflite")).layers[0]
    assert layer.activation == (-100, -76)


def test_missing_bias_is_zero(tmp_path: Path) -> None:
    builder = Builder((5,))
    builder.fully_connected(3, bias=False)
    builder.operators[0][1].append(-1)
    layer = load(builder.save(tmp_path / "m.tflite")).layers[0]
    assert layer.bias.tolist() == [0, 0, 0]


def test_names_are_unique(tmp_path: Path) -> None:
    builder = Builder((5,))
    builder.fully_connected(3)
    builder.fully_connected(2)
    for record in builder.tensors:
        record.name = "x"
    builder.tensors[-1].name = ""
    network = load(builder.save(tmp_path / "m.tflite"))
    assert len(network.tensors) == 3


def test_open_batch_is_one(tmp_path: Path) -> None:
    builder = Builder((5,))
    builder.fully_connected(3)
    builder.tensors[0].signature = (-1, 5)
    assert load(builder.save(tmp_path / "m.tflite")).tensors["input_0"].shape == (1, 5)


def custom(kind: str) -> Callable[[Builder], None]:
    def make(builder: Builder) -> None:
        builder.conv(2)
        output = builder.tensor("other", (1, 4, 4, 2), "int8", 0.1)
        builder.operator(kind, [builder.last], output)

    return make


def edit(build: Callable[[Builder], object], index: int, **fields: object,
         ) -> Callable[[Builder], None]:
    """Build, then change fields of the tensor at ``index``."""
    def make(builder: Builder) -> None:
        build(builder)
        for field, value in fields.items():
            setattr(builder.tensors[index], field, value)

    return make


def option(build: Callable[[Builder], object], **fields: object) -> Callable[[Builder], None]:
    """Build, then change options of the last operator."""
    def make(builder: Builder) -> None:
        build(builder)
        builder.operators[-1][3].update(fields)

    return make


def conv(builder: Builder) -> None:
    builder.conv(2)


def broadcast(builder: Builder) -> None:
    small_one = builder.average_pool((4, 4))
    builder.add(builder.input, small_one)


def moving_weights(builder: Builder) -> None:
    builder.conv(2)
    builder.operators[-1][1][1] = builder.input


def before_its_time(builder: Builder) -> None:
    builder.conv(2)
    builder.conv(2)
    builder.operators.reverse()


def no_outputs(builder: Builder) -> None:
    builder.conv(2)
    builder.operators[-1][2].clear()


REFUSALS: dict[str, tuple[Callable[[Builder], object], str]] = {
    "operator": (custom("TRANSPOSE_CONV"), ": operator 1 (TRANSPOSE_CONV) is not supported"),
    "new operator": (custom("GELU"), ": operator 1 (GELU) is not supported"),
    "custom": (custom("CUSTOM:Spectro"), ": operator 1 (CUSTOM (Spectro)) is not supported"),
    "dilation": (lambda b: b.conv(2, (3, 3), dilation=(2, 1)),
                 ": operator 0 (CONV_2D): dilation (2, 1) is not supported"),
    "depthwise dilation": (lambda b: b.depthwise((3, 3), dilation=(2, 2)),
                           ": operator 0 (DEPTHWISE_CONV_2D): dilation (2, 2) is not supported"),
    "activation": (lambda b: b.conv(2, activation="tanh"),
                   ": operator 0 (CONV_2D): fused activation TANH is not supported"),
    "broadcast": (broadcast, ": operator 1 (ADD): broadcasting (1, 4, 4, 2) to (1, 1, 1, 2) is not "
                  "supported"),
    "weights": (moving_weights, ": operator 0 (CONV_2D): input 'input_0' must be a constant"),
    "groups": (edit(conv, 1, shape=(2, 1, 1, 1), data=np.ones((2, 1, 1, 1), dtype=np.int8)),
               ": operator 0 (CONV_2D): weights of 1 channels on an input of 2: grouped "
               "convolutions are not supported"),
    "asymmetric": (edit(conv, 1, zero_points=(0, 3)),
                   ": operator 0 (CONV_2D): weights 'weights_1' must be symmetric: "
                   "zero points of 0"),
    "int16": (edit(conv, 3, dtype="int16"),
              ": operator 0 (CONV_2D): tensor 'out_3' is int16, not int8"),
    "uint8 input": (edit(conv, 0, dtype="uint8"), ": input: tensor 'input_0' is uint8, not int8"),
    "float": (edit(conv, 0, dtype="float32", scales=()),
              ": operator 0 (CONV_2D): input 'input_0' is float32, not int8"),
    "float weights": (edit(conv, 1, dtype="float32", data=np.ones((2, 1, 1, 2), dtype=np.float32)),
                      ": operator 0 (CONV_2D): constant 'weights_1' is float32, not int8"),
    "dynamic": (edit(conv, 0, signature=(-1, -1, 4, 2)),
                ": input: tensor 'input_0' has the dynamic shape (-1, -1, 4, 2)"),
    "batch": (edit(conv, 0, shape=(3, 4, 4, 2)),
              ": input: tensor 'input_0' has the shape (3, 4, 4, 2); a batch of 1 is supported"),
    "no scale": (edit(conv, 3, scales=(), zero_points=()),
                 ": operator 0 (CONV_2D): tensor 'out_3' needs one scale and one zero point"),
    "shape": (edit(conv, 3, shape=(1, 4, 5, 2)), ": operator 0 (CONV_2D): gives the shape "
              "(1, 4, 4, 2), and the file says (1, 4, 5, 2)"),
    "stride": (option(conv, StrideH=0),
               ": operator 0 (CONV_2D): window (1, 1) and stride (0, 1) must be positive"),
    "padding": (option(conv, Padding=7), ": operator 0 (CONV_2D): padding 7 is not supported"),
    "window": (option(lambda b: b.max_pool((2, 2), padding="same"), FilterHeight=1 << 30),
               ": operator 0 (MAX_POOL_2D): window (1073741824, 2) is far larger than the input "
               "(4, 4)"),
    "pool rescales": (edit(lambda b: b.max_pool((2, 2)), 1, zero_points=(5,)),
                      ": operator 0 (MAX_POOL_2D): changes scale or zero point"),
    "mean axes": (lambda b: b.mean((1, 3)),
                  ": operator 0 (MEAN): axes [1, 3] are not supported: only height and width"),
    "pad channels": (lambda b: b.pad((0, 0), (0, 0), channels=(0, 1)),
                     ": operator 0 (PAD): padding of batch or channels is not supported"),
    "rows": (edit(lambda b: b.fully_connected(3), 1, shape=(3, 8),
                  data=np.ones((3, 8), dtype=np.int8)),
             ": operator 0 (FULLY_CONNECTED): input of 32 elements on weights of 8: more than "
             "one row is not supported"),
    "bias": (edit(conv, 2, shape=(3,), data=np.ones(3, dtype=np.int32)),
             ": operator 0 (CONV_2D): bias 'bias_2' has 3 elements, not 2"),
    "softmax": (edit(lambda b: b.softmax(), 1, zero_points=(0,)),
                ": operator 0 (SOFTMAX): the output's scale must be 1/256 and its zero point -128"),
    "requantize": (lambda b: b.quantize(),
                   ": operator 0 (QUANTIZE): from int8 to int8 is not supported"),
    "order": (before_its_time,
              ": operator 0 (CONV_2D): input 'out_3' is a constant or has no value yet"),
    "no output": (no_outputs, ": operator 0 (CONV_2D): has 0 outputs; one is supported"),
    "nothing": (lambda b: None, ": has no operators"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_one_line_that_names_the_place(name: str, tmp_path: Path) -> None:
    build, message = REFUSALS[name]
    builder = Builder((4, 4, 2))
    build(builder)
    path = builder.save(tmp_path / "model.tflite")
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{message}"


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with pytest.raises(OarlockError, match=r"model\.tflite: cannot be read: No such file"):
        load(path)
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(ModelError, match="is not a file name"):
        load("a\0b")
    for content in (b"", b"\0", b"PK\x03\x04" + bytes(100), b"TFL3TF", bytes(range(256)) * 9):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.tflite: is not a TFLite model$"):
            load(path)
    path.write_bytes(b"\x08\0\0\0TFL3" + bytes(64))
    with pytest.raises(ModelError, match=r"model\.tflite: "):
        load(path)


def test_several_inputs_and_outputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                ) -> None:
    builder = Builder((4, 4, 2))
    last = builder.conv(2)
    # The builder writes lists of one; make its input and output pairs.
    monkeypatch.setattr("tflite_builder._Writer._ints",
                        lambda self, values: self.fb.CreateNumpyVector(np.array(
                            values * 2 if values in ([builder.input], [last]) else values,
                            dtype=np.int32)))
    path = builder.save(tmp_path / "model.tflite")
    with pytest.raises(ModelError, match=r"model\.tflite: has 2 inputs; one is supported"):
        load(path)


def loads_or_refuses(path: Path, content: bytes) -> bool:
    """Load a file and return whether that worked; only a one-line ModelError may come out."""
    path.write_bytes(content)
    try:
        load(path)
    except ModelError as error:
        text = str(error)
        assert text.startswith(f"{path}: ")
        assert text.isprintable()
        return False
    return True


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    content = small().build()
    for length in range(0, len(content), 13):
        assert not loads_or_refuses(tmp_path / "m.tflite", content[:length]), length


@pytest.mark.parametrize("name", shared_data.MODELS)
def test_truncated_networks_are_refused(name: str, tmp_path: Path) -> None:
    content = shared_data.shared_file(f"models/{name}.tflite").read_bytes()
    for length in range(0, len(content), max(100, len(content) // 40)):
        assert not loads_or_refuses(tmp_path / "m.tflite", content[:length]), length


def test_damaged_files_load_or_are_refused(tmp_path: Path) -> None:
    content = small().build()
    random = np.random.default_rng(0)
    loaded = 0
    for _ in range(700):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), random.choice([1, 1, 2, 8])):
            damaged[position] = random.choice([0, 255, 127, 128, random.integers(256)])
        loaded += loads_or_refuses(tmp_path / "m.tflite", bytes(damaged))
    # Some flips hit weights or padding; were it all or none, the test would show nothing.
    assert 70 < loaded < 630
