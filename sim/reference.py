"""Integer-exact int8 operators of TFLite in numpy: the golden model of everything in ``hw/``.

Feature maps are ``(N, H, W, C)`` int8 with any batch ``N``; results are new int8 arrays. Formulas
come from TFLite's 8-bit quantization specification and its kernels, and were measured against
LiteRT (``tests/sim/test_reference.py``); nothing here is derived from the RTL.

There are two rounding rules (:data:`Rounding`):

``"single"``
    One rounding, half towards plus infinity. LiteRT's default resolver computes this but for the
    precision: XNNPACK scales in float32 and rounds exact halves to even. About one output of a
    convolution in two million differs, by 1. ADD is XNNPACK's exactly.
``"double"``
    Two roundings, as gemmlowp does it: exactly LiteRT's reference kernels, and TFLite Micro. Of
    LiteRT's reference kernels FULLY_CONNECTED alone scales in float64 instead, which ``"single"``
    meets more closely; here it rounds twice like everything else, as in TFLite Micro.
"""

from __future__ import annotations

import numpy as np

from .fixed_point import (
    AddParameters,
    Rounding,
    add_parameters,
    mean_parameters,
    quantize_multiplier,
    reciprocal,
    requantize,
    scale_accumulator,
)


__all__ = [
    "AddParameters", "Rounding", "accumulate_conv2d", "accumulate_depthwise",
    "accumulate_fully_connected", "add", "add_parameters", "average_pool", "conv2d",
    "depthwise_conv2d", "dequantize", "fully_connected", "max_pool", "mean", "mean_parameters",
    "output_size", "pad", "quantize", "quantize_multiplier", "reciprocal", "requantize", "reshape",
    "scale_accumulator", "softmax",
]

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

# Elements of the largest im2col matrix built at once; larger batches are cut.
PATCH_ELEMENTS = 1 << 23


def output_size(size: int, window: int, stride: int, padding: Pair) -> int:
    """Return the number of window positions along one axis of ``size`` elements."""
    return (size + padding[0] + padding[1] - window) // stride + 1


def _taps(x: np.ndarray, window: Pair, stride: Pair, padding: Padding, value: int) -> np.ndarray:
    """View x (N, H, W, C), padded with ``value``, as windows (N, P, Q, C, R, S)."""
    if padding != ((0, 0), (0, 0)):
        x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
    return windows[:, ::stride[0], ::stride[1]]


