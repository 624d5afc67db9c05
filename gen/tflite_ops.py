"""Conversion of each TFLite operator to a layer; everything unsupported is refused here by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tflite

from ..sim.reference import mean_parameters, output_size, quantize_multiplier
from .network import Layer, OpName, Tensor
from .tflite_file import RawModel, RawOperator, RawTensor, names_of


__all__ = ["CONVERTERS", "Context", "Unsupported"]

Shape = tuple[int, ...]
Padding = tuple[tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0))


class Unsupported(Exception):
    """Something an operator asks for and we cannot do; the text continues a line that names it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What an operator can refer to.

    Members
    -------
    raw : :class:`oarlock.gen.tflite_file.RawModel`
        The file.
    names : list of :class:`str`
        Unique names of all its tensors.
    tensors : dict of :class:`str` to :class:`Tensor`
        Values computed so far, the input included.
    """

    raw: RawModel
    names: list[str]
    tensors: dict[str, Tensor]

    def value(self, op: RawOperator, position: int, rank: int | None = None) -> Tensor:
        """Return an int8 input that an earlier operator computes."""
        tensor = self.edge(op, position)
        if tensor.dtype != "int8":
            raise Unsupported(f"input {tensor.name!r} is {tensor.dtype}, not int8")
        if rank is not None and len(tensor.shape) != rank:
            raise Unsupported(
                f"input {tensor.name!r} has {len(tensor.shape)} dimensions, not {rank}")
        return tensor

    def edge(self, op: RawOperator, position: int) -> Tensor:
        """Return an input that an earlier operator computes, int8 or float32."""
        name = self.names[self._index(op, position)]
        if name not in self.tensors:
            raise Unsupported(f"input {name!r} is a constant or has no value yet")
        return self.tensors[name]

    def constant(self, op: RawOperator, position: int, kinds: tuple[int, ...]) -> RawTensor:
        """Return a constant input of one of some types, with its data."""
        raw = self.raw.tensors[self._index(op, position)]
        if not raw.constant:
            raise Unsupported(f"input {raw.name!r} must be a constant")
        if raw.type not in kinds or raw.data is None:
            found, wanted = _type_name(raw.type), " or ".join(_type_name(kind) for kind in kinds)
            raise Unsupported(f"constant {raw.name!r} is {found}, not {wanted}")
        return raw

    def _index(self, op: RawOperator, position: int) -> int:
        if position >= len(op.inputs) or op.inputs[position] < 0:
            raise Unsupported(f"input {position} is missing")
        return op.inputs[position]


def _type_name(kind: int) -> str:
    return names_of(tflite.TensorType).get(kind, f"type {kind}").lower()


def _name(op: RawOperator, kind: OpName) -> str:
    return f"op{op.index}_{kind}"


def _require_int8(output: Tensor) -> None:
    if output.dtype != "int8":
        raise Unsupported(f"output {output.name!r} is {output.dtype}, not int8")


def _require_same_quantization(x: Tensor, output: Tensor) -> None:
    _require_int8(output)
    if (x.scale, x.zero_point) != (output.scale, output.zero_point):
        raise Unsupported("changes scale or zero point")


def _activation(op: RawOperator, output: Tensor) -> tuple[int, int]:
    """Return the clamp of a fused activation (``CalculateActivationRangeQuantized`` of TFLite)."""
    kind = op.options["FusedActivationFunction"]
    names = names_of(tflite.ActivationFunctionType)
    if names.get(kind) not in ("NONE", "RELU", "RELU6"):
        raise Unsupported(f"fused activation {names.get(kind, kind)} is not supported")
    low, high = -128, 127
    if names[kind] != "NONE":
        low = max(low, output.zero_point)
    if names[kind] == "RELU6":
        # Divided in float32 and rounded half away from zero. Tiny scales would overflow an integer.
        steps = float(np.float32(6) / np.float32(output.scale))
        high = min(high, output.zero_point + int(min(steps, 1000.0) + 0.5))
    return low, high


def _window(op: RawOperator, x: Tensor, window: tuple[int, int]) -> tuple[tuple[int, int], Padding]:
    """Return stride and explicit padding (``ComputePaddingHeightWidth`` of TFLite)."""
    stride = (op.options["StrideH"], op.options["StrideW"])
    if min(*stride, *window) < 1:
        raise Unsupported(f"window {window} and stride {stride} must be positive")
    dilation = (op.options.get("DilationHFactor", 1), op.options.get("DilationWFactor", 1))
    if dilation != (1, 1):
        raise Unsupported(f"dilation {dilation} is not supported")
    scheme = op.options["Padding"]
    if scheme == tflite.Padding.VALID:
        if x.shape[1] < window[0] or x.shape[2] < window[1]:
            raise Unsupported(f"window {window} is larger than the input {x.shape[1:3]}")
        return stride, NO_PADDING
    if scheme != tflite.Padding.SAME:
        raise Unsupported(f"padding {scheme} is not supported")
    # The odd one goes to the bottom and the right.
    totals = [max((-(-size // step) - 1) * step + length - size, 0)
              for size, step, length in zip(x.shape[1:3], stride, window, strict=True)]
    vertical, horizontal = ((total // 2, total - total // 2) for total in totals)
    return stride, (vertical, horizontal)


def _window_shape(
    x: Tensor, window: tuple[int, int], stride: tuple[int, int], padding: Padding, channels: int,
) -> Shape:
    height, width = (output_size(size, length, step, edges) for size, length, step, edges
                     in zip(x.shape[1:3], window, stride, padding, strict=True))
    return (1, height, width, channels)


def _requantization(
    x: Tensor, weights: RawTensor, output: Tensor, axis: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and shifts (M,) of per-tensor or per-channel weights."""
    count = weights.shape[axis]
    if any(weights.zero_points) or not weights.scales:
        raise Unsupported(f"weights {weights.name!r} must be symmetric: zero points of 0")
    if any(not 0 < scale < float("inf") for scale in weights.scales):
        raise Unsupported(f"weights {weights.name!r} have a scale that is not positive")
    scales = weights.scales
    if len(scales) == 1:
        scales = scales * count
    elif len(scales) != count or weights.axis != axis:
        raise Unsupported(f"weights {weights.name!r} need one scale or one per output channel")
    # The scales are float32 values; product and quotient are taken in double, in this order.
    pairs = [quantize_multiplier(x.scale * scale / output.scale) for scale in scales]
    multiplier, shift = np.array(pairs, dtype=np.int64).T
    return multiplier, shift


