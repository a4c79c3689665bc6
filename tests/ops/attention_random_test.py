"""Random calls of every mode: combinations that nobody thought of.

The seed of a failure is the number in the test's name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_llm_plugins import host, rope
from tests.ops import attention_cases as cases

CALLS_PER_MODE = 16
CAPACITIES = [1, 5, 31, 32, 33, 63, 64, 65, 100, 129, 256, 520]
TOKENS = [2, 3, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128]
RATIOS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16]
# Mostly the small ones, which are fast: others have kernels of the same code.
HEAD_SIZES = [32] * 6 + [64] * 6 + [80, 96, 128, 256]


class Draw:
    """What a seeded call is made of."""

    def __init__(self, seed: list[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.batch = self.one_of([1, 2, 3, 4])
        self.capacity = self.one_of(CAPACITIES)
        head_size = self.one_of(HEAD_SIZES)
        kv_heads = self.one_of([1, 2, 3]) if head_size <= 64 else 1
        self.heads = cases.Heads(kv_heads * self.one_of(RATIOS), kv_heads, head_size)
        self.is_hostile = self.one_of([False, False, True])

    def one_of(self, values: list) -> object:
        return values[self.rng.integers(len(values))]

    def per_row(self, low: int, high: int) -> list[int]:
        """A number from low to high per row; of a hostile call sometimes any."""
        numbers = self.rng.integers(low, max(low, high) + 1, self.batch).tolist()
        if self.is_hostile:
            edges = [-(2**31), -1, 0, 1, self.capacity, self.capacity + 1, 2**31 - 1]
            numbers[self.rng.integers(self.batch)] = self.one_of(edges)
        return numbers

    def options(self) -> dict[str, object]:
        return {"heads": self.heads, "seed": int(self.rng.integers(2**31))}

    def rope_table(self) -> np.ndarray:
        """Shared or per row; shorter and longer than the cache, partial."""
        positions = self.one_of([self.capacity, self.capacity // 2 + 1, self.capacity + 7])
        size = self.heads.size
        rotary_size = self.one_of([size, size, size // 2, 2])
        bases = self.rng.uniform(10, 1e5, self.one_of([1, self.batch]))
        return np.concatenate([rope.cos_sin(positions, rotary_size, base=base) for base in bases])


def prefill(draw: Draw) -> cases.Case:
    seq = draw.one_of([1, *TOKENS])
    case = cases.prefill(seq, draw.per_row(0, seq), draw.capacity, **draw.options())
    return cases.with_dummy_tree(case) if draw.one_of([False, True]) else case


def chunk(draw: Draw) -> cases.Case:
    seq = draw.one_of(TOKENS)
    starts = draw.per_row(0, draw.capacity)
    case = cases.chunk(seq, draw.per_row(0, seq), starts, draw.capacity, **draw.options())
    return cases.with_dummy_tree(case) if draw.one_of([False, True]) else case


def decode(draw: Draw) -> cases.Case:
    """Rows of length 1 and a start are chunks of one token."""
    totals = [draw.one_of([1, total, total]) for total in draw.per_row(1, draw.capacity)]
    case = cases.decode(totals, draw.capacity, **draw.options())
    starts = draw.per_row(0, draw.capacity)
    return case.replace(kv_cache_start_index=np.array(starts, np.int32))


def tree_decode(draw: Draw) -> cases.Case:
    """Masks of trees, and of any bits; padding tokens and repeated positions."""
    size = draw.one_of([1, *TOKENS])
    parents = np.stack([cases.random_tree(size, seed=b) for b in range(draw.batch)])
    pasts = draw.per_row(0, draw.capacity)
    slots = np.clip(pasts, 0, draw.capacity).tolist()
    case = cases.draft_trees(parents, slots, draw.capacity, **draw.options())
    lengths = np.clip(np.array(pasts) + size, -(2**31), 2**31 - 1)
    mask = case.attention_mask
    if draw.one_of([False, True]):
        words = mask.shape[2] + draw.one_of([0, 1])
        mask = draw.rng.integers(-(2**31), 2**31, (draw.batch, size, words))
    positions = draw.rng.integers(-1, draw.capacity, (draw.batch, size))
    return case.replace(
        context_lengths=lengths.astype(np.int32),
        kv_cache_start_index=np.array(draw.per_row(0, draw.capacity), np.int32),
        attention_mask=mask.astype(np.int32),
        attention_pos_ids=positions.astype(np.int32),
    )


def with_numbers_where_read(case: cases.Case) -> cases.Case:
    """Rows that see slots without old tokens, which are full of NaN, get numbers there."""
    output, _ = case.expected()
    reads = ~np.isfinite(output).all(axis=(1, 2, 3))
    cache = case.kv_cache.copy()
    cache[reads] = np.nan_to_num(cache[reads], nan=0.5)
    return case.replace(kv_cache=cache)


@pytest.mark.parametrize("make", [prefill, chunk, decode, tree_decode])
@pytest.mark.parametrize("seed", range(CALLS_PER_MODE))
def test_random_calls(device: host.Device, make: Callable[[Draw], cases.Case], seed: int) -> None:
    draw = Draw([seed, *make.__name__.encode()])
    case = make(draw).replace(rope_cos_sin=draw.rope_table())
    version, in_place = draw.one_of(["1", "2"]), draw.one_of([False, True])
    cases.check(device, with_numbers_where_read(case), version=version, in_place=in_place)
