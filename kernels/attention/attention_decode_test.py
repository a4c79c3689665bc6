"""One decode variant against the FP64 reference, every edge on one SM and some on the others.

The emulator runs with all checks on: a race, an access out of bounds or a read of uninitialised
memory fails the launch. The cache is NaN wherever nothing may be read.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from kernels.attention import attention_cases as cases
from kernels.attention import attention_reference as reference
from kernels.attention.attention_harness import AttentionKernel
from kernels.testing.variant_under_test import emulator, variant_of

_TILE = variant_of(__file__).row["tile"]
_HEAD_SIZE, _TILE_Q, _TILE_KV = _TILE["head_size"], _TILE["tile_q"], _TILE["tile_kv"]
_STAGES = _TILE["stages"]
_EDGE_LENGTHS = [1, 2, 31, 32, 33, 63, 64, 65]


def _check(kernel: AttentionKernel, case: reference.Case, rerun: str) -> None:
    _check_inputs(kernel, case, cases.random_inputs(case), rerun)


def _check_inputs(
    kernel: AttentionKernel, case: reference.Case, inputs: cases.Inputs, rerun: str
) -> None:
    output, new_cache = kernel.decode(case, inputs)
    reference.assert_same_cache(new_cache, inputs.new_cache, rerun)
    reference.assert_close(output, reference.attend(case, inputs.q, inputs.new_cache), rerun)


def _bits(arrays: tuple[np.ndarray, ...]) -> bytes:
    return b"".join(array.tobytes() for array in arrays)


def _split_slots(case: reference.Case, splits: int, split: int) -> list[range]:
    """The slots of a split of each row: whole tiles of its real length, the first splits longer."""
    ranges = []
    for b in range(case.batch):
        past = max(int(case.lengths[b]) - case.q_len, 0)
        length = min(past + case.q_len, case.capacity)
        tiles = math.ceil(length / _TILE_KV)
        first, last = (math.ceil(tiles * part / splits) for part in (split, split + 1))
        ranges.append(range(first * _TILE_KV, last * _TILE_KV))
    return ranges


def test_decode_at_every_edge(any_kernel: AttentionKernel, rerun: str) -> None:
    capacity = 67
    case = cases.decode([*_EDGE_LENGTHS, capacity], (3, 1), _HEAD_SIZE, capacity)
    _check(any_kernel, case, rerun)


def test_ragged_trees_with_padding(any_kernel: AttentionKernel, rerun: str) -> None:
    pasts = [0, 1, _TILE_KV - 3, 2 * _TILE_KV]
    case = cases.random_tree(pasts, [7, 1, 5, 6], (6, 2), _HEAD_SIZE, 3 * _TILE_KV)
    _check(any_kernel, case, rerun)


def test_more_tiles_than_stages(kernel: AttentionKernel, rerun: str) -> None:
    pasts = [tiles * _TILE_KV - 5 for tiles in (_STAGES, _STAGES + 1, 2 * _STAGES + 2)]
    case = cases.random_tree(pasts, [6, 7, 3], (2, 1), _HEAD_SIZE, pasts[-1] + 7)
    _check(kernel, case, rerun)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_scores_that_grow_from_tile_to_tile(
    kernel: AttentionKernel, factor: float, rerun: str
) -> None:
    case = cases.random_tree([3 * _TILE_KV], [5], (2, 1), _HEAD_SIZE, 3 * _TILE_KV + 5)
    inputs = cases.growing_inputs(case, _TILE_KV, factor, newest_first=True)
    _check_inputs(kernel, case, inputs, rerun)


@pytest.mark.parametrize("ratio", [1, 2, 5, 6, 7, 12, 14, 16])
def test_q_heads_find_their_kv_head(kernel: AttentionKernel, ratio: int, rerun: str) -> None:
    _check(kernel, cases.decode([9, 40], (2 * ratio, 2), _HEAD_SIZE, 40), rerun)


@pytest.mark.parametrize("tokens", [1, 2, 31, 32, 33, 60, 64, 65, 127, 128])
def test_sizes_of_trees(kernel: AttentionKernel, tokens: int, rerun: str) -> None:
    case = cases.random_tree([37, 1], [tokens, tokens], (2, 1), _HEAD_SIZE, 37 + tokens)
    _check(kernel, case, rerun)


def test_tokens_that_see_nothing_or_not_themselves(kernel: AttentionKernel, rerun: str) -> None:
    """The mask is taken literally: an empty row sees the past, and without a past nothing."""
    pasts = [0, 5, _TILE_KV - 1]
    case = cases.random_tree(pasts, [4] * 3, (1, 1), _HEAD_SIZE, _TILE_KV + 3)
    case.mask[:, 1] = False
    case.mask[:, 2] = [False, False, False, True]
    case.positions[:, :] = 0
    _check(kernel, case, rerun)


def test_invalid_tokens_are_not_seen(kernel: AttentionKernel, rerun: str) -> None:
    """Slots of tokens without a position hold NaN, although all masks have their bits."""
    case = cases.random_tree([3, 60], [40, 9], (2, 1), _HEAD_SIZE, 120)
    case.mask[:] = True
    case.positions[:, ::3] = -1
    _check(kernel, case, rerun)


def test_tree_beyond_the_capacity(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([30, 36, 37], [7, 7, 7], (2, 1), _HEAD_SIZE, 36)
    case.mask[:] = True
    _check(kernel, case, rerun)


@pytest.mark.parametrize("q_len", [1, 3])
def test_hostile_lengths_of_trees(kernel: AttentionKernel, q_len: int, rerun: str) -> None:
    lengths = [*cases.HOSTILE, 1, 2, 3, 7, 10, 11, 12, 13]
    case = cases.random_tree([0] * len(lengths), [q_len] * len(lengths), (1, 1), _HEAD_SIZE, 9)
    case.lengths = np.array(lengths)
    _check(kernel, case, rerun)


def test_hostile_lengths_and_starts(kernel: AttentionKernel, rerun: str) -> None:
    values = (*cases.HOSTILE, 1, 5, 6)
    starts = [start for start in values for _ in values]
    lengths = [length for _ in values for length in values]
    _check(kernel, cases.decode(lengths, (1, 1), _HEAD_SIZE, 5, starts), rerun)


def test_hostile_positions(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([2], [7], (1, 1), _HEAD_SIZE, 9)
    case.mask[:] = True
    case.positions = np.array([[*cases.HOSTILE, 8, 9]])
    _check(kernel, case, rerun)


@pytest.mark.parametrize("q_len", [5, 40])
def test_chunk_of_a_few_tokens(kernel: AttentionKernel, q_len: int, rerun: str) -> None:
    case = cases.chunk([3, q_len, 1, 0], [0, 21, 61, 7], q_len, (3, 1), _HEAD_SIZE, 62)
    _check(kernel, case, rerun)


def test_tree_of_one_token_at_the_first_slot(kernel: AttentionKernel, rerun: str) -> None:
    """With a start of 0 it is no chunk of one token: its empty mask holds."""
    case = cases.random_tree([0, 0], [1, 1], (2, 1), _HEAD_SIZE, 9)
    case.mask[0] = False
    _check(kernel, case, rerun)


def test_padding_is_zero_where_values_are_infinite(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([7, 7], [2, 4], (1, 1), _HEAD_SIZE, 20)
    qkv, cache = cases.random_qkv(case), cases.random_cache(case)
    cache[:, 1, :, 0, 5] = np.inf
    inputs = cases.inputs_of(case, qkv, cache)
    expected = reference.attend(case, inputs.q, inputs.new_cache)
    assert np.isinf(expected[0, :2, 0, 5]).all() and (expected[0, 2:] == 0).all()
    _check_inputs(kernel, case, inputs, rerun)


def test_chunk_of_one_token_is_a_decode_step(kernel: AttentionKernel, rerun: str) -> None:
    """The same bits, in decode and in a tree of one token, whatever mask and position say."""
    step = cases.decode([41, 7], (4, 2), _HEAD_SIZE, 64)
    inputs = cases.random_inputs(step)
    expected = _bits(kernel.decode(step, inputs))
    chunk = cases.decode([1, 1], (4, 2), _HEAD_SIZE, 64, starts=[40, 6])
    assert _bits(kernel.decode(chunk, inputs)) == expected, f"decode; rerun: {rerun}"
    tree = dataclasses.replace(
        chunk,
        mode=reference.TREE_DECODE,
        mask=np.zeros((2, 1, 1), bool),
        positions=np.full((2, 1), -1),
    )
    assert _bits(kernel.decode(tree, inputs)) == expected, f"tree; rerun: {rerun}"


@pytest.mark.parametrize("splits", [2, 3, 7])
def test_splits(kernel: AttentionKernel, splits: int, rerun: str) -> None:
    """Each split has its own tiles of the row's real length; a short row leaves some without."""
    capacity = 5 * _TILE_KV + 3
    lengths = [0, 1, _TILE_KV + 1, 4 * _TILE_KV, capacity]
    case = cases.decode(lengths, (3, 1), _HEAD_SIZE, capacity)
    inputs = cases.random_inputs(case)
    q, cache = inputs.q, inputs.new_cache
    outputs, states, new_cache = kernel.decode_splits(case, inputs, splits)
    reference.assert_same_cache(new_cache, cache, rerun)
    for split in range(splits):
        expected = reference.attend(case, q, cache, _split_slots(case, splits, split))
        weights = states[split, :, 1].reshape(*q.shape[:3], 1)
        part = np.divide(outputs[split], weights, where=weights != 0, out=np.zeros(q.shape))
        reference.assert_close(part, expected, f"split {split}: {rerun}")
    whole = reference.merge(outputs, states)
    reference.assert_close(whole, reference.attend(case, q, cache), rerun)


