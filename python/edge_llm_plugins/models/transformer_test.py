"""The network against transformers' golden logits, and its steps against each other."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from edge_llm_plugins import reference, tree
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, TinyCheckpoint
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    CheckpointWeights,
    ReferenceOperations,
    Transformer,
    perplexity,
)

GOLDEN = json.loads(
    pathlib.Path(__file__).with_name("testdata").joinpath("golden_logits.json").read_text()
)
CAPACITY = 40
ALL_MODELS = pytest.mark.parametrize("name", CONFIGS)


def transformer(name: str = "qwen3", dtype=np.float32, batch: int = 1) -> Transformer:
    weights = CheckpointWeights(TinyCheckpoint(CONFIGS[name]))
    return Transformer(ReferenceOperations(weights, CAPACITY, batch=batch, dtype=dtype))


def prefilled(name: str, count: int, dtype=np.float32) -> tuple[Transformer, np.ndarray]:
    """A network that has seen the first `count` tokens, and the logits of all tokens at once."""
    network = transformer(name, dtype)
    whole = network.logits([TOKENS], AttentionStep.prefill([len(TOKENS)]))[0]
    network = transformer(name, dtype)
    network.logits([TOKENS[:count]], AttentionStep.prefill([count]))
    return network, whole


def assert_logits(actual, expected, tolerance: float) -> None:
    """Within `tolerance` of the RMS of all expected logits, element by element."""
    error = np.abs(np.asarray(actual, np.float64) - expected)
    worst = np.unravel_index(error.argmax(), error.shape)
    scale = np.sqrt(np.mean(np.square(expected)))
    assert error[worst] <= tolerance * scale, (
        f"worst at {worst}: {actual[worst]}, expected {expected[worst]}"
    )


@ALL_MODELS
def test_float32_logits_are_those_of_transformers(name):
    numbers = " ".join(GOLDEN["logits"][name]).split()
    expected = np.array(numbers, np.float64).reshape(len(TOKENS), -1)
    actual = transformer(name).logits([TOKENS], AttentionStep.prefill([len(TOKENS)]))[0]
    assert actual.dtype == np.float32
    assert_logits(actual, expected, 2e-5)


@ALL_MODELS
def test_float16_activations_change_little(name):
    step = AttentionStep.prefill([len(TOKENS)])
    expected = transformer(name).logits([TOKENS], step)
    assert_logits(transformer(name, np.float16).logits([TOKENS], step), expected, 0.02)


@pytest.mark.parametrize("chunk", [1, 5])
def test_chunks_and_decode_continue_a_prefill(chunk):
    network, whole = prefilled("llama3", 6)
    for start in range(6, 12, chunk):
        end = min(start + chunk, 12)
        step = AttentionStep.chunk([start], [end - start])
        logits = network.logits([TOKENS[start:end]], step)[0]
        assert_logits(logits, whole[start:end], 1e-5)
    for past in range(12, len(TOKENS)):
        logits = network.logits([[TOKENS[past]]], AttentionStep.decode([past]))[0]
        assert_logits(logits, whole[past : past + 1], 1e-5)


def test_tree_follows_each_of_its_branches():
    network, whole = prefilled("qwen2", 6)
    # The true continuation is tokens 0, 2 and 3; token 1 and the padding are wrong guesses.
    parents = tree.batch([[tree.ROOT, tree.ROOT, 0, 2, 1]], size=6)
    ids = [[TOKENS[6], 3, TOKENS[7], TOKENS[8], 7, 0]]
    logits = network.logits(ids, AttentionStep.draft_tree(parents, [6]))[0]
    assert_logits(logits[[0, 2, 3]], whole[[6, 7, 8]], 1e-5)
    other = prefilled("qwen2", 6)[0]
    expected = other.logits([[3, 7]], AttentionStep.chunk([6], [2]))[0]
    assert_logits(logits[[1, 4]], expected, 1e-5)


def test_rows_of_a_batch_do_not_see_each_other():
    network = transformer("qwen3", batch=2)
    step = AttentionStep.prefill([9, 4])
    ids = np.array([TOKENS[:9], [*TOKENS[5:9], 0, 0, 0, 0, 0]])
    logits = network.logits(ids, step, step.logit_indices(9))
    for row, tokens in enumerate([TOKENS[:9], TOKENS[5:9]]):
        expected = transformer("qwen3").logits([tokens], AttentionStep.prefill([len(tokens)]))
        assert_logits(logits[row], expected[0, -1:], 1e-5)


@pytest.mark.parametrize("mode", ["prefill", "chunk", "decode", "tree", "tree of blind tokens"])
def test_float16_attention_is_that_of_the_reference(mode):
    config = CONFIGS["llama3"]
    rng = np.random.default_rng(1)
    seq_len = 1 if mode == "decode" else 5
    parents = [[-1, 0, 0, 1, -2], [-1, -1, 1, -2, -2]]
    step = {
        "prefill": AttentionStep.prefill([5, 3]),
        "chunk": AttentionStep.chunk([7, CAPACITY - 2], [2, 5]),
        "decode": AttentionStep.decode([0, CAPACITY - 1]),
        "tree": AttentionStep.draft_tree(parents, [CAPACITY - 3, 4]),
        # Without a past and with empty mask rows; their positions make them no padding.
        "tree of blind tokens": AttentionStep(
            np.array([5, 5], np.int32),
            np.zeros(2, np.int32),
            np.array([[[0], [1], [0], [4], [16]]] * 2, np.int32),
            np.zeros((2, 5), np.int32),
        ),
    }[mode]
    operations = transformer("llama3", np.float16, batch=2).operations
    cache = rng.standard_normal(operations.kv_caches[1].shape).astype(np.float16)
    operations.kv_caches[1][...] = cache
    qkv = rng.standard_normal((2, seq_len, 8 * config.head_size)).astype(np.float16)
    expected, expected_cache = reference.attention(
        qkv,
        cache,
        step.context_lengths,
        operations.rope_cos_sin,
        step.kv_cache_start_index,
        num_q_heads=config.num_q_heads,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        attention_mask=step.attention_mask,
        attention_pos_ids=step.attention_pos_ids,
    )
    output = operations.attention(1, qkv, step)
    assert output.dtype == np.float16
    reference.assert_attention_close(output, expected)
    reference.assert_cache_close(operations.kv_caches[1], expected_cache, config.rotary_size)


@pytest.mark.parametrize("seq_len", [1, 4])
def test_step_without_a_tree_is_the_same_with_dummies_for_tree_inputs(seq_len):
    operations = transformer("llama", np.float16, batch=2).operations
    cache = np.random.default_rng(0).standard_normal(operations.kv_caches[0].shape)
    step = AttentionStep.chunk([9, 3], [seq_len, 1])
    qkv = np.random.default_rng(1).standard_normal((2, seq_len, 256)).astype(np.float16)
    outputs = []
    for tree_inputs in False, True:
        operations.kv_caches[0][...] = cache
        inputs = step.inputs(seq_len, tree_inputs)
        assert len(inputs) == (4 if tree_inputs else 2)
        outputs.append(operations.attention(0, qkv, AttentionStep(**inputs)))
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].any(axis=(2, 3))[:, 0].all()


def test_decode_with_tree_inputs_is_a_tree_of_one_token():
    inputs = AttentionStep.decode([9, 0]).inputs(1, tree_inputs=True)
    expected = AttentionStep.draft_tree([[tree.ROOT]] * 2, [9, 0]).inputs(1, tree_inputs=True)
    for name, array in expected.items():
        np.testing.assert_array_equal(inputs[name], array, err_msg=name)


def test_logit_indices_are_the_last_tokens_or_the_whole_tree():
    assert AttentionStep.prefill([5, 3]).logit_indices(6).tolist() == [[4], [2]]
    assert AttentionStep.chunk([7, 9], [1, 0]).logit_indices(3).tolist() == [[0], [0]]
    assert AttentionStep.decode([30]).logit_indices(1).tolist() == [[0]]
    trees = AttentionStep.draft_tree(tree.batch([[-1, 0]], size=3), [4])
    assert trees.logit_indices(3).tolist() == [[0, 1, 2]]


def test_tree_needs_an_engine_with_tree_inputs():
    with pytest.raises(ValueError, match="tree attention is needed"):
        AttentionStep.draft_tree([[tree.ROOT]], [4]).inputs(1, tree_inputs=False)


@pytest.mark.parametrize("chunk", [4, 256])
def test_perplexity_is_that_of_all_logits_at_once(chunk):
    network = transformer("qwen3")
    logits = network.logits([TOKENS], AttentionStep.prefill([len(TOKENS)]))[0].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen = probabilities[np.arange(len(TOKENS) - 1), TOKENS[1:]]
    expected = np.exp(-np.log(chosen).mean())
    assert perplexity(transformer("qwen3"), TOKENS, chunk) == pytest.approx(expected, rel=1e-5)


def test_refusals_name_the_value():
    network = transformer()
    with pytest.raises(ValueError, match="token id 96: 0 to 95 is allowed"):
        network.logits([[96]], AttentionStep.prefill([1]))
    with pytest.raises(ValueError, match=r"shape \[2, 1\]: \[1, S\] is allowed"):
        network.logits([[1], [2]], AttentionStep.prefill([1]))
    with pytest.raises(ValueError, match=r"T >= 2 is allowed"):
        perplexity(network, [1])
    with pytest.raises(ValueError, match=r"one integer per row"):
        AttentionStep.prefill(3)
