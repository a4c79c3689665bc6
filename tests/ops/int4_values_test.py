"""Values that a wrong nibble, rounding or overflow would change, on one SM."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host, quantization
from tests.ops import int4_cases

# One run of each kernel: GEMV, and every CTA tile of the GEMM.
M_OF_EACH_KERNEL = (1, 8, 16, 32, 64, 128)


def case_of(
    codes: np.ndarray, scales: np.ndarray | float, x: np.ndarray | float, m: int
) -> int4_cases.Case:
    """A case from codes [N, K], and scales and x that may be one number."""
    n, k = codes.shape
    return int4_cases.Case(
        np.broadcast_to(np.asarray(x, np.float16), (1, m, k)).copy(),
        quantization.pack(codes),
        np.broadcast_to(np.asarray(scales, np.float16), (-(-k // 128), n)).copy(),
    )


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
def test_one_hot_rows_read_every_nibble_exactly(device: host.Device, m: int) -> None:
    """With x = rows of the identity, y[k, n] is the weight w[n, k]: every nibble by itself."""
    n, k = 12, 192
    codes = np.random.default_rng(1).integers(-8, 8, (n, k))
    scales = np.random.default_rng(2).uniform(0.1, 1, (2, n)).astype(np.float16)
    weight = quantization.dequantize(quantization.pack(codes), scales).astype(np.float16)
    identity = np.eye(k, dtype=np.float16)
    for first in range(0, k, m):
        rows = identity[first : first + m]
        actual = int4_cases.run(device, case_of(codes, scales, rows[None], len(rows)))[0]
        expected = weight.T[first : first + m]
        wrong = np.argwhere(actual != expected)
        assert not len(wrong), (
            f"k - {first}, n = {wrong[0]}: {actual[tuple(wrong[0])]}, expected "
            f"{expected[tuple(wrong[0])]}\n{int4_cases.rerun()}"
        )


@pytest.mark.parametrize("m", [8, 64])
def test_one_hot_weights_take_every_code_in_every_nibble(device: host.Device, m: int) -> None:
    """A row of weights that is zero but for one code, for all 16 codes: 16 k over 16 rows."""
    k = 64
    identity = np.eye(k, dtype=np.float16)
    for shift in range(0, k, 16):
        codes = np.zeros((256, k), np.int64)
        n, code = np.arange(256), np.arange(256) % 16 - 8
        codes[n, shift + n // 16] = code
        for first in range(0, k, m):
            rows = identity[first : first + m]
            actual = int4_cases.run(device, case_of(codes, 1.0, rows[None], m))[0]
            np.testing.assert_array_equal(
                actual, codes.T[first : first + m], err_msg=int4_cases.rerun()
            )


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
@pytest.mark.parametrize("code", [-8, 7])
def test_extreme_codes_and_scales_saturate(device: host.Device, m: int, code: int) -> None:
    case = case_of(np.full((8, 192), code), 8188, 65504, m)
    actual = int4_cases.run(device, case)
    np.testing.assert_array_equal(
        actual, np.full_like(actual, np.sign(code) * np.inf), err_msg=int4_cases.rerun()
    )


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
def test_large_terms_cancel(device: host.Device, m: int) -> None:
    """Products of 4e9 of both signs add up to zero: nothing overflows on the way."""
    codes = np.full((8, 256), -8)
    x = np.where(np.arange(256) % 2, 65504, -65504)
    actual = int4_cases.run(device, case_of(codes, 8188, x, m))
    np.testing.assert_array_equal(actual, np.zeros_like(actual), err_msg=int4_cases.rerun())


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
def test_sums_beyond_fp16_come_back(device: host.Device, m: int) -> None:
    """Group sums of +-114688 exceed FP16; their total does not."""
    codes = np.full((8, 256), 7)
    x = np.where(np.arange(256) < 128, 128, -127)
    case = case_of(codes, 1, x, m)
    actual = int4_cases.run(device, case)
    np.testing.assert_array_equal(actual, case.expected(), err_msg=int4_cases.rerun())


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
def test_smallest_scale_is_not_flushed(device: host.Device, m: int) -> None:
    codes = np.random.default_rng(3).integers(-8, 8, (8, 192))
    case = case_of(codes, 2.0**-24, 1, m)
    actual = int4_cases.run(device, case)
    np.testing.assert_array_equal(actual, case.expected(), err_msg=int4_cases.rerun())
    assert actual.any()


@pytest.mark.parametrize("m", M_OF_EACH_KERNEL)
def test_negative_and_zero_scales(device: host.Device, m: int) -> None:
    codes = np.random.default_rng(4).integers(-8, 8, (8, 256))
    scales = np.zeros((2, 8))
    scales[0] = np.linspace(-0.5, 0.5, 8)
    x = np.random.default_rng(5).standard_normal((1, m, 256)).astype(np.float16)
    case = case_of(codes, scales, x, m)
    actual = int4_cases.run(device, case)
    int4_cases.assert_correct(actual, case)
    zero = case_of(codes, 0, x, m)
    assert not int4_cases.run(device, zero).any(), int4_cases.rerun()


@pytest.mark.parametrize("m", [8, 16, 64])
def test_nan_and_infinity_stay_in_their_row(device: host.Device, m: int) -> None:
    case = int4_cases.random_case(1, m, n=68, k=192)
    case.x[0, 1, 100] = np.nan
    case.x[0, 3, 64] = np.inf
    case.x[0, 5, 191] = -np.inf
    actual = int4_cases.run(device, case)
    with np.errstate(invalid="ignore"):  # 0 * inf, which is NaN in the kernel as well
        int4_cases.assert_correct(actual, case)


@pytest.mark.parametrize("m", [1, 8, 33])
def test_same_inputs_same_bits(device: host.Device, m: int) -> None:
    """Though K is split over CTAs, which may end in any order."""
    case = int4_cases.random_case(1, m, n=8, k=8192)
    first = int4_cases.run(device, case)
    for _ in range(2):
        assert int4_cases.run(device, case).tobytes() == first.tobytes(), int4_cases.rerun()
