"""A back end that remembers tokens in place of keys and values, and tells them by its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS
from edge_llm_plugins.runtime.backends import check_step

EMPTY = -1


class RememberingBackend:
    """One row, whose caches hold a token per slot.

    The largest logit behind a token is that of `continuation` of all tokens that it sees. So a
    token that stands in a wrong slot, or that is seen by mistake, changes the text.
    """

    def __init__(self, continuation: Callable[[Sequence[int]], int], limits: Limits) -> None:
        self.config, self.limits = CONFIGS["llama"], limits
        self.slots = np.full(limits.capacity, EMPTY)
        self.steps: list[tuple[int, int]] = []  # past and S of each
        self.moves: list[tuple[list[int], int]] = []
        self._continuation = continuation

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        check_step(self.limits, token_ids, step)
        (tokens,), (length,) = token_ids, step.context_lengths
        count = len(tokens)
        past = int(length) - count  # of a tree or a decode step
        visible = np.tri(count, dtype=np.bool_)
        if step.is_tree:
            words = step.attention_mask[0].view(np.uint32)
            bits = np.arange(count)
            visible = (words[:, bits // 32] >> bits.astype(np.uint32) % 32 & 1).astype(np.bool_)
            positions = past + visible.sum(axis=1) - 1
            np.testing.assert_array_equal(step.attention_pos_ids[0], positions)
        elif not step.kv_cache_start_index.size:
            assert length == count, "a prefill without padding"
            past = 0
            self.slots[:] = EMPTY
        elif count > 1 or (length == 1 and step.kv_cache_start_index[0] > 0):
            assert length == count, "a chunk without padding"
            past = int(step.kv_cache_start_index[0])
        assert not (self.slots[:past] == EMPTY).any(), f"slots before {past} were never written"
        self.slots[past : past + count] = tokens
        self.slots[past + count :] = EMPTY
        self.steps.append((past, count))
        logits = np.zeros((count, self.config.vocab_size), np.float32)
        for i, seen in enumerate(visible):
            history = [*self.slots[:past], *tokens[seen]]
            logits[i, self._continuation(history)] = 1
        return logits[step.logit_indices(count)]

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        assert row == 0
        self.slots[destination : destination + len(sources)] = self.slots[list(sources)]
        self.moves.append((list(sources), destination))
