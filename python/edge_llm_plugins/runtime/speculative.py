"""Speculative decoding: guesses from the text itself, verified in one step as a draft tree.

    decoder = SpeculativeDecoder()
    generation = Generation(backend, prompt, max_tokens=64, decoder=decoder)

Texts repeat themselves. What followed the last words when they stood in the text before is guessed
to follow now (prompt lookup); several such places make the branches of a tree. A step of the
network on the whole tree gives the logits behind each of its tokens. From the root on, the token
that the sampler chooses is compared with the children: where one is equal, it was guessed, and the
logits behind it are at hand too. So a step gives one token more than were guessed right, and each
new token is chosen by the same sampler from logits of the same text as without guesses: the text is
the same, up to the order of sums in kernels of other shapes (see `compare_greedy`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import tree
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.runtime.backends import Backend
from edge_llm_plugins.runtime.generate import Choose, prefill

# Two logits that are closer than this may change places between two ways to add them up.
LOGIT_GAP = 0.02


@dataclasses.dataclass(frozen=True)
class PromptLookup:
    """Finds where the last tokens of a text stood before, and what followed there.

    longest: the last tokens that are looked up, the more of them the better the guess.
    length: tokens of a guess.
    branches: guesses at most.
    """

    longest: int = 3
    length: int = 8
    branches: int = 3

    def __call__(self, tokens: Sequence[int]) -> list[list[int]]:
        """Guesses of what follows: the best first, those behind the longest and latest matches."""
        text = np.asarray(tokens)
        guesses: list[list[int]] = []
        for size in range(min(self.longest, len(text) - 1), 0, -1):
            windows = np.lib.stride_tricks.sliding_window_view(text[:-1], size)
            ends = np.flatnonzero((windows == text[-size:]).all(axis=1)) + size
            for end in ends[::-1]:
                # A guess that reaches the end of the text goes on with its own start, as loops do.
                offsets = np.arange(self.length) % (len(text) - end)
                guess = text[end + offsets].tolist()
                if guess not in guesses:
                    guesses.append(guess)
                if len(guesses) == self.branches:
                    return guesses
        return guesses


def merge_guesses(
    root: int, guesses: Sequence[Sequence[int]], size: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Guesses with a common start share its tokens: a tree below the last token of the text.

    Args:
      root: the last token of the text, token 0 of the tree.
      guesses: best first; those that no longer fit are cut off.
      size: tokens of the tree at most, 1 or more.

    Returns:
      token_ids and parents, int32 [S]. The best guess comes right behind the root, so that its
      tokens need no moving in the caches.
    """
    token_ids, parents = [root], [tree.ROOT]
    children: dict[tuple[int, int], int] = {}  # (parent, token) to its index
    for guess in guesses:
        parent = 0
        for token in guess:
            if (parent, token) not in children:
                if len(token_ids) == size:
                    break
                children[parent, token] = len(token_ids)
                token_ids.append(token)
                parents.append(parent)
            parent = children[parent, token]
    return np.array(token_ids, np.int32), np.array(parents, np.int32)


class SpeculativeDecoder:
    """Verifies guesses in a draft tree of up to limits.tree_tokens tokens.

    guess: gets the text, and returns guesses of what follows, the best first.
    """

    def __init__(self, guess: PromptLookup | None = None) -> None:
        self._guess = guess or PromptLookup()

    def step(self, backend: Backend, tokens: Sequence[int], choose: Choose) -> list[int]:
        """As `Decoder.step` says.

        Raises:
          ValueError: a back end without tree attention.
        """
        limits, past = backend.limits, len(tokens) - 1
        if limits.tree_tokens < 2:
            raise ValueError(
                f"tree_tokens is {limits.tree_tokens}: speculative decoding needs 2 or more"
            )
        size = min(limits.tree_tokens, limits.capacity - past)
        token_ids, parents = merge_guesses(tokens[-1], self._guess(tokens), size)
        step = AttentionStep.decode([past])
        if len(token_ids) > 1:
            step = AttentionStep.draft_tree(parents[None], [past])
        logits = backend.run(token_ids[None], step)[0]
        path, new = [0], [choose(logits[0])]
        while (child := _child(token_ids, parents, path[-1], new[-1])) is not None:
            path.append(child)
            new.append(choose(logits[child]))
        if path[-1] != len(path) - 1:
            backend.move_slots(0, [past + index for index in path], past)
        return new


def _child(
    token_ids: NDArray[np.int32], parents: NDArray[np.int32], parent: int, token: int
) -> int | None:
    found = np.flatnonzero((parents == parent) & (token_ids == token))
    return int(found[0]) if found.size else None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Where two greedy texts part.

    position: the first difference, counted from the first new token; None where there is none.
    gap: the reference's largest logit there minus the smaller one of the two tokens' logits. Where
      the two are its best tokens, that is its top-2 gap.
    """

    position: int | None = None
    gap: float = 0.0

    def within(self, largest: float = LOGIT_GAP) -> bool:
        """Whether the texts are equal, or part where the reference hardly prefers a token."""
        return self.position is None or self.gap < largest

    def __str__(self) -> str:
        if self.position is None:
            return "the same tokens"
        verdict = "below" if self.within() else "NOT below"
        return (
            f"the same {self.position} tokens, then a choice between logits with a gap of "
            f"{self.gap:.4f}, {verdict} {LOGIT_GAP}"
        )


def compare_greedy(
    prompt: Sequence[int],
    tokens_a: Sequence[int],
    tokens_b: Sequence[int],
    reference: Backend,
    stop_tokens: Sequence[int] | None = None,
) -> Agreement:
    """Compares two greedy continuations of a prompt.

    Sums in another order differ in their last bits, and where two tokens are about equally good,
    these bits choose; from there on the texts go separate ways, and only the first difference says
    something.

    Args:
      prompt: token ids.
      tokens_a, tokens_b: what followed. Where one is shorter it is taken to have met a stop token.
      reference: judges the first difference; its first row is overwritten.
      stop_tokens: by default the eos_token_ids of the model.
    """
    shorter = min(len(tokens_a), len(tokens_b))
    pairs = zip(tokens_a, tokens_b)  # noqa: B905
    position = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    if position == len(tokens_a) == len(tokens_b):
        return Agreement()
    logits = prefill(reference, [*prompt, *tokens_a[:position]])
    if stop_tokens is None:
        stop_tokens = reference.config.eos_token_ids
    chosen = [
        logits[tokens[position]]
        if position < len(tokens)
        else logits[list(stop_tokens)].max(initial=-np.inf)
        for tokens in (tokens_a, tokens_b)
    ]
    return Agreement(position, float(logits.max() - min(chosen)))
