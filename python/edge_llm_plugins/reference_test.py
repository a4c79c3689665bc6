"""The NumPy reference and its tolerance check."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import quantization, reference


def test_gemm_agrees_with_loops() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-8, 8, (4, 192))
    scales = rng.uniform(0.5, 2, (2, 4)).astype(np.float16)
    x = rng.standard_normal((2, 3, 192)).astype(np.float16)
    y = reference.int4_groupwise_gemm(x, quantization.pack(codes), scales)
    assert y.dtype == np.float64
    assert y.shape == (2, 3, 4)
    for b, s, n in np.ndindex(2, 3, 4):
        expected = sum(
            float(x[b, s, k]) * int(codes[n, k]) * float(scales[k // 128, n]) for k in range(192)
        )
        assert abs(y[b, s, n] - expected) < 1e-10


def test_gemm_does_not_overflow_fp16() -> None:
    packed = quantization.pack(np.full((4, 64), -8))
    scales = np.full((1, 4), 8188, np.float16)
    y = reference.int4_groupwise_gemm(np.full((1, 1, 64), 65504, np.float16), packed, scales)
    np.testing.assert_array_equal(y, np.full((1, 1, 4), -8.0 * 8188 * 65504 * 64))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((1, 1, 64), np.float32), TypeError, "x has dtype float32: float16"),
        (np.zeros((1, 64), np.float16), ValueError, r"x has shape \[1, 64\]: \[B, S, 64\]"),
        (np.zeros((1, 1, 128), np.float16), ValueError, r"\[B, S, 64\]"),
    ],
)
def test_gemm_refuses(x: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reference.int4_groupwise_gemm(x, np.zeros((2, 64), np.int8), np.ones((1, 4), np.float16))


def test_relative_rms() -> None:
    assert reference.relative_rms([3.0, 4.0], [3.0, 4.0]) == 0
    assert reference.relative_rms([3.0, 4.5], [3.0, 4.0]) == pytest.approx(0.1)
    assert reference.relative_rms([0.0], [0.0]) == 0
    assert reference.relative_rms([1.0], [0.0]) == np.inf
    assert reference.relative_rms([], []) == 0


def test_assert_close_accepts_an_error_within_the_tolerance() -> None:
    expected = np.linspace(1, 2, 1000)
    reference.assert_close(expected * (1 + 4.9e-4), expected)
    with pytest.raises(AssertionError, match=r"relative RMS error 0\.00051 > 0\.0005"):
        reference.assert_close(expected * (1 + 5.1e-4), expected)


def test_assert_close_names_the_worst_element_and_the_hint() -> None:
    expected = np.ones((2, 3))
    actual = expected.copy()
    actual[1, 2] = 5
    with pytest.raises(AssertionError, match=r"worst at \[1, 2\]: 5, expected 1\n  run it again"):
        reference.assert_close(actual, expected, hint="run it again")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(np.nan, 1), (1, np.nan), (np.inf, 1), (1, np.inf), (np.inf, -np.inf), (np.nan, np.inf)],
)
def test_assert_close_compares_nan_and_infinity_first(actual: float, expected: float) -> None:
    # 10^6 other elements would drown one wrong element in any mean.
    actuals, expecteds = np.ones(1000), np.ones(1000)
    actuals[7], expecteds[7] = actual, expected
    with pytest.raises(AssertionError, match=r"NaN or infinity differs in 1 elements.*\[7\]"):
        reference.assert_close(actuals, expecteds)


def test_assert_close_ignores_agreeing_nan_and_infinity() -> None:
    same = np.array([np.nan, np.inf, -np.inf, 1.0])
    reference.assert_close(same, same)


def test_assert_close_compares_shapes() -> None:
    with pytest.raises(AssertionError, match=r"shape \[2\], expected \[1, 2\]"):
        reference.assert_close(np.ones(2), np.ones((1, 2)))
