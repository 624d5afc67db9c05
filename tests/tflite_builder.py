"""A small writer of int8 TFLite files: random networks of any size for the tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite


__all__ = ["Builder"]

Pair = tuple[int, int]
Options = dict[str, Any] | None
TYPES = {"float32": tflite.TensorType.FLOAT32, "int8": tflite.TensorType.INT8,
         "int32": tflite.TensorType.INT32, "uint8": tflite.TensorType.UINT8,
         "int16": tflite.TensorType.INT16}
ACTIVATIONS = {None: 0, "relu": tflite.ActivationFunctionType.RELU,
               "relu6": tflite.ActivationFunctionType.RELU6,
               "tanh": tflite.ActivationFunctionType.TANH,
               "relu_n1_to_1": tflite.ActivationFunctionType.RELU_N1_TO_1}
PADDINGS = {"same": tflite.Padding.SAME, "valid": tflite.Padding.VALID}
# Versions of operators whose int8 form did not come with version 2.
VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 9, "RESHAPE": 1, "QUANTIZE": 1,
            "TRANSPOSE_CONV": 3, "CUSTOM": 1}
# Root mean square of uniform int8 values about a middling zero point, and of uniform weights.
INPUT_RMS, WEIGHT_RMS = 80.0, 73.0
# Standard deviation, in steps, that layers aim at: few outputs saturate.
TARGET = 40.0


@dataclass
class Record:
    """A tensor to be written. ``rms`` estimates the size of ``value - zero_point`` in steps."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None
    rms: float = TARGET
    signature: tuple[int, ...] | None = None


