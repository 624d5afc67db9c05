"""Integer-exact int8 operators of TFLite in numpy: the golden model of everything in ``hw/``.

Feature maps are ``(N, H, W, C)`` int8 with any batch ``N``; results are new int8 arrays. Formulas come
from TFLite's 8-bit quantization specification and its kernels, and were measured against LiteRT
(``tests/sim/test_reference.py``); nothing here is derived from the RTL.

There are two rounding rules (:data:`Rounding`):

``"single"``
    One rounding, half towards plus infinity: what LiteRT computes by default.
``"double"``
    Two roundings, as gemmlowp does it: LiteRT's reference kernels for convolutions, and every operator
    of TFLite Micro. Fully connected layers round twice too here, although LiteRT's reference kernel of
    that one operator rounds once.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np


__all__ = [
    "Rounding", "accumulate_conv2d", "accumulate_depthwise", "accumulate_fully_connected",
    "average_pool", "conv2d", "depthwise_conv2d", "fully_connected", "max_pool", "mean",
    "mean_parameters", "output_size", "pad", "quantize_multiplier", "reciprocal", "requantize",
    "scale_accumulator",
]

Rounding = Literal["single", "double"]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
# Elements of the largest im2col matrix built at once; larger batches are cut.
PATCH_ELEMENTS = 1 << 23


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Write a positive real factor as ``q31 * 2**(shift - 31)``.

    Parameters
    ----------
    real : :class:`float`
        Factor, zero or positive, computed in double precision.

    Returns
    -------
    (q31, shift)
        ``2**30 <= q31 < 2**31`` and ``-31 <= shift <= 30``. Factors below ``2**-32`` become ``(0, 0)``
        and those from ``2**30`` on ``(2**31 - 1, 30)``.

    Raises
    ------
    ValueError
        If ``real`` is negative or not finite.

    Source: ``QuantizeMultiplier`` in TFLite's ``kernels/internal/quantization_util.cc``.
    """
    if not (math.isfinite(real) and real >= 0):
        raise ValueError(f"Factor must be finite and not negative, not {real!r}")
    fraction, shift = math.frexp(real)
    # frexp's fraction times 2**31 is below 2**53, so adding a half is exact.
    q31 = math.floor(fraction * (1 << 31) + 0.5)
    if q31 == 1 << 31:
        q31, shift = q31 // 2, shift + 1
    if shift < -31 or q31 == 0:
        return 0, 0
    if shift > 30:
        return INT32_MAX, 30
    return q31, shift


def scale_accumulator(
    acc: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int, rounding: Rounding,
) -> np.ndarray:
    """Multiply int32 values by ``multiplier * 2**(shift - 31)`` and round.

    This is the one arithmetic unit behind every requantization, and the function that the hardware's
    requantizer implements. A positive shift is applied first, saturating to int32; TFLite leaves that
    overflow undefined, and no int8 result depends on it.

    Parameters
    ----------
    acc : integer array
        Values within int32.
    multiplier, shift : integer or integer array
        ``0 <= multiplier < 2**31`` and ``-31 <= shift <= 30``, broadcast against ``acc``.
    rounding : :data:`Rounding`
        ``"single"``: ``(acc * multiplier + 2**(30 - shift)) >> (31 - shift)``. ``"double"``: a rounding
        doubling high multiply, then a right shift that rounds half away from zero.

    Returns
    -------
    int64 array
        Values within int32.

    Source: ``MultiplyByQuantizedMultiplier`` in TFLite's ``kernels/internal/common.h``, with and without
    ``TFLITE_SINGLE_ROUNDING``; ``SaturatingRoundingDoublingHighMul`` and ``RoundingDivideByPOT`` of
    gemmlowp, of which the former is always used with a positive factor here.
    """
    if rounding not in ("single", "double"):
        raise ValueError(f"Rounding must be 'single' or 'double', not {rounding!r}")
    acc = np.asarray(acc, dtype=np.int64)
    multiplier = np.asarray(multiplier, dtype=np.int64)
    shift = np.asarray(shift, dtype=np.int64)
    if np.any(shift > 0):
        acc = np.clip(acc << np.maximum(shift, 0), INT32_MIN, INT32_MAX)
    right = np.maximum(-shift, 0)
    product = acc * multiplier
    if rounding == "single":
        total = right + 31
        product += np.int64(1) << (total - 1)
        product >>= total
        return product
    product += 1 << 30
    product >>= 31
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    # Without a shift there is nothing to round and nothing to take back for negative values.
    product += half
    product -= (product < half) & (right > 0)
    product >>= right
    return product


