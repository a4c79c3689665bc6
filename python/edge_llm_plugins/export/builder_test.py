"""Exported models: checked by onnx, and run in NumPy against the network that they are made of."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from edge_llm_plugins import tree
from edge_llm_plugins.export import builder, initializers, schemas
from edge_llm_plugins.export.evaluator import evaluator
from edge_llm_plugins.export.metadata import KEY, Limits, Metadata, read_metadata
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, quantized_folder
from edge_llm_plugins.models.transformer import (
    AttentionStep,
    QuantizedWeights,
    ReferenceOperations,
    Transformer,
)

LIMITS = Limits(capacity=24, batch=2, prefill_tokens=16, tree_tokens=8)
PLAIN = Limits(capacity=24, batch=2, prefill_tokens=16)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("folders")
    return {name: quantized_folder(config, path / name) for name, config in CONFIGS.items()}


@pytest.fixture
def export(folders, tmp_path):
    def run(name: str, limits: Limits = LIMITS, **options: object) -> onnx.ModelProto:
        path = builder.export_model(folders[name], tmp_path / f"{name}.onnx", limits, **options)
        return onnx.load(path)

    return run


class OnnxModel:
    """Runs steps as an engine does: caches are inputs and outputs."""

    def __init__(self, model: onnx.ModelProto, limits: Limits, batch: int) -> None:
        config = read_metadata(model).config
        self.run = evaluator(model).run
        self.tree_inputs = limits.tree_tokens > 0
        self.rope_cos_sin = config.rope_cos_sin(limits.capacity)
        shape = (batch, 2, config.num_kv_heads, limits.capacity, config.head_size)
        self.caches = {
            f"kv_cache_{layer}": np.zeros(shape, np.float16) for layer in range(config.num_layers)
        }

    def logits(self, ids: np.ndarray, step: AttentionStep) -> np.ndarray:
        inputs = {
            "input_ids": np.asarray(ids, np.int32),
            "rope_cos_sin": self.rope_cos_sin,
            "logit_indices": step.logit_indices(ids.shape[1]),
            **step.inputs(ids.shape[1], self.tree_inputs),
            **self.caches,
        }
        logits, *caches = self.run(None, inputs)
        self.caches = dict(zip(self.caches, caches, strict=True))
        return logits


def nodes_of(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def attributes_of(node: onnx.NodeProto) -> dict[str, object]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("limits", [LIMITS, PLAIN], ids=["tree", "plain"])
def test_exported_model_computes_what_the_network_computes(folders, export, name, limits):
    model = OnnxModel(export(name, limits), limits, batch=2)
    weights = QuantizedWeights(folders[name])
    network = Transformer(ReferenceOperations(weights, limits.capacity, batch=2))
    steps = [
        (AttentionStep.prefill([6, 3]), 6),
        (AttentionStep.chunk([6, 3], [2, 4]), 4),
        (AttentionStep.decode([8, 7]), 1),
    ]
    if limits.tree_tokens:
        parents = tree.batch([[-1, 0, 0], [-1, -1]])
        steps.append((AttentionStep.draft_tree(parents, [9, 8]), 3))
    for step, seq_len in steps:
        ids = np.array([TOKENS[:seq_len], TOKENS[-seq_len:]])
        expected = network.logits(ids, step, step.logit_indices(seq_len))
        actual = model.logits(ids, step)
        assert actual.dtype == np.float32 and actual.shape == expected.shape
        real = slice(None)
        if step.is_tree:
            real = step.attention_pos_ids >= 0  # nothing reads the logits of padding
        # Sums in another order now and then round an activation to its other neighbour in FP16.
        error = np.abs(actual - expected)[real]
        assert error.max() <= 0.02 * np.sqrt(np.mean(np.square(expected))), (step, error.max())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shape_is_inferred(export, name):
    graph = export(name).graph
    known = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for output in node.output:
            assert output in known, f"{output} of {node.op_type} has no shape"
            assert known[output].HasField("shape"), output
    attended = known["model.layers.1.self_attn.attention"].shape.dim
    assert [d.dim_param or d.dim_value for d in attended] == ["batch", "tokens", 4, 32]


def test_plugins_carry_version_2_and_int8_weights(export):
    model = export("llama")
    assert len(nodes_of(model, schemas.ATTENTION)) == 2
    assert len(nodes_of(model, schemas.INT4_GEMM)) == 8
    plugins = [node for node in model.graph.node if node.domain == schemas.DOMAIN]
    assert {attributes_of(node)["plugin_version"] for node in plugins} == {b"2"}
    packed = [t for t in model.graph.initializer if t.name.endswith(".packed")]
    assert {t.data_type for t in packed} == {onnx.TensorProto.INT8}


def test_tensorrt_8_gets_version_1_and_int32_weights_that_are_cast(export):
    model = export("qwen2", PLAIN, tensorrt_major=8)
    plugins = [node for node in model.graph.node if node.domain == schemas.DOMAIN]
    assert {attributes_of(node)["plugin_version"] for node in plugins} == {b"1"}
    packed = [t for t in model.graph.initializer if t.name.endswith(".packed")]
    assert {t.data_type for t in packed} == {onnx.TensorProto.INT32}
    step, ids = AttentionStep.prefill([5]), np.array([TOKENS[:5]])
    expected = OnnxModel(export("qwen2", PLAIN), PLAIN, 1).logits(ids, step)
    np.testing.assert_array_equal(OnnxModel(model, PLAIN, 1).logits(ids, step), expected)


@pytest.mark.parametrize("alias", [False, True])
def test_alias_is_written_when_asked_for(export, alias):
    node = nodes_of(export("llama", alias_kv_cache=alias), schemas.ATTENTION)[0]
    assert attributes_of(node).get("alias_kv_cache") == (1 if alias else None)


def test_large_weights_go_to_a_file_beside_the_model(export, folders, monkeypatch, tmp_path):
    inside = export("qwen3")
    monkeypatch.setattr(initializers, "INLINE_LIMIT", 10_000)
    path = builder.export_model(folders["qwen3"], tmp_path / "large.onnx", LIMITS)
    assert path.stat().st_size < 60_000 < (tmp_path / "large.onnx.data").stat().st_size
    tensors = {t.name: t for t in onnx.load(path).graph.initializer}
    assert tensors.keys() == {t.name for t in inside.graph.initializer}
    for tensor in inside.graph.initializer:
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(tensors[tensor.name]), onnx.numpy_helper.to_array(tensor)
        )
    stored = onnx.load(path, load_external_data=False).graph.initializer
    facts = [(entry.key, entry.value) for tensor in stored for entry in tensor.external_data]
    assert {value for key, value in facts if key == "location"} == {"large.onnx.data"}
    offsets = [int(value) for key, value in facts if key == "offset"]
    assert len(offsets) == 9  # the linear layers and the embedding
    assert not any(offset % 4096 for offset in offsets)


def test_metadata_describe_the_model_and_its_profiles(export):
    metadata = read_metadata(export("llama3"))
    assert metadata.config == CONFIGS["llama3"]
    assert metadata.limits == LIMITS and metadata.tensorrt_major == 10
    prefill, generation = (metadata.profiles[name] for name in ("prefill", "generation"))
    assert prefill["kv_cache_start_index"] == ((0,), (0,), (0,))
    assert generation["kv_cache_start_index"] == ((1,), (2,), (2,))
    assert generation["attention_pos_ids"] == ((1, 1), (2, 8), (2, 8))
    graph_inputs = [value.name for value in export("llama3").graph.input]
    assert list(prefill) == list(generation) == graph_inputs


def test_refusals_name_the_value(folders, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="tensorrt_major is 9: 8, 10 or 11"):
        builder.export_model(folders["llama"], path, LIMITS, tensorrt_major=9)
    with pytest.raises(ValueError, match="capacity is 65: at most 64"):
        builder.export_model(folders["llama"], path, Limits(capacity=65, prefill_tokens=8))
    with pytest.raises(ValueError, match="tree_tokens is 129: 0 to 128"):
        Limits(capacity=512, tree_tokens=129)
    with pytest.raises(ValueError, match="no metadata 'edge_llm_plugins'"):
        Metadata.read({})
    with pytest.raises(ValueError, match="format_version 7: 1 is allowed"):
        Metadata.read({KEY: json.dumps({"format_version": 7})})
    assert not path.exists()