class Builder:
    """Builds a network operator by operator, each reading the latest tensor unless told otherwise.

    Every operator method returns the index of its output tensor; ``x=`` reads an earlier one.
    Weights, biases and scales are drawn from one seed, so that the same calls give the same file.
    Output scales are chosen so that few outputs saturate.

    Parameters
    ----------
    input_shape : tuple of :class:`int`
        Shape without the batch, which is 1.
    scale, zero_point : :class:`float`, :class:`int`
        Quantization of the input.
    seed : :class:`int`
        Seed of all constants.
    dtype : :class:`str`
        ``"int8"``, or ``"float32"`` for networks that begin with :meth:`quantize`.
    """

    def __init__(self, input_shape: tuple[int, ...], scale: float = 0.05, zero_point: int = -3, *,
                 seed: int = 0, dtype: str = "int8") -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: list[Record] = []
        self.operators: list[tuple[str, list[int], list[int], Options]] = []
        quantized = dtype != "float32"
        self.input = self.tensor("input", (1, *input_shape), dtype, scale if quantized else None,
                                 zero_point, rms=INPUT_RMS)
        self.last = self.input

    # Low level: tensors and operators as they are.

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str = "int8",
               scale: float | None = None, zero_point: int = 0, rms: float = TARGET) -> int:
        """Enter a tensor with at most one scale and return its index."""
        scales = () if scale is None else (float(np.float32(scale)),)
        self.tensors.append(Record(name=f"{name}_{len(self.tensors)}", shape=shape, dtype=dtype,
                                   scales=scales, zero_points=(zero_point,) * len(scales), rms=rms))
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scales: np.ndarray | None = None,
                 axis: int = 0) -> int:
        """Enter a constant and return its index."""
        index = self.tensor(name, data.shape, str(data.dtype))
        record = self.tensors[index]
        record.data = data
        if scales is not None:
            record.scales = tuple(scales.astype(np.float32).tolist())
            record.zero_points = (0,) * len(scales)
            record.axis = axis
        return index

    def operator(self, kind: str, inputs: list[int], output: int,
                 options: Options = None) -> int:
        """Enter an operator; options are the schema's fields, and its table under ``"table"``."""
        self.operators.append((kind, inputs, [output], options))
        self.last = output
        return output

    # Operators.

    def conv(self, filters: int, window: Pair = (1, 1), stride: Pair = (1, 1),
             padding: str = "same", activation: str | None = None, per_channel: bool = True, *,
             x: int | None = None, bias: bool = True, dilation: Pair = (1, 1)) -> int:
        """CONV_2D."""
        return self._windowed("CONV_2D", filters, window, stride, padding, activation, per_channel,
                              x, bias, dilation)

    def depthwise(self, window: Pair = (3, 3), stride: Pair = (1, 1), padding: str = "same",
                  activation: str | None = None, per_channel: bool = True, *, multiplier: int = 1,
                  x: int | None = None, bias: bool = True, dilation: Pair = (1, 1)) -> int:
        """DEPTHWISE_CONV_2D."""
        channels = self._record(x).shape[3]
        return self._windowed("DEPTHWISE_CONV_2D", channels * multiplier, window, stride, padding,
                              activation, per_channel, x, bias, dilation)

    def fully_connected(self, units: int, activation: str | None = None, per_channel: bool = False,
                        *, x: int | None = None, bias: bool = True,
                        keep_num_dims: bool = False) -> int:
        """FULLY_CONNECTED."""
        source = self._record(x)
        depth = math.prod(source.shape)
        weights = self.random.integers(-127, 128, (units, depth), dtype=np.int8)
        shape = (*source.shape[:-1], units) if keep_num_dims else (1, units)
        operands, output = self._weighted(source, weights, 0, depth, units, shape, activation,
                                          per_channel, bias)
        return self.operator("FULLY_CONNECTED", [self._index(x), *operands], output, {
            "table": "FullyConnectedOptions", "FusedActivationFunction": ACTIVATIONS[activation],
            "KeepNumDims": keep_num_dims})

    def add(self, a: int, b: int, activation: str | None = None, *, scale: float | None = None,
            zero_point: int | None = None) -> int:
        """ADD."""
        first, second = self.tensors[a], self.tensors[b]
        size = math.hypot(first.rms * first.scales[0], second.rms * second.scales[0])
        output = self._output("add", first.shape, scale or size / TARGET, activation, zero_point)
        return self.operator("ADD", [a, b], output, {
            "table": "AddOptions", "FusedActivationFunction": ACTIVATIONS[activation]})

    def average_pool(self, window: Pair, stride: Pair | None = None, padding: str = "valid",
                     activation: str | None = None, *, x: int | None = None) -> int:
        """AVERAGE_POOL_2D."""
        return self._pool("AVERAGE_POOL_2D", window, stride or window, padding, activation, x)

    def max_pool(self, window: Pair, stride: Pair | None = None, padding: str = "valid",
                 activation: str | None = None, *, x: int | None = None) -> int:
        """MAX_POOL_2D."""
        return self._pool("MAX_POOL_2D", window, stride or window, padding, activation, x)

    def mean(self, axes: tuple[int, ...] = (1, 2), *, keep_dims: bool = False,
             scale: float | None = None, zero_point: int | None = None,
             x: int | None = None) -> int:
        """MEAN. The output has the input's quantization unless given."""
        source = self._record(x)
        dims = {axis % 4 for axis in axes}
        shape = tuple(1 if i in dims else size for i, size in enumerate(source.shape)
                      if keep_dims or i not in dims)
        output = self.tensor("mean", shape, "int8", scale or source.scales[0],
                             source.zero_points[0] if zero_point is None else zero_point)
        axis = self.constant("axes", np.array(axes, dtype=np.int32))
        return self.operator("MEAN", [self._index(x), axis], output,
                             {"table": "ReducerOptions", "KeepDims": keep_dims})

    def pad(self, vertical: Pair, horizontal: Pair, *, channels: Pair = (0, 0),
            x: int | None = None) -> int:
        """PAD."""
        source = self._record(x)
        amounts = np.array([(0, 0), vertical, horizontal, channels], dtype=np.int32)
        shape = tuple(int(n) for n in np.array(source.shape) + amounts.sum(axis=1))
        return self.operator("PAD", [self._index(x), self.constant("paddings", amounts)],
                             self._like(source, "pad", shape), {"table": "PadOptions"})

    def reshape(self, shape: tuple[int, ...], *, x: int | None = None) -> int:
        """RESHAPE to a shape without the batch."""
        operand = self.constant("shape", np.array([1, *shape], dtype=np.int32))
        return self.operator("RESHAPE", [self._index(x), operand],
                             self._like(self._record(x), "reshape", (1, *shape)),
                             {"table": "ReshapeOptions"})

    def softmax(self, beta: float = 1.0, *, x: int | None = None) -> int:
        """SOFTMAX."""
        output = self.tensor("softmax", self._record(x).shape, "int8", 1 / 256, -128)
        return self.operator("SOFTMAX", [self._index(x)], output,
                             {"table": "SoftmaxOptions", "Beta": beta})

    def quantize(self, scale: float = 0.05, zero_point: int = -3, *, x: int | None = None) -> int:
        """QUANTIZE."""
        shape = self._record(x).shape
        output = self.tensor("quantize", shape, "int8", scale, zero_point, INPUT_RMS)
        return self.operator("QUANTIZE", [self._index(x)], output, {"table": "QuantizeOptions"})

    def dequantize(self, *, x: int | None = None) -> int:
        """DEQUANTIZE."""
        output = self.tensor("dequantize", self._record(x).shape, "float32")
        return self.operator("DEQUANTIZE", [self._index(x)], output, {"table": "DequantizeOptions"})

    def save(self, path: str | Path) -> Path:
        """Write the file, whose output is the latest tensor, and return its path."""
        Path(path).write_bytes(self.build())
        return Path(path)

    def build(self) -> bytes:
        """Return the file's content."""
        return _Writer(self).content

    # Helpers.

    def _index(self, x: int | None) -> int:
        return self.last if x is None else x

    def _record(self, x: int | None) -> Record:
        return self.tensors[self._index(x)]

    def _like(self, source: Record, name: str, shape: tuple[int, ...]) -> int:
        return self.tensor(name, shape, source.dtype, source.scales[0], source.zero_points[0],
                           source.rms)

    def _output(self, name: str, shape: tuple[int, ...], scale: float, activation: str | None,
                zero_point: int | None = None) -> int:
        """Enter an output whose values spread by TARGET steps before the activation."""
        if zero_point is None:
            zero_point = int(self.random.integers(-20, 21)) if activation is None else -128
        rms = TARGET if activation is None else TARGET / math.sqrt(2)
        return self.tensor(name, shape, "int8", scale, zero_point, rms)

    def _weighted(self, source: Record, weights: np.ndarray, axis: int, taps: int, count: int,
                  shape: tuple[int, ...], activation: str | None, per_channel: bool, bias: bool,
                  ) -> tuple[list[int], int]:
        """Enter weights and bias and choose scales; returns the operands and the output."""
        spread = WEIGHT_RMS * math.sqrt(taps) * source.rms
        # Drifts a little, so that networks of any depth keep sensible scales.
        scale_out = source.scales[0] * self.random.uniform(0.8, 1.25)
        base = TARGET / spread * scale_out / source.scales[0]
        scales = base * (self.random.uniform(0.5, 1.4, count) if per_channel else np.ones(1))
        operands = [self.constant("weights", weights, scales, axis)]
        if bias:
            values = self.random.normal(0, spread / 2, count).round().astype(np.int32)
            products = np.float32(source.scales[0]) * scales.astype(np.float32)
            operands.append(self.constant("bias", values, products))
        return operands, self._output("out", shape, scale_out, activation)

    def _windowed(self, kind: str, count: int, window: Pair, stride: Pair, padding: str,
                  activation: str | None, per_channel: bool, x: int | None, bias: bool,
                  dilation: Pair) -> int:
        source = self._record(x)
        dense = kind == "CONV_2D"
        channels = source.shape[3]
        shape = (count, *window, channels) if dense else (1, *window, count)
        weights = self.random.integers(-127, 128, shape, dtype=np.int8)
        taps = window[0] * window[1] * (channels if dense else 1)
        reach = tuple((size - 1) * step + 1 for size, step in zip(window, dilation, strict=True))
        operands, output = self._weighted(
            source, weights, 0 if dense else 3, taps, count,
            self._window_shape(source, reach, stride, padding, count), activation, per_channel,
            bias)
        options = {"table": "Conv2DOptions" if dense else "DepthwiseConv2DOptions",
                   **_window_options(stride, padding, activation),
                   "DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
        if not dense:
            options["DepthMultiplier"] = count // channels
        return self.operator(kind, [self._index(x), *operands], output, options)

    def _pool(self, kind: str, window: Pair, stride: Pair, padding: str, activation: str | None,
              x: int | None) -> int:
        source = self._record(x)
        shape = self._window_shape(source, window, stride, padding, source.shape[3])
        return self.operator(kind, [self._index(x)], self._like(source, "pool", shape), {
            "table": "Pool2DOptions", **_window_options(stride, padding, activation),
            "FilterHeight": window[0], "FilterWidth": window[1]})

    def _window_shape(self, source: Record, window: Pair, stride: Pair, padding: str,
                      count: int) -> tuple[int, ...]:
        sizes = zip(source.shape[1:3], window, stride, strict=True)
        if padding == "same":
            return (1, *(-(-size // step) for size, _, step in sizes), count)
        return (1, *((size - length) // step + 1 for size, length, step in sizes), count)


def _window_options(stride: Pair, padding: str, activation: str | None) -> dict[str, int]:
    return {"Padding": PADDINGS[padding], "StrideH": stride[0], "StrideW": stride[1],
            "FusedActivationFunction": ACTIVATIONS[activation]}


class _Writer:
    """Serializes a builder's tensors and operators."""

    def __init__(self, source: Builder) -> None:
        self.fb = flatbuffers.Builder(1 << 16)
        buffers = [self._buffer(None)]
        tensors = []
        for record in source.tensors:
            if record.data is not None:
                buffers.append(self._buffer(record.data))
            tensors.append(self._tensor(record, len(buffers) - 1 if record.data is not None else 0))
        kinds = list(dict.fromkeys(kind for kind, *_ in source.operators))
        operators = [self._operator(kinds.index(kind), inputs, outputs, options)
                     for kind, inputs, outputs, options in source.operators]
        graph = self._table("SubGraph", Tensors=self._offsets(tensors),
                            Inputs=self._ints([source.input]), Outputs=self._ints([source.last]),
                            Operators=self._offsets(operators), Name=self.fb.CreateString("main"))
        codes = [self._code(kind) for kind in kinds]
        model = self._table("Model", Version=3, OperatorCodes=self._offsets(codes),
                            Subgraphs=self._offsets([graph]), Buffers=self._offsets(buffers),
                            Description=self.fb.CreateString("tests/tflite_builder.py"))
        self.fb.Finish(model, b"TFL3")
        self.content = bytes(self.fb.Output())

    def _table(self, name: str, **fields: Any) -> int:
        getattr(tflite, f"{name}Start")(self.fb)
        for field, value in fields.items():
            if value is not None:
                getattr(tflite, f"{name}Add{field}")(self.fb, value)
        return getattr(tflite, f"{name}End")(self.fb)

    def _offsets(self, offsets: list[int]) -> int:
        self.fb.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.fb.PrependUOffsetTRelative(offset)
        return self.fb.EndVector()

    def _ints(self, values: Any) -> int:
        return self.fb.CreateNumpyVector(np.array(values, dtype=np.int32))

    def _buffer(self, data: np.ndarray | None) -> int:
        if data is None:
            return self._table("Buffer")
        flat = np.frombuffer(np.ascontiguousarray(data).tobytes(), dtype=np.uint8)
        # LiteRT reads constants in place; 16 bytes is the alignment its own converter gives.
        self.fb.StartVector(1, flat.size, 16)
        self.fb.head -= flat.size
        self.fb.Bytes[self.fb.head:self.fb.head + flat.size] = flat.tobytes()
        return self._table("Buffer", Data=self.fb.EndVector())

    def _tensor(self, record: Record, buffer: int) -> int:
        quantization = None
        if record.scales:
            scales = self.fb.CreateNumpyVector(np.array(record.scales, dtype=np.float32))
            zero_points = self.fb.CreateNumpyVector(np.array(record.zero_points, dtype=np.int64))
            quantization = self._table("QuantizationParameters", Scale=scales,
                                       ZeroPoint=zero_points, QuantizedDimension=record.axis)
        signature = None if record.signature is None else self._ints(record.signature)
        return self._table("Tensor", Shape=self._ints(record.shape), Type=TYPES[record.dtype],
                           Buffer=buffer, Name=self.fb.CreateString(record.name),
                           Quantization=quantization, ShapeSignature=signature)

    def _operator(self, opcode: int, inputs: list[int], outputs: list[int],
                  options: Options) -> int:
        input_vector, output_vector = self._ints(inputs), self._ints(outputs)
        table, kind = None, None
        if options is not None:
            fields = {key: value for key, value in options.items() if key != "table"}
            table = self._table(options["table"], **fields)
            kind = getattr(tflite.BuiltinOptions, options["table"])
        return self._table("Operator", OpcodeIndex=opcode, Inputs=input_vector,
                           Outputs=output_vector, BuiltinOptionsType=kind, BuiltinOptions=table)

    def _code(self, kind: str) -> int:
        custom = None
        if kind.startswith("CUSTOM:"):
            kind, custom = "CUSTOM", self.fb.CreateString(kind.removeprefix("CUSTOM:"))
        number = getattr(tflite.BuiltinOperator, kind)
        return self._table("OperatorCode", DeprecatedBuiltinCode=min(number, 127),
                           BuiltinCode=number, CustomCode=custom, Version=VERSIONS.get(kind, 2))