def _bias(context: Context, op: RawOperator, count: int) -> np.ndarray:
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return np.zeros(count, dtype=np.int32)
    raw = context.constant(op, 2, (tflite.TensorType.INT32,))
    assert raw.data is not None
    if raw.data.size != count:
        raise Unsupported(f"bias {raw.name!r} has {raw.data.size} elements, not {count}")
    return raw.data.reshape(count).astype(np.int32)


def _weights(context: Context, op: RawOperator, rank: int) -> tuple[RawTensor, np.ndarray]:
    raw = context.constant(op, 1, (tflite.TensorType.INT8,))
    assert raw.data is not None
    if len(raw.shape) != rank or 0 in raw.shape:
        raise Unsupported(f"weights {raw.name!r} have the shape {raw.shape}, not {rank} dimensions")
    return raw, raw.data


def _conv(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0, rank=4)
    _require_int8(output)
    raw, weights = _weights(context, op, 4)
    count, rows, cols, channels = raw.shape
    if channels != x.shape[3]:
        raise Unsupported(f"weights of {channels} channels on an input of {x.shape[3]}: "
                          "grouped convolutions are not supported")
    stride, padding = _window(op, x, (rows, cols))
    multiplier, shift = _requantization(x, raw, output, axis=0)
    layer = Layer(
        name=_name(op, "conv"), op="conv", index=op.index, inputs=(x.name,), output=output.name,
        weights=weights, bias=_bias(context, op, count), multiplier=multiplier, shift=shift,
        stride=stride, padding=padding, window=(rows, cols), activation=_activation(op, output))
    return layer, _window_shape(x, (rows, cols), stride, padding, count)


def _depthwise_conv(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0, rank=4)
    _require_int8(output)
    raw, weights = _weights(context, op, 4)
    _, rows, cols, count = raw.shape
    # TFLite goes by the shapes too and ignores DepthMultiplier.
    if raw.shape[0] != 1 or count % x.shape[3]:
        raise Unsupported(f"weights of shape {raw.shape} do not fit {x.shape[3]} channels")
    stride, padding = _window(op, x, (rows, cols))
    multiplier, shift = _requantization(x, raw, output, axis=3)
    layer = Layer(
        name=_name(op, "depthwise_conv"), op="depthwise_conv", index=op.index, inputs=(x.name,),
        output=output.name, weights=weights[0], bias=_bias(context, op, count),
        multiplier=multiplier, shift=shift, stride=stride, padding=padding, window=(rows, cols),
        activation=_activation(op, output))
    return layer, _window_shape(x, (rows, cols), stride, padding, count)


def _fully_connected(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0)
    _require_int8(output)
    if op.options["WeightsFormat"] != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise Unsupported("shuffled weights are not supported")
    raw, weights = _weights(context, op, 2)
    count, depth = raw.shape
    if x.size != depth:
        raise Unsupported(f"input of {x.size} elements on weights of {depth}: "
                          "more than one row is not supported")
    multiplier, shift = _requantization(x, raw, output, axis=0)
    layer = Layer(
        name=_name(op, "fully_connected"), op="fully_connected", index=op.index, inputs=(x.name,),
        output=output.name, weights=weights, bias=_bias(context, op, count),
        multiplier=multiplier, shift=shift, activation=_activation(op, output))
    keep = op.options["KeepNumDims"]
    return layer, (*x.shape[:-1], count) if keep else (1, count)


