"""One prefill variant against the FP64 reference, every edge on one SM and some on the others.

The emulator runs with all checks on: a race, an access out of bounds or a read of uninitialised
memory fails the launch. The cache is NaN wherever nothing may be read.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.attention import attention_cases as cases
from kernels.attention import attention_reference as reference
from kernels.attention.attention_harness import AttentionKernel
from kernels.testing.variant_under_test import emulator, variant_of

_TILE = variant_of(__file__).row["tile"]
_HEAD_SIZE, _TILE_Q, _TILE_KV = _TILE["head_size"], _TILE["tile_q"], _TILE["tile_kv"]
_STAGES = _TILE["stages"]


def _check(kernel: AttentionKernel, case: reference.Case, rerun: str) -> None:
    inputs = cases.random_inputs(case)
    expected = reference.attend(case, inputs.q, inputs.new_cache)
    reference.assert_close(kernel.prefill(case, inputs), expected, rerun)


def test_ragged_batch_with_an_empty_row(any_kernel: AttentionKernel, rerun: str) -> None:
    lengths = [0, 1, _TILE_KV + 1, 3]
    case = cases.prefill(lengths, _TILE_KV + 2, (3, 1), _HEAD_SIZE, _TILE_KV + 5)
    _check(any_kernel, case, rerun)


def test_chunks_with_a_start_per_row(any_kernel: AttentionKernel, rerun: str) -> None:
    starts = [0, 1, _TILE_KV - 1, _TILE_KV - 2, 2 * _TILE_KV + 5]
    lengths = [7, 5, 7, 2, 1]
    case = cases.chunk(lengths, starts, 7, (2, 2), _HEAD_SIZE, 3 * _TILE_KV)
    _check(any_kernel, case, rerun)


def test_more_tiles_than_stages(kernel: AttentionKernel, rerun: str) -> None:
    starts = [tiles * _TILE_KV - 5 for tiles in (_STAGES, _STAGES + 1, 2 * _STAGES + 2)]
    case = cases.chunk([5, 7, 3], starts, 7, (1, 1), _HEAD_SIZE, starts[-1] + 3)
    _check(kernel, case, rerun)


@pytest.mark.parametrize(
    "length", [_TILE_KV - 1, _TILE_KV, _TILE_KV + 1, _TILE_Q - 1, _TILE_Q, _TILE_Q + 1]
)
def test_lengths_around_the_tiles(kernel: AttentionKernel, length: int, rerun: str) -> None:
    _check(kernel, cases.prefill([length], length, (1, 1), _HEAD_SIZE, length), rerun)


def test_second_tile_of_rows_has_no_token(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([_TILE_Q - 3], _TILE_Q + 1, (1, 1), _HEAD_SIZE, _TILE_Q + 1)
    _check(kernel, case, rerun)


@pytest.mark.parametrize("ratio", [1, 3, 7, 16])
def test_q_heads_find_their_kv_head(kernel: AttentionKernel, ratio: int, rerun: str) -> None:
    _check(kernel, cases.prefill([4, 3], 4, (2 * ratio, 2), _HEAD_SIZE, 6), rerun)


def test_padding_beyond_the_capacity(kernel: AttentionKernel, rerun: str) -> None:
    """start + q_len exceeds the cache, the valid tokens do not; those that would are invalid."""
    capacity = _TILE_KV + 9
    case = cases.chunk(
        [5, 8, 8], [capacity - 5, capacity - 5, capacity], 8, (2, 1), _HEAD_SIZE, capacity
    )
    _check(kernel, case, rerun)


@pytest.mark.parametrize("capacity", [5, 40])
def test_hostile_lengths(kernel: AttentionKernel, capacity: int, rerun: str) -> None:
    case = cases.prefill([*cases.HOSTILE, 6], 9, (1, 1), _HEAD_SIZE, capacity)
    _check(kernel, case, rerun)


def test_hostile_starts(kernel: AttentionKernel, rerun: str) -> None:
    starts = [start for start in cases.HOSTILE for _ in cases.HOSTILE]
    lengths = [length for _ in cases.HOSTILE for length in cases.HOSTILE]
    _check(kernel, cases.chunk(lengths, starts, 3, (1, 1), _HEAD_SIZE, 33), rerun)


def test_tokens_past_the_rope_table_are_invalid(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.chunk([9, 9], [0, 30], 9, (1, 1), _HEAD_SIZE, 50)
    case.rope = cases.rope_table(33, _HEAD_SIZE)
    _check(kernel, case, rerun)


@pytest.mark.parametrize("splits", [2, 3])
def test_splits(kernel: AttentionKernel, splits: int, rerun: str) -> None:
    """Of each tile's real range: the splits of the first tokens have less, or nothing."""
    starts = [0, 1, 3 * _TILE_KV, 5 * _TILE_KV - 2]
    case = cases.chunk([5, 0, 5, 4], starts, 5, (2, 1), _HEAD_SIZE, 5 * _TILE_KV + 3)
    inputs = cases.random_inputs(case)
    outputs, states = kernel.prefill_splits(case, inputs, splits)
    whole = reference.merge(outputs, states)
    reference.assert_close(whole, reference.attend(case, inputs.q, inputs.new_cache), rerun)
    weights = states[:, :, 1].reshape(splits, *inputs.q.shape[:3])
    assert (weights[1:, 0] == 0).all(), f"a single tile in several splits; rerun: {rerun}"
    assert (weights[:, 1] == 0).all(), f"a weight of no token; rerun: {rerun}"
    assert (weights[:, 2] != 0).all(), f"an idle split; rerun: {rerun}"


