"""The activations that calibration hands out, against the network's own."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    CheckpointWeights,
    ReferenceOperations,
    Transformer,
)
from edge_llm_plugins.quantize import calibration, layer

TOKENS = tiny_models.TOKENS


class Listening(ReferenceOperations):
    """Remembers the inputs of all linear layers of one run."""

    def __init__(self, checkpoint: tiny_models.TinyCheckpoint) -> None:
        super().__init__(CheckpointWeights(checkpoint), 16, dtype=np.float32)
        self.heard: dict[str, np.ndarray] = {}

    def linear(self, prefix: str, x: np.ndarray) -> np.ndarray:
        self.heard[prefix] = x[0]
        return super().linear(prefix, x)


@pytest.mark.parametrize("name", ["llama3", "qwen2", "qwen3"])
def test_inputs_are_those_of_the_network_text_by_text(name: str) -> None:
    checkpoint = tiny_models.TinyCheckpoint(tiny_models.CONFIGS[name])
    texts = [TOKENS[:5], TOKENS[5:], TOKENS[:1]]
    heard = []
    for text in texts:
        operations = Listening(checkpoint)
        Transformer(operations).logits(np.array([text]), AttentionStep.prefill([len(text)]))
        heard.append(operations.heard)
    layers = list(calibration.layer_inputs(checkpoint, texts))
    assert len(layers) == checkpoint.config.num_layers
    for index, inputs in enumerate(layers):
        assert set(inputs) == set(layer.LINEARS)
        for linear, x in inputs.items():
            full_name = f"model.layers.{index}.{linear}"
            expected = np.concatenate([one[full_name] for one in heard])
            np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5, err_msg=full_name)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no calibration sequences: at least one is needed"),
        ([[1], []], r"calibration sequence 1 has shape \[0\]: \[S\] with S in 1\.\.64"),
        ([[1] * 65], r"calibration sequence 0 has shape \[65\]"),
        ([[[1]]], r"calibration sequence 0 has shape \[1, 1\]"),
        ([[5, 96]], r"calibration sequence 0 has the token 5 or 96: 0\.\.95 is allowed"),
    ],
)
def test_wrong_sequences_are_refused(texts: list[list[int]], message: str) -> None:
    checkpoint = tiny_models.TinyCheckpoint(tiny_models.CONFIGS["llama"])
    with pytest.raises(ValueError, match=message):
        calibration.layer_inputs(checkpoint, texts)
