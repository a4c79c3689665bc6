"""Cases of the attention kernels' tests, and random tensors for them."""

from __future__ import annotations

import dataclasses

import numpy as np

from kernels.attention.attention_reference import (
    CHUNKED_PREFILL,
    DECODE,
    PREFILL,
    TREE_DECODE,
    Case,
    rope_and_cache,
    tokens_of_row,
)

# What no length, start or position should be, for a cache of some 100 slots.
HOSTILE = (-(2**31), -1, 0, 10**6, 2**31 - 1)


def rope_table(positions: int, rotary_size: int, tables: int = 1) -> np.ndarray:
    """f32 [tables, positions, rotary size]; each table turns by angles of its own."""
    frequency = 10000.0 ** (-np.arange(rotary_size // 2) * 2 / rotary_size)
    angle = np.arange(positions)[None, :, None] * frequency + np.arange(tables)[:, None, None]
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)


def prefill(
    lengths: list[int], q_len: int, heads: tuple[int, int], head_size: int, capacity: int
) -> Case:
    rope = rope_table(capacity, head_size)
    return Case(PREFILL, q_len, np.array(lengths), heads, head_size, capacity, rope)


def chunk(
    lengths: list[int],
    starts: list[int],
    q_len: int,
    heads: tuple[int, int],
    head_size: int,
    capacity: int,
) -> Case:
    rope = rope_table(capacity, head_size)
    starts = np.array(starts)
    return Case(CHUNKED_PREFILL, q_len, np.array(lengths), heads, head_size, capacity, rope, starts)


def decode(
    lengths: list[int],
    heads: tuple[int, int],
    head_size: int,
    capacity: int,
    starts: list[int] | None = None,
) -> Case:
    rope = rope_table(capacity, head_size)
    starts = np.array(starts or [0] * len(lengths))
    return Case(DECODE, 1, np.array(lengths), heads, head_size, capacity, rope, starts)


def random_tree(
    pasts: list[int],
    tokens: list[int],
    heads: tuple[int, int],
    head_size: int,
    capacity: int,
    seed: int = 0,
) -> Case:
    """Trees of several sizes: each token hangs on a random earlier one; the rest is padding."""
    random = np.random.default_rng(seed)
    batch, q_len = len(pasts), max(tokens)
    mask = np.zeros((batch, q_len, q_len), bool)
    positions = np.full((batch, q_len), -1)
    for b, (past, count) in enumerate(zip(pasts, tokens, strict=True)):
        for token in range(count):
            if token:
                parent = random.integers(token)
                mask[b, token] = mask[b, parent]
                positions[b, token] = positions[b, parent] + 1
            else:
                positions[b, token] = past
            mask[b, token, token] = True
    lengths = np.array(pasts) + q_len
    rope = rope_table(capacity, head_size)
    starts = np.zeros(batch, int)
    return Case(
        TREE_DECODE, q_len, lengths, heads, head_size, capacity, rope, starts, mask, positions
    )


def random_qkv(case: Case, seed: int = 0) -> np.ndarray:
    """f16 [batch, q_len, Q heads + 2 KV heads, head size]: NaN in invalid tokens."""
    random = np.random.default_rng(seed)
    heads = case.heads[0] + 2 * case.heads[1]
    shape = (case.batch, case.q_len, heads, case.head_size)
    qkv = random.standard_normal(shape).astype(np.float16)
    for b in range(case.batch):
        qkv[b, [token is None for token in tokens_of_row(case, b)]] = np.nan
    return qkv


def random_cache(case: Case, seed: int = 1) -> np.ndarray:
    """f16 [batch, 2, KV heads, capacity, head size]: NaN but for the slots before the tokens."""
    random = np.random.default_rng(seed)
    shape = (case.batch, 2, case.heads[1], case.capacity, case.head_size)
    cache = np.full(shape, np.nan, np.float16)
    for b in range(case.batch):
        tokens = [token for token in tokens_of_row(case, b) if token is not None]
        if tokens:
            # Of a tree the older slots are those that every token sees.
            past = min(min(token.slot for token in tokens), case.capacity)
            if case.is_tree and case.lengths[b] >= case.q_len:
                past = min(past, case.lengths[b] - case.q_len)
            part = cache[b, :, :, :past]
            part[:] = random.standard_normal(part.shape)
    return cache


@dataclasses.dataclass
class Inputs:
    """Packed QKV and the cache before the call, and what follows from them, all f16."""

    qkv: np.ndarray
    cache: np.ndarray
    q: np.ndarray  # after RoPE
    new_cache: np.ndarray


def inputs_of(case: Case, qkv: np.ndarray, cache: np.ndarray) -> Inputs:
    return Inputs(qkv, cache, *rope_and_cache(case, qkv, cache))


def random_inputs(case: Case, seed: int = 0) -> Inputs:
    return inputs_of(case, random_qkv(case, seed), random_cache(case, seed + 1))


def saturated_inputs(case: Case, factor: float) -> Inputs:
    """Q and K are +-factor everywhere: one slot has all the weight, at a score beyond what exp can
    take. Nothing turns, as a turned value would need rounding."""
    half = case.rope.shape[2] // 2
    case.rope[:, :, :half], case.rope[:, :, half:] = 1, 0
    qkv, cache = random_qkv(case), random_cache(case, 1)
    q_and_k = qkv[:, :, : case.heads[0] + case.heads[1]]
    q_and_k[:] = np.sign(q_and_k) * factor
    cache[:, 0] = np.sign(cache[:, 0]) * factor
    return inputs_of(case, qkv, cache)


def growing_inputs(case: Case, tile_kv: int, factor: float, newest_first: bool = False) -> Inputs:
    """K of each tile of the cache is `factor` times that of the one before, in the order of the
    kernel, and so are its scores: what was summed before has to be rescaled, soon by 4, and by 2
    when it lags."""
    qkv, cache = random_qkv(case), random_cache(case, 1)
    tiles = np.arange(case.capacity) // tile_kv
    if newest_first:
        tiles = tiles[-1] - tiles
    cache[:, 0] *= (factor**tiles)[:, None].astype(np.float16)
    return inputs_of(case, qkv, cache)
