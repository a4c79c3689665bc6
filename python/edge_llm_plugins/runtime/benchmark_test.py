"""Rates of generations, by a clock that counts."""

from __future__ import annotations

import itertools
import pathlib

import pytest

from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.runtime import benchmark, generate
from edge_llm_plugins.runtime.backends import ReferenceBackend
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder


@pytest.fixture
def backend(tmp_path: pathlib.Path) -> ReferenceBackend:
    model = tiny_models.quantized_folder(tiny_models.CONFIGS["llama"], tmp_path / "model")
    return ReferenceBackend(model, Limits(48, prefill_tokens=8, tree_tokens=8))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at it, so a prefill and each step take one."""
    seconds = itertools.count()
    monkeypatch.setattr(generate.time, "perf_counter", lambda: float(next(seconds)))


@pytest.mark.usefixtures("clock")
def test_rates_are_tokens_by_the_time_of_their_phase(backend: ReferenceBackend) -> None:
    measured = benchmark.measure(backend, prompt_tokens=11, tokens=5, repeats=2)
    assert measured == benchmark.Measurement(prefill=11.0, decode=1.0, tokens_per_step=1.0)


@pytest.mark.usefixtures("clock")
def test_speculative_steps_make_several_tokens(backend: ReferenceBackend) -> None:
    measured = benchmark.measure(
        backend, prompt_tokens=8, tokens=40, repeats=1, decoder=SpeculativeDecoder()
    )
    assert measured.tokens_per_step > 1
    assert measured.decode == measured.tokens_per_step


def test_the_first_generation_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, backend: ReferenceBackend
) -> None:
    runs = []

    def run(*_: object) -> generate.Statistics:
        runs.append(len(runs))
        slow = 100.0 if len(runs) == 1 else 1.0
        return generate.Statistics(4, slow, tokens=3, steps=2, decode_seconds=slow)

    monkeypatch.setattr(benchmark, "_run", run)
    measured = benchmark.measure(backend, prompt_tokens=4, tokens=3, repeats=1)
    assert runs == [0, 1]
    assert (measured.prefill, measured.decode) == (4.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens is 0: 1 or more is allowed"),
        ({"tokens": 1}, "tokens is 1: 2 or more is allowed"),
        ({"repeats": 0}, "repeats is 0: 1 or more is allowed"),
        ({"prompt_tokens": 45}, r"45 \+ 4 tokens are more than the capacity of 48"),
    ],
    ids=str,
)
def test_impossible_numbers_are_refused(
    backend: ReferenceBackend, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark.measure(backend, **{"prompt_tokens": 4, "tokens": 4, "repeats": 1, **changes})
