"""What the plugins must compute, in plain NumPy FP64, and how close is close enough."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import quantization, tree
from edge_llm_plugins._attention_inputs import (
    AttentionInputs,
    AttentionMode,
    check_attention_inputs,
)

# Relative RMS error of INT4 GEMM with FP32 accumulation: rounding the result to FP16 alone is
# about 2e-4.
INT4_RELATIVE_RMS = 5e-4

# An output r of attention may be wrong by this much, plus as many times |r|.
ATTENTION_TOLERANCE = 2e-3

# A rotated key x cos - y sin is computed in FP32: beyond rounding to FP16 it may be wrong by this
# many times max(|x|, |y|), which counts where the two products cancel.
KEY_CANCELLATION = 2.0**-22

# The FP16 NaN that arithmetic gives on a GPU, whatever NaN it was given.
GPU_NAN_BITS = 0x7FFF


def int4_groupwise_gemm(
    x: ArrayLike,
    packed: ArrayLike,
    scales: ArrayLike,
    group_size: int = quantization.GROUP_SIZE,
) -> NDArray[np.float64]:
    """Multiplies activations by INT4 weights: y[b, s, n] = sum over k of x[b, s, k] w[n, k].

    Args:
      x: float16 [B, S, K].
      packed: int8 [N/2, K], as `quantization.pack` makes it.
      scales: float16 [ceil(K/128), N].
      group_size: 128.

    Returns:
      float64 [B, S, N].

    Raises:
      TypeError: a dtype other than these.
      ValueError: rank, shape, group size, non-finite or too large scales.
    """
    x = np.asarray(x)
    if x.dtype != np.float16:
        raise TypeError(f"x has dtype {x.dtype}: float16 is allowed")
    weight = quantization.dequantize(packed, scales, group_size)
    if x.ndim != 3 or x.shape[2] != weight.shape[1]:
        raise ValueError(
            f"x has shape {list(x.shape)}: [B, S, {weight.shape[1]}] is allowed for these weights"
        )
    return x.astype(np.float64) @ weight.T.astype(np.float64)


def attention(
    qkv: ArrayLike,
    kv_cache: ArrayLike,
    context_lengths: ArrayLike,
    rope_cos_sin: ArrayLike,
    kv_cache_start_index: ArrayLike,
    *,
    num_q_heads: int,
    num_kv_heads: int,
    head_size: int,
    attention_mask: ArrayLike | None = None,
    attention_pos_ids: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
    """Rotates Q and K, writes K and V to the cache, and attends to the cache: one token at a time.

    Q and K are rounded to FP16 after RoPE; everything else is FP64. Shapes select the mode:

      kv_cache_start_index [0]                     prefill, S tokens from slot 0 on
      [B], S > 1, no mask or pos_ids [B, 1]        chunked prefill, from kv_cache_start_index[b] on
      [B], S = 1, no mask                          decode
      [B], pos_ids [B, S]                          tree decode, 1 to 128 tokens

    Any contents are allowed. A token that they put beyond the cache or the RoPE table is invalid:
    it writes nothing, nothing sees it, and its output is zero. A tree that begins within the cache
    is the exception: its tokens beyond the cache are neither written nor seen, but see the others.
    Inf or NaN in V reaches the tokens that see it; in the plugin it may reach all tokens of its row
    and KV head, as 0 * inf is NaN.

    Args:
      qkv: float16 [B, S, (Hq + 2 Hkv) D] or [B, S, Hq + 2 Hkv, D]: Q heads, K heads, V heads.
      kv_cache: float16 [B, 2, Hkv, Cap, D], K (after RoPE) and V; not changed.
      context_lengths: int32 [B]: valid tokens of the row in prefill, new valid tokens in chunked
        prefill, the total length with the new token in decode, past + S in tree decode.
      rope_cos_sin: float32 [1 or B, P, R], as `rope.cos_sin` makes it.
      kv_cache_start_index: int32 [0] or [B]. Where S = 1, a row with context length 1 and a start
        above 0 is a chunk of one token at that slot and position.
      num_q_heads, num_kv_heads, head_size: Hq, Hkv, D.
      attention_mask: int32 [B, S, W], as `tree.pack_mask` makes it.
      attention_pos_ids: int32 [B, S], as `tree.position_ids` makes it; negative for padding.

    Returns:
      float64 [B, S, Hq, D], the output.
      float16 [B, 2, Hkv, Cap, D], the cache with the new keys and values.

    Raises:
      TypeError: a dtype other than these.
      ValueError: head counts, ranks or shapes.
    """
    inputs = check_attention_inputs(
        qkv,
        kv_cache,
        context_lengths,
        rope_cos_sin,
        kv_cache_start_index,
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_size=head_size,
        attention_mask=attention_mask,
        attention_pos_ids=attention_pos_ids,
    )
    q, k, v = np.split(inputs.qkv, [num_q_heads, num_q_heads + num_kv_heads], axis=2)
    output = np.zeros(q.shape, np.float64)
    cache = inputs.kv_cache.copy()
    for b in range(inputs.batch):
        table = inputs.rope_cos_sin[b % len(inputs.rope_cos_sin)]
        tokens = valid_tokens(inputs, b)
        for token in tokens:
            if token.slot < inputs.capacity:
                cache[b, 0, :, token.slot] = _rotate(k[b, token.index], table[token.position])
                cache[b, 1, :, token.slot] = v[b, token.index]
        for token in tokens:
            rotated = _rotate(q[b, token.index], table[token.position])
            keys, values = cache[b][:, :, token.visible_slots]
            output[b, token.index] = _attend(rotated, keys, values)
    return output, cache


@dataclasses.dataclass(frozen=True)
class Token:
    """A valid token of a row."""

    index: int  # in the row of qkv
    slot: int  # of the cache; one beyond the capacity is not written
    position: int  # the line of the RoPE table
    visible_slots: list[int]


def valid_tokens(inputs: AttentionInputs, b: int) -> list[Token]:
    length = int(inputs.context_lengths[b])
    start = 0 if inputs.mode is AttentionMode.PREFILL else int(inputs.kv_cache_start_index[b])
    generates = inputs.mode in (AttentionMode.DECODE, AttentionMode.TREE_DECODE)
    chunk_of_one = generates and inputs.seq_len == 1 and length == 1 and start > 0
    if generates and not chunk_of_one:
        if inputs.mode is AttentionMode.TREE_DECODE:
            return _tree_tokens(inputs, b, past=length - inputs.seq_len)
        return _causal_tokens(inputs, start=length - 1, count=1)
    return _causal_tokens(inputs, start, count=min(length, inputs.seq_len))


def _causal_tokens(inputs: AttentionInputs, start: int, count: int) -> list[Token]:
    """Tokens at the slots and positions from `start` on; each sees itself and all before it."""
    if start < 0:
        return []
    positions = inputs.rope_cos_sin.shape[1]
    end = min(start + count, inputs.capacity, positions)
    return [Token(slot - start, slot, slot, list(range(slot + 1))) for slot in range(start, end)]


def _tree_tokens(inputs: AttentionInputs, b: int, past: int) -> list[Token]:
    """Tokens at the slots from `past` on; each sees the past and those that its mask names."""
    if not 0 <= past <= inputs.capacity:
        return []
    positions = inputs.attention_pos_ids[b].tolist()
    valid = [
        i for i, position in enumerate(positions) if 0 <= position < inputs.rope_cos_sin.shape[1]
    ]
    in_cache = [j for j in valid if past + j < inputs.capacity]
    tokens = []
    for i in valid:
        seen = [past + j for j in in_cache if _mask_bit(inputs.attention_mask[b, i], j)]
        tokens.append(Token(i, past + i, positions[i], [*range(past), *seen]))
    return tokens


def _mask_bit(words: NDArray[np.int32], j: int) -> bool:
    return bool(int(words[j // tree.BITS_PER_WORD]) >> (j % tree.BITS_PER_WORD) & 1)


def _rotate(x: NDArray[np.float16], cos_sin: NDArray[np.float32]) -> NDArray[np.float16]:
    """RoPE of x [H, D] by cos_sin [R]; dimensions from R on pass through."""
    cos, sin = np.split(cos_sin.astype(np.float64), 2)
    first, second, rest = np.split(x.astype(np.float64), [len(cos), 2 * len(cos)], axis=1)
    rotated = [first * cos - second * sin, second * cos + first * sin, rest]
    with np.errstate(over="ignore"):  # a key beyond FP16 is infinite in the kernel as well
        return np.concatenate(rotated, axis=1).astype(np.float16)


def _attend(
    q: NDArray[np.float16], keys: NDArray[np.float16], values: NDArray[np.float16]
) -> NDArray[np.float64]:
    """Attention of q [Hq, D] to keys and values [Hkv, n, D]: float64 [Hq, D]; zero for n = 0."""
    num_kv_heads, count, head_size = keys.shape
    if count == 0:
        return np.zeros(q.shape)
    grouped = q.astype(np.float64).reshape(num_kv_heads, -1, head_size)
    scores = grouped @ keys.astype(np.float64).swapaxes(1, 2) / math.sqrt(head_size)
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (weights @ values.astype(np.float64)).reshape(q.shape)


def relative_rms(actual: ArrayLike, expected: ArrayLike) -> float:
    """Root of sum (actual - expected)^2 / sum expected^2, in FP64; 0 when both are all zero."""
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    error = np.sqrt(np.sum(np.square(actual - expected)))
    if error == 0:
        return 0.0
    norm = np.sqrt(np.sum(np.square(expected)))
    return float(error / norm) if norm else float("inf")


def assert_close(
    actual: ArrayLike,
    expected: ArrayLike,
    tolerance: float = INT4_RELATIVE_RMS,
    hint: str = "",
) -> None:
    """Raises AssertionError unless `actual` agrees with `expected` to a relative RMS error.

    Places of NaN and of each infinity must agree before numbers are compared: a NaN would make
    every comparison of errors false, and an infinity hides all others.

    Args:
      actual: any float dtype and shape.
      expected: the same shape.
      tolerance: allowed relative RMS error over the finite elements.
      hint: appended to the message, for example the command that runs this case again.
    """
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    hint = f"\n  {hint}" if hint else ""
    _assert_same_kind(actual, expected, hint)
    finite = np.isfinite(expected)
    error = relative_rms(actual[finite], expected[finite])
    if error > tolerance:
        distance = np.where(finite, np.abs(np.where(finite, actual, 0) - expected), -1.0)
        index = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
        raise AssertionError(
            f"relative RMS error {error:.3g} > {tolerance:.3g}, worst at {list(index)}: "
            f"{actual[index]:.6g}, expected {expected[index]:.6g}{hint}"
        )


def assert_attention_close(
    actual: ArrayLike, expected: ArrayLike, factor: float = 1.0, hint: str = ""
) -> None:
    """Raises AssertionError unless every element agrees: |a - e| <= factor * 2e-3 * (1 + |e|).

    Places of NaN and of each infinity must agree before numbers are compared.

    Args:
      actual: any float dtype and shape.
      expected: the same shape.
      factor: 1 against the reference, 2 between two kernels that compute the same.
      hint: appended to the message, for example the command that runs this case again.
    """
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    hint = f"\n  {hint}" if hint else ""
    _assert_same_kind(actual, expected, hint)
    finite = np.isfinite(expected)
    distance = np.abs(np.where(finite, actual, 0) - np.where(finite, expected, 0))
    allowed = factor * ATTENTION_TOLERANCE * (1 + np.where(finite, np.abs(expected), 0))
    _assert_none(distance > allowed, distance / allowed, actual, expected, hint)


def assert_cache_close(
    actual: ArrayLike, expected: ArrayLike, rotary_size: int, hint: str = ""
) -> None:
    """Raises AssertionError unless two caches agree: V by the bit, and K as far as RoPE is exact.

    Keys agree when they are equal by the bit (what was not written may be any garbage), are NaN as
    a GPU makes it, differ by one FP16 step, or by less than `KEY_CANCELLATION` of the pair that
    was rotated. Its largest element is not known here: the length of the rotated
    pair / sqrt(2) is at most that, as long as the table holds cosines and sines of angles.

    Args:
      actual: float16 [B, 2, Hkv, Cap, D].
      expected: float16, the same shape.
      rotary_size: R.
      hint: appended to the message.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    hint = f"\n  {hint}" if hint else ""
    _assert_same_shape(actual, expected, hint)
    different = actual.view(np.uint16) != expected.view(np.uint16)
    _assert_none(different[:, 1], different[:, 1], actual[:, 1], expected[:, 1], " in V" + hint)

    different, actual, expected = different[:, 0], actual[:, 0], expected[:, 0]
    different &= ~(np.isnan(expected) & (actual.view(np.uint16) == GPU_NAN_BITS))
    finite = np.isfinite(actual) & np.isfinite(expected)
    a = np.where(finite, actual, 0).astype(np.float64)
    e = np.where(finite, expected, 0).astype(np.float64)
    allowed = np.spacing(np.maximum(np.abs(a), np.abs(e)).astype(np.float16)).astype(np.float64)
    first, second = np.split(e[..., :rotary_size], 2, axis=-1)
    cancellation = KEY_CANCELLATION * np.hypot(first, second) / math.sqrt(2)
    allowed[..., :rotary_size] = np.maximum(
        allowed[..., :rotary_size], np.concatenate([cancellation, cancellation], axis=-1)
    )
    distance = np.where(finite, np.abs(a - e), np.where(different, np.inf, 0))
    _assert_none(distance > allowed, distance / allowed, actual, expected, " in K" + hint)


def _assert_same_shape(actual: NDArray, expected: NDArray, hint: str) -> None:
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {list(actual.shape)}, expected {list(expected.shape)}{hint}")


def _assert_same_kind(actual: NDArray, expected: NDArray, hint: str) -> None:
    """Shapes, places of NaN and of each infinity."""
    _assert_same_shape(actual, expected, hint)
    same_kind = (np.isnan(actual) == np.isnan(expected)) & np.where(
        np.isinf(actual) | np.isinf(expected), actual == expected, True
    )
    if not same_kind.all():
        index = tuple(int(i) for i in np.argwhere(~same_kind)[0])
        raise AssertionError(
            f"NaN or infinity differs in {int((~same_kind).sum())} elements, first at "
            f"{list(index)}: {actual[index]:.6g}, expected {expected[index]:.6g}{hint}"
        )


def _assert_none(
    wrong: NDArray[np.bool_], badness: NDArray, actual: NDArray, expected: NDArray, hint: str
) -> None:
    if wrong.any():
        index = tuple(int(i) for i in np.unravel_index(badness.argmax(), badness.shape))
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.size} elements differ, worst at {list(index)}: "
            f"{actual[index]:.6g}, expected {expected[index]:.6g}{hint}"
        )
