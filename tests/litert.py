"""LiteRT as the oracle: every tensor of a network, and XNNPACK's arithmetic where it is float.

LiteRT's default resolver hands most operators to XNNPACK. XNNPACK computes integer accumulators,
but scales them in float32: the accumulator and the scale are rounded to 24 bits, their product once
more, and exact halves go to even. Our ``single`` rule is what that approximates. So the default
resolver is checked in two steps: it equals :func:`float_layer` always, and that equals ``single``
except where the exact product lies within float32's error of a half.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from oarlock.gen.network import Layer, Network
from oarlock.gen.tflite_file import read
from oarlock.sim import reference


__all__ = ["RESOLVERS", "float_layer", "is_delegated", "near_half", "run"]

RESOLVERS = {"single": OpResolverType.AUTO, "double": OpResolverType.BUILTIN_REF}
FLOAT_OPS = ("conv", "depthwise_conv", "fully_connected", "mean")


def _interpreter(path: str | Path, resolver: OpResolverType, every: bool) -> Interpreter:
    with warnings.catch_warnings():
        # Keeping all tensors under the default resolver warns of memory. It also gives each
        # operator a delegate of its own, so that nothing between them is fused away.
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver, num_threads=1,
                                  experimental_preserve_all_tensors=every)
    interpreter.allocate_tensors()
    return interpreter


def run(path: str | Path, x: np.ndarray, resolver: OpResolverType, *,
        every: bool = True) -> dict[str, np.ndarray]:
    """Run a batch (N, ...) sample by sample; returns all tensors, or only the output, by name."""
    interpreter = _interpreter(path, resolver, every)
    source = interpreter.get_input_details()[0]["index"]
    details = interpreter.get_tensor_details() if every else interpreter.get_output_details()
    kept = [(detail["name"], detail["index"]) for detail in details
            if detail["name"] and len(detail["shape"])]
    samples: dict[str, list[np.ndarray]] = {name: [] for name, _ in kept}
    for start in range(len(x)):
        interpreter.set_tensor(source, x[start:start + 1])
        interpreter.invoke()
        for name, index in kept:
            samples[name].append(interpreter.get_tensor(index))
    # Constants do not have the batch in front, and nobody asks for them.
    return {name: np.concatenate(values) for name, values in samples.items()}


def is_delegated(path: str | Path, resolver: OpResolverType) -> bool:
    """Return whether LiteRT gives anything of a network to XNNPACK."""
    details = _interpreter(path, resolver, every=True)._get_ops_details()
    return any(detail["op_name"] == "DELEGATE" for detail in details)


def _float_scaled(path: Path, network: Network, layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return XNNPACK's float32 value of each output, before zero point and rounding."""
    source, target = network.tensors[layer.inputs[0]], network.tensors[layer.output]
    scale_in, scale_out = np.float32(source.scale), np.float32(target.scale)
    geometry = {"stride": layer.stride, "padding": layer.padding,
                "input_zero_point": source.zero_point}
    if layer.op == "mean":
        count = np.float32(x.shape[1] * x.shape[2])
        acc = x.sum(axis=(1, 2), dtype=np.int32) + layer.bias
        return acc.astype(np.float32) * (scale_in / scale_out / count)
    raw = read(path)
    scales = np.array(raw.tensors[raw.operators[layer.index].inputs[1]].scales, dtype=np.float32)
    if layer.op == "conv":
        acc = reference.accumulate_conv2d(x, layer.weights, **geometry)
    elif layer.op == "depthwise_conv":
        acc = reference.accumulate_depthwise(x, layer.weights, **geometry)
    else:
        acc = reference.accumulate_fully_connected(x, layer.weights,
                                                   input_zero_point=source.zero_point)
    return (acc + layer.bias).astype(np.float32) * (scale_in * scales / scale_out)


def float_layer(path: Path, network: Network, layer: Layer, x: np.ndarray) -> np.ndarray:
    """Compute a layer of :data:`FLOAT_OPS` as XNNPACK does, in float32."""
    target = network.tensors[layer.output]
    zero_point = target.zero_point
    value = _float_scaled(path, network, layer, x)
    if layer.op == "mean":
        # Alone of the four it rounds after adding the zero point, which matters for halves.
        out = np.rint(value + np.float32(zero_point))
    else:
        out = np.rint(value) + zero_point
    return np.clip(out, *layer.activation).astype(np.int8).reshape(len(x), *target.shape[1:])


def near_half(path: Path, network: Network, layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return where a layer's float32 value is so near to a half that its rounding is arbitrary.

    Three roundings to 24 bits each add a relative error of up to 2**-24; the scale has two more.
    """
    target = network.tensors[layer.output]
    value = _float_scaled(path, network, layer, x).astype(np.float64)
    distance = np.abs(value - np.floor(value) - 0.5)
    return (distance <= 5 * 2.0 ** -24 * np.abs(value)).reshape(len(x), *target.shape[1:])
