"""What the INT4 kernels must compute, for their tests: written from the contract alone.

Shares nothing with the product's quantization and reference modules, so that the same mistake is
not made on both sides.
"""

from __future__ import annotations

import numpy as np

GROUP_SIZE = 128

# Relative RMS error that the contract allows.
TOLERANCE = 5e-4


def pack(codes: np.ndarray) -> np.ndarray:
    """Packs codes u, int [n, k] in 0..15, into int8 [n / 2, k], by the contract's formula.

    With n = 4 n4 + r and k = 64 t + 32 h + 8 a + 2 b + c, nibble a of the 16-bit word
    P[n4][64 t + 16 r + 8 h + 2 b + c] is u[n][k].
    """
    channels, depth = codes.shape
    words = np.zeros((channels // 4, depth), np.uint16)
    n, k = np.indices((channels, depth))
    n4, r = n // 4, n % 4
    t, h, a, b, c = k // 64, k // 32 % 2, k // 8 % 4, k // 2 % 4, k % 2
    position = 64 * t + 16 * r + 8 * h + 2 * b + c
    for nibble in range(4):
        chosen = a == nibble
        words[n4[chosen], position[chosen]] |= (codes[chosen] << (4 * nibble)).astype(np.uint16)
    return words.astype("<u2").view(np.int8).reshape(channels // 2, depth)


def dequantize(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Codes [n, k] and scales f16 [ceil(k / 128), n] to weights, f64 [n, k]."""
    groups = np.arange(codes.shape[1]) // GROUP_SIZE
    return (codes - 8.0) * scales.astype(np.float64).T[:, groups]


def multiply(x: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """x f16 [m, k] times the weights: f64 [m, n]."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.float64) @ dequantize(codes, scales).T


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    """RMS of the difference over RMS of `expected`, which must be finite."""
    difference = actual.astype(np.float64) - expected
    return float(np.sqrt(np.mean(difference**2) / np.mean(expected**2)))


def assert_close(actual: np.ndarray, expected: np.ndarray, rerun: str) -> None:
    """Compares an output with the reference: first where they are NaN or infinite, then the rest.

    Args:
        actual: f16 or f32, any shape.
        expected: f64 of the same shape; rounded to actual's dtype to see what overflows it.
        rerun: the command that repeats the test, for the message.
    """
    assert actual.shape == expected.shape
    with np.errstate(over="ignore"):
        rounded = expected.astype(actual.dtype)
    for what, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        differs = test(actual) != test(rounded)
        if differs.any():
            raise AssertionError(f"{what}: {_place(actual, expected, differs)}; rerun: {rerun}")
    finite = np.isfinite(rounded)
    if not finite.any():
        return
    difference = np.abs(
        np.where(finite, actual, 0).astype(np.float64) - np.where(finite, expected, 0)
    )
    scale = np.sqrt(np.mean(expected[finite] ** 2))
    error = np.sqrt(np.mean(difference[finite] ** 2))
    if error > TOLERANCE * scale:
        ratio = error / scale if scale else np.inf
        worst = _place(actual, expected, difference == difference.max())
        raise AssertionError(
            f"relative RMS error {ratio:.3g} > {TOLERANCE}; worst at {worst}; rerun: {rerun}"
        )


def _place(actual: np.ndarray, expected: np.ndarray, chosen: np.ndarray) -> str:
    """The first chosen element, with both values and the relative error."""
    index = tuple(int(i) for i in np.argwhere(chosen)[0])
    got, want = float(actual[index]), float(expected[index])
    relative = abs(got - want) / abs(want) if want else np.inf
    return f"{index}: {got:.6g}, reference {want:.6g}, relative error {relative:.3g}"
