"""Which tokens may be drawn, and how often each is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins.runtime.sampling import Sampler, Sampling, candidates

# Of tokens 0 to 4: probabilities 0.05, 0.4, 0.1, 0.4, 0.05.
PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.4, 0.05])
LOGITS = np.log(PROBABILITIES).astype(np.float32) + 7


def kept(**options: float) -> tuple[list[int], list[float]]:
    ids, probabilities = candidates(LOGITS, Sampling(**{"temperature": 1.0, **options}))
    return ids.tolist(), probabilities.round(6).tolist()


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert Sampler()(LOGITS) == 1
    assert Sampler(Sampling(top_k=3, top_p=0.1, seed=9))(LOGITS) == 1


def test_all_tokens_in_falling_order_and_equal_ones_by_id() -> None:
    assert kept() == ([1, 3, 2, 0, 4], [0.4, 0.4, 0.1, 0.05, 0.05])
    many = np.resize([1.0, 2.0], 1000).astype(np.float32)
    ids, _ = candidates(many, Sampling(temperature=1.0))
    assert ids.tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]


@pytest.mark.parametrize(("k", "ids"), [(1, [1]), (2, [1, 3]), (4, [1, 3, 2, 0]), (5, None)])
def test_top_k_keeps_the_largest(k: int, ids: list[int] | None) -> None:
    assert kept(top_k=k)[0] == (ids or [1, 3, 2, 0, 4])
    assert sum(kept(top_k=k)[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("p", "ids"), [(1e-9, [1]), (0.39, [1]), (0.41, [1, 3]), (0.85, [1, 3, 2]), (1, None)]
)
def test_top_p_keeps_as_few_as_reach_it(p: float, ids: list[int] | None) -> None:
    assert kept(top_p=p)[0] == (ids or [1, 3, 2, 0, 4])


def test_top_p_counts_what_top_k_left() -> None:
    """Of tokens 1, 3, 2 the first two have 8/9 of the probability, and of all five 0.8."""
    assert kept(top_k=3, top_p=0.88) == ([1, 3], [0.5, 0.5])


def test_temperature_is_applied_before_top_p() -> None:
    ids, probabilities = kept(temperature=0.5)
    expected = PROBABILITIES[ids] ** 2
    np.testing.assert_allclose(probabilities, expected / expected.sum(), atol=1e-6)
    assert kept(temperature=0.5, top_p=0.93)[0] == [1, 3]  # 0.94 of the sharpened ones
    assert kept(temperature=1e-300)[0] == [1, 3]
    assert kept(temperature=100.0)[1] == pytest.approx([0.2] * 5, abs=0.02)


def test_draws_follow_the_probabilities() -> None:
    sampler = Sampler(Sampling(temperature=1.0, top_k=3))
    counts = np.bincount([sampler(LOGITS) for _ in range(3000)], minlength=5) / 3000
    np.testing.assert_allclose(counts, [0, 4 / 9, 1 / 9, 4 / 9, 0], atol=0.03)


def test_the_seed_decides() -> None:
    def draws(seed: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed))
        return [sampler(LOGITS) for _ in range(20)]

    assert draws(3) == draws(3) != draws(4)


def test_masked_tokens_are_never_candidates() -> None:
    logits = np.array([-np.inf, 0, -np.inf], np.float32)
    assert candidates(logits, Sampling(temperature=1.0))[0].tolist() == [1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=f"the largest logit is {bad}"):
        Sampler()(np.array([0, bad, 1], np.float32))
    with pytest.raises(ValueError, match="the largest logit is -inf"):
        Sampler()(np.array([-np.inf]))


@pytest.mark.parametrize(
    "options",
    [{"temperature": -0.1}, {"temperature": np.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}],
    ids=str,
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} is {value}: "):
        Sampling(**options)
