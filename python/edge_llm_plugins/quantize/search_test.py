"""The scale search against plain rounding and an exhaustive search."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_llm_plugins import quantization
from edge_llm_plugins.quantize import search


def group_errors(
    weight: np.ndarray, codes: np.ndarray, scales: np.ndarray, importance: np.ndarray | float = 1.0
) -> np.ndarray:
    """Weighted squared error of each group, float64 [N, groups]."""
    exact = np.repeat(scales.T.astype(np.float64), 128, axis=1)[:, : weight.shape[1]]
    squares = importance * np.square(weight - codes * exact)
    return np.add.reduceat(squares, np.arange(0, weight.shape[1], 128), axis=1)


def plain_errors(weight: np.ndarray, importance: np.ndarray | float = 1.0) -> np.ndarray:
    packed, scales = quantization.quantize_groupwise(weight)
    return group_errors(weight, quantization.unpack(packed), scales, importance)


def heavy_tailed(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_t(3, shape) * rng.uniform(0.01, 10, (shape[0], 1))).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 64), (64, 320), (1028, 576)])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_group_is_worse_than_plain_rounding(shape: tuple[int, int], weighted: bool) -> None:
    weight = heavy_tailed(shape)
    importance = np.random.default_rng(1).lognormal(0, 2, shape[1]) if weighted else 1.0
    codes, scales = search.search_groupwise(weight, importance if weighted else None)
    assert (codes.dtype, scales.dtype) == (np.int8, np.float16)
    assert codes.min() == -8 and codes.max() == 7
    assert scales.flags.c_contiguous and codes.flags.c_contiguous
    ratio = group_errors(weight, codes, scales, importance) / plain_errors(weight, importance)
    worst = np.unravel_index(ratio.argmax(), ratio.shape)
    assert ratio[worst] <= 1 + 1e-6, f"group {worst} has {ratio[worst]} times the plain error"
    assert ratio.mean() < 0.8


def test_normal_weights_lose_18_percent_of_their_rms_error() -> None:
    weight = np.random.default_rng(2).standard_normal((256, 512)).astype(np.float32)
    codes, scales = search.search_groupwise(weight)
    ratio = np.sqrt(group_errors(weight, codes, scales).sum() / plain_errors(weight).sum())
    assert 0.80 < ratio < 0.83


def test_importance_moves_the_error_to_unimportant_channels() -> None:
    weight = heavy_tailed((64, 128))
    importance = np.where(np.arange(128) % 4 == 0, 100.0, 1.0)
    weighted = search.search_groupwise(weight, importance)
    unweighted = search.search_groupwise(weight)
    for channels, less in ((importance, True), (np.float64(1), False)):
        errors = [group_errors(weight, *found, channels).sum() for found in (weighted, unweighted)]
        assert (errors[0] < errors[1]) == less


def test_close_to_an_exhaustive_search() -> None:
    weight = np.random.default_rng(3).standard_normal((8, 128)).astype(np.float32)
    codes, scales = search.search_groupwise(weight)
    found = group_errors(weight, codes, scales)[:, 0]
    largest = np.abs(weight).max(axis=1)
    best = np.full(8, np.inf)
    for size in np.linspace(1 / 16, 1 / 5, 2000):
        for sign in (1, -1):
            scale = (sign * size * largest)[:, None]
            nearest = np.clip(np.rint(weight / scale), -8, 7)
            best = np.minimum(best, np.square(weight - nearest * scale).sum(axis=1))
    # The grid has one sign, and 16 scales instead of 2000.
    assert (found >= best * (1 - 1e-3)).all()
    np.testing.assert_array_less(found, best * 1.03)


def test_the_largest_weight_may_take_code_minus_8_on_either_side() -> None:
    weight = np.zeros((4, 128), np.float32)
    weight[0], weight[1] = np.resize(np.arange(-7, 9), 128), np.resize(np.arange(-8, 8), 128)
    codes, scales = search.search_groupwise(weight)
    np.testing.assert_array_equal(scales[0], np.array([-1, 1, 0, 0], np.float16))
    np.testing.assert_array_equal(codes[:2], weight[:2] * np.array([[-1], [1]]))


def test_zero_and_tiny_groups_have_code_zero() -> None:
    weight = np.zeros((4, 192), np.float32)
    weight[1] = 1e-9
    weight[2, 130] = 3.0
    codes, scales = search.search_groupwise(weight)
    np.testing.assert_array_equal(codes[[0, 1, 3]], 0)
    np.testing.assert_array_equal(scales[:, [0, 1, 3]], 0)
    assert codes[2, 130] * scales[1, 2] == pytest.approx(3, rel=1e-3)


def test_groups_without_importance_are_rounded_plainly() -> None:
    weight = heavy_tailed((16, 256))
    importance = np.repeat([0.0, 1.0], 128)
    codes, scales = search.search_groupwise(weight, importance)
    packed, plain_scales = quantization.quantize_groupwise(weight)
    np.testing.assert_array_equal(scales[0], plain_scales[0])
    np.testing.assert_array_equal(codes[:, :128], quantization.unpack(packed)[:, :128])


def test_the_result_does_not_depend_on_blocks_and_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = heavy_tailed((64, 320))
    codes, scales = search.search_groupwise(weight)
    monkeypatch.setattr(search, "_BLOCK_WEIGHTS", 7 * 320)
    monkeypatch.setattr(search.os, "cpu_count", lambda: 1)
    other_codes, other_scales = search.search_groupwise(weight)
    np.testing.assert_array_equal(codes, other_codes)
    np.testing.assert_array_equal(scales, other_scales)


def test_scales_stay_within_the_limit_where_larger_ones_were_better() -> None:
    # Most weights lie a little above what they round to, which asks for scales beyond max|w| / 7.
    rng = np.random.default_rng(4)
    sevenths = rng.choice([6.4, 5.4, 4.45, 3.4, 2.4, 1.45], (32, 64)) * rng.choice(
        [-1, 1], (32, 64)
    )
    sevenths[:, 0] = 7
    weight = (8188 * sevenths).astype(np.float32)
    codes, scales = search.search_groupwise(weight)
    quantization.check_scales(scales, 32, 64)
    ratio = group_errors(weight, codes, scales) / plain_errors(weight)
    assert ratio.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("importance", "message"),
    [
        (np.ones(64), "importance has shape [64]: [128] is allowed"),
        (np.full(128, np.nan), "importance has a negative or non-finite value"),
        (np.full(128, -1.0), "importance has a negative or non-finite value"),
    ],
)
def test_wrong_importance_is_refused(importance: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        search.search_groupwise(np.ones((4, 128), np.float32), importance)


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(ValueError, match="only finite weights"):
        search.search_groupwise(np.full((4, 64), np.inf, np.float32))
    with pytest.raises(ValueError, match="K must be a multiple of 64"):
        search.search_groupwise(np.ones((4, 65), np.float32))
