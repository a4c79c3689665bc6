"""The inputs of AttentionPlugin: their shapes and dtypes, and the mode that they select."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from edge_llm_plugins import tree


class AttentionMode(enum.Enum):
    """What shapes alone select; each reads ContextLengths in its own way."""

    PREFILL = enum.auto()  # valid tokens of the row, from slot 0 on
    CHUNKED_PREFILL = enum.auto()  # new valid tokens, from the row's start index on
    DECODE = enum.auto()  # total length with the one new token
    TREE_DECODE = enum.auto()  # past + S: token j of the tree has slot past + j


@dataclasses.dataclass(frozen=True)
class AttentionInputs:
    """Checked inputs; names and shapes as in `reference.attention`, qkv split into heads."""

    qkv: NDArray[np.float16]  # [B, S, Hq + 2 Hkv, D]
    kv_cache: NDArray[np.float16]  # [B, 2, Hkv, Cap, D]
    context_lengths: NDArray[np.int32]  # [B]
    rope_cos_sin: NDArray[np.float32]  # [1 or B, P, R]
    kv_cache_start_index: NDArray[np.int32]  # [0] or [B]
    attention_mask: NDArray[np.int32] | None  # [B, S, W]
    attention_pos_ids: NDArray[np.int32] | None  # [B, S]
    num_q_heads: int
    mode: AttentionMode

    @property
    def batch(self) -> int:
        return self.qkv.shape[0]

    @property
    def seq_len(self) -> int:
        return self.qkv.shape[1]

    @property
    def num_kv_heads(self) -> int:
        return self.kv_cache.shape[2]

    @property
    def capacity(self) -> int:
        return self.kv_cache.shape[3]

    @property
    def head_size(self) -> int:
        return self.qkv.shape[3]


def check_attention_inputs(
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
) -> AttentionInputs:
    """Checks dtypes and shapes, and finds the mode. Contents are not looked at: any are allowed.

    Raises:
      TypeError: a dtype other than those of `AttentionInputs`.
      ValueError: head counts, ranks or shapes that do not fit each other or any mode.
    """
    _check_heads(num_q_heads, num_kv_heads, head_size)
    qkv = _checked("qkv", qkv, np.float16)
    heads = num_q_heads + 2 * num_kv_heads
    if qkv.shape[2:] not in ((heads * head_size,), (heads, head_size)):
        raise ValueError(
            f"qkv has shape {list(qkv.shape)}: [B, S, {heads * head_size}] or "
            f"[B, S, {heads}, {head_size}] is allowed for {num_q_heads} + 2 * {num_kv_heads} heads "
            f"of {head_size}"
        )
    batch, seq_len = qkv.shape[:2]
    kv_cache = _checked("kv_cache", kv_cache, np.float16)
    capacity = kv_cache.shape[3] if kv_cache.ndim == 5 else 0
    if capacity < 1 or kv_cache.shape != (batch, 2, num_kv_heads, capacity, head_size):
        raise ValueError(
            f"kv_cache has shape {list(kv_cache.shape)}: [{batch}, 2, {num_kv_heads}, Cap, "
            f"{head_size}] with Cap >= 1 is allowed"
        )
    context_lengths = _checked("context_lengths", context_lengths, np.int32)
    if context_lengths.shape != (batch,):
        raise ValueError(
            f"context_lengths has shape {list(context_lengths.shape)}: [{batch}] is allowed"
        )
    rope_cos_sin = _checked("rope_cos_sin", rope_cos_sin, np.float32)
    _check_rope(rope_cos_sin, batch, head_size)
    start_index = _checked("kv_cache_start_index", kv_cache_start_index, np.int32)
    if start_index.shape not in ((0,), (batch,)):
        raise ValueError(
            f"kv_cache_start_index has shape {list(start_index.shape)}: [0] or [{batch}] is allowed"
        )
    if (attention_mask is None) != (attention_pos_ids is None):
        given = "attention_pos_ids" if attention_mask is None else "attention_mask"
        raise ValueError(
            f"{given} is given alone: attention_mask and attention_pos_ids are allowed together, "
            "or neither"
        )
    if attention_mask is not None:
        attention_mask = _checked("attention_mask", attention_mask, np.int32)
        attention_pos_ids = _checked("attention_pos_ids", attention_pos_ids, np.int32)
        _check_tree_shapes(attention_mask, attention_pos_ids, batch)
    mode = _mode(seq_len, start_index, attention_pos_ids)
    if mode is AttentionMode.TREE_DECODE:
        _check_tree(attention_mask, seq_len)
    return AttentionInputs(
        qkv.reshape(batch, seq_len, heads, head_size),
        kv_cache,
        context_lengths,
        rope_cos_sin,
        start_index,
        attention_mask,
        attention_pos_ids,
        num_q_heads,
        mode,
    )


def _mode(
    seq_len: int, start_index: NDArray[np.int32], pos_ids: NDArray[np.int32] | None
) -> AttentionMode:
    if start_index.shape == (0,):
        return AttentionMode.PREFILL
    if pos_ids is None:
        return AttentionMode.DECODE if seq_len == 1 else AttentionMode.CHUNKED_PREFILL
    if pos_ids.shape[1] == seq_len:
        return AttentionMode.TREE_DECODE
    if pos_ids.shape[1] == 1 and seq_len > 1:
        return AttentionMode.CHUNKED_PREFILL
    raise ValueError(
        f"attention_pos_ids has shape {list(pos_ids.shape)}: [B, {seq_len}] for tree decode, or "
        "[B, 1] for chunked prefill of S > 1, is allowed"
    )


def _checked(name: str, value: ArrayLike, dtype: DTypeLike) -> NDArray:
    array = np.asarray(value)
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}: {np.dtype(dtype)} is allowed")
    return array


def _check_heads(num_q_heads: int, num_kv_heads: int, head_size: int) -> None:
    if num_kv_heads < 1:
        raise ValueError(f"num_kv_heads is {num_kv_heads}: at least 1 is allowed")
    if num_q_heads < 1 or num_q_heads % num_kv_heads:
        raise ValueError(
            f"num_q_heads is {num_q_heads}: a positive multiple of num_kv_heads = {num_kv_heads} "
            "is allowed"
        )
    if head_size < 2 or head_size % 2:
        raise ValueError(f"head_size is {head_size}: a positive even number is allowed")


def _check_rope(rope_cos_sin: NDArray[np.float32], batch: int, head_size: int) -> None:
    rows, positions, rotary_size = rope_cos_sin.shape if rope_cos_sin.ndim == 3 else (0, 0, 0)
    fits = rows in (1, batch) and positions >= 1 and rotary_size % 2 == 0
    if not fits or not 2 <= rotary_size <= head_size:
        allowed_rows = "1" if batch == 1 else f"1 or {batch}"
        raise ValueError(
            f"rope_cos_sin has shape {list(rope_cos_sin.shape)}: [{allowed_rows}, P, R] with an "
            f"even R from 2 to {head_size} is allowed"
        )


def _check_tree_shapes(mask: NDArray[np.int32], pos_ids: NDArray[np.int32], batch: int) -> None:
    if mask.ndim != 3 or mask.shape[0] != batch:
        raise ValueError(f"attention_mask has shape {list(mask.shape)}: [{batch}, S, W] is allowed")
    if pos_ids.ndim != 2 or pos_ids.shape[0] != batch:
        raise ValueError(
            f"attention_pos_ids has shape {list(pos_ids.shape)}: [{batch}, S] is allowed"
        )


def _check_tree(mask: NDArray[np.int32], seq_len: int) -> None:
    if seq_len > tree.MAX_TOKENS:
        raise ValueError(f"a tree of {seq_len} tokens: up to {tree.MAX_TOKENS} are allowed")
    words = -(-seq_len // tree.BITS_PER_WORD)
    if mask.shape[1] != seq_len or mask.shape[2] < words:
        raise ValueError(
            f"attention_mask has shape {list(mask.shape)}: [B, {seq_len}, W] with W >= {words} is "
            "allowed"
        )