@pytest.mark.parametrize("rotary_size", [2, _HEAD_SIZE // 2, _HEAD_SIZE - 16, _HEAD_SIZE - 2])
def test_partial_rotary_size(kernel: AttentionKernel, rotary_size: int, rerun: str) -> None:
    case = cases.chunk([3], [5], 3, (1, 1), _HEAD_SIZE, 9)
    case.rope = cases.rope_table(9, rotary_size)
    _check(kernel, case, rerun)


def test_table_per_row(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([3, 2, 0], 3, (1, 1), _HEAD_SIZE, 9)
    case.rope = cases.rope_table(9, _HEAD_SIZE, tables=3)
    _check(kernel, case, rerun)


@pytest.mark.parametrize("factor", [30.0, 20000.0])
def test_saturated_softmax(kernel: AttentionKernel, factor: float, rerun: str) -> None:
    case = cases.prefill([_TILE_KV + 3], _TILE_KV + 3, (1, 1), _HEAD_SIZE, _TILE_KV + 3)
    inputs = cases.saturated_inputs(case, factor)
    expected = reference.attend(case, inputs.q, inputs.new_cache)
    reference.assert_close(kernel.prefill(case, inputs), expected, rerun)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_scores_that_grow_from_tile_to_tile(
    kernel: AttentionKernel, factor: float, rerun: str
) -> None:
    case = cases.chunk([5], [3 * _TILE_KV], 5, (1, 1), _HEAD_SIZE, 3 * _TILE_KV + 5)
    inputs = cases.growing_inputs(case, _TILE_KV, factor)
    expected = reference.attend(case, inputs.q, inputs.new_cache)
    reference.assert_close(kernel.prefill(case, inputs), expected, rerun)


def test_padding_is_zero_where_values_are_infinite(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([3], 5, (1, 1), _HEAD_SIZE, 9)
    inputs = cases.random_inputs(case)
    inputs.new_cache[:, 1, :, 0, 5] = np.inf
    expected = reference.attend(case, inputs.q, inputs.new_cache)
    assert np.isinf(expected[0, :3, 0, 5]).all() and (expected[0, 3:] == 0).all()
    reference.assert_close(kernel.prefill(case, inputs), expected, rerun)


@pytest.mark.emulator_only
def test_same_bits_in_any_order_of_warps(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([_TILE_Q + 1], _TILE_Q + 1, (1, 1), _HEAD_SIZE, _TILE_Q + 1)
    inputs = cases.random_inputs(case)
    runs = []
    for seed in (1, 2):
        emulator().set_seed(seed)
        runs.append(kernel.prefill(case, inputs).tobytes())
    emulator().set_seed(0)
    assert runs[0] == runs[1], f"two runs differ; rerun: {rerun}"


@pytest.mark.emulator_only
def test_tiles_without_bank_conflicts(kernel: AttentionKernel, rerun: str) -> None:
    """What grows with the KV range has no conflicts; turning Q may have some."""
    stats = []
    for start in (0, 4 * _TILE_KV):
        capacity = start + _TILE_Q
        case = cases.chunk([_TILE_Q], [start], _TILE_Q, (1, 1), _HEAD_SIZE, capacity)
        inputs = cases.random_inputs(case)
        emulator().take_stats()
        kernel.prefill(case, inputs)
        stats.append(emulator().take_stats())
    phases, wavefronts = (
        stats[1][key] - stats[0][key] for key in ("shared_phases", "shared_wavefronts")
    )
    assert 0 < phases == wavefronts, f"{wavefronts} wavefronts, {phases} phases; rerun: {rerun}"
