"""Scaling of channels: what it saves, and that the network computes the same."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    CheckpointWeights,
    ReferenceOperations,
    Transformer,
)
from edge_llm_plugins.quantize import awq, calibration, layer, search


def skewed_inputs(tokens: int, channels: int) -> np.ndarray:
    """A few channels of large activations, as language models have them."""
    rng = np.random.default_rng(0)
    sizes = np.where(rng.random(channels) < 0.05, 50.0, 1.0)
    return (rng.standard_normal((tokens, channels)) * sizes).astype(np.float32)


def output_errors(weight: np.ndarray, x: np.ndarray, scales: np.ndarray) -> float:
    codes, group_scales = search.search_groupwise(
        weight * scales, np.square(x).mean(axis=0) / scales**2
    )
    difference = search.dequantize_codes(codes, group_scales) / scales - weight
    return np.linalg.norm(x @ difference.T) / np.linalg.norm(x @ weight.T)


def test_scaling_beats_search_alone_where_channels_differ() -> None:
    weight = np.random.default_rng(1).standard_normal((64, 256)).astype(np.float32)
    x = skewed_inputs(100, 256)
    found = awq.search_channel_scales(weight, x)
    assert found.alpha > 0
    assert found.error == pytest.approx(output_errors(weight, x, found.scales), rel=1e-4)
    assert found.error < 0.9 * output_errors(weight, x, np.ones(256, np.float32))
    magnitude = np.abs(x).mean(axis=0)
    np.testing.assert_allclose(
        found.scales / found.scales[0], (magnitude / magnitude[0]) ** found.alpha, rtol=1e-5
    )


def test_channels_that_agree_are_left_alone() -> None:
    weight = np.random.default_rng(1).standard_normal((8, 128)).astype(np.float32)
    x = np.random.default_rng(2).choice([-1.0, 1.0], (64, 128))
    np.testing.assert_allclose(awq.search_channel_scales(weight, x).scales, 1, rtol=1e-6)


def test_channels_without_activations_get_finite_scales() -> None:
    weight = np.random.default_rng(1).standard_normal((8, 128)).astype(np.float32)
    x = skewed_inputs(16, 128)
    x[:, [0, 5]] = 0
    for inputs in (x, np.zeros_like(x)):
        scales = awq.search_channel_scales(weight, inputs).scales
        assert np.isfinite(scales).all() and (scales > 0).all()


def test_shared_channels_get_one_scale() -> None:
    weight = np.random.default_rng(1).standard_normal((32, 256)).astype(np.float32)
    shared = np.arange(256) % 64
    found = awq.search_channel_scales(weight, skewed_inputs(64, 256)[:, :256], shared)
    assert found.alpha > 0
    np.testing.assert_array_equal(found.scales, found.scales[shared])


def test_shared_heads_follow_grouped_query_attention() -> None:
    config = tiny_models.CONFIGS["llama"]  # 4 query heads on 2 KV heads of 32
    rows = awq.shared_heads(config)
    expected = [(head // 2) * 32 + dim for head in range(4) for dim in range(32)]
    np.testing.assert_array_equal(rows, expected)


class ScaledCheckpoint(tiny_models.TinyCheckpoint):
    """TinyCheckpoint with some layers replaced, and large activations in some channels."""

    layers: dict[str, layer.Layer]

    def __init__(self, name: str) -> None:
        super().__init__(tiny_models.CONFIGS[name])
        self.layers = {}

    def tensor(self, name: str) -> np.ndarray:
        for prefix, replaced in self.layers.items():
            if (short := name.removeprefix(f"{prefix}.")) in replaced.others:
                return replaced.others[short]
        values = super().tensor(name)
        if name.endswith("layernorm.weight"):
            values[::9] *= 32
        return values


class ScaledWeights(CheckpointWeights):
    """The fused weights of the replaced layers."""

    def __init__(self, checkpoint: ScaledCheckpoint) -> None:
        super().__init__(checkpoint)
        self._layers = checkpoint.layers

    def weight(self, prefix: str) -> np.ndarray:
        for start, replaced in self._layers.items():
            if prefix.startswith(f"{start}."):
                return replaced.linears[prefix.removeprefix(f"{start}.")]
        return super().weight(prefix)

    def bias(self, prefix: str) -> np.ndarray | None:
        for start, replaced in self._layers.items():
            if prefix.startswith(f"{start}."):
                return replaced.biases.get(prefix.removeprefix(f"{start}."))
        return super().bias(prefix)


def logits(checkpoint: ScaledCheckpoint) -> np.ndarray:
    operations = ReferenceOperations(ScaledWeights(checkpoint), 16, dtype=np.float32)
    ids = np.array([tiny_models.TOKENS])
    return Transformer(operations).logits(ids, AttentionStep.prefill([16]))


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_a_scaled_network_computes_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awq, "ALPHAS", (0.5,))  # a fold that is wrong shall not go unseen
    checkpoint = ScaledCheckpoint(name)
    before = logits(checkpoint)
    inputs = list(calibration.layer_inputs(checkpoint, [tiny_models.TOKENS]))
    for index in range(checkpoint.config.num_layers):
        scaled = layer.read_layer(checkpoint, index)
        original = copy.deepcopy(scaled)
        scales, _ = awq.scale_layer(scaled, inputs[index])
        for linear, weight in original.linears.items():
            assert not np.array_equal(weight, scaled.linears[linear]), linear
            assert scales[linear].shape == (weight.shape[1],)
        checkpoint.layers[scaled.prefix] = scaled
        assert scaled.others[layer.INPUT_NORM].dtype == np.float16
    after = logits(checkpoint)
    worst = np.abs(after - before).max()
    assert worst < 1e-4 * np.abs(before).max(), f"logits differ by {worst}"


def test_norms_that_float16_cannot_divide_keep_their_channel() -> None:
    norm = np.array([1, 0, 3e-4, 6e4, -2], np.float32)
    scales = np.array([2, 4, 100, 0.1, 3], np.float32)
    halves, exact = awq._fold_into_norm(norm, scales)
    np.testing.assert_array_equal(halves[1:4], norm[1:4].astype(np.float16))
    assert halves[0] == 0.5 and halves[4] == np.float16(-2 / 3)
    np.testing.assert_allclose(halves.astype(np.float32) * exact, norm, rtol=1e-7)
    np.testing.assert_allclose(exact, [2, 1, 1, 1, 3], rtol=1e-3)