def _matmul(patches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Multiply integer-valued float matrices (L, K) and (K, M) exactly; returns int32, wrapped."""
    product = patches @ weights
    if product.dtype == np.float32:
        return product.astype(np.int32)
    return product.astype(np.int64).astype(np.int32)


def _float_type(weights: np.ndarray) -> type[np.floating]:
    """Return the narrowest float type in which sums over axis 0 of (K, M) weights are exact.

    Every partial sum, in whatever order BLAS adds, is an integer of at most 255 *
    sum(abs(weights)).
    """
    bound = 255 * int(np.abs(weights.astype(np.int64)).sum(axis=0).max(initial=0))
    return np.float32 if bound < 1 << 24 else np.float64


def accumulate_conv2d(
    x: np.ndarray, weights: np.ndarray, *, stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)), input_zero_point: int = 0,
) -> np.ndarray:
    """Convolve without bias or requantization: what a PE array hands to post-processing.

    Parameters
    ----------
    x : int8 array (N, H, W, C)
        Activations. Padding contributes zero after the zero point is subtracted.
    weights : int8 array (M, R, S, C)
        Symmetric weights.
    stride, padding
        As in :class:`oarlock.gen.network.Layer`.
    input_zero_point : :class:`int`
        Subtracted from every activation.

    Returns
    -------
    int32 array (N, P, Q, M)
        Sums of ``(x - input_zero_point) * weight``, wrapping at 32 bits.
    """
    count, rows, cols, taps = weights.shape
    kind = _float_type(weights.reshape(count, -1).T)
    matrix = np.ascontiguousarray(weights.reshape(count, -1).T, dtype=kind)
    centred = x.astype(np.int16) - np.int16(input_zero_point)
    height = output_size(x.shape[1], rows, stride[0], padding[0])
    width = output_size(x.shape[2], cols, stride[1], padding[1])
    out = np.empty((len(x), height, width, count), dtype=np.int32)
    step = max(1, PATCH_ELEMENTS // (height * width * rows * cols * taps))
    for start in range(0, len(x), step):
        windows = _taps(centred[start:start + step], (rows, cols), stride, padding, 0)
        patches = windows.transpose(0, 1, 2, 4, 5, 3).astype(kind).reshape(-1, rows * cols * taps)
        out[start:start + step] = _matmul(patches, matrix).reshape(-1, height, width, count)
    return out


def accumulate_depthwise(
    x: np.ndarray, weights: np.ndarray, *, stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)), input_zero_point: int = 0,
) -> np.ndarray:
    """Convolve each channel on its own, without bias or requantization.

    Parameters
    ----------
    x : int8 array (N, H, W, C)
        Activations.
    weights : int8 array (R, S, M)
        ``M = C * multiplier``; output channel ``m`` reads input channel ``m // multiplier``.
    stride, padding, input_zero_point
        As in :func:`accumulate_conv2d`.

    Returns
    -------
    int32 array (N, P, Q, M)
    """
    rows, cols, count = weights.shape
    centred = x.astype(np.int32) - np.int32(input_zero_point)
    centred = np.repeat(centred, count // x.shape[-1], axis=-1)
    windows = _taps(centred, (rows, cols), stride, padding, 0)
    acc = np.zeros((*windows.shape[:3], count), dtype=np.int32)
    for row in range(rows):
        for col in range(cols):
            acc += windows[..., row, col] * weights[row, col].astype(np.int32)
    return acc


def accumulate_fully_connected(
    x: np.ndarray, weights: np.ndarray, *, input_zero_point: int = 0,
) -> np.ndarray:
    """Multiply flattened activations (N, ...) by weights (M, C); returns int32 (N, M)."""
    matrix = weights.T
    kind = _float_type(matrix)
    flat = x.reshape(len(x), -1).astype(kind) - kind(input_zero_point)
    return _matmul(flat, matrix.astype(kind))


def conv2d(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray,
    *, stride: Pair = (1, 1), padding: Padding = ((0, 0), (0, 0)), input_zero_point: int = 0,
    output_zero_point: int = 0, activation: Pair = (-128, 127), rounding: Rounding = "single",
) -> np.ndarray:
    """Convolve: CONV_2D.

    Parameters
    ----------
    x, weights, stride, padding, input_zero_point
        As in :func:`accumulate_conv2d`.
    bias : int32 array (M,)
        Added to the accumulators, which wrap at 32 bits.
    multiplier, shift : integer arrays (M,)
        Factors ``input_scale * weight_scale[m] / output_scale`` by :func:`quantize_multiplier`.
    output_zero_point, activation, rounding
        As in :func:`requantize`.

    Returns
    -------
    int8 array (N, P, Q, M)

    Source: ``reference_integer_ops::ConvPerChannel``.
    """
    acc = accumulate_conv2d(x, weights, stride=stride, padding=padding,
                            input_zero_point=input_zero_point)
    return requantize(acc + bias, multiplier, shift, zero_point=output_zero_point,
                      low=activation[0], high=activation[1], rounding=rounding)


def depthwise_conv2d(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray,
    *, stride: Pair = (1, 1), padding: Padding = ((0, 0), (0, 0)), input_zero_point: int = 0,
    output_zero_point: int = 0, activation: Pair = (-128, 127), rounding: Rounding = "single",
) -> np.ndarray:
    """Convolve each channel on its own: DEPTHWISE_CONV_2D, weights (R, S, M).

    Parameters and result as in :func:`conv2d` and :func:`accumulate_depthwise`.

    Source: ``reference_integer_ops::DepthwiseConvPerChannel``.
    """
    acc = accumulate_depthwise(x, weights, stride=stride, padding=padding,
                               input_zero_point=input_zero_point)
    return requantize(acc + bias, multiplier, shift, zero_point=output_zero_point,
                      low=activation[0], high=activation[1], rounding=rounding)


def fully_connected(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray,
    *, input_zero_point: int = 0, output_zero_point: int = 0, activation: Pair = (-128, 127),
    rounding: Rounding = "single",
) -> np.ndarray:
    """Multiply by a matrix: FULLY_CONNECTED.

    Parameters
    ----------
    x : int8 array (N, ...)
        Activations, flattened to (N, C).
    weights : int8 array (M, C)
        Symmetric weights.
    bias, multiplier, shift, input_zero_point, output_zero_point, activation, rounding
        As in :func:`conv2d`.

    Returns
    -------
    int8 array (N, M)

    Source: ``reference_integer_ops::FullyConnectedPerChannel``.
    """
    acc = accumulate_fully_connected(x, weights, input_zero_point=input_zero_point)
    return requantize(acc + bias, multiplier, shift, zero_point=output_zero_point,
                      low=activation[0], high=activation[1], rounding=rounding)


def _window_bounds(size: int, window: int, stride: int, padding: Pair) -> np.ndarray:
    """Return first and one-past-last valid index (2, P) of every window along an axis."""
    start = np.arange(output_size(size, window, stride, padding)) * stride - padding[0]
    return np.clip([start, start + window], 0, size)


def average_pool(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Padding = ((0, 0), (0, 0)),
    activation: Pair = (-128, 127),
) -> np.ndarray:
    """Average windows: AVERAGE_POOL_2D, the same under both rounding rules.

    Sums the raw values of the positions inside the image, adds or subtracts half their number and
    divides, truncating. Input and output have the same quantization.

    Parameters
    ----------
    x : int8 array (N, H, W, C)
        Activations.
    window, stride, padding, activation
        As in :class:`oarlock.gen.network.Layer`.

    Returns
    -------
    int8 array (N, P, Q, C)

    Source: ``reference_integer_ops::AveragePool``.
    """
    top, bottom = _window_bounds(x.shape[1], window[0], stride[0], padding[0])
    left, right = _window_bounds(x.shape[2], window[1], stride[1], padding[1])
    # Integral image: the sum over a rectangle is made of its four corners.
    table = np.zeros((len(x), x.shape[1] + 1, x.shape[2] + 1, x.shape[3]), dtype=np.int64)
    table[:, 1:, 1:] = x.astype(np.int64).cumsum(axis=1).cumsum(axis=2)
    rows = table[:, bottom] - table[:, top]
    total = rows[:, :, right] - rows[:, :, left]
    count = np.multiply.outer(bottom - top, right - left)[:, :, None]
    quotient = (np.abs(total) + count // 2) // count
    return np.clip(np.where(total < 0, -quotient, quotient), *activation).astype(np.int8)


def max_pool(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Padding = ((0, 0), (0, 0)),
    activation: Pair = (-128, 127),
) -> np.ndarray:
    """Take the maximum of windows: MAX_POOL_2D; parameters and result as in :func:`average_pool`.

    Source: ``reference_integer_ops::MaxPool``.
    """
    windows = _taps(x, window, stride, padding, -128)
    return np.clip(windows.max(axis=(-2, -1)), *activation).astype(np.int8)


def mean(
    x: np.ndarray, multiplier: int, shift: int, *, input_zero_point: int, output_zero_point: int,
    rounding: Rounding = "single",
) -> np.ndarray:
    """Average each channel over height and width: MEAN over axes 1 and 2.

    Under ``"single"`` exact halves go up; XNNPACK rounds them to an even output. They are rare
    unless input and output have the same quantization and ``H * W`` is even.

    Parameters
    ----------
    x : int8 array (N, H, W, C)
        Activations.
    multiplier, shift : :class:`int`
        From :func:`mean_parameters`.
    input_zero_point, output_zero_point, rounding
        As in :func:`conv2d`.

    Returns
    -------
    int8 array (N, 1, 1, C)

    Source: ``QuantizedMeanOrSum`` in TFLite's ``reference/reduce.h``.
    """
    count = x.shape[1] * x.shape[2]
    acc = x.sum(axis=(1, 2), keepdims=True, dtype=np.int64) - count * input_zero_point
    return requantize(acc, multiplier, shift, zero_point=output_zero_point, rounding=rounding)


def pad(x: np.ndarray, *, padding: Padding, zero_point: int) -> np.ndarray:
    """Surround feature maps (N, H, W, C) with the zero point: PAD."""
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=zero_point)


def reshape(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Give each of the N inputs another shape, without the batch: RESHAPE."""
    return x.reshape(len(x), *shape)


def add(
    a: np.ndarray, b: np.ndarray, parameters: AddParameters, *, zero_points: tuple[int, int, int],
    activation: Pair = (-128, 127), rounding: Rounding = "single",
) -> np.ndarray:
    """Add two tensors of one shape but of different quantization: ADD.

    Parameters
    ----------
    a, b : int8 arrays of one shape
        Operands.
    parameters : :class:`AddParameters`
        From :func:`add_parameters` with the same ``rounding``.
    zero_points : tuple of three :class:`int`
        Of ``a``, ``b`` and the output.
    activation, rounding
        As in :func:`conv2d`.

    Returns
    -------
    int8 array of the operands' shape

    Source: :class:`AddParameters`.
    """
    total = np.zeros(a.shape, dtype=np.int64)
    for k, x in enumerate((a, b)):
        shifted = (x.astype(np.int64) - zero_points[k]) << parameters.left_shift
        total += scale_accumulator(shifted, parameters.multipliers[k], parameters.shifts[k],
        rounding)
    return requantize(total, parameters.multipliers[2], parameters.shifts[2],
                      zero_point=zero_points[2], low=activation[0], high=activation[1],
                      rounding=rounding)


def softmax(
    x: np.ndarray, *, scale: float, beta: float = 1.0, output_scale: float = 1 / 256,
    output_zero_point: int = -128,
) -> np.ndarray:
    """Turn the scores along the last axis into probabilities: SOFTMAX, in float32 like TFLite.

    Parameters
    ----------
    x : int8 array (..., C)
        Scores.
    scale, beta : :class:`float`
        Scale of the input; factor before the exponential.
    output_scale, output_zero_point : :class:`float`, :class:`int`
        Quantization of the output; TFLite allows only the defaults.

    Returns
    -------
    int8 array (..., C)

    Source: ``optimized_ops::Softmax`` and ``PopulateSoftmaxLookupTable`` in TFLite's
    ``optimized_ops.h``: a table of exponentials, summed in order, and one rounding at the end.
    """
    factor = np.float32(-scale) * np.float32(beta)
    # exp in double and rounded once: the float32 exponential of the C library to within its own
    # error.
    exponents = (factor * np.arange(256, dtype=np.float32)).astype(np.float64)
    table = np.exp(exponents).astype(np.float32)
    values = table[x.max(axis=-1, keepdims=True).astype(np.int16) - x]
    # cumsum adds one after the other, as C does; sum would add in pairs and round differently.
    total = values.cumsum(axis=-1, dtype=np.float32)[..., -1:]
    inverse = np.float32(1) / (total * np.float32(output_scale))
    rounded = np.floor(values * inverse + np.float32(0.5)).astype(np.int32)
    return np.clip(rounded + output_zero_point, -128, 127).astype(np.int8)


def quantize(x: np.ndarray, *, scale: float, zero_point: int) -> np.ndarray:
    """Turn float32 into int8: QUANTIZE, rounding half away from zero.

    Source: ``reference_ops::AffineQuantize``.
    """
    real = np.asarray(x, dtype=np.float32) / np.float32(scale)
    rounded = np.copysign(np.floor(np.abs(real.astype(np.float64)) + 0.5), real)
    return np.clip(rounded + zero_point, -128, 127).astype(np.int8)


def dequantize(x: np.ndarray, *, scale: float, zero_point: int) -> np.ndarray:
    """Turn int8 into float32: DEQUANTIZE.

    Source: ``reference_ops::Dequantize``, which multiplies in double.
    """
    return (np.float64(scale) * (x.astype(np.int32) - zero_point)).astype(np.float32)
