"""Guesses, trees, and that a text is the same with and without them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import pytest

from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, quantized_folder
from edge_llm_plugins.runtime.backends import ReferenceBackend
from edge_llm_plugins.runtime.generate import Generation
from edge_llm_plugins.runtime.sampling import Sampler, Sampling
from edge_llm_plugins.runtime.speculative import (
    Agreement,
    PromptLookup,
    SpeculativeDecoder,
    compare_greedy,
    merge_guesses,
)
from edge_llm_plugins.runtime.testdata.remembering_backend import EMPTY, RememberingBackend

LIMITS = Limits(capacity=80, prefill_tokens=64, tree_tokens=12)


def sequence(text: Sequence[int]) -> Callable[[Sequence[int]], int]:
    """Goes on with a fixed text; with 0 where the history has left it, and behind its end."""
    text = list(text)

    def continuation(history: Sequence[int]) -> int:
        position = len(history)
        return text[position] if position < len(text) and history == text[:position] else 0

    return continuation


def speculated(
    continuation: Callable[[Sequence[int]], int],
    prompt: Sequence[int],
    count: int,
    limits: Limits = LIMITS,
    lookup: PromptLookup | None = None,
) -> tuple[list[int], Generation, RememberingBackend]:
    backend = RememberingBackend(continuation, limits)
    decoder = SpeculativeDecoder(lookup)
    generation = Generation(backend, prompt, max_tokens=count, decoder=decoder)
    return list(generation), generation, backend


# Guesses.


def test_the_longest_and_latest_match_comes_first() -> None:
    #        1  2  3 at 0, 2 3 at 5 and 1 2 3 at 9; the text ends with 1 2 3
    text = [1, 2, 3, 10, 11, 2, 3, 12, 13, 1, 2, 3, 14, 15, 1, 2, 3]
    guesses = PromptLookup(longest=3, length=2, branches=9)(text)
    assert guesses == [[14, 15], [10, 11], [12, 13]]
    assert PromptLookup(longest=3, length=2, branches=1)(text) == [[14, 15]]
    assert PromptLookup(longest=1, length=1, branches=9)(text) == [[14], [12], [10]]


def test_a_loop_is_guessed_to_go_on() -> None:
    assert PromptLookup(length=5, branches=1)([7, 1, 2, 1, 2]) == [[1, 2, 1, 2, 1]]
    assert PromptLookup(length=3, branches=1)([4, 4]) == [[4, 4, 4]]


@pytest.mark.parametrize("text", [[1], [1, 2, 3]], ids=str)
def test_a_text_without_repetition_gives_no_guess(text: list[int]) -> None:
    assert PromptLookup()(text) == []


# Trees.


def test_guesses_share_their_common_start() -> None:
    token_ids, parents = merge_guesses(9, [[1, 2, 3], [1, 4], [5], [1, 2, 6]], 12)
    assert token_ids.tolist() == [9, 1, 2, 3, 4, 5, 6]
    assert parents.tolist() == [-1, 0, 1, 2, 1, 0, 2]


def test_what_does_not_fit_is_cut_off() -> None:
    token_ids, parents = merge_guesses(9, [[1, 2, 3], [1, 4, 5], [1, 2]], 5)
    assert (token_ids.tolist(), parents.tolist()) == ([9, 1, 2, 3, 4], [-1, 0, 1, 2, 1])
    assert merge_guesses(9, [[1]], 1)[0].tolist() == [9]


# Texts.


def test_a_repeated_text_takes_fewer_steps() -> None:
    text = [*range(20, 40)] * 3
    new, generation, backend = speculated(sequence(text), text[:22], 38)
    assert new == text[22:]
    # 8 guesses are right in each step: 9 tokens, behind the one of the prefill.
    assert generation.statistics.steps == 5
    assert backend.moves == []


def test_an_accepted_branch_is_moved_behind_the_past() -> None:
    """1 2 was followed by 30 and, later, by 40; what follows now is the older one."""
    start = [1, 2, 30, 31, 32, 5, 1, 2, 40, 41, 42, 6, 1, 2]
    text = [*start, 30, 31, 32, 5, 1, 2, 50, 51]
    lookup = PromptLookup(longest=2, length=3, branches=2)
    new, generation, backend = speculated(sequence(text), start[:-1], 9, lookup=lookup)
    assert new == text[len(start) - 1 :]
    past = len(start) - 1
    assert backend.moves[0] == ([past, past + 4, past + 5, past + 6], past)
    assert generation.statistics.steps < 7
    # RememberingBackend gives token 0 for every history with a token in a wrong slot.


def test_wrong_guesses_cost_nothing_but_their_slots() -> None:
    text = [1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2, 6, 1, 2, 7]
    new, generation, _ = speculated(sequence(text), text[:5], 10)
    assert new == text[5:]
    assert generation.statistics.steps <= 9


@pytest.mark.parametrize("capacity", [12, 13, 15])
def test_the_tree_shrinks_before_the_capacity(capacity: int) -> None:
    text = [3, 4] * 20
    limits = Limits(capacity=capacity, prefill_tokens=8, tree_tokens=8)
    new, generation, backend = speculated(sequence(text), text[:5], 99, limits)
    assert new == text[5 : capacity + 1] and generation.finish == "capacity"
    assert max(past + size for past, size in backend.steps) == capacity


def test_length_and_stop_tokens_end_in_the_middle_of_a_step() -> None:
    text = [*range(20, 30)] * 4
    new, generation, _ = speculated(sequence(text), text[:12], 4)
    assert (new, generation.finish) == (text[12:16], "length")
    backend = RememberingBackend(sequence(text), LIMITS)
    generation = Generation(
        backend, text[:12], max_tokens=20, stop_tokens=[27], decoder=SpeculativeDecoder()
    )
    assert (list(generation), generation.finish) == (text[12:17], "stop")


def test_a_back_end_without_trees_is_refused() -> None:
    with pytest.raises(ValueError, match="tree_tokens is 0: speculative decoding needs 2"):
        speculated(sequence([1] * 9), [1], 3, Limits(capacity=9, prefill_tokens=4))


def test_drawn_texts_are_the_same_with_guesses() -> None:
    def generate(**options: object) -> Generation:
        backend = RememberingBackend(lambda history: history[-min(4, len(history))], LIMITS)
        sampler = Sampler(Sampling(temperature=0.2, top_k=4, seed=1))
        return Generation(backend, [5, 6, 7, 8], max_tokens=60, sampler=sampler, **options)

    plain, guessed = generate(), generate(decoder=SpeculativeDecoder())
    text = list(plain)
    assert list(guessed) == text
    assert len(set(text)) > 4, "the draws never left the loop"
    assert guessed.statistics.steps < plain.statistics.steps - 20


@pytest.mark.parametrize("name", CONFIGS)
def test_a_networks_text_is_the_same_with_guesses(name: str, tmp_path: pathlib.Path) -> None:
    backend = ReferenceBackend(quantized_folder(CONFIGS[name], tmp_path / name), LIMITS)
    prompt = [*TOKENS, *TOKENS[:9]]
    plain = Generation(backend, prompt, max_tokens=40)
    plain_text = list(plain)
    guessed = Generation(backend, prompt, max_tokens=40, decoder=SpeculativeDecoder())
    guessed_text = list(guessed)
    assert guessed.statistics.steps < plain.statistics.steps
    agreement = compare_greedy(prompt, plain_text, guessed_text, backend)
    assert agreement.within(), agreement


# Agreement.


class LogitsBackend(RememberingBackend):
    """The logits of tokens 3, 4, 5 are 2, 1.99 and 1, whatever the text."""

    def run(self, token_ids, step):
        logits = 0 * super().run(token_ids, step)
        logits[..., 3:6] = 2, 1.99, 1
        return logits


@pytest.mark.parametrize(
    ("a", "b", "position", "gap", "within"),
    [
        ([3, 3, 3], [3, 3, 3], None, 0.0, True),
        ([3, 3, 3], [3, 4, 5], 1, 0.01, True),
        ([4, 3], [3, 3], 0, 0.01, True),
        ([3, 5], [3, 3], 1, 1.0, False),
        ([4], [5], 0, 1.0, False),
        ([3, 3], [3], 1, 2.0, False),
    ],
    ids=["equal", "close", "first", "far", "both_wrong", "shorter"],
)
def test_texts_may_part_where_logits_are_close(
    a: list[int], b: list[int], position: int | None, gap: float, within: bool
) -> None:
    reference = LogitsBackend(lambda history: 0, Limits(capacity=8, prefill_tokens=2))
    agreement = compare_greedy([1, 2, 1], a, b, reference, stop_tokens=[7])
    assert agreement == Agreement(position, pytest.approx(gap, abs=1e-6))
    assert agreement.within() is within
    assert ("NOT below" in str(agreement)) is not within
    if position is not None:
        judged = [1, 2, 1, *a[:position]]
        assert reference.slots[: len(judged) + 1].tolist() == [*judged, EMPTY]


def test_a_stop_token_is_compared_like_any_other() -> None:
    reference = LogitsBackend(lambda history: 0, Limits(capacity=8, prefill_tokens=2))
    agreement = compare_greedy([1], [3, 3], [3], reference, stop_tokens=[5, 4])
    assert agreement.gap == pytest.approx(0.01, abs=1e-6)
