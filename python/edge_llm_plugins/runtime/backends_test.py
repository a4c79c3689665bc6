"""Every back end computes the same steps; the plugins run in the emulator, all checks on."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_llm_plugins import emulator, host, tree
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, quantized_folder
from edge_llm_plugins.runtime.backends import Backend, HostBackend, ReferenceBackend

SMS = [device.sm for device in host.emulated_devices()]
LIMITS = Limits(capacity=24, batch=2, prefill_tokens=8, tree_tokens=6)
PLAIN = Limits(capacity=24, batch=2, prefill_tokens=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, QuantizedModel]:
    path = tmp_path_factory.mktemp("models")
    return {name: quantized_folder(config, path / name) for name, config in CONFIGS.items()}


def tokens(batch: int, count: int, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(96, size=(batch, count)).astype(np.int32)


def assert_logits(actual: NDArray, expected: NDArray) -> None:
    """Sums in another order now and then round an activation to its other neighbour in FP16."""
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    error = np.abs(actual - expected)
    worst = np.unravel_index(error.argmax(), error.shape)
    scale = np.sqrt(np.mean(np.square(expected)))
    assert error[worst] <= 0.02 * scale, (
        f"worst at {worst}: {actual[worst]}, expected {expected[worst]}"
    )


def run_all_kinds_of_steps(backend: Backend) -> list[NDArray[np.float32]]:
    """The logits of steps that build on each other's caches, those of padding left out."""
    logits = [
        backend.run(tokens(2, 8), AttentionStep.prefill([8, 3])),
        backend.run(tokens(2, 4, 1), AttentionStep.chunk([8, 3], [2, 4])),
        backend.run(tokens(2, 1, 2), AttentionStep.chunk([10, 7], [1, 1])),
        backend.run(tokens(2, 1, 3), AttentionStep.decode([11, 8])),
    ]
    if backend.limits.tree_tokens:
        parents = tree.batch([[-1, 0, 0, 2], [-1, 0, -1]])
        step = AttentionStep.draft_tree(parents, [12, 9])
        logits.append(backend.run(tokens(2, 4, 4), step)[step.attention_pos_ids >= 0])
        # Tokens 0, 2, 3 of the first row are accepted, and token 2 of the second one.
        backend.move_slots(0, [12, 14, 15], 12)
        backend.move_slots(1, [11], 9)
        logits.append(backend.run(tokens(2, 1, 5), AttentionStep.decode([15, 10])))
    # One row after two, in the first row's cache.
    logits.append(backend.run(tokens(1, 5, 6), AttentionStep.prefill([5])))
    logits.append(backend.run(tokens(1, 1, 7), AttentionStep.decode([5])))
    return logits


@pytest.mark.parametrize("limits", [LIMITS, PLAIN], ids=["tree", "plain"])
@pytest.mark.parametrize("name", CONFIGS)
def test_plugins_compute_what_numpy_computes(
    models: dict[str, QuantizedModel], name: str, limits: Limits
) -> None:
    expected = run_all_kinds_of_steps(ReferenceBackend(models[name], limits))
    actual = run_all_kinds_of_steps(HostBackend(models[name], limits, device="emulator"))
    for a, e in zip(actual, expected, strict=True):
        assert_logits(a, e)
    assert emulator.take_faults() == []


@pytest.mark.parametrize("options", [{"plugin_version": "1"}, {"sm": SMS[-1]}], ids=str)
def test_another_plugin_version_or_sm_gives_the_same(
    models: dict[str, QuantizedModel], options: dict
) -> None:
    expected = run_all_kinds_of_steps(ReferenceBackend(models["qwen2"], LIMITS))
    backend = HostBackend(models["qwen2"], LIMITS, device="emulator", **options)
    assert backend.device.sm == options.get("sm", SMS[0])
    for a, e in zip(run_all_kinds_of_steps(backend), expected, strict=True):
        assert_logits(a, e)


