"""The schemas: what onnx infers of the plugins, and what it refuses."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from edge_llm_plugins.export import schemas

HALF, INT32 = TensorProto.FLOAT16, TensorProto.INT32


def infer(node: onnx.NodeProto, inputs: list[tuple[int, list | None]]) -> list[list]:
    """The inferred shape of each output of the node."""
    schemas.register()
    ranks = [3] if len(node.output) == 1 else [4, 5]
    copies = [helper.make_node("Identity", [name], [f"{name}_copy"]) for name in node.output]
    graph = helper.make_graph(
        [node, *copies],
        "one_plugin",
        [helper.make_tensor_value_info(f"in{i}", *value) for i, value in enumerate(inputs)],
        [
            helper.make_tensor_value_info(f"{name}_copy", HALF, [None] * rank)
            for name, rank in zip(node.output, ranks, strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("trt", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, check_custom_domain=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred.graph.value_info}
    return [[d.dim_param or d.dim_value for d in shapes[name]] for name in node.output]


def gemm(**fields) -> onnx.NodeProto:
    fields = {"gemm_n": 256, "gemm_k": 192, "group_size": 128} | fields
    inputs = ["in0", "in1", "in2"]
    return helper.make_node("Int4GroupwiseGemmPlugin", inputs, ["y"], domain="trt", **fields)


GEMM_INPUTS = [(HALF, ["B", "S", 192]), (TensorProto.INT8, [128, 192]), (HALF, [2, 256])]


def attention(count: int, **fields) -> onnx.NodeProto:
    heads = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 64}
    fields = {**heads, "enable_tree_attention": int(count == 7), **fields}
    inputs = [f"in{i}" for i in range(count)]
    return helper.make_node("AttentionPlugin", inputs, ["y", "z"], domain="trt", **fields)


def attention_inputs(count: int, qkv: list | None = None) -> list[tuple[int, list | None]]:
    return [
        (HALF, qkv or ["B", "S", 512]),
        (HALF, ["B", 2, 2, "C", 64]),
        (INT32, ["B"]),
        (TensorProto.FLOAT, [1, "P", 64]),
        (INT32, ["starts"]),
        (INT32, ["B", "rows", "words"]),
        (INT32, ["B", "columns"]),
    ][:count]


def test_int4_gemm_replaces_the_last_dimension():
    assert infer(gemm(), GEMM_INPUTS) == [["B", "S", 256]]


@pytest.mark.parametrize("count", [5, 7])
@pytest.mark.parametrize("qkv", [["B", "S", 512], [3, 7, 8, 64]])
def test_attention_gives_heads_and_the_cache(count, qkv):
    assert infer(attention(count), attention_inputs(count, qkv)) == [
        [*qkv[:2], 4, 64],
        ["B", 2, 2, "C", 64],
    ]


def test_fields_of_a_plugin_node_may_be_written():
    infer(gemm(plugin_version="2", plugin_namespace=""), GEMM_INPUTS)
    infer(attention(5, plugin_version="1", alias_kv_cache=1), attention_inputs(5))


@pytest.mark.parametrize(
    "node, inputs, message",
    [
        (gemm(gemm_k=256), GEMM_INPUTS, r"GEMMInput has shape \['B', 'S', 192\]: \[B, S, 256\]"),
        (gemm(gemm_n=128), GEMM_INPUTS, r"Int4Weights has shape \[128, 192\]: \[64, 192\]"),
        (gemm(), [*GEMM_INPUTS[:2], (HALF, [3, 256])], r"ScalingFactors has shape \[3, 256\]"),
        (attention(5, num_q_heads=6), attention_inputs(5), r"PackedQKV .*\[B, S, 640\]"),
        (attention(5, head_size=32), attention_inputs(5, ["B", "S", 256]), r"KVCache has shape"),
        (attention(7, enable_tree_attention=0), attention_inputs(7), "has 7 inputs"),
        (attention(5, enable_tree_attention=1), attention_inputs(5), "has 5 inputs"),
    ],
)
def test_shapes_that_contradict_the_fields_are_refused(node, inputs, message):
    with pytest.raises(onnx.shape_inference.InferenceError, match=message):
        infer(node, inputs)


def test_missing_field_and_wrong_dtype_are_refused():
    node = gemm()
    node.attribute.pop()
    with pytest.raises(onnx.checker.ValidationError, match="group_size"):
        infer(node, GEMM_INPUTS)
    with pytest.raises(onnx.shape_inference.InferenceError, match=r"tensor\(float\)"):
        infer(gemm(), [(TensorProto.FLOAT, ["B", "S", 192]), *GEMM_INPUTS[1:]])