def test_splits_of_a_tree(kernel: AttentionKernel, rerun: str) -> None:
    """The tree lies across the border of two splits; an invalid token has no weight anywhere."""
    case = cases.random_tree([_TILE_KV - 4], [9], (2, 1), _HEAD_SIZE, 2 * _TILE_KV)
    case.positions[0, 5] = -1
    inputs = cases.random_inputs(case)
    q, cache = inputs.q, inputs.new_cache
    outputs, states, new_cache = kernel.decode_splits(case, inputs, 2)
    reference.assert_same_cache(new_cache, cache, rerun)
    for split in range(2):
        expected = reference.attend(case, q, cache, _split_slots(case, 2, split))
        weights = states[split, :, 1].reshape(*q.shape[:3], 1)
        part = np.divide(outputs[split], weights, where=weights != 0, out=np.zeros(q.shape))
        reference.assert_close(part, expected, f"split {split}: {rerun}")
    assert (states.reshape(2, 9, 2, 2)[:, 5, :, 1] == 0).all(), f"token 5; rerun: {rerun}"


@pytest.mark.parametrize("rotary_size", [2, _HEAD_SIZE // 2, _HEAD_SIZE - 16, _HEAD_SIZE - 2])
def test_partial_rotary_size(kernel: AttentionKernel, rotary_size: int, rerun: str) -> None:
    case = cases.decode([9, 5], (2, 1), _HEAD_SIZE, 9)
    case.rope = cases.rope_table(9, rotary_size)
    _check(kernel, case, rerun)


def test_table_per_row(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([3, 7], [4, 5], (2, 1), _HEAD_SIZE, 12)
    case.rope = cases.rope_table(12, _HEAD_SIZE, tables=2)
    _check(kernel, case, rerun)


def test_tree_token_without_a_slot_sees_the_others(kernel: AttentionKernel, rerun: str) -> None:
    """Beyond the cache a token is neither written nor seen; its own output is computed."""
    case = cases.random_tree([5, 8, 9], [4] * 3, (2, 1), _HEAD_SIZE, 8)
    case.positions[:] = [3, 4, 5, 6]
    case.mask[:] = True
    inputs = cases.random_inputs(case)
    assert reference.attend(case, inputs.q, inputs.new_cache)[:2].any(axis=(2, 3)).all()
    _check_inputs(kernel, case, inputs, rerun)


@pytest.mark.parametrize("factor", [30.0, 20000.0])
def test_saturated_softmax(kernel: AttentionKernel, factor: float, rerun: str) -> None:
    case = cases.decode([_TILE_KV + 3], (4, 1), _HEAD_SIZE, _TILE_KV + 3)
    _check_inputs(kernel, case, cases.saturated_inputs(case, factor), rerun)


@pytest.mark.emulator_only
def test_same_bits_in_any_order_of_warps(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([2 * _TILE_KV], [5], (6, 2), _HEAD_SIZE, 3 * _TILE_KV)
    inputs = cases.random_inputs(case)
    runs = []
    for seed in (1, 2):
        emulator().set_seed(seed)
        runs.append(_bits(kernel.decode(case, inputs)))
    emulator().set_seed(0)
    assert runs[0] == runs[1], f"two runs differ; rerun: {rerun}"


@pytest.mark.emulator_only
def test_tiles_without_bank_conflicts(kernel: AttentionKernel, rerun: str) -> None:
    """What grows with the KV range has no conflicts; looking up the mask's bits may have some."""
    stats = []
    for tiles in (1, 5):
        case = cases.decode([tiles * _TILE_KV], (4, 1), _HEAD_SIZE, tiles * _TILE_KV)
        inputs = cases.random_inputs(case)
        emulator().take_stats()
        kernel.decode(case, inputs)
        stats.append(emulator().take_stats())
    phases, wavefronts = (
        stats[1][key] - stats[0][key] for key in ("shared_phases", "shared_wavefronts")
    )
    assert 0 < phases == wavefronts, f"{wavefronts} wavefronts, {phases} phases; rerun: {rerun}"
