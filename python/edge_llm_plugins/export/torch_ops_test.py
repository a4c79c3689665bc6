"""What torch.onnx made of the custom operators, recorded by testdata/record_torch_export.py."""

from __future__ import annotations

import pathlib

import numpy as np
import onnx
import pytest

from edge_llm_plugins import quantization, reference, rope
from edge_llm_plugins.export import schemas
from edge_llm_plugins.export.evaluator import evaluator

RECORDED = pathlib.Path(__file__).with_name("testdata") / "torch_export.onnxtxt"
HEADS = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 32}


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return onnx.parser.parse_model(RECORDED.read_text())


def test_exported_model_is_valid_and_its_shapes_are_inferred(exported):
    schemas.register()
    onnx.checker.check_model(exported, check_custom_domain=True)
    inferred = onnx.shape_inference.infer_shapes(exported, check_type=True, strict_mode=True)
    (qkv,) = inferred.graph.value_info
    dimensions = [d.dim_param or d.dim_value for d in qkv.type.tensor_type.shape.dim]
    assert dimensions == ["batch", "tokens", 256]
    versions = [
        onnx.helper.get_node_attr_value(node, "plugin_version") for node in exported.graph.node
    ]
    assert versions == [b"2", b"2"]


def test_exported_model_computes_the_layer_for_other_shapes_than_it_was_traced_with(exported):
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((256, 64)).astype(np.float32) / 8
    packed, scales = quantization.quantize_groupwise(weight)
    tree = {
        "mask": np.array([[[1], [3], [5]]], np.int32),
        "positions": np.array([[4, 5, 5]], np.int32),
    }
    inputs = {
        "x": rng.standard_normal((1, 3, 64)).astype(np.float16),
        "packed": packed,
        "scales": scales,
        "cache": rng.standard_normal((1, 2, 2, 8, 32)).astype(np.float16),
        "lengths": np.array([7], np.int32),
        "rope_cos_sin": rope.cos_sin(8, 32),
        "start": np.zeros(1, np.int32),
        **tree,
    }
    output, cache = evaluator(exported).run(None, inputs)
    qkv = reference.int4_groupwise_gemm(inputs["x"], packed, scales).astype(np.float16)
    expected, expected_cache = reference.attention(
        qkv,
        *(inputs[name] for name in ("cache", "lengths", "rope_cos_sin", "start")),
        **HEADS,
        attention_mask=tree["mask"],
        attention_pos_ids=tree["positions"],
    )
    np.testing.assert_array_equal(output, expected.astype(np.float16))
    np.testing.assert_array_equal(cache, expected_cache)
