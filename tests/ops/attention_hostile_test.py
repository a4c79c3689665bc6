"""Lengths, starts and positions that no honest runtime sends: each has a defined result.

The emulator reports every access outside a tensor.
"""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host, rope, tree
from tests.ops import attention_cases as cases

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
CAPACITY = 20

LENGTHS = [INT_MIN, -1, 0, 1, 2, CAPACITY - 1, CAPACITY, CAPACITY + 1, INT_MAX]
STARTS = [INT_MIN, -1, 0, 1, CAPACITY - 2, CAPACITY - 1, CAPACITY, CAPACITY + 1, INT_MAX]


def finite_cache(case: cases.Case) -> cases.Case:
    """Hostile lengths make any slot visible: old contents are numbers here."""
    rng = np.random.default_rng(1)
    cache = rng.standard_normal(case.kv_cache.shape).astype(np.float16)
    return case.replace(kv_cache=cache)


@pytest.mark.parametrize("seq", [3, CAPACITY + 5])
def test_lengths_in_prefill(device: host.Device, seq: int) -> None:
    cases.check(device, cases.prefill(seq, LENGTHS, capacity=CAPACITY))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seq", [3, CAPACITY + 33])
def test_lengths_and_starts_in_chunks(device: host.Device, seq: int, length: int) -> None:
    """A short chunk is decoded; the long one is not, and has more tokens than the cache slots."""
    lengths = [length] * len(STARTS)
    cases.check(device, finite_cache(cases.chunk(seq, lengths, STARTS, CAPACITY)))


@pytest.mark.parametrize("start", STARTS)
def test_lengths_and_starts_in_decode(device: host.Device, start: int) -> None:
    """Starts count where the length is 1, and nowhere else."""
    case = finite_cache(cases.decode(LENGTHS, CAPACITY))
    cases.check(device, case.replace(kv_cache_start_index=np.full(len(LENGTHS), start, np.int32)))


POSITIONS = [INT_MIN, -2, -1, 0, CAPACITY - 1, CAPACITY, INT_MAX]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [1, 3])
def test_lengths_and_positions_in_trees(device: host.Device, size: int, position: int) -> None:
    """Pasts below 0, of 0, with slots for all tokens, and beyond the capacity."""
    batch = len(LENGTHS)
    parents = np.stack([tree.chain(size)] * batch)
    case = finite_cache(cases.draft_trees(parents, [0] * batch, CAPACITY))
    positions = case.attention_pos_ids.copy()
    positions[:, 0] = position
    lengths = np.array([*LENGTHS[:-2], CAPACITY + size + 1, INT_MAX], np.int32)
    cases.check(device, case.replace(context_lengths=lengths, attention_pos_ids=positions))


@pytest.mark.parametrize("positions", [1, 2, 16, 17])
def test_short_rope_tables(device: host.Device, positions: int) -> None:
    """P < Cap: a token whose position has no line is invalid."""
    table = rope.cos_sin(positions, 64)
    for case in (
        cases.prefill(18, [18, 16, 1], capacity=CAPACITY),
        cases.chunk(2, [2, 2, 1], [15, 0, 16], CAPACITY),
        cases.decode([1, 2, 3, 16, 17, 18], CAPACITY),
    ):
        cases.check(device, finite_cache(case).replace(rope_cos_sin=table))


def test_chunks_of_one_token_beyond_the_rope_table(device: host.Device) -> None:
    case = finite_cache(cases.decode([1] * 5, CAPACITY))
    starts = np.array([15, 16, 17, 19, 20], np.int32)
    table = rope.cos_sin(17, 64)
    cases.check(device, case.replace(kv_cache_start_index=starts, rope_cos_sin=table))


def test_invalid_rows_leave_the_cache_and_give_zero(device: host.Device) -> None:
    for case in (
        cases.prefill(3, [0, -1], capacity=CAPACITY),
        cases.chunk(3, [3, 3], [0, 0], CAPACITY).replace(
            kv_cache_start_index=np.array([-1, CAPACITY], np.int32)
        ),
        cases.decode([1, 1], CAPACITY).replace(
            context_lengths=np.array([0, CAPACITY + 1], np.int32)
        ),
    ):
        output, cache = cases.run(device, case)
        assert not output.any(), cases.rerun()
        assert cache.tobytes() == case.kv_cache.tobytes(), cases.rerun()
