"""One GEMV, GEMM or wgmma variant, on every SM that it has an image for, against FP64.

The emulator runs with all checks on: a race, an access out of bounds or a read of uninitialised
memory fails the launch. Shapes are the smallest that reach each edge of the tile.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from kernels.gemm import int4_harness, int4_reference
from kernels.testing.variant_under_test import emulator, variant_of
from tools.testing.device_under_test import rerun_command

_VARIANT = variant_of(__file__)
_TILE = _VARIANT.row["tile"]
_TILE_M, _TILE_N, _TILE_K = _TILE["tile_m"], _TILE["tile_n"], _TILE["tile_k"]
_GEMV = _VARIANT.row["kind"] == "gemv"


@dataclasses.dataclass(frozen=True)
class Shape:
    """Rows, channels, depth, splits, and (where not one for each tile) CTAs of one launch."""

    m: int
    n: int
    k: int
    splits: int = 1
    ctas: int | None = None

    def __str__(self) -> str:
        ctas = f"_ctas{self.ctas}" if self.ctas else ""
        return f"m{self.m}_n{self.n}_k{self.k}_splits{self.splits}{ctas}"


def _row_counts() -> list[int]:
    """Each count up to the GEMV's tile; around the edges of a GEMM's tiles."""
    if _GEMV:
        return list(range(1, _TILE_M + 1))
    return [1, _TILE_M - 1, _TILE_M, _TILE_M + 1, 2 * _TILE_M + 3]


def _edge_shapes() -> list[Shape]:
    some_m = min(_TILE_M, 5)
    # Half a group at the end; fewer steps than stages, just as many, and many more.
    depths = [64, 128, 192, 576, _TILE_K * _TILE["stages"], _TILE_K * _TILE["stages"] * 3 + 64]
    if _GEMV:  # more groups than the warps along k take in all their stages
        depths.append(128 * _TILE["warps_k"] * (_TILE["stages"] + 1) + 64)
        depths.append(128 * _TILE["warps_k"] * 2)  # the most of which a lane keeps its x
    shapes = [Shape(m, _TILE_N + 4, 192) for m in _row_counts()]
    shapes += [Shape(some_m, n, 192) for n in (4, _TILE_N - 4, _TILE_N, 2 * _TILE_N + 12)]
    shapes += [Shape(some_m, 36, k) for k in depths]
    steps = 7
    shapes += [Shape(some_m, 36, steps * _TILE_K - 64, splits) for splits in (2, 3, steps)]
    if _GEMV:  # CTAs with several tiles: x kept and x loaded again, two turns, three and four
        turns = _TILE["warps_k"] * _TILE_K
        shapes += [Shape(some_m, 4 * _TILE_N + 4, turns * n - 64, ctas=2) for n in (1, 2, 3, 4)]
        shapes.append(Shape(some_m, 3 * _TILE_N, 5 * _TILE_K, splits=2, ctas=2))
    else:  # more tiles of m than one band of the grid, in the second band fewer
        shapes.append(Shape(17 * _TILE_M + 1, _TILE_N + 4, 64))
    return list(dict.fromkeys(shapes))


def _random_inputs(shape: Shape, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x f16 [m, k], codes int [n, k], scales f16 [groups, n]."""
    random = np.random.default_rng(seed)
    groups = -(-shape.k // int4_reference.GROUP_SIZE)
    x = random.standard_normal((shape.m, shape.k)).astype(np.float16)
    codes = random.integers(0, 16, (shape.n, shape.k))
    scales = random.uniform(0.005, 0.02, (groups, shape.n)).astype(np.float16)
    return x, codes, scales


@pytest.fixture(name="rerun")
def _rerun() -> str:
    return rerun_command()


@pytest.fixture(name="kernel", scope="module", params=_VARIANT.sms)
def _kernel(request: pytest.FixtureRequest) -> Iterator[int4_harness.Int4Kernel]:
    with int4_harness.kernel_on(_VARIANT, request.param) as kernel:
        yield kernel


@pytest.mark.parametrize("shape", _edge_shapes(), ids=str)
def test_random_inputs(kernel: int4_harness.Int4Kernel, shape: Shape, rerun: str) -> None:
    x, codes, scales = _random_inputs(shape)
    y = kernel.multiply(x, int4_reference.pack(codes), scales, shape.splits, shape.ctas)
    if shape.splits == 1:
        int4_reference.assert_close(y, int4_reference.multiply(x, codes, scales), rerun)
        return
    # Each split has its own whole steps of k, as even as they can be.
    steps = -(-shape.k // _TILE_K)
    bounds = [split * steps // shape.splits * _TILE_K for split in range(shape.splits + 1)]
    for split, (first, last) in enumerate(itertools.pairwise(bounds)):
        part = np.where((np.arange(shape.k) >= first) & (np.arange(shape.k) < last), x, 0)
        expected = int4_reference.multiply(part, codes, scales)
        int4_reference.assert_close(y[split], expected, f"split {split}: {rerun}")


def test_long_sums_stay_as_accurate_as_their_roundings(
    kernel: int4_harness.Int4Kernel, rerun: str
) -> None:
    """Rounding y to FP16 costs 2.1e-4, and rounding scaled weights, in the GEMM, 2e-4 beside it.

    Sums in FP16, even of one group only, would cost 5e-4: within the contract, but not ours.
    """
    x, codes, scales = _random_inputs(Shape(min(_TILE_M, 16), 64, 4096))
    y = kernel.multiply(x, int4_reference.pack(codes), scales)
    error = int4_reference.relative_rms(y, int4_reference.multiply(x, codes, scales))
    limit = 2.3e-4 if _GEMV else 3.0e-4
    assert error < limit, f"relative RMS error {error:.3g} >= {limit}; rerun: {rerun}"


def test_every_nibble_lands_at_its_k_and_channel(
    kernel: int4_harness.Int4Kernel, rerun: str
) -> None:
    """One-hot rows of x read the weights out one k at a time: exact, so each nibble shows."""
    depth = 128
    _, codes, _ = _random_inputs(Shape(1, _TILE_N, depth), seed=1)
    scales = np.ones((1, _TILE_N), np.float16)
    packed = int4_reference.pack(codes)
    one_hot = np.eye(depth, dtype=np.float16)
    rows = [
        kernel.multiply(one_hot[first : first + _TILE_M], packed, scales)
        for first in range(0, depth, _TILE_M)
    ]
    wrong = np.argwhere(np.concatenate(rows) != (codes - 8).T)
    assert not len(wrong), f"{len(wrong)} weights, the first at k, n = {wrong[0]}; rerun: {rerun}"


@pytest.mark.parametrize("code", [0, 15])
@pytest.mark.parametrize(
    ("scale", "x_scale"),
    [(8188.0, 1e-3), (2.0**-24, 1e3), (2.0**-16, 1e3), (0.0, 1.0)],
    ids=["largest", "least_subnormal", "subnormal", "zero"],
)
def test_extreme_codes_and_scales(
    kernel: int4_harness.Int4Kernel, code: int, scale: float, x_scale: float, rerun: str
) -> None:
    """|8 * 8188| = 65504 is the largest weight of FP16."""
    x, codes, scales = _random_inputs(Shape(3, 36, 192))
    x = (x * x_scale).astype(np.float16)
    codes = np.full_like(codes, code)
    scales = np.full_like(scales, scale)
    y = kernel.multiply(x, int4_reference.pack(codes), scales)
    int4_reference.assert_close(y, int4_reference.multiply(x, codes, scales), rerun)


def test_outputs_past_the_range_of_fp16_are_infinite(
    kernel: int4_harness.Int4Kernel, rerun: str
) -> None:
    x, codes, scales = _random_inputs(Shape(4, 36, 192))
    x[0] = 65504
    x[1] = -65504
    x[2] = 6e-8  # the least subnormal
    expected = int4_reference.multiply(x, codes, scales)
    overflows = np.abs(expected[:2]) > 65520
    assert overflows.any() and not overflows.all()
    y = kernel.multiply(x, int4_reference.pack(codes), scales)
    int4_reference.assert_close(y[:2], expected[:2], rerun)
    int4_reference.assert_close(y[3:], expected[3:], rerun)
    # Half of the least output, 2^-25, is all that rounding to a subnormal FP16 may cost.
    error = np.abs(y[2] - expected[2]).max()
    assert error <= 2**-25 + 1e-9, f"absolute error {error:.3g}; rerun: {rerun}"


def test_infinite_and_nan_inputs_stay_in_their_row(
    kernel: int4_harness.Int4Kernel, rerun: str
) -> None:
    x, codes, scales = _random_inputs(Shape(4, 36, 192))
    x[0, 5] = np.inf
    x[1, 191] = np.nan
    x[3, 64] = -np.inf
    expected = int4_reference.multiply(x, codes, scales)
    assert np.isfinite(expected[2]).all() and not np.isfinite(expected[[0, 1, 3]]).any()
    y = kernel.multiply(x, int4_reference.pack(codes), scales)
    int4_reference.assert_close(y, expected, rerun)


@pytest.mark.parametrize("scale", [np.inf, np.nan])
def test_non_finite_scales_stay_in_their_channel(
    kernel: int4_harness.Int4Kernel, scale: float, rerun: str
) -> None:
    x, codes, scales = _random_inputs(Shape(3, 36, 192))
    expected = int4_reference.multiply(x, codes, scales)
    scales[1, 7] = scale
    y = kernel.multiply(x, int4_reference.pack(codes), scales)
    assert not np.isfinite(y[:, 7]).any(), f"{y[:, 7]}; rerun: {rerun}"
    others = np.delete(np.arange(36), 7)
    int4_reference.assert_close(y[:, others], expected[:, others], rerun)


@pytest.mark.emulator_only
def test_same_bits_in_any_order_of_warps(kernel: int4_harness.Int4Kernel, rerun: str) -> None:
    x, codes, scales = _random_inputs(Shape(_TILE_M, _TILE_N + 4, 576))
    packed = int4_reference.pack(codes)
    runs = []
    for seed in (1, 2):
        emulator().set_seed(seed)
        runs.append(kernel.multiply(x, packed, scales).tobytes())
    emulator().set_seed(0)
    assert runs[0] == runs[1], f"two runs differ; rerun: {rerun}"


@pytest.mark.emulator_only
def test_shared_memory_without_bank_conflicts(kernel: int4_harness.Int4Kernel, rerun: str) -> None:
    x, codes, scales = _random_inputs(Shape(_TILE_M, _TILE_N, 576))
    emulator().take_stats()
    kernel.multiply(x, int4_reference.pack(codes), scales)
    stats = emulator().take_stats()
    phases, wavefronts = stats["shared_phases"], stats["shared_wavefronts"]
    assert 0 < phases == wavefronts, f"{wavefronts} wavefronts for {phases} phases; rerun: {rerun}"
