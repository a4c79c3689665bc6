"""Quantization and packing, against literal loops and worked examples."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_llm_plugins import quantization


def pack_literally(codes: np.ndarray) -> np.ndarray:
    """The contract's formula, nibble by nibble."""
    rows, columns = codes.shape
    words = np.zeros((rows // 4, columns), np.uint16)
    for n in range(rows):
        for k in range(columns):
            n4, r = divmod(n, 4)
            t, h, a, b, c = k // 64, k // 32 % 2, k // 8 % 4, k // 2 % 4, k % 2
            column = 64 * t + 16 * r + 8 * h + 2 * b + c
            words[n4, column] |= np.uint16(int(codes[n, k]) + 8) << np.uint16(4 * a)
    return words.astype("<u2").view(np.int8).reshape(rows // 2, columns)


@pytest.mark.parametrize("shape", [(4, 64), (8, 64), (4, 192), (12, 576)])
def test_pack_agrees_with_the_formula(shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(1).integers(-8, 8, shape)
    packed = quantization.pack(codes)
    assert packed.dtype == np.int8
    assert packed.shape == (shape[0] // 2, shape[1])
    np.testing.assert_array_equal(packed, pack_literally(codes))


def test_pack_puts_one_code_into_one_nibble() -> None:
    # n = 5 is word row 1, r = 1; k = 64 + 32 + 8 + 2 + 1 is t = h = a = b = c = 1, so nibble 1 of
    # word 64 + 16 + 8 + 2 + 1 = 91. All others hold 8, the code zero.
    codes = np.zeros((8, 128), np.int64)
    codes[5, 107] = 7
    words = quantization.pack(codes).reshape(2, 256).view("<u2")
    expected = np.full((2, 128), 0x8888, np.uint16)
    expected[1, 91] = 0x88F8
    np.testing.assert_array_equal(words, expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_unpack_inverts_pack(dtype: type) -> None:
    codes = np.random.default_rng(2).integers(-8, 8, (20, 192)).astype(dtype)
    np.testing.assert_array_equal(quantization.unpack(quantization.pack(codes)), codes)


def test_pack_takes_any_memory_layout() -> None:
    codes = np.random.default_rng(3).integers(-8, 8, (64, 8)).T
    packed = quantization.pack(codes)
    np.testing.assert_array_equal(packed, quantization.pack(codes.copy()))
    np.testing.assert_array_equal(quantization.unpack(np.asfortranarray(packed)), codes)


def test_weights_on_the_grid_come_back_exactly() -> None:
    rng = np.random.default_rng(4)
    codes = rng.integers(-7, 8, (8, 256))
    codes[:, [0, 128]] = 7
    scales = rng.uniform(0.01, 10, (2, 8)).astype(np.float16)
    weight = codes * np.repeat(scales.T, 128, axis=1).astype(np.float32)
    packed, found_scales = quantization.quantize_groupwise(weight)
    np.testing.assert_array_equal(found_scales, scales)
    np.testing.assert_array_equal(quantization.unpack(packed), codes)
    np.testing.assert_array_equal(quantization.dequantize(packed, found_scales), weight)


def test_ties_round_to_even() -> None:
    weight = np.zeros((4, 128), np.float32)
    weight[0, :9] = [7, 0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, -6.5]
    packed, scales = quantization.quantize_groupwise(weight)
    assert scales[0, 0] == 1
    np.testing.assert_array_equal(
        quantization.unpack(packed)[0, :9], [7, 0, 2, 2, 4, 0, -2, -2, -6]
    )


def test_codes_use_the_rounded_scale() -> None:
    # max / 7 = 1.00033, whose FP16 is 1; w = 0.50008 is above half of the rounded scale and below
    # half of the exact one.
    weight = np.zeros((4, 128))
    weight[0, :2] = [7 * 1.00033, 0.50008]
    packed, scales = quantization.quantize_groupwise(weight)
    assert scales[0, 0] == 1
    assert quantization.unpack(packed)[0, 1] == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("columns", [64, 128, 192, 576])
def test_error_is_at_most_half_a_scale(dtype: type, columns: int) -> None:
    weight = np.random.default_rng(5).standard_normal((16, columns)).astype(dtype)
    packed, scales = quantization.quantize_groupwise(weight)
    assert scales.shape == (-(-columns // 128), 16)
    assert packed.flags.c_contiguous
    assert scales.flags.c_contiguous
    error = np.abs(quantization.dequantize(packed, scales) - weight.astype(np.float64))
    # The FP16 scale may be 2^-11 smaller than the exact one, which the largest code feels most.
    bound = (0.5 + 7 * 2.0**-11) * np.repeat(scales.T, 128, axis=1)[:, :columns]
    assert (error <= bound.astype(np.float64)).all()


def test_short_last_group_has_its_own_scale() -> None:
    weight = np.ones((4, 192), np.float32)
    weight[:, 128:] = 70
    _, scales = quantization.quantize_groupwise(weight)
    np.testing.assert_array_equal(scales[:, 0], np.array([1 / 7, 10], np.float16))


def test_group_of_zeros_has_scale_zero() -> None:
    weight = np.zeros((4, 256), np.float32)
    weight[2, 130] = -3.5
    packed, scales = quantization.quantize_groupwise(weight)
    np.testing.assert_array_equal(scales, [[0, 0, 0, 0], [0, 0, 0.5, 0]])
    np.testing.assert_array_equal(quantization.dequantize(packed, scales), weight)


def test_values_below_the_smallest_fp16_become_zero() -> None:
    packed, scales = quantization.quantize_groupwise(np.full((4, 64), 1e-8))
    assert not scales.any()
    assert not quantization.unpack(packed).any()


def test_subnormal_scales_clip_codes() -> None:
    # max / 7 = 1.43 * 2^-24 rounds to 2^-24, so the largest weight would be code 10.
    weight = np.full((4, 64), 10 * 2.0**-24)
    packed, scales = quantization.quantize_groupwise(weight)
    assert (scales == 2.0**-24).all()
    assert (quantization.unpack(packed) == 7).all()


def test_largest_allowed_scale() -> None:
    weight = np.zeros((4, 64))
    weight[1, 3] = -7 * quantization.SCALE_LIMIT
    packed, scales = quantization.quantize_groupwise(weight)
    assert scales[0, 1] == 8188
    assert quantization.dequantize(packed, scales)[1, 3] == -57316


CODES = np.zeros((4, 64), np.int64)
CODES6 = np.zeros((6, 64), np.int64)
PACKED = np.zeros((2, 64), np.int8)
SCALES = np.ones((1, 4), np.float16)


def changed(array: np.ndarray, index: tuple[int, int], value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantization.pack(CODES.astype(float)), TypeError, "codes have dtype float64"),
        (lambda: quantization.pack(CODES[0]), ValueError, "codes has shape [64]"),
        (lambda: quantization.pack(CODES6), ValueError, "6 rows: N must be a multiple of 4"),
        (lambda: quantization.pack(CODES[:, :32]), ValueError, "32 columns: K must be a multiple"),
        (lambda: quantization.pack(CODES[:0]), ValueError, "shape [0, 64]"),
        (lambda: quantization.pack(changed(CODES, (3, 9), 8)), ValueError, "codes[3, 9] is 8"),
        (lambda: quantization.pack(changed(CODES, (0, 1), -9)), ValueError, "codes[0, 1] is -9"),
        (lambda: quantization.unpack(CODES), TypeError, "packed has dtype int64: int8"),
        (lambda: quantization.unpack(PACKED[:1]), ValueError, "N/2 must be a multiple of 2"),
        (
            lambda: quantization.dequantize(PACKED, SCALES.astype(np.float32)),
            TypeError,
            "scales have dtype float32: float16",
        ),
        (lambda: quantization.dequantize(PACKED, SCALES.T), ValueError, "[1, 4] is allowed"),
        (
            lambda: quantization.dequantize(PACKED, changed(SCALES, (0, 2), np.nan)),
            ValueError,
            "scales[0, 2] is nan",
        ),
        (
            lambda: quantization.dequantize(PACKED, changed(SCALES, (0, 3), -np.inf)),
            ValueError,
            "scales[0, 3] is -inf",
        ),
        (
            lambda: quantization.dequantize(PACKED, changed(SCALES, (0, 1), 8192)),
            ValueError,
            "scales[0, 1] is 8192.0: finite scales of at most 8188",
        ),
        (lambda: quantization.dequantize(PACKED, SCALES, 64), ValueError, "group_size is 64: 128"),
        (
            lambda: quantization.quantize_groupwise(CODES),
            TypeError,
            "weight has dtype int64: float16, float32 or float64",
        ),
        (
            lambda: quantization.quantize_groupwise(changed(CODES.astype(float), (1, 2), np.inf)),
            ValueError,
            "weight[1, 2] is inf",
        ),
        (
            lambda: quantization.quantize_groupwise(changed(CODES.astype(float), (1, 2), 57400)),
            ValueError,
            "weight row 1 has the scale 8200 in group 0: at most 8188",
        ),
        (
            lambda: quantization.quantize_groupwise(CODES.astype(float), 32),
            ValueError,
            "group_size is 32: 128",
        ),
    ],
)
def test_refusals_name_the_value(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        call()
    assert "\n" not in str(raised.value)
