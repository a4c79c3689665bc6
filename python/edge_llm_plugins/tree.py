"""Draft trees of speculative decoding, as AttentionPlugin takes them: bit masks and positions.

A tree is written as the parent of each token, an earlier token of the same tree. Tokens that follow
the past directly have the parent ROOT, and what fills a row up to the size of the batch is PADDING:

    parents = tree.batch([[tree.ROOT, 0, 0, 1], tree.chain(2)])
    # [[-1, 0, 0, 1], [-1, 0, -2, -2]]
    tree.pack_mask(parents)            # int32 [2, 4, 1]: each token sees its ancestors and itself
    tree.position_ids(parents, past)   # int32 [2, 4]: past + depth; -1 for padding

Where a parent per token does not say it, a boolean matrix does: entry [i, j] is True when token i
sees token j. Its padding tokens are those that see nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROOT = -1
PADDING = -2

# The position that tells the plugin to skip a token.
PADDING_POSITION = -1

MAX_TOKENS = 128
BITS_PER_WORD = 32


def chain(length: int) -> NDArray[np.int32]:
    """The tree without branches: each token follows the one before it.

    Args:
      length: 1 to 128.

    Returns:
      int32 [length]: -1, 0, 1, ...

    Raises:
      ValueError: the length.
    """
    _check_size(length)
    return np.arange(-1, length - 1, dtype=np.int32)


def batch(trees: Sequence[ArrayLike], size: int | None = None) -> NDArray[np.int32]:
    """Puts trees of different sizes into one array, padded at the end of each row.

    Args:
      trees: the parents of each tree, int [S_b]; a tree may be empty.
      size: tokens per row, at most 128; by default the size of the largest tree.

    Returns:
      int32 [B, size].

    Raises:
      TypeError: parents are no integers.
      ValueError: no tree, a tree that is larger than `size`, a bad size or parent.
    """
    rows = [np.asarray(row if len(row) else np.empty(0, np.int32)) for row in trees]
    if not rows:
        raise ValueError("trees are empty: at least one tree is needed")
    if size is None:
        size = max(row.size for row in rows)
    _check_size(size)
    parents = np.full((len(rows), size), PADDING, np.int32)
    for b, row in enumerate(rows):
        if row.ndim != 1 or row.size > size:
            raise ValueError(
                f"trees[{b}] has shape {list(row.shape)}: [S] with S <= {size} is allowed"
            )
        if not np.issubdtype(row.dtype, np.integer):
            raise TypeError(f"trees[{b}] has dtype {row.dtype}: an integer dtype is allowed")
        parents[b, : row.size] = row
    _check_parents(parents)
    return parents


def visible_tokens(tree: ArrayLike) -> NDArray[np.bool_]:
    """Which tokens of its tree each token sees: its ancestors and itself, padding sees nothing.

    Args:
      tree: parents, int [S] or [B, S]; or a boolean matrix [S, S] or [B, S, S], returned as it is.

    Returns:
      bool [S, S] or [B, S, S].

    Raises:
      TypeError: neither integers nor booleans.
      ValueError: rank, size, or a parent that is no earlier token.
    """
    tree = np.asarray(tree)
    if tree.dtype == np.bool_:
        if tree.ndim not in (2, 3) or tree.shape[-1] != tree.shape[-2]:
            raise ValueError(
                f"tree has shape {list(tree.shape)}: a boolean [S, S] or [B, S, S] is allowed"
            )
        _check_size(tree.shape[-1])
        return tree
    if not np.issubdtype(tree.dtype, np.integer):
        raise TypeError(f"tree has dtype {tree.dtype}: integers or booleans are allowed")
    if tree.ndim not in (1, 2):
        raise ValueError(f"tree has shape {list(tree.shape)}: parents [S] or [B, S] are allowed")
    size = tree.shape[-1]
    _check_size(size)
    rows = tree.reshape(-1, size)
    _check_parents(rows)
    visible = np.zeros((*rows.shape, size), np.bool_)
    for b, i in np.argwhere(rows != PADDING):
        if rows[b, i] != ROOT:
            visible[b, i] = visible[b, rows[b, i]]
        visible[b, i, i] = True
    return visible.reshape(*tree.shape, size)


def pack_mask(tree: ArrayLike) -> NDArray[np.int32]:
    """The plugin's AttentionMask: bit j % 32 of word j / 32 says that token i sees token j.

    Args:
      tree: parents, int [S] or [B, S]; or a boolean matrix [S, S] or [B, S, S].

    Returns:
      int32 [S, W] or [B, S, W] with W = ceil(S / 32); bits beyond S are 0.

    Raises:
      TypeError, ValueError: as `visible_tokens`.
    """
    visible = visible_tokens(tree)
    size = visible.shape[-1]
    words = -(-size // BITS_PER_WORD)
    bits = np.zeros((*visible.shape[:-1], words * BITS_PER_WORD), np.bool_)
    bits[..., :size] = visible
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32).view(np.int32)


def position_ids(tree: ArrayLike, past: ArrayLike) -> NDArray[np.int32]:
    """The plugin's AttentionPosIds: past + depth of each token, -1 for padding.

    Args:
      tree: parents, int [S] or [B, S]; or a boolean matrix [S, S] or [B, S, S].
      past: tokens in the cache before the tree, int >= 0: one number, or [B].

    Returns:
      int32 [S] or [B, S].

    Raises:
      TypeError, ValueError: as `visible_tokens`, and `past`.
    """
    visible = visible_tokens(tree)
    past = np.asarray(past)
    if not np.issubdtype(past.dtype, np.integer):
        raise TypeError(f"past has dtype {past.dtype}: an integer dtype is allowed")
    if past.ndim and past.shape != visible.shape[:-2]:
        raise ValueError(
            f"past has shape {list(past.shape)}: one number or {list(visible.shape[:-2])} is "
            "allowed"
        )
    outside = (past < 0) | (past > np.iinfo(np.int32).max - MAX_TOKENS)
    if outside.any():
        raise ValueError(f"past is {past[outside].flat[0]}: 0 to 2^31 - 129 is allowed")
    # A token's depth is the number of others that it sees.
    others = visible & ~np.eye(visible.shape[-1], dtype=np.bool_)
    positions = past[..., None] + others.sum(axis=-1)
    return np.where(visible.any(axis=-1), positions, PADDING_POSITION).astype(np.int32)


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_TOKENS:
        raise ValueError(f"a tree of {size} tokens: 1 to {MAX_TOKENS} are allowed")


def _check_parents(parents: NDArray) -> None:
    """Checks parents [B, S]: each is ROOT, PADDING or an earlier token that is no padding."""
    for (b, i), parent in np.ndenumerate(parents):
        if parent in (ROOT, PADDING):
            continue
        if not 0 <= parent < i or parents[b, parent] == PADDING:
            raise ValueError(
                f"the parent of token {i} in row {b} is {parent}: an earlier token of the tree, "
                f"ROOT ({ROOT}) or PADDING ({PADDING}) is allowed"
            )
