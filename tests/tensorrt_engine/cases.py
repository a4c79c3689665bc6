"""Seeded calls of every mode of the layer, and the engines that serve them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import rope, tree
from tests.tensorrt_engine.layer import Layer

CAPACITY = 96  # slots of each KV cache

Shape = tuple[int, ...]
Ranges = dict[str, tuple[Shape, Shape, Shape]]  # of each input: min, opt, max


class Form(enum.Enum):
    """What an engine contains."""

    LINEAR = "linear"  # one Int4GroupwiseGemmPlugin
    PLAIN = "plain"  # the layer with AttentionPlugin's five inputs
    TREE = "tree"  # the layer with its seven, enable_tree_attention = 1


# The optimization profiles of the layer's engines.
PREFILL, GENERATION = 0, 1


@dataclasses.dataclass(frozen=True)
class Case:
    """One call: the engine's inputs by name, without the weights."""

    name: str
    form: Form
    profile: int
    inputs: dict[str, NDArray]


def input_shapes(layer: Layer, form: Form) -> dict[str, tuple[type, Shape]]:
    """dtype and shape of each input of an engine; -1 is dynamic."""
    x = (np.float16, (-1, -1, layer.hidden_size))
    if form is Form.LINEAR:
        return {"x": x}
    inputs = {
        "hidden": x,
        "kv_cache": (np.float16, (-1, *_cache_shape(layer))),
        "context_lengths": (np.int32, (-1,)),
        "rope_cos_sin": (np.float32, (1, CAPACITY, layer.head_size)),
        "kv_cache_start_index": (np.int32, (-1,)),
    }
    if form is Form.TREE:
        inputs["attention_mask"] = (np.int32, (-1, -1, -1))
        inputs["attention_pos_ids"] = (np.int32, (-1, -1))
    return inputs


def profiles(layer: Layer, form: Form) -> list[Ranges]:
    """The ranges of the dynamic inputs: prefill with a start index of shape [0], and generation."""
    batches = (1, 2, 4)

    def ranges(q_lens: Shape, trees: Shape, starts: Shape) -> Ranges:
        x = tuple((b, s, layer.hidden_size) for b, s in zip(batches, q_lens, strict=True))
        pairs = tuple(zip(batches, trees, strict=True))
        everything = {
            "x": x,
            "hidden": x,
            "kv_cache": tuple((b, *_cache_shape(layer)) for b in batches),
            "context_lengths": tuple((b,) for b in batches),
            "kv_cache_start_index": tuple((rows,) for rows in starts),
            "attention_mask": tuple((b, t, -(-t // 32)) for b, t in pairs),
            "attention_pos_ids": pairs,
        }
        dynamic = [name for name, (_, shape) in input_shapes(layer, form).items() if -1 in shape]
        return {name: everything[name] for name in dynamic}

    generation = ranges((1, 16, 64), (1, 16, 64), batches)
    if form is Form.LINEAR:
        return [generation]
    return [ranges((1, 32, 64), (1, 1, 1), (0, 0, 0)), generation]


def cases(layer: Layer, form: Form) -> list[Case]:
    """Three rows each, of different lengths; the cache is full of NaN beyond the past."""
    if form is Form.LINEAR:
        return [Case("linear", form, 0, {"x": _hidden(layer, 3, 5)})]
    prefill = _case(layer, "prefill", form, 40, lengths=[40, 23, 1], starts=[], pasts=[0, 0, 0])
    chunk = _case(
        layer,
        "chunked prefill",
        form,
        24,
        lengths=[24, 7, 24],
        starts=[40, 23, 0],
        pasts=[40, 23, 0],
    )
    if form is Form.PLAIN:
        lengths = [65, 31, CAPACITY]
        pasts = [length - 1 for length in lengths]
        decode = _case(layer, "decode", form, 1, lengths=lengths, starts=[0] * 3, pasts=pasts)
        return [prefill, chunk, decode]
    draft = tree.batch([[-1, 0, 0, 1, 1, 2, 5, 3], tree.chain(8), [-1, -1, 0, 1, 1]])
    root = tree.batch([tree.chain(1)] * 3)
    return [
        _dummy_tree(dataclasses.replace(prefill, name="prefill, 7 inputs")),
        _dummy_tree(dataclasses.replace(chunk, name="chunked prefill, 7 inputs")),
        _tree_case(layer, "tree decode", draft, pasts=[64, 30, CAPACITY - 8]),
        _tree_case(layer, "tree decode, 1 token", root, pasts=[64, 30, CAPACITY - 1]),
    ]


def _cache_shape(layer: Layer) -> Shape:
    return (2, layer.num_kv_heads, CAPACITY, layer.head_size)


def _hidden(layer: Layer, batch: int, seq: int) -> NDArray[np.float16]:
    tokens = np.random.default_rng([batch, seq]).integers(len(layer.embeddings), size=(batch, seq))
    return layer.embeddings[tokens]


def _case(
    layer: Layer,
    name: str,
    form: Form,
    seq: int,
    lengths: Sequence[int],
    starts: Sequence[int],
    pasts: Sequence[int],
) -> Case:
    rng = np.random.default_rng(seq)
    batch = len(lengths)
    cache = rng.standard_normal((batch, *_cache_shape(layer))).astype(np.float16)
    for b, past in enumerate(pasts):
        cache[b, :, :, past:] = np.nan
    inputs = {
        "hidden": _hidden(layer, batch, seq),
        "kv_cache": cache,
        "context_lengths": np.array(lengths, np.int32),
        "rope_cos_sin": rope.cos_sin(CAPACITY, layer.head_size, base=layer.rope_base),
        "kv_cache_start_index": np.array(starts, np.int32),
    }
    return Case(name, form, GENERATION if len(starts) else PREFILL, inputs)


def _tree_case(layer: Layer, name: str, parents: NDArray[np.int32], pasts: Sequence[int]) -> Case:
    batch, size = parents.shape
    lengths = [past + size for past in pasts]
    case = _case(layer, name, Form.TREE, size, lengths, starts=[0] * batch, pasts=pasts)
    trees = {
        "attention_mask": tree.pack_mask(parents),
        "attention_pos_ids": tree.position_ids(parents, pasts),
    }
    return dataclasses.replace(case, inputs={**case.inputs, **trees})


def _dummy_tree(case: Case) -> Case:
    """The same call of an engine of form TREE: dummies select no tree."""
    batch = case.inputs["hidden"].shape[0]
    dummies = {
        "attention_mask": np.zeros((batch, 1, 1), np.int32),
        "attention_pos_ids": np.zeros((batch, 1), np.int32),
    }
    return dataclasses.replace(case, form=Form.TREE, inputs={**case.inputs, **dummies})
