"""Text token by token: prefill in chunks, then steps until a stop token or a limit.

    generation = Generation(backend, prompt, max_tokens=64)
    for token in generation:
        ...
    print(generation.finish, generation.statistics)

A `Decoder` says how a step makes new tokens: one of them here, several in `speculative`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.runtime.backends import Backend
from edge_llm_plugins.runtime.sampling import Sampler

Choose = Callable[[NDArray[np.float32]], int]  # logits [vocabulary] to the next token

Finish = Literal["stop", "length", "capacity"]


class Decoder(Protocol):
    """How new tokens are made, one step of the network at a time."""

    def step(self, backend: Backend, tokens: Sequence[int], choose: Choose) -> list[int]:
        """Runs one step.

        Args:
          backend: its caches hold all of `tokens` but the last one.
          tokens: the text so far, the prompt first.
          choose: called once for each new token, in their order.

        Returns:
          One or more new tokens; the caches then hold all of the text but the last one.
        """


class PlainDecoder:
    """One token per step."""

    def step(self, backend: Backend, tokens: Sequence[int], choose: Choose) -> list[int]:
        step = AttentionStep.decode([len(tokens) - 1])
        return [choose(backend.run(np.array([tokens[-1:]], np.int32), step)[0, 0])]


@dataclasses.dataclass
class Statistics:
    """Of a generation; seconds are those of its own work, not of who takes the tokens."""

    prompt_tokens: int
    prefill_seconds: float = 0.0  # up to the first token
    tokens: int = 0  # that came out
    steps: int = 0  # of the network behind the prefill
    decode_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return self.prefill_seconds + self.decode_seconds

    def __str__(self) -> str:
        rate = self.tokens / self.seconds if self.seconds else 0.0
        return (
            f"{self.tokens} tokens in {self.seconds:.1f} s ({rate:.1f} per second), of which "
            f"{self.prefill_seconds:.1f} s for the prompt of {self.prompt_tokens} tokens; "
            f"{self.steps} decode steps"
        )


class Generation(Iterator[int]):
    """The tokens that follow a prompt; each is computed when it is asked for.

    statistics: kept up to date.
    finish: why it ended, None before: "stop" (a stop token, which does not come out), "length"
      (max_tokens), "capacity" (the caches are full: of the capacity C, a prompt of n tokens leaves
      room for C - n + 1 new ones, because the last one needs no slot).
    """

    def __init__(
        self,
        backend: Backend,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        sampler: Sampler | None = None,
        stop_tokens: Sequence[int] | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        """Computes nothing yet.

        Args:
          backend: its first row is used, from the first slot on.
          prompt: token ids.
          max_tokens: new ones at most.
          sampler: by default greedy.
          stop_tokens: by default the eos_token_ids of the model.
          decoder: by default one token per step; see `speculative`.

        Raises:
          ValueError: the prompt is empty or longer than the capacity, or max_tokens below 1.
        """
        capacity = backend.limits.capacity
        if not 1 <= len(prompt) <= capacity:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens: 1 to the capacity of {capacity} are allowed"
            )
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}: 1 or more is allowed")
        if stop_tokens is None:
            stop_tokens = backend.config.eos_token_ids
        self.statistics = Statistics(len(prompt))
        self.finish: Finish | None = None
        self._backend = backend
        self._prompt = [int(token) for token in prompt]
        self._max_tokens = max_tokens
        self._choose = sampler or Sampler()
        self._stop_tokens = frozenset(stop_tokens)
        self._decoder = decoder or PlainDecoder()
        self._tokens = self._run()

    def __next__(self) -> int:
        return next(self._tokens)

    def _run(self) -> Iterator[int]:
        text, statistics = list(self._prompt), self.statistics
        start = time.perf_counter()
        new = [self._choose(prefill(self._backend, text))]
        statistics.prefill_seconds = time.perf_counter() - start
        while True:
            for token in new:
                if token in self._stop_tokens:
                    self.finish = "stop"
                    return
                text.append(token)
                statistics.tokens += 1
                if statistics.tokens == self._max_tokens:
                    self.finish = "length"
                yield token
                if self.finish:
                    return
            if len(text) > self._backend.limits.capacity:
                self.finish = "capacity"
                return
            start = time.perf_counter()
            new = self._decoder.step(self._backend, text, self._choose)
            statistics.decode_seconds += time.perf_counter() - start
            statistics.steps += 1


def prefill(backend: Backend, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Fills the caches of the first row from their start, chunk by chunk.

    Args:
      tokens: int [n], 1 to limits.capacity of them.

    Returns:
      The logits behind the last token, float32 [vocabulary].
    """
    ids = np.array(tokens, np.int32)[None]
    size = backend.limits.prefill_tokens
    for start in range(0, ids.shape[1], size):
        chunk = ids[:, start : start + size]
        length = chunk.shape[1]
        step = AttentionStep.chunk([start], [length]) if start else AttentionStep.prefill([length])
        logits = backend.run(chunk, step)
    return logits[0, 0]
