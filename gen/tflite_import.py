"""Import of int8 TFLite files: from the file's records to the network that the compiler sees."""

from __future__ import annotations

from pathlib import Path

import tflite

from .errors import ModelError
from .network import Layer, Network, Tensor
from .tflite_file import RawModel, RawOperator, RawTensor, names_of, read
from .tflite_ops import CONVERTERS, Context, Unsupported


__all__ = ["load"]


def load(path: str | Path) -> Network:
    """Read an int8 TFLite file.

    Understands CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, ADD, AVERAGE_POOL_2D, MAX_POOL_2D, MEAN
    over height and width, PAD of height and width, RESHAPE (also spelt SQUEEZE or EXPAND_DIMS),
    SOFTMAX, and QUANTIZE and DEQUANTIZE between float32 and int8 at the edges; fused RELU and
    RELU6.

    Parameters
    ----------
    path : :class:`str` or :class:`pathlib.Path`
        The file. One subgraph with one input and one output, a batch of 1.

    Returns
    -------
    :class:`oarlock.gen.network.Network`
        Layers in the file's order, which is an order of execution.

    Raises
    ------
    ModelError
        One line that starts with the path: the file cannot be read, is no TFLite file, is damaged,
        or holds something that is not supported; for an operator, with its index and name.
    """
    raw = read(path)
    for what, indices in (("input", raw.inputs), ("output", raw.outputs)):
        if len(indices) != 1:
            raise ModelError(f"{path}: has {len(indices)} {what}s; one is supported")
    if -1 in (*raw.inputs, *raw.outputs):
        raise ModelError(f"{path}: is damaged: names a tensor that does not exist")
    if not raw.operators:
        raise ModelError(f"{path}: has no operators")
    context = Context(raw=raw, names=_unique_names(raw), tensors={})
    try:
        context.tensors[context.names[raw.inputs[0]]] = _tensor(context, raw.inputs[0])
    except Unsupported as error:
        raise ModelError(f"{path}: input: {error}") from error
    layers = tuple(_layer(path, context, op) for op in raw.operators)
    output = context.names[raw.outputs[0]]
    if output not in context.tensors:
        raise ModelError(f"{path}: no operator computes the output")
    return Network(name=Path(path).stem, tensors=context.tensors, layers=layers,
                   input=context.names[raw.inputs[0]], output=output)


def _layer(path: str | Path, context: Context, op: RawOperator) -> Layer:
    """Convert one operator and enter its output among the tensors."""
    where = f"{path}: operator {op.index} ({op.kind})"
    convert = CONVERTERS.get(op.kind)
    if convert is None:
        raise ModelError(f"{where} is not supported")
    try:
        if len(op.outputs) != 1 or op.outputs[0] < 0:
            raise Unsupported(f"has {len(op.outputs)} outputs; one is supported")
        name = context.names[op.outputs[0]]
        if name in context.tensors:
            raise Unsupported("computes a tensor that already has a value")
        if context.raw.tensors[op.outputs[0]].constant:
            raise Unsupported("computes a constant")
        output = _tensor(context, op.outputs[0])
        layer, shape = convert(context, op, output)
        if output.shape != shape:
            raise Unsupported(f"gives the shape {shape}, and the file says {output.shape}")
    except Unsupported as error:
        raise ModelError(f"{where}: {error}") from error
    context.tensors[name] = output
    return layer


def _tensor(context: Context, index: int) -> Tensor:
    """Convert the tensor of a value that flows, float32 or int8."""
    raw = context.raw.tensors[index]
    name = context.names[index]
    _check_shape(raw)
    if raw.type == tflite.TensorType.FLOAT32:
        return Tensor(name=name, shape=raw.shape, dtype="float32")
    if raw.type != tflite.TensorType.INT8:
        kind = names_of(tflite.TensorType).get(raw.type, f"type {raw.type}").lower()
        raise Unsupported(f"tensor {raw.name!r} is {kind}, not int8")
    if len(raw.scales) != 1 or len(raw.zero_points) != 1:
        raise Unsupported(f"tensor {raw.name!r} needs one scale and one zero point")
    scale, zero_point = raw.scales[0], raw.zero_points[0]
    if not 0 < scale < float("inf") or not -128 <= zero_point <= 127:
        raise Unsupported(f"tensor {raw.name!r} has scale {scale!r} and zero point {zero_point!r}")
    return Tensor(name=name, shape=raw.shape, scale=scale, zero_point=zero_point)


def _check_shape(raw: RawTensor) -> None:
    # Converters of Keras models leave the batch open in the signature and set it to 1 in the shape.
    if any(known < 0 for known in raw.signature[1:]):
        raise Unsupported(f"tensor {raw.name!r} has the dynamic shape {raw.signature}")
    if len(raw.shape) < 2 or raw.shape[0] != 1 or 0 in raw.shape:
        raise Unsupported(
            f"tensor {raw.name!r} has the shape {raw.shape}; a batch of 1 is supported")


def _unique_names(raw: RawModel) -> list[str]:
    """Return the names of all tensors, numbered where a file uses one twice or none."""
    used: set[str] = set()
    names = []
    for index, tensor in enumerate(raw.tensors):
        name = tensor.name or f"tensor {index}"
        while name in used:
            name = f"{name}#{index}"
        used.add(name)
        names.append(name)
    return names
