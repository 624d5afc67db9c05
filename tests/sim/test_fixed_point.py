"""The requantizer's arithmetic against exact integers and fractions, edges included."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from oarlock.sim.fixed_point import (
    add_parameters,
    mean_parameters,
    quantize_multiplier,
    reciprocal,
    requantize,
    scale_accumulator,
)


INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
EDGES = [0, 1, -1, 2, -2, 3, -3, 255, -255, (1 << 30) - 1, 1 << 30, -(1 << 30), INT32_MAX,
         INT32_MIN]


def single(acc: int, q31: int, shift: int) -> int:
    """One rounding, half up, as numerics.md writes it, in unbounded integers."""
    return (acc * q31 + (1 << (30 - shift))) >> (31 - shift)


def double(acc: int, q31: int, shift: int) -> int:
    """Gemmlowp's two roundings, as its C++ code writes them."""
    left, right = max(shift, 0), max(-shift, 0)
    product = (acc << left) * q31
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    total = product + nudge
    # C++ divides towards zero.
    high = abs(total) // (1 << 31) * (1 if total >= 0 else -1)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


@pytest.mark.parametrize(("rounding", "rule"), [("single", single), ("double", double)])
def test_scale_accumulator_equals_exact_integers(rounding: str, rule: object) -> None:
    random = np.random.default_rng(5)
    q31s = [1 << 30, (1 << 30) + 1, INT32_MAX, INT32_MAX - 1, 1, 0,
            *random.integers(1 << 30, 1 << 31, 20).tolist()]
    accs = np.array([*EDGES, *random.integers(INT32_MIN, 1 << 31, 200).tolist(),
                     *random.integers(-40000, 40000, 200).tolist()])
    for q31 in q31s:
        for shift in range(-31, 31):
            # The rules are stated for left shifts that stay within int32.
            fits = accs[np.abs(accs << max(shift, 0)) <= INT32_MAX]
            actual = scale_accumulator(fits, q31, shift, rounding)
            assert actual.tolist() == [rule(int(acc), q31, shift) for acc in fits], (q31, shift)


def test_left_shift_saturates() -> None:
    for rounding in ("single", "double"):
        for acc, bound in ((INT32_MAX, INT32_MAX), (INT32_MIN, INT32_MIN)):
            expected = scale_accumulator(np.array(bound), 1 << 30, 0, rounding)
            assert scale_accumulator(np.array(acc), 1 << 30, 7, rounding) == expected


def test_requantize_adds_the_zero_point_before_it_clamps() -> None:
    acc = np.array([-200, -100, 0, 100, 200])
    out = requantize(acc, 1 << 30, 1, zero_point=10, low=-50, high=90)
    assert out.tolist() == [-50, -50, 10, 90, 90]
    assert out.dtype == np.int8


def test_halves_go_up_in_single_and_away_from_zero_in_double() -> None:
    halves = np.array([-3, -1, 1, 3])
    # Times 0.5, and twice of that times 0.25, whose second step meets the half.
    assert scale_accumulator(halves, 1 << 30, 0, "single").tolist() == [-1, 0, 1, 2]
    assert scale_accumulator(halves * 2, 1 << 30, -1, "double").tolist() == [-2, -1, 1, 2]
    with pytest.raises(ValueError, match="Rounding must be 'single' or 'double', not 'even'"):
        scale_accumulator(halves, 1 << 30, 0, "even")


@pytest.mark.parametrize(
    "real", [1.0, 0.5, 0.75, 1 - 2 ** -33, 3.1e-5, 2.0 ** -32, 17.3, 2.0 ** 29])
def test_quantize_multiplier_is_nearest(real: float) -> None:
    q31, shift = quantize_multiplier(real)
    assert 1 << 30 <= q31 < 1 << 31
    error = Fraction(q31) * Fraction(2) ** (shift - 31) - Fraction(real)
    assert abs(error) <= Fraction(real) / 2 ** 31


def test_quantize_multiplier_at_its_limits() -> None:
    # Rounds up to 2**31: halved, with one more shift.
    assert quantize_multiplier(1 - 2.0 ** -40) == (1 << 30, 1)
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(2.0 ** -33) == (0, 0)
    assert quantize_multiplier(2.0 ** -32) == (1 << 30, -31)
    assert quantize_multiplier(2.0 ** 30) == (INT32_MAX, 30)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Factor must be finite and not negative, not"):
            quantize_multiplier(bad)


def divides_exactly(n: int, q: int, e: int) -> bool:
    """Return whether (q, e) divides by n at every place where the quotient changes."""
    last = 128 * n + n // 2
    if n <= 300:
        t = np.arange(last + 1, dtype=np.int64)
    else:
        # The error only grows with t, and a too large q first shows just below multiples of n.
        k = np.arange(1, last // n + 1, dtype=np.int64) * n
        t = np.concatenate([[0], k - 1, k, [last]])
    return np.array_equal((t * q) >> (31 + e), t // n)


def test_reciprocal_divides_exactly() -> None:
    ends = [1 << k for k in range(12, 22)]
    for n in [*range(1, 5001), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends),
              (1 << 22) - 1]:
        q, e = reciprocal(n)
        assert 1 << 30 <= q < 1 << 31, n
        assert divides_exactly(n, q, e), n


def test_check_of_reciprocal_finds_a_wrong_one() -> None:
    for n in (3, 49, 1000, 4097):
        q, e = reciprocal(n)
        assert not divides_exactly(n, q - 1, e)
        assert not divides_exactly(n, q + (1 << 22), e)


def test_reciprocal_of_one_and_refusals() -> None:
    assert reciprocal(1) == (1 << 30, -1)
    for bad in (0, 1 << 22):
        with pytest.raises(ValueError, match=rf"Count must be in .*, not {bad}"):
            reciprocal(bad)


def test_mean_parameters_contain_the_division() -> None:
    for count in (1, 2, 3, 49, 64, 490, 9216):
        q31, shift = mean_parameters(0.05, 0.031, count)
        exact = Fraction(0.05 / 0.031) / count
        assert 0 < q31 < 1 << 31
        assert abs(Fraction(q31) * Fraction(2) ** (shift - 31) / exact - 1) < Fraction(1, 1 << 28)


def test_add_stays_within_int32_and_multiplies_exactly_in_single() -> None:
    random = np.random.default_rng(3)
    for _ in range(300):
        scale_a, scale_b, scale_out = (float(np.float32(v)) for v in
                                       2.0 ** random.uniform(-4.9, 3.9, 3))
        for rounding in ("single", "double"):
            p = add_parameters(scale_a, scale_b, scale_out, rounding)
            assert all(0 <= q31 < 1 << 31 for q31 in p.multipliers)
            assert all(-31 <= shift <= 30 for shift in p.shifts)
            x = np.array([-255, -1, 0, 1, 255])
            scaled = []
            for k in range(2):
                shifted = x << p.left_shift
                assert np.abs(shifted).max() <= INT32_MAX
                scaled.append(scale_accumulator(shifted, p.multipliers[k], p.shifts[k], rounding))
                if p.left_shift == 22:
                    assert scaled[k].tolist() == (x * (p.multipliers[k] >> 9)).tolist()
            assert np.abs(scaled[0] + scaled[1]).max() <= INT32_MAX
            # Close to the real sum.
            out = scale_accumulator(scaled[0] + scaled[1], p.multipliers[2], p.shifts[2], rounding)
            np.testing.assert_allclose(out, x * ((scale_a + scale_b) / scale_out), atol=0.51,
                                       rtol=1e-5)
