"""What the quickstart verifies once there is an answer."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.models.transformer import (
    CheckpointWeights,
    QuantizedWeights,
    ReferenceOperations,
    Transformer,
    Weights,
    perplexity,
)
from edge_llm_plugins.runtime.backends import Backend
from edge_llm_plugins.runtime.speculative import compare_greedy
from tools.quickstart.pipeline import Pipeline, Text

_PASSAGE = pathlib.Path(__file__).parent / "passage.txt"
# More than this, and the quantized model is another one.
_MOST_PERPLEXITY = 1.5


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    text: str
    right: bool


def engine(metadata: EngineMetadata, num_layers: int) -> Result:
    """Whether the engine holds all plugin layers: four products and one attention each."""
    counts = ", ".join(f"{count} {plugin}" for plugin, count in metadata.plugin_layers.items())
    layers = metadata.plugin_layers
    right = layers == {
        "AttentionPlugin": num_layers,
        "Int4GroupwiseGemmPlugin": 4 * num_layers,
    }
    return Result("engine", f"{metadata.package} {metadata.tensorrt}: {counts}", right)


def against_numpy(answer: Text, reference: Text, judge: Backend) -> Result:
    """The answer's tokens, and those of the same quantized model in NumPy."""
    return _agreement("plugins against NumPy", answer, reference, judge)


def speculative(answer: Text, speculated: Text, judge: Backend) -> Result:
    result = _agreement("speculative against plain decoding", answer, speculated, judge)
    steps = f"{speculated.statistics.steps} decode steps for {answer.statistics.steps}"
    return dataclasses.replace(result, text=f"{result.text}; {steps}")


def _agreement(name: str, one: Text, other: Text, judge: Backend) -> Result:
    agreement = compare_greedy(one.prompt, one.tokens, other.tokens, judge, one.stop_tokens)
    return Result(name, f"{len(one.tokens)} tokens: {agreement}", agreement.within())


def perplexity_loss(pipeline: Pipeline, method: str) -> Result:
    """Of the model in INT4, on the passage."""
    shipped, ours = shipped_perplexity(pipeline), quantized_perplexity(pipeline)
    loss = f"+{100 * (ours / shipped - 1):.0f} %"
    text = f"{shipped:.2f} as shipped, {ours:.2f} in INT4 by {method}: {loss}"
    return Result("perplexity", text, ours <= _MOST_PERPLEXITY * shipped)


def shipped_perplexity(pipeline: Pipeline) -> float:
    """Of the model as shipped, with weights in FP16, on the passage."""
    return _perplexity(_HalfPrecision(pipeline.checkpoint), pipeline)


def quantized_perplexity(pipeline: Pipeline) -> float:
    """Of the quantized model, on the passage."""
    return _perplexity(QuantizedWeights(pipeline.model), pipeline)


def _perplexity(weights: Weights, pipeline: Pipeline) -> float:
    tokens = pipeline.tokenizer.encode(_PASSAGE.read_text(encoding="utf-8"))
    return perplexity(Transformer(ReferenceOperations(weights, len(tokens))), tokens)


class _HalfPrecision(CheckpointWeights):
    """A checkpoint whose weights are rounded to FP16."""

    def weight(self, prefix: str) -> NDArray[np.float16]:
        return super().weight(prefix).astype(np.float16)


def format_table(results: list[Result]) -> str:
    """A line per result, and the verdict."""
    width = max(len(result.name) for result in results)
    lines = [
        f"{'right' if result.right else 'WRONG'}  {result.name:{width}}  {result.text}"
        for result in results
    ]
    wrong = sum(not result.right for result in results)
    return "\n".join([*lines, f"{wrong} of {len(results)} WRONG" if wrong else "all verified"])
