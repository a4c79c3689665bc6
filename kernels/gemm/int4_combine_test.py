"""The kernel that adds the partial sums of a split k range, on every SM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kernels.gemm import int4_harness, int4_reference
from kernels.testing.variant_under_test import variant_of
from tools.testing.device_under_test import rerun_command

_VARIANT = variant_of(__file__)


@pytest.fixture(name="kernel", scope="module", params=_VARIANT.sms)
def _kernel(request: pytest.FixtureRequest) -> Iterator[int4_harness.Int4Kernel]:
    with int4_harness.kernel_on(_VARIANT, request.param) as kernel:
        yield kernel


@pytest.fixture(name="rerun")
def _rerun() -> str:
    return rerun_command()


def _sum_in_order(partials: np.ndarray) -> np.ndarray:
    """FP32 sum from the first split to the last, rounded to FP16 once."""
    total = partials[0].copy()
    for partial in partials[1:]:
        total += partial
    with np.errstate(over="ignore"):
        return total.astype(np.float16)


# One thread sums four channels: less than a CTA, exactly one, one thread more.
@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 36), (16, 64), (1, 1028), (5, 1000)])
@pytest.mark.parametrize("splits", [2, 3, 16])
def test_sums_in_split_order(
    kernel: int4_harness.Int4Kernel, m: int, n: int, splits: int, rerun: str
) -> None:
    random = np.random.default_rng(0)
    # Magnitudes from 2^-12 to 2^12 make another order give other bits.
    exponents = random.uniform(-12, 12, (splits, m, n))
    partials = (random.standard_normal((splits, m, n)) * 2.0**exponents).astype(np.float32)
    y = kernel.combine(partials)
    wrong = np.argwhere(y.view(np.uint16) != _sum_in_order(partials).view(np.uint16))
    assert not len(wrong), f"{len(wrong)} sums, the first at m, n = {wrong[0]}; rerun: {rerun}"


def test_infinite_and_nan_sums(kernel: int4_harness.Int4Kernel, rerun: str) -> None:
    partials = np.ones((2, 1, 8), np.float32)
    partials[:, 0, 1] = 40000  # finite partial sums, an infinite FP16
    partials[:, 0, 2] = np.inf, -np.inf
    partials[1, 0, 3] = np.nan
    with np.errstate(invalid="ignore"):
        expected = partials.astype(np.float64).sum(axis=0)
    int4_reference.assert_close(kernel.combine(partials), expected, rerun)