def _add(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    a, b = context.value(op, 0), context.value(op, 1)
    _require_int8(output)
    if a.shape != b.shape:
        raise Unsupported(f"broadcasting {a.shape} to {b.shape} is not supported")
    layer = Layer(name=_name(op, "add"), op="add", index=op.index, inputs=(a.name, b.name),
                  output=output.name, activation=_activation(op, output))
    return layer, a.shape


def _pool(kind: OpName) -> Callable[[Context, RawOperator, Tensor], tuple[Layer, Shape]]:
    def convert(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
        x = context.value(op, 0, rank=4)
        _require_same_quantization(x, output)
        window = (op.options["FilterHeight"], op.options["FilterWidth"])
        if window[0] > 8 * x.shape[1] + 8 or window[1] > 8 * x.shape[2] + 8:
            # Damage rather than intent, and its padding might not fit in memory.
            raise Unsupported(f"window {window} is far larger than the input {x.shape[1:3]}")
        stride, padding = _window(op, x, window)
        layer = Layer(name=_name(op, kind), op=kind, index=op.index, inputs=(x.name,),
                      output=output.name, stride=stride, padding=padding, window=window,
                      activation=_activation(op, output))
        return layer, _window_shape(x, window, stride, padding, x.shape[3])

    return convert


INTEGERS = (tflite.TensorType.INT32, tflite.TensorType.INT64)


def _mean(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0, rank=4)
    _require_int8(output)
    raw = context.constant(op, 1, INTEGERS)
    assert raw.data is not None
    axes = raw.data.reshape(-1)[:8].tolist()
    if {axis % 4 for axis in axes if -4 <= axis < 4} != {1, 2} or not set(axes) <= {1, 2, -3, -2}:
        raise Unsupported(f"axes {axes} are not supported: only height and width")
    count = x.shape[1] * x.shape[2]
    multiplier, shift = mean_parameters(x.scale, output.scale, count)
    layer = Layer(
        name=_name(op, "mean"), op="mean", index=op.index, inputs=(x.name,), output=output.name,
        bias=np.array([-count * x.zero_point], dtype=np.int32), window=x.shape[1:3],
        multiplier=np.array([multiplier], dtype=np.int64), shift=np.array([shift], dtype=np.int64))
    return layer, (1, 1, 1, x.shape[3]) if op.options["KeepDims"] else (1, x.shape[3])


def _pad(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0, rank=4)
    _require_same_quantization(x, output)
    raw = context.constant(op, 1, INTEGERS)
    assert raw.data is not None
    if raw.data.size != 8:
        raise Unsupported(f"paddings {raw.name!r} have {raw.data.size} elements, not 8")
    batch, vertical, horizontal, channels = raw.data.reshape(4, 2).tolist()
    if any(batch) or any(channels):
        raise Unsupported("padding of batch or channels is not supported")
    if min(*vertical, *horizontal) < 0:
        raise Unsupported("negative padding is not supported")
    layer = Layer(name=_name(op, "pad"), op="pad", index=op.index, inputs=(x.name,),
                  output=output.name, padding=(tuple(vertical), tuple(horizontal)))
    return layer, (1, x.shape[1] + sum(vertical), x.shape[2] + sum(horizontal), x.shape[3])


def _reshape(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    # The output's own shape counts; the shape operand only repeats it.
    x = context.value(op, 0)
    _require_same_quantization(x, output)
    if x.size != output.size:
        raise Unsupported(f"reshapes {x.shape} to {output.shape}")
    layer = Layer(name=_name(op, "reshape"), op="reshape", index=op.index, inputs=(x.name,),
                  output=output.name)
    return layer, output.shape


def _softmax(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0)
    _require_int8(output)
    if (output.scale, output.zero_point) != (1 / 256, -128):
        raise Unsupported("the output's scale must be 1/256 and its zero point -128")
    beta = op.options["Beta"]
    if not 0 < beta < float("inf"):
        raise Unsupported(f"beta must be positive, not {beta!r}")
    layer = Layer(name=_name(op, "softmax"), op="softmax", index=op.index, inputs=(x.name,),
                  output=output.name, beta=beta)
    return layer, x.shape


def _quantize(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.edge(op, 0)
    if x.dtype != "float32" or output.dtype != "int8":
        raise Unsupported(f"from {x.dtype} to {output.dtype} is not supported")
    layer = Layer(name=_name(op, "quantize"), op="quantize", index=op.index, inputs=(x.name,),
                  output=output.name)
    return layer, x.shape


def _dequantize(context: Context, op: RawOperator, output: Tensor) -> tuple[Layer, Shape]:
    x = context.value(op, 0)
    if output.dtype != "float32":
        raise Unsupported(f"from {x.dtype} to {output.dtype} is not supported")
    layer = Layer(name=_name(op, "dequantize"), op="dequantize", index=op.index, inputs=(x.name,),
                  output=output.name)
    return layer, x.shape


CONVERTERS: dict[str, Callable[[Context, RawOperator, Tensor], tuple[Layer, Shape]]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool("average_pool"),
    "MAX_POOL_2D": _pool("max_pool"),
    "MEAN": _mean,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "SOFTMAX": _softmax,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
