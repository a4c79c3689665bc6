"""One step of a network: the inputs of AttentionPlugin that are the same for all layers."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import tree


@dataclasses.dataclass(frozen=True)
class AttentionStep:
    """What a step does with the KV caches; `prefill`, `chunk`, `decode` and `draft_tree` make one.

    The names are those of `reference.attention`, and of an engine's inputs.
    """

    context_lengths: NDArray[np.int32]  # [B]
    kv_cache_start_index: NDArray[np.int32]  # [0] or [B]
    attention_mask: NDArray[np.int32] | None = None  # [B, S, W]
    attention_pos_ids: NDArray[np.int32] | None = None  # [B, S]

    @classmethod
    def prefill(cls, lengths: ArrayLike) -> AttentionStep:
        """The first tokens of each row, into an empty cache; int [B], each at most S."""
        return cls(_int32(lengths), np.empty(0, np.int32))

    @classmethod
    def chunk(cls, starts: ArrayLike, lengths: ArrayLike) -> AttentionStep:
        """The next tokens of each row: `lengths` new ones behind `starts` old ones; int [B]."""
        return cls(_int32(lengths), _int32(starts))

    @classmethod
    def decode(cls, pasts: ArrayLike) -> AttentionStep:
        """One new token per row (S = 1) behind `pasts` old ones; int [B]."""
        lengths = _int32(pasts) + np.int32(1)
        return cls(lengths, np.zeros_like(lengths))

    @classmethod
    def draft_tree(cls, parents: ArrayLike, pasts: ArrayLike) -> AttentionStep:
        """A draft tree per row behind `pasts` old tokens, as tokens 0 to S - 1 of the row.

        Token j of a tree is written to slot past + j, padding tokens are not.

        Args:
          parents: int [B, S], as `tree.batch` makes it, or bool [B, S, S] (see `tree`).
          pasts: int [B].
        """
        pasts, mask = _int32(pasts), tree.pack_mask(parents)
        lengths = pasts + np.int32(mask.shape[1])
        positions = tree.position_ids(parents, pasts)
        return cls(lengths, np.zeros_like(lengths), mask, positions)

    @property
    def batch(self) -> int:
        return len(self.context_lengths)

    @property
    def is_tree(self) -> bool:
        return self.attention_mask is not None

    def inputs(self, seq_len: int, tree_inputs: bool) -> dict[str, NDArray[np.int32]]:
        """The inputs of an engine or a plugin by name, in the plugin's order.

        Args:
          seq_len: S of the step.
          tree_inputs: whether mask and position ids are among the inputs. What is no tree gives
            dummies then, or a tree of one token where S = 1, which the plugin takes for one.

        Raises:
          ValueError: a tree for an engine without its inputs.
        """
        inputs = {
            "context_lengths": self.context_lengths,
            "kv_cache_start_index": self.kv_cache_start_index,
        }
        if not tree_inputs:
            if self.is_tree:
                raise ValueError(
                    "the step is a draft tree: an engine with tree attention is needed"
                )
            return inputs
        mask, positions = self.attention_mask, self.attention_pos_ids
        if not self.is_tree:
            one_token = seq_len == 1
            mask = np.full((self.batch, 1, 1), int(one_token), np.int32)
            positions = np.zeros((self.batch, 1), np.int32)
            if one_token:
                positions = self.context_lengths[:, None] - np.int32(1)
        return {**inputs, "attention_mask": mask, "attention_pos_ids": positions}

    def logit_indices(self, seq_len: int) -> NDArray[np.int32]:
        """The tokens whose logits a generator wants: int32 [B, L], indices into the S of the step.

        All tokens of a tree (L = S), else the last valid one of each row (L = 1).
        """
        if self.is_tree:
            return np.tile(np.arange(seq_len, dtype=np.int32), (self.batch, 1))
        if seq_len == 1:
            return np.zeros((self.batch, 1), np.int32)
        return np.clip(self.context_lengths - 1, 0, seq_len - 1).astype(np.int32)[:, None]


def _int32(values: ArrayLike) -> NDArray[np.int32]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"lengths are {array.dtype} {list(array.shape)}: one integer per row, [B], is allowed"
        )
    return array.astype(np.int32)