def requantize(
    acc: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int, *, zero_point: int,
    low: int = -128, high: int = 127, rounding: Rounding = "single",
) -> np.ndarray:
    """Scale int32 accumulators to int8 activations.

    Parameters
    ----------
    acc : integer array (..., M)
        Accumulators, within int32.
    multiplier, shift : integer or array (M,)
        See :func:`scale_accumulator`.
    zero_point : :class:`int`
        Zero point of the output, added after scaling.
    low, high : :class:`int`
        Range of the fused activation, as int8 values; the result is clamped to it.

    Returns
    -------
    int8 array (..., M)
    """
    out = scale_accumulator(acc, multiplier, shift, rounding)
    out += zero_point
    return np.clip(out, low, high, out=out).astype(np.int8)


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
    """Multiply integer-valued float matrices (L, K) and (K, M) exactly; returns int32."""
    return (patches @ weights).astype(np.int64).astype(np.int32)


def _float_type(weights: np.ndarray) -> type[np.floating]:
    """Return the narrowest float type in which sums over axis 0 of (K, M) weights are exact.

    Every partial sum, in whatever order BLAS adds, is an integer of at most 255 * sum(abs(weights)).
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


def reciprocal(n: int) -> tuple[int, int]:
    """Return (q, e) so that ``t // n == (t * q) >> (31 + e)`` for the sums of a pool of ``n`` values.

    Exact for ``0 <= t <= 128 * n + n // 2`` as long as ``n < 2**22``: ``q`` is at most one unit above
    ``2**(31 + e) / n``, which adds less than ``t / 2**(31 + e) < 1 / n`` to the quotient.

    Parameters
    ----------
    n : :class:`int`
        Number of averaged values, from 1 to ``2**22 - 1``.

    Returns
    -------
    (q, e)
        ``2**30 <= q < 2**31``; ``e`` is ``floor(log2(n))``, and one less for powers of two, whose ``q``
        would otherwise be ``2**31``. ``reciprocal(1) == (2**30, -1)``.
    """
    if not 1 <= n < 1 << 22:
        raise ValueError(f"Count must be in 1..2**22 - 1, not {n!r}")
    e = (n - 1).bit_length() - 1
    return -(-(1 << (31 + e)) // n), e


def _window_bounds(size: int, window: int, stride: int, padding: Pair) -> np.ndarray:
    """Return first and one-past-last valid index (2, P) of every window along an axis."""
    start = np.arange(output_size(size, window, stride, padding)) * stride - padding[0]
    return np.clip([start, start + window], 0, size)


def average_pool(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Padding = ((0, 0), (0, 0)),
    activation: Pair = (-128, 127),
) -> np.ndarray:
    """Average windows: AVERAGE_POOL_2D, the same under both rounding rules.

    Sums the raw values of the positions inside the image, adds or subtracts half their number and divides,
    truncating. Input and output have the same quantization.

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


def mean_parameters(scale_in: float, scale_out: float, count: int) -> tuple[int, int]:
    """Return (q31, shift) of MEAN over ``count`` positions: the division is part of the factor.

    Source: ``QuantizedMeanOrSum`` in TFLite's ``reference/reduce.h``.
    """
    q31, shift = quantize_multiplier(scale_in / scale_out)
    # The quotient is truncated; the shift keeps it within a bit of full precision.
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (q31 << extra) // count, shift - extra


def mean(
    x: np.ndarray, multiplier: int, shift: int, *, input_zero_point: int, output_zero_point: int,
    rounding: Rounding = "single",
) -> np.ndarray:
    """Average each channel over height and width: MEAN over axes 1 and 2.

    Parameters
    ----------
    x : int8 array (N, H, W, C)
        Activations.
    multiplier, shift : :class:`int`
        From :func:`mean_parameters`.

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
