"""The activations that a checkpoint's linear layers see, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins._extras import require
from edge_llm_plugins.models.checkpoints import Checkpoint
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    CheckpointWeights,
    ReferenceOperations,
    Transformer,
)


def tokenize(checkpoint: Checkpoint, text: str) -> list[list[int]]:
    """Calibration sequences: the token ids of each paragraph, between blank lines, of a text.

    Raises:
      ValueError: the text is empty, or the checkpoint has no tokenizer.json.
      ImportError: tokenizers is not installed.
    """
    content = checkpoint.tokenizer_files().get("tokenizer.json")
    if content is None:
        raise ValueError("the checkpoint has no tokenizer.json: calibration on texts needs one")
    tokenizer = require("tokenizers", "quantize").Tokenizer.from_str(content.decode())
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    if not paragraphs:
        raise ValueError("the calibration text is empty: a few hundred words are enough")
    return [tokenizer.encode(paragraph).ids for paragraph in paragraphs]


def layer_inputs(
    checkpoint: Checkpoint, sequences: Sequence[ArrayLike]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Runs the network in float32 on some texts, with the weights of one layer in memory.

    Args:
      checkpoint: whose network runs.
      sequences: token ids of each text, int [S], at least one token.

    Yields:
      For each layer in turn, float32 [T, K] for each of its linear layers, by the name within the
      layer, such as "mlp.down_proj"; T is the number of tokens of all texts.

    Raises:
      ValueError: there is no text, an empty one, one longer than the model's positions, or a token
        that the model does not know.
    """
    texts = [np.asarray(text) for text in sequences]
    if not texts:
        raise ValueError("there are no calibration sequences: at least one is needed")
    config = checkpoint.config
    for number, text in enumerate(texts):
        if text.ndim != 1 or not 0 < len(text) <= config.max_positions:
            raise ValueError(
                f"calibration sequence {number} has shape {list(text.shape)}: [S] with S in "
                f"1..{config.max_positions} is allowed"
            )
        if text.min() < 0 or text.max() >= config.vocab_size:
            raise ValueError(
                f"calibration sequence {number} has the token {text.min()} or {text.max()}: "
                f"0..{config.vocab_size - 1} is allowed"
            )
    return _LayerByLayer(checkpoint, texts).run()


class _LayerByLayer(Transformer):
    """A network that is run one layer at a time."""

    def __init__(self, checkpoint: Checkpoint, texts: list[NDArray]) -> None:
        lengths = [len(text) for text in texts]
        super().__init__(_RecordingOperations(checkpoint, max(lengths), len(texts)))
        self._step = AttentionStep.prefill(lengths)
        self._ids = np.zeros((len(texts), max(lengths)), np.int64)
        self._valid = np.arange(max(lengths)) < np.array(lengths)[:, None]
        self._ids[self._valid] = np.concatenate(texts)

    def run(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        x = self.operations.embed(self._ids)
        for layer in range(self.config.num_layers):
            x = self._layer(layer, x, self._step)
            inputs, self.operations.inputs = self.operations.inputs, {}
            prefix = f"model.layers.{layer}."
            yield {name.removeprefix(prefix): x[self._valid] for name, x in inputs.items()}


class _RecordingOperations(ReferenceOperations):
    """Remembers the inputs of linear layers, and no weights."""

    def __init__(self, checkpoint: Checkpoint, capacity: int, batch: int) -> None:
        super().__init__(CheckpointWeights(checkpoint), capacity, batch=batch, dtype=np.float32)
        # Each layer fills the whole cache before it reads it, so one serves them all.
        self.kv_caches = self.kv_caches[:1] * len(self.kv_caches)
        self.inputs: dict[str, NDArray[np.float32]] = {}

    def linear(self, prefix: str, x: NDArray) -> NDArray:
        self.inputs[prefix] = x
        return super().linear(prefix, x)

    def _keep(self, name: str, read: Callable[[], NDArray | None]) -> NDArray | None:
        array = read()
        return None if array is None else np.asarray(array, np.float32)
