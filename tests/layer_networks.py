"""Networks of one layer with random constants, and everything that a device must say about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from oarlock.gen.config import ArrayConfig
from oarlock.gen.interpret import evaluate
from oarlock.gen.network import Layer, Network, Tensor
from oarlock.gen.program import compile_network
from oarlock.sim.reference import Rounding, mean_parameters, output_size
from oarlock.sw_driver.program import Program


Pair = tuple[int, int]


class NetworkBuilder:
    """Appends layers to a network; all that is not said is random.

    Scales are chosen such that outputs are rarely all clamped.
    """

    def __init__(self, shape: tuple[int, ...], seed: int, **quantization: Any) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.last = self._tensor((1, *shape), **quantization)

    def _tensor(self, shape: tuple[int, ...], **values: Any) -> str:
        name = f"t{len(self.tensors)}"
        values.setdefault("scale", float(np.float32(self.rng.uniform(0.02, 0.2))))
        values.setdefault("zero_point", int(self.rng.integers(-128, 128)))
        self.tensors[name] = Tensor(name=name, shape=shape, **values)
        return name

    def _layer(self, op: Any, output: str, inputs: tuple[str, ...] = (), **values: Any) -> None:
        index = len(self.layers)
        values.setdefault("activation", (-128, 127))
        self.layers.append(Layer(name=f"op{index}_{op}", op=op, index=index,
                                 inputs=inputs or (self.last,), output=output, **values))
        self.last = output

    def _constants(self, shape: tuple[int, ...], count: int, taps: int, extreme: bool,
                   ) -> dict[str, np.ndarray]:
        shift = self.rng.integers(-8, -4, count) - int(np.log2(taps) / 2)
        if extreme:
            shift = np.where(self.rng.random(count) < 0.5, shift,
                             self.rng.integers(-31, 10, count))
        return {
            "weights": self.rng.integers(-127, 128, shape).astype(np.int8),
            "bias": self.rng.integers(-5000, 5000, count).astype(np.int32),
            "multiplier": self.rng.integers(1 << 30, 1 << 31, count), "shift": shift,
        }

    def _positions(self, window: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Pair:
        _, h, w, _ = self.tensors[self.last].shape
        return (output_size(h, window[0], stride[0], padding[0]),
                output_size(w, window[1], stride[1], padding[1]))

    def conv(self, m: int, window: Pair, *, stride: Pair = (1, 1),
             padding: tuple[Pair, Pair] = ((0, 0), (0, 0)), depthwise: bool = False,
             extreme: bool = False, **values: Any) -> NetworkBuilder:
        """Append a convolution of ``m`` filters, or of ``m`` filters a channel if depthwise."""
        c = self.tensors[self.last].shape[3]
        count = m * c if depthwise else m
        shape = (*window, count) if depthwise else (m, *window, c)
        out = self._tensor((1, *self._positions(window, stride, padding), count))
        taps = window[0] * window[1] * (1 if depthwise else c)
        self._layer("depthwise_conv" if depthwise else "conv", out, stride=stride, padding=padding,
                    **self._constants(shape, count, taps, extreme), **values)
        return self

    def dense(self, m: int, *, extreme: bool = False, **values: Any) -> NetworkBuilder:
        """Append a fully connected layer."""
        taps = self.tensors[self.last].size
        self._layer("fully_connected", self._tensor((1, m)),
                    **self._constants((m, taps), m, taps, extreme), **values)
        return self

    def pool(self, op: str, window: Pair, stride: Pair, padding: tuple[Pair, Pair],
             **values: Any) -> NetworkBuilder:
        """Append an average or maximum pooling."""
        source = self.tensors[self.last]
        out = self._tensor((1, *self._positions(window, stride, padding), source.shape[3]),
                           scale=source.scale, zero_point=source.zero_point)
        self._layer(op, out, window=window, stride=stride, padding=padding, **values)
        return self

    def mean(self) -> NetworkBuilder:
        """Append a mean over height and width."""
        source = self.tensors[self.last]
        _, h, w, c = source.shape
        out = self._tensor((1, c), scale=source.scale / 2)
        multiplier, shift = mean_parameters(source.scale, self.tensors[out].scale, h * w)
        self._layer("mean", out, multiplier=np.array([multiplier]), shift=np.array([shift]),
                    bias=np.array([-h * w * source.zero_point]))
        return self

    def add(self, other: str, **values: Any) -> NetworkBuilder:
        """Append the sum of the last tensor and another."""
        out = self._tensor(self.tensors[self.last].shape)
        self._layer("add", out, (self.last, other), **values)
        return self

    def network(self) -> Network:
        """Return what was built."""
        return Network(name="drawn", tensors=self.tensors, layers=tuple(self.layers), input="t0",
                       output=self.last)


def random_input(network: Network, seed: int) -> np.ndarray:
    """Return an input (1, ...) of which a fifth is zero, that is, equals the zero point."""
    rng, tensor = np.random.default_rng(seed), network.tensors[network.input]
    x = rng.integers(-128, 128, tensor.shape).astype(np.int8)
    return np.where(rng.random(tensor.shape) < 0.2, np.int8(tensor.zero_point), x)


def extreme_inputs(network: Network) -> np.ndarray:
    """Return inputs (N, H, W, C) that take every filter's sum as high and as low as it can be.

    The window of one output lies in the image as a whole: at (1, 0) if that is larger than it.
    """
    layer = network.layers[0]
    weights = layer.weights
    assert weights is not None
    _, h, w, c = network.tensors[layer.inputs[0]].shape
    if layer.op == "fully_connected":
        filters = weights.reshape(-1, h, w, c)
    elif layer.op == "depthwise_conv":
        # All channels at once: filter n of each.
        filters = weights.reshape(*weights.shape[:2], c, -1).transpose(3, 0, 1, 2)
    else:
        filters = weights
    size = filters.shape[1:3]
    top = int(size[0] < h)
    images = []
    for sign in (1, -1):
        image = np.zeros((len(filters), h, w, c), dtype=np.int8)
        image[:, top:top + size[0], :size[1]] = np.where(sign * filters > 0, 127, -128)
        images.append(image)
    return np.concatenate(images)


def program_of(network: Network, config: ArrayConfig, rounding: Rounding = "single") -> Program:
    """Compile a network."""
    program = compile_network(network, config, rounding)
    return Program.from_parts(program.header, program.words)


def expected_output(network: Network, x: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Compute the output for an input (1, ...) with the reference."""
    return evaluate(network, x, rounding)[network.output]
