"""Prefill, decode, and every way in which a generation ends."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pytest

from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, quantized_folder
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    QuantizedWeights,
    ReferenceOperations,
    Transformer,
)
from edge_llm_plugins.runtime.backends import ReferenceBackend
from edge_llm_plugins.runtime.generate import Generation, prefill
from edge_llm_plugins.runtime.sampling import Sampler, Sampling
from edge_llm_plugins.runtime.testdata.remembering_backend import RememberingBackend


def count_up(history: Sequence[int]) -> int:
    return history[-1] + 1


def sum_of_all(history: Sequence[int]) -> int:
    return sum(history) % 96


def backend(continuation=count_up, **limits: int) -> RememberingBackend:
    return RememberingBackend(
        continuation, Limits(**{"capacity": 16, "prefill_tokens": 4, **limits})
    )


@pytest.mark.parametrize(
    ("prompt_tokens", "steps"),
    [
        (1, [(0, 1)]),
        (4, [(0, 4)]),
        (5, [(0, 4), (4, 1)]),
        (11, [(0, 4), (4, 4), (8, 3)]),
    ],
    ids=str,
)
def test_a_long_prompt_comes_in_chunks(prompt_tokens: int, steps: list[tuple[int, int]]) -> None:
    prompt = list(range(3, 3 + prompt_tokens))
    remembering = backend(sum_of_all)
    generation = Generation(remembering, prompt, max_tokens=3)
    text = list(prompt)
    for token in generation:
        assert token == sum_of_all(text)
        text.append(token)
    n = prompt_tokens
    assert remembering.steps == [*steps, (n, 1), (n + 1, 1)]
    assert generation.finish == "length"
    statistics = generation.statistics
    assert (statistics.prompt_tokens, statistics.tokens, statistics.steps) == (n, 3, 2)


def test_tokens_are_computed_when_they_are_asked_for() -> None:
    remembering = backend()
    generation = Generation(remembering, [3], max_tokens=9)
    assert remembering.steps == [] and generation.finish is None
    assert next(generation) == 4
    assert remembering.steps == [(0, 1)]
    assert next(generation) == 5
    assert remembering.steps == [(0, 1), (1, 1)]


def test_a_stop_token_ends_the_text_and_does_not_come_out() -> None:
    generation = Generation(backend(), [3], max_tokens=9, stop_tokens=[90, 6])
    assert (list(generation), generation.finish) == ([4, 5], "stop")
    generation = Generation(backend(), [3], max_tokens=9, stop_tokens=[4])
    assert (list(generation), generation.finish, generation.statistics.tokens) == ([], "stop", 0)


def test_stop_tokens_are_the_models_own_by_default() -> None:
    remembering = backend()
    config = dict(vars(remembering.config), eos_token_ids=(5,))
    remembering.config = type(remembering.config)(**config)
    assert list(Generation(remembering, [3], max_tokens=9)) == [4]
    assert list(Generation(remembering, [3], max_tokens=3, stop_tokens=())) == [4, 5, 6]


def test_the_last_token_needs_no_slot() -> None:
    generation = Generation(backend(capacity=6), [3, 4, 5], max_tokens=99)
    assert (list(generation), generation.finish) == ([6, 7, 8, 9], "capacity")
    generation = Generation(backend(capacity=6), [3] * 6, max_tokens=99)
    assert (list(generation), generation.finish) == ([4], "capacity")
    generation = Generation(backend(capacity=6), [3, 4, 5], max_tokens=4)
    assert (list(generation), generation.finish) == ([6, 7, 8, 9], "length")


def test_every_token_is_drawn_by_the_sampler() -> None:
    sampling = Sampling(temperature=2.0, seed=5)
    drawn = list(Generation(backend(), [3], max_tokens=8, sampler=Sampler(sampling)))
    again = list(Generation(backend(), [3], max_tokens=8, sampler=Sampler(sampling)))
    assert drawn == again != list(range(4, 12))


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        ([], 1, "prompt has 0 tokens: 1 to the capacity of 16"),
        ([3] * 17, 1, "prompt has 17 tokens: 1 to the capacity of 16"),
        ([3], 0, "max_tokens is 0: 1 or more"),
    ],
    ids=["empty", "long", "none"],
)
def test_impossible_calls_are_refused(prompt: list[int], max_tokens: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generation(backend(), prompt, max_tokens=max_tokens)


def test_statistics_are_one_line() -> None:
    generation = Generation(backend(), [3, 4], max_tokens=5)
    list(generation)
    line = str(generation.statistics)
    assert line.startswith("5 tokens in 0.0 s (")
    assert line.endswith("of which 0.0 s for the prompt of 2 tokens; 4 decode steps")


def test_text_is_what_the_network_gives_for_the_whole_text(tmp_path: pathlib.Path) -> None:
    """Chunks and decode steps on the one side, all tokens at once on the other."""
    model = quantized_folder(CONFIGS["llama3"], tmp_path / "model")
    limits = Limits(capacity=32, prefill_tokens=5)
    chunked = ReferenceBackend(model, limits)
    new = list(Generation(chunked, TOKENS[:12], max_tokens=6))
    text = [*TOKENS[:12], *new]
    network = Transformer(ReferenceOperations(QuantizedWeights(model), 32))
    logits = network.logits([text], AttentionStep.prefill([len(text)]))[0]
    assert new == logits[11:-1].argmax(axis=-1).tolist()
    np.testing.assert_allclose(prefill(chunked, text), logits[-1], atol=0.02 * logits.std())
