"""What the plugins must compute, in plain NumPy FP64, and how close is close enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import quantization

# Relative RMS error of INT4 GEMM with FP32 accumulation: rounding the result to FP16 alone is
# about 2e-4.
INT4_RELATIVE_RMS = 5e-4


def int4_groupwise_gemm(
    x: ArrayLike,
    packed: ArrayLike,
    scales: ArrayLike,
    group_size: int = quantization.GROUP_SIZE,
) -> NDArray[np.float64]:
    """Multiplies activations by INT4 weights: y[b, s, n] = sum over k of x[b, s, k] w[n, k].

    Args:
      x: float16 [B, S, K].
      packed: int8 [N/2, K], as `quantization.pack` makes it.
      scales: float16 [ceil(K/128), N].
      group_size: 128.

    Returns:
      float64 [B, S, N].

    Raises:
      TypeError: a dtype other than these.
      ValueError: rank, shape, group size, non-finite or too large scales.
    """
    x = np.asarray(x)
    if x.dtype != np.float16:
        raise TypeError(f"x has dtype {x.dtype}: float16 is allowed")
    weight = quantization.dequantize(packed, scales, group_size)
    if x.ndim != 3 or x.shape[2] != weight.shape[1]:
        raise ValueError(
            f"x has shape {list(x.shape)}: [B, S, {weight.shape[1]}] is allowed for these weights"
        )
    return x.astype(np.float64) @ weight.T.astype(np.float64)


def relative_rms(actual: ArrayLike, expected: ArrayLike) -> float:
    """Root of sum (actual - expected)^2 / sum expected^2, in FP64; 0 when both are all zero."""
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    error = np.sqrt(np.sum(np.square(actual - expected)))
    if error == 0:
        return 0.0
    norm = np.sqrt(np.sum(np.square(expected)))
    return float(error / norm) if norm else float("inf")


def assert_close(
    actual: ArrayLike,
    expected: ArrayLike,
    tolerance: float = INT4_RELATIVE_RMS,
    hint: str = "",
) -> None:
    """Raises AssertionError unless `actual` agrees with `expected` to a relative RMS error.

    Places of NaN and of each infinity must agree before numbers are compared: a NaN would make
    every comparison of errors false, and an infinity hides all others.

    Args:
      actual: any float dtype and shape.
      expected: the same shape.
      tolerance: allowed relative RMS error over the finite elements.
      hint: appended to the message, for example the command that runs this case again.
    """
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    hint = f"\n  {hint}" if hint else ""
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {list(actual.shape)}, expected {list(expected.shape)}{hint}")
    same_kind = (np.isnan(actual) == np.isnan(expected)) & np.where(
        np.isinf(actual) | np.isinf(expected), actual == expected, True
    )
    if not same_kind.all():
        index = tuple(int(i) for i in np.argwhere(~same_kind)[0])
        raise AssertionError(
            f"NaN or infinity differs in {int((~same_kind).sum())} elements, first at "
            f"{list(index)}: {actual[index]:.6g}, expected {expected[index]:.6g}{hint}"
        )
    finite = np.isfinite(expected)
    error = relative_rms(actual[finite], expected[finite])
    if error > tolerance:
        distance = np.where(finite, np.abs(np.where(finite, actual, 0) - expected), -1.0)
        index = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
        raise AssertionError(
            f"relative RMS error {error:.3g} > {tolerance:.3g}, worst at {list(index)}: "
            f"{actual[index]:.6g}, expected {expected[index]:.6g}{hint}"
        )
