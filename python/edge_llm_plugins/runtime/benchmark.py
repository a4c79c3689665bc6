"""How fast a back end prefills and decodes."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np

from edge_llm_plugins.runtime.backends import Backend
from edge_llm_plugins.runtime.generate import Decoder, Generation, Statistics


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Medians over the repeats, in tokens per second.

    prefill: of the prompt, up to the first new token.
    decode: of the tokens behind the first one.
    tokens_per_step: new tokens of a decode step, more than 1 with speculative decoding.
    """

    prefill: float
    decode: float
    tokens_per_step: float


def measure(
    backend: Backend,
    *,
    prompt_tokens: int,
    tokens: int,
    repeats: int = 3,
    seed: int = 0,
    decoder: Decoder | None = None,
) -> Measurement:
    """Generates greedily behind random tokens, and once more before, which is not counted.

    Args:
      backend: has the capacity for prompt_tokens + tokens.
      prompt_tokens: of the prompt, 1 or more.
      tokens: new ones, 2 or more; no token ends the text.
      repeats: generations that are counted, 1 or more.
      seed: of the prompt.
      decoder: by default one token per step.

    Raises:
      ValueError: a number below the smallest one, or the capacity is too small.
    """
    for name, value, least in (
        ("prompt_tokens", prompt_tokens, 1),
        ("tokens", tokens, 2),
        ("repeats", repeats, 1),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}: {least} or more is allowed")
    capacity = backend.limits.capacity
    if prompt_tokens + tokens > capacity:
        raise ValueError(
            f"{prompt_tokens} + {tokens} tokens are more than the capacity of {capacity}: "
            "measure fewer"
        )
    prompt = np.random.default_rng(seed).integers(backend.config.vocab_size, size=prompt_tokens)
    runs = [_run(backend, prompt.tolist(), tokens, decoder) for _ in range(1 + repeats)][1:]
    return Measurement(
        prefill=statistics.median(prompt_tokens / run.prefill_seconds for run in runs),
        decode=statistics.median((run.tokens - 1) / run.decode_seconds for run in runs),
        tokens_per_step=statistics.median((run.tokens - 1) / run.steps for run in runs),
    )


def _run(backend: Backend, prompt: list[int], tokens: int, decoder: Decoder | None) -> Statistics:
    generation = Generation(backend, prompt, max_tokens=tokens, stop_tokens=(), decoder=decoder)
    for _ in generation:
        pass
    return generation.statistics
