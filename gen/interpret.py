"""Evaluation of a network with the numpy reference: every tensor, bit-exact."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..sim import reference
from ..sim.reference import Rounding
from .network import Layer, Network, Tensor


__all__ = ["evaluate", "evaluate_layer"]


def evaluate(
    network: Network, x: np.ndarray, rounding: Rounding = "single", *,
    keep: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Compute every tensor of a network.

    Parameters
    ----------
    network : :class:`oarlock.gen.network.Network`
        The network.
    x : array (N, ...)
        A batch of inputs, of the dtype of the network's input (int8 or float32).
    rounding : :data:`oarlock.sim.reference.Rounding`
        Rounding rule of every requantization.
    keep : collection of :class:`str`, optional
        Names of the tensors to return; others are forgotten when their last reader is done, which
        keeps large batches small. All by default.

    Returns
    -------
    dict of :class:`str` to array
        Tensors by name, each with the batch N in front.

    Raises
    ------
    ValueError
        If shape or dtype of ``x`` do not fit.
    """
    expected = network.tensors[network.input]
    if x.ndim != len(expected.shape) or x.shape[1:] != expected.shape[1:]:
        shape = ", ".join(["N", *map(str, expected.shape[1:])])
        raise ValueError(f"Input must have the shape ({shape}), not {x.shape}")
    if x.dtype != expected.dtype:
        raise ValueError(f"Input must be {expected.dtype}, not {x.dtype}")
    last_reader = {name: layer.index for layer in network.layers for name in layer.inputs}
    values = {network.input: x}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.output] = evaluate_layer(layer, network.tensors, inputs, rounding)
        if keep is not None:
            for name in layer.inputs:
                if name not in keep and last_reader[name] == layer.index:
                    values.pop(name, None)
    if keep is None:
        return values
    return {name: value for name, value in values.items() if name in keep}


def evaluate_layer(
    layer: Layer, tensors: dict[str, Tensor], inputs: list[np.ndarray], rounding: Rounding =
    "single",
) -> np.ndarray:
    """Compute one layer on given inputs, each (N, ...), and return its output (N, ...)."""
    x = inputs[0]
    source, target = tensors[layer.inputs[0]], tensors[layer.output]
    match layer.op:
        case "conv" | "depthwise_conv":
            convolve = reference.conv2d if layer.op == "conv" else reference.depthwise_conv2d
            out = convolve(
                x, layer.weights, layer.bias, layer.multiplier, layer.shift, stride=layer.stride,
                padding=layer.padding, input_zero_point=source.zero_point,
                output_zero_point=target.zero_point, activation=layer.activation, rounding=rounding)
        case "fully_connected":
            out = reference.fully_connected(
                x, layer.weights, layer.bias, layer.multiplier, layer.shift,
                input_zero_point=source.zero_point, output_zero_point=target.zero_point,
                activation=layer.activation, rounding=rounding)
        case "add":
            other = tensors[layer.inputs[1]]
            out = reference.add(
                x, inputs[1],
                reference.add_parameters(source.scale, other.scale, target.scale, rounding),
                zero_points=(source.zero_point, other.zero_point, target.zero_point),
                activation=layer.activation, rounding=rounding)
        case "average_pool" | "max_pool":
            pool = reference.average_pool if layer.op == "average_pool" else reference.max_pool
            out = pool(x, window=layer.window, stride=layer.stride, padding=layer.padding,
                       activation=layer.activation)
        case "mean":
            out = reference.mean(
                x, layer.multiplier, layer.shift, input_zero_point=source.zero_point,
                output_zero_point=target.zero_point, rounding=rounding)
        case "pad":
            out = reference.pad(x, padding=layer.padding, zero_point=source.zero_point)
        case "reshape":
            out = x
        case "softmax":
            out = reference.softmax(x, scale=source.scale, beta=layer.beta)
        case "quantize":
            out = reference.quantize(x, scale=target.scale, zero_point=target.zero_point)
        case "dequantize":
            out = reference.dequantize(x, scale=source.scale, zero_point=source.zero_point)
        case _:
            raise ValueError(f"Layer {layer.name} has the unknown operator {layer.op!r}")
    # Reshapes, and operators that keep or drop dimensions of 1.
    return reference.reshape(out, target.shape[1:])
