"""LiteRT as the oracle: every tensor, and its arithmetic where that is floating-point.

LiteRT's default resolver hands most operators to XNNPACK, which computes integer accumulators, but
scales them in float32: accumulator and scale are rounded to 24 bits, their product once more, exact
halves go to even. Our ``single`` rule is what that approximates. So the default resolver is
checked in two steps: it equals :func:`float_layer` always, and that equals ``single`` except where
the exact product lies within float32's error of a half. The reference kernel of FULLY_CONNECTED,
unlike the others, scales in float64 and is checked in the same way.
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


def _scaled(path: Path, network: Network, layer: Layer, x: np.ndarray,
            kind: type[np.floating]) -> np.ndarray:
    """Return the float value of each output, before zero point and rounding."""
    source, target = network.tensors[layer.inputs[0]], network.tensors[layer.output]
    scale_in, scale_out = kind(source.scale), kind(target.scale)
    geometry = {"stride": layer.stride, "padding": layer.padding,
                "input_zero_point": source.zero_point}
    if layer.op == "mean":
        count = kind(x.shape[1] * x.shape[2])
        acc = x.sum(axis=(1, 2), dtype=np.int32) + layer.bias
        return acc.astype(kind) * (scale_in / scale_out / count)
    raw = read(path)
    scales = np.array(raw.tensors[raw.operators[layer.index].inputs[1]].scales, dtype=kind)
    if layer.op == "conv":
        acc = reference.accumulate_conv2d(x, layer.weights, **geometry)
    elif layer.op == "depthwise_conv":
        acc = reference.accumulate_depthwise(x, layer.weights, **geometry)
    else:
        acc = reference.accumulate_fully_connected(x, layer.weights,
                                                   input_zero_point=source.zero_point)
    return (acc + layer.bias).astype(kind) * (scale_in * scales / scale_out)


def float_layer(path: Path, network: Network, layer: Layer, x: np.ndarray,
                kind: type[np.floating] = np.float32) -> np.ndarray:
    """Compute a layer of :data:`FLOAT_OPS` in floating point.

    ``kind`` is float32 for XNNPACK, and float64 for LiteRT's reference kernel of FULLY_CONNECTED.
    """
    target = network.tensors[layer.output]
    value = _scaled(path, network, layer, x, kind)
    if layer.op == "mean":
        # Alone of the four it rounds after adding the zero point, which matters for halves.
        out = np.rint(value + kind(target.zero_point))
    elif kind is np.float64:
        # std::round, away from zero.
        out = np.copysign(np.floor(np.abs(value) + 0.5), value) + target.zero_point
    else:
        out = np.rint(value) + target.zero_point
    return np.clip(out, *layer.activation).astype(np.int8).reshape(len(x), *target.shape[1:])


def near_half(path: Path, network: Network, layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return where a layer's value is so near to a half that float32 cannot tell the side.

    Rounding accumulator and product to 24 bits adds a relative error of up to 2**-24 each, the
    scale with its two operations on inputs that are exact up to twice that.
    """
    target = network.tensors[layer.output]
    value = _scaled(path, network, layer, x, np.float64)
    distance = np.abs(value - np.floor(value) - 0.5)
    return (distance <= 4 * 2.0 ** -24 * np.abs(value)).reshape(len(x), *target.shape[1:])
