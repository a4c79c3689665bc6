"""Attention in NumPy, FP64, token by token: what the kernels are compared with."""

from __future__ import annotations

import dataclasses

import numpy as np

PREFILL, CHUNKED_PREFILL, DECODE, TREE_DECODE = range(4)  # AttentionMode

TOLERANCE = 2e-3  # absolute, and as much relative


@dataclasses.dataclass
class Case:
    """Everything of one call but the tensors of values.

    Attributes:
        mode: an AttentionMode.
        q_len: tokens of a row.
        lengths: int32 [batch], ContextLengths.
        heads: Q heads, KV heads.
        head_size: values of a head.
        capacity: slots of a row of the cache.
        rope: f32 [1 or batch, positions, rotary size].
        starts: int32 [batch], KVCacheStartIndex; None in prefill.
        mask: bool [batch, q_len, q_len], what a tree token sees; None unless tree decode.
        positions: int32 [batch, q_len]; None unless tree decode.
    """

    mode: int
    q_len: int
    lengths: np.ndarray
    heads: tuple[int, int]
    head_size: int
    capacity: int
    rope: np.ndarray
    starts: np.ndarray | None = None
    mask: np.ndarray | None = None
    positions: np.ndarray | None = None

    @property
    def batch(self) -> int:
        return len(self.lengths)

    @property
    def is_tree(self) -> bool:
        return self.mode == TREE_DECODE


@dataclasses.dataclass
class Token:
    """A valid token: its slot, its RoPE position, and the slots that it sees.

    The slot of a tree token may lie beyond the cache: it is not written, and nobody sees it.
    """

    slot: int
    position: int
    visible: list[int]


def _row_of_slots(case: Case, first: int, count: int) -> list[Token | None]:
    """Tokens one behind the other from slot `first` on, each seeing itself and all before."""
    tokens: list[Token | None] = [None] * case.q_len
    for i in range(count):
        if first + i < case.rope.shape[1]:
            tokens[i] = Token(first + i, first + i, list(range(first + i + 1)))
    return tokens


def tokens_of_row(case: Case, b: int) -> list[Token | None]:
    """The contract's table of modes, literally; None for an invalid token."""
    length, s, capacity = int(case.lengths[b]), case.q_len, case.capacity
    none: list[Token | None] = [None] * s
    if case.mode == PREFILL:
        return _row_of_slots(case, 0, max(0, min(length, s, capacity)))

    start = int(case.starts[b])
    is_one_token_chunk = s == 1 and length == 1 and start > 0
    if case.mode == CHUNKED_PREFILL or is_one_token_chunk:
        if not 0 <= start <= capacity:
            return none
        return _row_of_slots(case, start, max(0, min(length, s, capacity - start)))
    if case.mode == DECODE:
        return _row_of_slots(case, length - 1, 1) if 1 <= length <= capacity else none

    past = length - s
    if not 0 <= past <= capacity:
        return none
    valid = [j for j in range(s) if 0 <= case.positions[b, j] < case.rope.shape[1]]
    written = [j for j in valid if past + j < capacity]
    tokens = none
    for i in valid:
        seen = [past + j for j in written if case.mask[b, i, j]]
        tokens[i] = Token(past + i, int(case.positions[b, i]), [*range(past), *seen])
    return tokens


def turn(head: np.ndarray, cos_sin: np.ndarray) -> np.ndarray:
    """RoPE of a head, f16 [head size] to f64: pairs (i, i + R / 2) turn, the rest stays."""
    half = len(cos_sin) // 2
    cos, sin = cos_sin[:half].astype(np.float64), cos_sin[half:].astype(np.float64)
    x = head.astype(np.float64)
    low, high = x[:half].copy(), x[half : 2 * half].copy()
    x[:half] = low * cos - high * sin
    x[half : 2 * half] = high * cos + low * sin
    return x