@pytest.mark.parametrize("kind", [ReferenceBackend, HostBackend])
def test_an_accepted_branch_gives_the_bits_of_its_text(
    models: dict[str, QuantizedModel], kind: type
) -> None:
    """Decode after a moved branch sees what decode after the same tokens one by one sees."""
    backend = kind(models["llama"], Limits(capacity=16, prefill_tokens=8, tree_tokens=6))
    prompt, (a, b, c) = np.array([TOKENS[:5]], np.int32), TOKENS[5:8]
    backend.run(prompt, AttentionStep.prefill([5]))
    drafts = np.array([[a, 90, 91, b, 92, c]], np.int32)
    parents = np.array([[-1, 0, 1, 0, 3, 3]])
    in_tree = backend.run(drafts, AttentionStep.draft_tree(parents, [5]))[0, [0, 3, 5]]
    backend.move_slots(0, [5, 8, 10], 5)
    after = backend.run(np.array([[93]], np.int32), AttentionStep.decode([8]))

    backend.run(prompt, AttentionStep.prefill([5]))
    for position, token in enumerate((a, b, c)):
        ids = np.array([[token]], np.int32)
        logits = backend.run(ids, AttentionStep.decode([5 + position]))
        assert_logits(in_tree[position], logits[0, 0])
    assert_logits(after, backend.run(np.array([[93]], np.int32), AttentionStep.decode([8])))


def test_a_long_text_of_all_rows_finds_its_workspace(models: dict[str, QuantizedModel]) -> None:
    """Splits of a long text keep their sums there; the emulator reports what lies outside."""
    limits = Limits(capacity=2048, batch=2, prefill_tokens=2, tree_tokens=3)
    backend = HostBackend(models["llama"], limits, device="emulator")
    reference = ReferenceBackend(models["llama"], limits)
    for step, ids in [
        (AttentionStep.decode([2000, 2040]), tokens(2, 1)),
        (AttentionStep.draft_tree(tree.batch([tree.chain(3)] * 2), [2001, 2041]), tokens(2, 3)),
    ]:
        assert_logits(backend.run(ids, step), reference.run(ids, step))


def test_a_prefill_forgets_the_text_before(models: dict[str, QuantizedModel]) -> None:
    prompt = tokens(1, 4)
    backend = HostBackend(models["qwen3"], PLAIN, device="emulator")
    first = backend.run(prompt, AttentionStep.prefill([4]))
    backend.run(tokens(1, 8, 1), AttentionStep.prefill([8]))
    np.testing.assert_array_equal(backend.run(prompt, AttentionStep.prefill([4])), first)


def test_emulator_checks_are_off_only_in_the_back_end(
    models: dict[str, QuantizedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(emulator, "_set_checks", seen.append)
    backend = HostBackend(models["llama"], PLAIN, device="emulator", emulator_checks="none")
    backend.run(tokens(1, 1), AttentionStep.prefill([1]))
    assert seen == ["none", "all", "none", "all"]


@pytest.mark.parametrize("kind", [ReferenceBackend, HostBackend])
@pytest.mark.parametrize(
    ("shape", "step", "message"),
    [
        ((1, 9), AttentionStep.prefill([9]), "9 tokens per row: 1 to 8"),
        ((3, 1), AttentionStep.decode([0, 0, 0]), "3 rows: up to 2"),
        ((1, 3), AttentionStep.prefill([3, 3]), r"\[1, 3\]: \[2, S\]"),
        ((3,), AttentionStep.prefill([3]), r"\[3\]: \[1, S\]"),
        (
            (1, 7),
            AttentionStep.draft_tree(tree.chain(7)[None], [0]),
            "draft tree has 7 tokens per row: 1 to 6",
        ),
    ],
    ids=["tokens", "rows", "batch", "rank", "tree"],
)
def test_steps_beyond_the_limits_are_refused(
    models: dict[str, QuantizedModel], kind: type, shape: tuple, step: AttentionStep, message: str
) -> None:
    backend = kind(models["llama"], LIMITS)
    with pytest.raises(ValueError, match=message):
        backend.run(np.zeros(shape, np.int32), step)


def test_unknown_tokens_devices_and_versions_are_refused(
    models: dict[str, QuantizedModel], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match="token id 96: 0 to 95"):
        HostBackend(models["llama"], PLAIN).run(np.array([[96]]), AttentionStep.prefill([1]))
    with pytest.raises(ValueError, match="device is 'tpu'"):
        HostBackend(models["llama"], PLAIN, device="tpu")
    with pytest.raises(ValueError, match=r'plugin is .* "3"'):
        HostBackend(models["llama"], PLAIN, device="emulator", plugin_version="3")
