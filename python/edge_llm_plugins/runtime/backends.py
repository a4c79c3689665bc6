"""What runs the network: a back end computes steps, and keeps the KV caches between them.

    logits = backend.run(prompt[None, :], AttentionStep.prefill([n]))     # [1, 1, vocabulary]
    logits = backend.run(token[None, None], AttentionStep.decode([n]))    # the next one
    logits = backend.run(drafts[None, :], AttentionStep.draft_tree(parents, [n + 1]))
    backend.move_slots(row=0, sources=[n + 3], destination=n + 2)         # the accepted branch

A step runs the whole network once on S new tokens of each row, writes their keys and values into
the caches, and returns logits. A back end counts no tokens: the step says where a row stands (its
`pasts`, `starts` or `lengths`), and the caller keeps that number. What a step says of slots beyond
it is forgotten: slots behind a row's valid tokens have any content, and a later step overwrites
them. So a text is dropped by starting the next one with a prefill, and its end by going on from a
smaller number of past tokens.

  prefill      S tokens or fewer into an empty cache, slots 0 to S - 1
  chunk        the next tokens of a prompt that is longer than limits.prefill_tokens; S = 1 is a
               chunk too
  decode       one token behind `past` others, written to slot `past`
  draft_tree   token j of the tree is written to slot past + j, with the RoPE position past + depth

After a tree the accepted path's tokens must stand in slots past, past + 1, ... in the order of
their depth: `move_slots` puts them there. Slot and position are then the same, as after decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep


class Backend(Protocol):
    """A network on some device, with one KV cache per layer for each of `limits.batch` rows."""

    config: ModelConfig
    limits: Limits  # the largest steps that it takes

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        """Runs one step; the caches are updated when it returns.

        Args:
          token_ids: int32 [B, S], B = step.batch; padding tokens have any id of the vocabulary.
          step: S is at most limits.prefill_tokens for a prefill or chunk, limits.tree_tokens for a
            tree.

        Returns:
          Logits, float32 [B, L, vocabulary], of the tokens step.logit_indices(S): the last valid
          one of each row, or all S tokens of a tree.

        Raises:
          ValueError: more rows or tokens than `limits` allow, or an id outside of the vocabulary.
        """

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        """Copies slot sources[i] of a row to slot destination + i, in every layer's cache.

        Args:
          row: of the batch.
          sources: ascending, sources[i] >= destination + i, all below limits.capacity.
        """