def rope_and_cache(case: Case, qkv: np.ndarray, cache: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q after RoPE, f16 [batch, q_len, Q heads, head size], and the new cache, f16."""
    q_heads, kv_heads = case.heads
    q = np.zeros((case.batch, case.q_len, q_heads, case.head_size), np.float16)
    cache = cache.copy()
    for b in range(case.batch):
        table = case.rope[b if len(case.rope) > 1 else 0]
        for i, token in enumerate(tokens_of_row(case, b)):
            if token is None:
                continue
            cos_sin = table[token.position]
            for h in range(q_heads):
                q[b, i, h] = turn(qkv[b, i, h], cos_sin)
            if token.slot >= case.capacity:
                continue
            for h in range(kv_heads):
                cache[b, 0, h, token.slot] = turn(qkv[b, i, q_heads + h], cos_sin)
                cache[b, 1, h, token.slot] = qkv[b, i, q_heads + kv_heads + h]
    return q, cache


def attend(
    case: Case, q: np.ndarray, cache: np.ndarray, slots: list[range] | None = None
) -> np.ndarray:
    """softmax(Q K^T / sqrt(D)) V over the visible slots, f64 as q.

    Args:
        case: the call.
        q: f16 [batch, q_len, Q heads, head size], after RoPE.
        cache: f16 [batch, 2, KV heads, capacity, head size], with the new tokens.
        slots: of each row, the part of the KV range to attend to; all by default.
    """
    q_heads, kv_heads = case.heads
    output = np.zeros(q.shape, np.float64)
    for b in range(case.batch):
        for i, token in enumerate(tokens_of_row(case, b)):
            if token is None:
                continue
            visible = [s for s in token.visible if slots is None or s in slots[b]]
            if not visible:
                continue
            for h in range(q_heads):
                k = cache[b, 0, h // (q_heads // kv_heads), visible].astype(np.float64)
                v = cache[b, 1, h // (q_heads // kv_heads), visible].astype(np.float64)
                scores = k @ q[b, i, h].astype(np.float64) / np.sqrt(case.head_size)
                weights = np.exp(scores - scores.max())
                output[b, i, h] = weights @ v / weights.sum()
    return output


def assert_close(actual: np.ndarray, expected: np.ndarray, rerun: str) -> None:
    """|actual - expected| <= 2e-3 + 2e-3 |expected| everywhere; NaN and infinity agree first."""
    assert actual.shape == expected.shape
    for what, test in (("NaN", np.isnan), ("infinite", np.isinf)):
        differs = test(actual) != test(expected)
        assert not differs.any(), f"{what}: {_place(actual, expected, differs)}; rerun: {rerun}"
    finite = np.isfinite(expected)
    error = np.zeros(expected.shape)
    error[finite] = np.abs(actual[finite].astype(np.float64) - expected[finite])
    excess = error - TOLERANCE * np.abs(np.where(finite, expected, 0))
    worst = _place(actual, expected, excess == excess.max())
    assert excess.max() <= TOLERANCE, f"worst at {worst}; rerun: {rerun}"


def merge(outputs: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The whole of partial results, f64: the sum of the splits that have a weight."""
    maximum, weight = states[..., 0].astype(np.float64), states[..., 1].astype(np.float64)
    exists = weight != 0
    top = np.max(maximum, axis=0, where=exists, initial=-np.inf)
    shift = np.where(exists, maximum - np.where(np.isinf(top), 0, top), -np.inf)
    factor = np.exp(shift / np.sqrt(outputs.shape[-1]))
    total = (factor * weight).sum(axis=0).reshape(*outputs.shape[1:4], 1)
    factor = factor.reshape(*outputs.shape[:4], 1)
    summed = np.where(factor == 0, 0, factor * outputs.astype(np.float64)).sum(axis=0)
    return np.divide(summed, total, where=total != 0, out=np.zeros(summed.shape))


def assert_same_cache(actual: np.ndarray, expected: np.ndarray, rerun: str) -> None:
    """K within one ULP of FP16 or 2^-22 of the largest value; V, NaN and old slots bit by bit."""
    keys, expected_keys = actual[:, 0], expected[:, 0]
    nan = np.isnan(expected_keys)
    assert (np.isnan(keys) == nan).all(), f"NaN of K; rerun: {rerun}"
    got, want = (np.where(nan, 0, side).astype(np.float64) for side in (keys, expected_keys))
    ulp = np.spacing(np.maximum(np.abs(got), np.abs(want)).astype(np.float16)).astype(np.float64)
    excess = np.abs(got - want) - np.maximum(ulp, 2.0**-22 * np.abs(want).max(initial=1))
    worst = _place(keys, expected_keys, excess == excess.max())
    assert excess.max() <= 0, f"K at {worst}; rerun: {rerun}"
    differs = actual[:, 1].view(np.uint16) != expected[:, 1].view(np.uint16)
    assert not differs.any(), f"V at {_place(actual[:, 1], expected[:, 1], differs)}; {rerun}"


def _place(actual: np.ndarray, expected: np.ndarray, chosen: np.ndarray) -> str:
    """The first chosen element, with both values, and how many there are."""
    index = tuple(int(i) for i in np.argwhere(chosen)[0])
    return (
        f"{index}: {float(actual[index]):.6g}, reference {float(expected[index]):.6g}"
        f" ({int(chosen.sum())} of {chosen.size})"
    )
