"""INT4 groupwise quantization: codes and scales of a weight matrix, and their packed layout.

A weight `w[n][k]` is a signed code -8..7 times the FP16 scale of its group of 128 neighbours along
K. Codes are stored as `u = code + 8` (0..15), four to a 16 bit word, in the order in which one
thread of the tensor core instruction wants them:

    packed   int8 [N/2, K], viewed as little-endian int16 words P[N/4][K]
    P[n4]    one row of words holds four rows of weights, n = 4 n4 + r, r = 0..3

    one tile of 64 words           r = 0         r = 1         r = 2         r = 3
    (k = 64 t .. 64 t + 63)    |16 words     |16 words     |16 words     |16 words     |
                                 h=0  |  h=1      (the first 32 and the last 32 values of k)
                                b 0 1 2 3         (which pair of columns of a fragment)
                                c 01010101        (which of the pair)

    one word, bits   15..12   11..8    7..4     3..0
    holds u at k  =  24 + j   16 + j   8 + j    j        with j = 64 t + 32 h + 2 b + c

The shape [N/2, K] is only a way to carry the bytes: row i of it is not a row of weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUP_SIZE = 128
CODE_MIN, CODE_MAX = -8, 7
# The largest scale of which every product with a code, -8 * scale included, is a finite FP16.
SCALE_LIMIT = 65504 / 8

ROWS_PER_WORD = 4
COLUMNS_PER_TILE = 64


def quantize_groupwise(
    weight: ArrayLike, group_size: int = GROUP_SIZE
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Quantizes a weight matrix to INT4 with one FP16 scale per group of 128 values along K.

    The scale is max|w| / 7 of the group, rounded to FP16 first; codes are w / scale rounded half to
    even, so every weight is within half a scale of the original (as long as the scale is a normal
    FP16 number) and a weight that already lies on the grid -7..7 comes back exactly. Code -8 is
    left unused: mapping the extreme value to -8 instead lowers the RMS error of normal weights by
    12 %, but clips weights of the other sign by up to a whole scale and makes scales negative.

    Args:
      weight: float16, float32 or float64 [N, K], finite, N % 4 == 0, K % 64 == 0.
      group_size: 128. The last group of a row is shorter where K is no multiple of it.

    Returns, both contiguous:
      packed: int8 [N/2, K], see the module's picture.
      scales: float16 [ceil(K/128), N], >= 0. A group of zeros (or of values below FP16's smallest
        number) has scale 0 and codes 0.

    Raises:
      TypeError: the weight is not a floating point array.
      ValueError: rank, shape, group size, a non-finite weight, or a group so large that
        8 * scale is no finite FP16.
    """
    _check_group_size(group_size)
    weight = check_weight(weight)
    # FP64 makes w / scale exact enough that half to even is decided on the true quotient.
    weight = weight.astype(np.float64)
    group_starts = np.arange(0, weight.shape[1], group_size)
    exact_scales = np.maximum.reduceat(np.abs(weight), group_starts, axis=1).T / CODE_MAX
    scales = exact_scales.astype(np.float16, order="C")

    divisors = _spread_over_columns(scales, weight.shape[1]).astype(np.float64)
    codes = np.divide(weight, divisors, out=np.zeros_like(weight), where=divisors != 0)
    # Only scales that lose bits as subnormal FP16 numbers leave codes to clip.
    codes = np.clip(np.rint(codes), -CODE_MAX, CODE_MAX).astype(np.int8)
    return pack(codes), scales


