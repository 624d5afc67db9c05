"""Fixed-point arithmetic of the int8 operators: the requantizer and its constants.

Re-exported by :mod:`oarlock.sim.reference`, which explains the two rounding rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


__all__ = [
    "AddParameters", "Rounding", "add_parameters", "mean_parameters", "quantize_multiplier",
    "reciprocal", "requantize", "scale_accumulator",
]

Rounding = Literal["single", "double"]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Write a positive real factor as ``q31 * 2**(shift - 31)``.

    Parameters
    ----------
    real : :class:`float`
        Factor, zero or positive, computed in double precision.

    Returns
    -------
    (q31, shift)
        ``2**30 <= q31 < 2**31`` and ``-31 <= shift <= 30``. Factors below ``2**-32`` become ``(0,
        0)`` and those from ``2**30`` on ``(2**31 - 1, 30)``.

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

    This is the one arithmetic unit behind every requantization, and the function that the
    hardware's requantizer implements. A positive shift is applied first, saturating to int32;
    TFLite leaves that overflow undefined, and no int8 result depends on it.

    Parameters
    ----------
    acc : integer array
        Values within int32.
    multiplier, shift : integer or integer array
        ``0 <= multiplier < 2**31`` and ``-31 <= shift <= 30``, broadcast against ``acc``.
    rounding : :data:`Rounding`
        ``"single"``: ``(acc * multiplier + 2**(30 - shift)) >> (31 - shift)``. ``"double"``: a
        rounding doubling high multiply, then a right shift that rounds half away from zero.

    Returns
    -------
    int64 array
        Values within int32.

    Source: ``MultiplyByQuantizedMultiplier`` in TFLite's ``kernels/internal/common.h``, with and
    without ``TFLITE_SINGLE_ROUNDING``; ``SaturatingRoundingDoublingHighMul`` and
    ``RoundingDivideByPOT`` of gemmlowp, of which the former is always used with a positive factor
    here.
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
    rounding : :data:`Rounding`
        See :func:`scale_accumulator`.

    Returns
    -------
    int8 array (..., M)
    """
    out = scale_accumulator(acc, multiplier, shift, rounding)
    out += zero_point
    return np.clip(out, low, high, out=out).astype(np.int8)


def reciprocal(n: int) -> tuple[int, int]:
    """Return (q, e) so that ``t // n == (t * q) >> (31 + e)`` for the sums of ``n`` values.

    Exact for ``0 <= t <= 128 * n + n // 2`` as long as ``n < 2**22``: ``q`` is at most one unit
    above ``2**(31 + e) / n``, which adds less than ``t / 2**(31 + e) < 1 / n`` to the quotient.

    Parameters
    ----------
    n : :class:`int`
        Number of averaged values, from 1 to ``2**22 - 1``.

    Returns
    -------
    (q, e)
        ``2**30 <= q < 2**31``; ``e`` is ``floor(log2(n))``, and one less for powers of two, whose
        ``q`` would otherwise be ``2**31``. ``reciprocal(1) == (2**30, -1)``.
    """
    if not 1 <= n < 1 << 22:
        raise ValueError(f"Count must be in 1..2**22 - 1, not {n!r}")
    e = (n - 1).bit_length() - 1
    return -(-(1 << (31 + e)) // n), e


def mean_parameters(scale_in: float, scale_out: float, count: int) -> tuple[int, int]:
    """Return (q31, shift) of MEAN over ``count`` positions: the division is part of the factor.

    Source: ``QuantizedMeanOrSum`` in TFLite's ``reference/reduce.h``.
    """
    q31, shift = quantize_multiplier(scale_in / scale_out)
    # The quotient is truncated; the shift keeps it within a bit of full precision.
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (q31 << extra) // count, shift - extra


@dataclass(frozen=True, kw_only=True)
class AddParameters:
    """ADD as three uses of one requantizer.

    With ``r_k = scale_accumulator((x_k - zero_point_k) << left_shift, multipliers[k], shifts[k])``
    for both inputs, the output is ``clamp(zero_point + scale_accumulator(r_0 + r_1, multipliers[2],
    shifts[2]))``. Every intermediate value fits in int32.

    Members
    -------
    left_shift : :class:`int`
        20 or 22.
    multipliers, shifts : tuple of three :class:`int`
        For the first input, the second input and the sum.
    """

    left_shift: int
    multipliers: tuple[int, int, int]
    shifts: tuple[int, int, int]


def add_parameters(
    scale_a: float, scale_b: float, scale_out: float, rounding: Rounding,
) -> AddParameters:
    """Return the constants of ADD under a rounding rule.

    ``"double"`` is TFLite's rule: both inputs are scaled to twice the larger input scale with 20
    more bits. ``"single"`` is XNNPACK's: the inputs are multiplied by integers of up to 22 bits,
    and only the sum is rounded. XNNPACK takes an ADD only while both ``scale_in / scale_out`` are
    in ``[2**-10, 2**8)``; beyond that TFLite's constants are used under both rules.

    Parameters
    ----------
    scale_a, scale_b, scale_out : :class:`float`
        Scales of the tensors, exactly as in the file (float32).
    rounding : :data:`Rounding`
        The rule under which the constants will be used.

    Source: ``PrepareGeneralSubOrAddOp`` in TFLite's ``kernels/add.cc``;
    ``init_qs8_add_minmax_*_params`` in XNNPACK's ``microparams-init.c``.
    """
    if rounding == "single":
        # XNNPACK divides in float32.
        ratios = [np.float32(scale_a) / np.float32(scale_out),
                  np.float32(scale_b) / np.float32(scale_out)]
        if all(2.0 ** -10 <= ratio < 2.0 ** 8 for ratio in ratios):
            # frexp's exponent is one above that of 1.m notation.
            shift = 21 - math.frexp(max(ratios))[1]
            first, second = (round(math.ldexp(float(ratio), shift)) for ratio in ratios)
            # A product with multiplier * 2**9 of a value shifted by 22 is a multiple of 2**31, so
            # the first two uses multiply exactly; the third is a plain rounding shift. Multipliers
            # are at most 2**21 (rounded up from just below), so these factors are at most 2**30.
            return AddParameters(left_shift=22, multipliers=(first << 9, second << 9, 1 << 30),
                                 shifts=(0, 0, 1 - shift))
    twice_max = 2.0 * max(scale_a, scale_b)
    factors = [quantize_multiplier(real) for real in (
        scale_a / twice_max, scale_b / twice_max, twice_max / ((1 << 20) * scale_out))]
    return AddParameters(left_shift=20, multipliers=tuple(q31 for q31, _ in factors),
                         shifts=tuple(shift for _, shift in factors))