def pack(codes: ArrayLike) -> NDArray[np.int8]:
    """Packs signed codes into the layout of the plugin (see the module's picture).

    Args:
      codes: any integer dtype [N, K], values in -8..7, N % 4 == 0, K % 64 == 0.

    Returns:
      int8 [N/2, K].

    Raises:
      TypeError: codes are no integers.
      ValueError: rank, shape, or a value outside -8..7.
    """
    codes = np.asarray(codes)
    if not np.issubdtype(codes.dtype, np.integer):
        raise TypeError(f"codes have dtype {codes.dtype}: an integer dtype is allowed")
    _check_matrix("codes", codes)
    outside = (codes < CODE_MIN) | (codes > CODE_MAX)
    if outside.any():
        n, k = np.argwhere(outside)[0]
        raise ValueError(f"codes[{n}, {k}] is {codes[n, k]}: values in -8..7 are allowed")

    rows, columns = codes.shape
    nibbles = (codes.astype(np.int16) + 8).astype("<u2")
    # Axes n4 r t h a b c; `a` becomes the place of the nibble, the others the place of the word.
    nibbles = nibbles.reshape(rows // 4, 4, columns // 64, 2, 4, 4, 2)
    words = np.zeros(nibbles.shape[:4] + nibbles.shape[5:], "<u2")
    for a in range(4):
        words |= nibbles[:, :, :, :, a] << (4 * a)
    words = np.ascontiguousarray(words.transpose(0, 2, 1, 3, 4, 5))  # n4 t r h b c
    return words.view(np.int8).reshape(rows // 2, columns)


def unpack(packed: ArrayLike) -> NDArray[np.int8]:
    """Reads the signed codes back out of the packed layout: the inverse of `pack`.

    Args:
      packed: int8 [N/2, K], N % 4 == 0, K % 64 == 0.

    Returns:
      int8 [N, K], values in -8..7.

    Raises:
      TypeError: packed is not int8.
      ValueError: rank or shape.
    """
    packed = check_packed(packed)
    rows, columns = 2 * packed.shape[0], packed.shape[1]
    words = np.ascontiguousarray(packed).view("<u2")
    words = words.reshape(rows // 4, columns // 64, 4, 2, 4, 2)  # n4 t r h b c
    words = words.transpose(0, 2, 1, 3, 4, 5)
    nibbles = np.empty((*words.shape[:4], 4, *words.shape[4:]), np.int8)  # n4 r t h a b c
    for a in range(4):
        nibbles[:, :, :, :, a] = (words >> (4 * a)) & 15
    return nibbles.reshape(rows, columns) - np.int8(8)


def dequantize(
    packed: ArrayLike, scales: ArrayLike, group_size: int = GROUP_SIZE
) -> NDArray[np.float32]:
    """Computes the weights that packed codes and scales stand for.

    Args:
      packed: int8 [N/2, K], N % 4 == 0, K % 64 == 0.
      scales: float16 [ceil(K/128), N], finite, |8 * scale| <= 65504.
      group_size: 128.

    Returns:
      float32 [N, K]; code times scale is exact in it.

    Raises:
      TypeError: packed is not int8 or scales are not float16.
      ValueError: rank, shape, group size, non-finite or too large scales.
    """
    packed = check_packed(packed)
    columns = packed.shape[1]
    scales = check_scales(scales, 2 * packed.shape[0], columns, group_size)
    return unpack(packed).astype(np.float32) * _spread_over_columns(scales, columns)


def check_weight(weight: ArrayLike) -> NDArray[np.floating]:
    """Returns `weight` as an array, or refuses what cannot be quantized.

    Args:
      weight: float16, float32 or float64 [N, K], finite, |weight| <= 7 / 8 * 65504, N % 4 == 0,
        K % 64 == 0.

    Raises:
      TypeError: the weight is not a floating point array.
      ValueError: rank, shape, a non-finite or too large weight.
    """
    weight = np.asarray(weight)
    if weight.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"weight has dtype {weight.dtype}: float16, float32 or float64 is allowed")
    _check_matrix("weight", weight)
    if not np.isfinite(weight).all():
        n, k = np.argwhere(~np.isfinite(weight))[0]
        raise ValueError(f"weight[{n}, {k}] is {weight[n, k]}: only finite weights are allowed")
    n, k = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    if abs(weight[n, k]) > CODE_MAX * SCALE_LIMIT:
        raise ValueError(
            f"weight row {n} has the scale {abs(float(weight[n, k])) / CODE_MAX:g} in group "
            f"{k // GROUP_SIZE}: at most {SCALE_LIMIT:g} is allowed, so that 8 * scale is a finite "
            "FP16"
        )
    return weight


def check_packed(packed: ArrayLike) -> NDArray[np.int8]:
    """Returns `packed` as an array, or refuses what cannot be packed codes.

    Args:
      packed: int8 [N/2, K], N % 4 == 0, K % 64 == 0.

    Raises:
      TypeError: packed is not int8.
      ValueError: rank or shape.
    """
    packed = np.asarray(packed)
    if packed.dtype != np.int8:
        raise TypeError(f"packed has dtype {packed.dtype}: int8 is allowed")
    _check_matrix("packed", packed, rows_multiple=ROWS_PER_WORD // 2)
    return packed


def check_scales(
    scales: ArrayLike, n: int, k: int, group_size: int = GROUP_SIZE
) -> NDArray[np.float16]:
    """Returns `scales` as an array, or refuses what the kernels give no promise for.

    Args:
      scales: float16 [ceil(K/128), N], finite, |8 * scale| <= 65504.
      n, k: the shape of the weights that the scales belong to.
      group_size: 128.

    Raises:
      TypeError: scales are not float16.
      ValueError: rank, shape, group size, a non-finite or too large scale.
    """
    _check_group_size(group_size)
    scales = np.asarray(scales)
    if scales.dtype != np.float16:
        raise TypeError(f"scales have dtype {scales.dtype}: float16 is allowed")
    expected_shape = (-(-k // group_size), n)
    if scales.shape != expected_shape:
        raise ValueError(
            f"scales have shape {list(scales.shape)}: [ceil(K/{group_size}), N] = "
            f"{list(expected_shape)} is allowed for N = {n}, K = {k}"
        )
    refused = ~(np.abs(scales) <= SCALE_LIMIT)  # true for NaN too
    if refused.any():
        group, n = np.argwhere(refused)[0]
        raise ValueError(
            f"scales[{group}, {n}] is {scales[group, n]}: finite scales of at most "
            f"{SCALE_LIMIT:g} are allowed, so that 8 * scale is a finite FP16"
        )
    return scales


def _spread_over_columns(scales: NDArray[np.float16], columns: int) -> NDArray[np.float16]:
    """[ceil(K/128), N] to [N, K]: the scale of each weight."""
    return np.repeat(scales.T, GROUP_SIZE, axis=1)[:, :columns]


def _check_matrix(name: str, array: NDArray, rows_multiple: int = ROWS_PER_WORD) -> None:
    rows_name = "N" if rows_multiple == ROWS_PER_WORD else "N/2"
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {list(array.shape)}: [{rows_name}, K] is allowed")
    rows, columns = array.shape
    if rows == 0 or columns == 0:
        raise ValueError(f"{name} has shape [{rows}, {columns}]: at least one row and column")
    if rows % rows_multiple:
        raise ValueError(
            f"{name} has {rows} rows: {rows_name} must be a multiple of {rows_multiple}"
        )
    if columns % COLUMNS_PER_TILE:
        raise ValueError(f"{name} has {columns} columns: K must be a multiple of 64")


def _check_group_size(group_size: int) -> None:
    if group_size != GROUP_SIZE:
        raise ValueError(f"group_size is {group_size}: 128 is allowed")
