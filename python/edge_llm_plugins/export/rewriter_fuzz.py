"""Fuzzes the rewriter of ONNX models: any bytes, and models of other exporters changed."""

from __future__ import annotations

import logging

import google.protobuf.message
import onnx
from onnx import TensorProto

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.export import rewriter
    from edge_llm_plugins.export.testdata import foreign_models

MODELS = [
    foreign_models.linear_model("matmul", "int4", 3, n=4),
    foreign_models.linear_model("transposed", "uint8", 2, n=4),
    foreign_models.linear_model("gemm", "uint4", 2, n=4),
    foreign_models.linear_model("gemm_transposed", "int8", 2, n=4),
    foreign_models.attention_model("heads_first"),
    foreign_models.attention_model("tokens_first", mask=True),
    foreign_models.group_query_model("packed", 16),
    foreign_models.group_query_model("separate", 0),
]
# None is too large for onnx's shape inference, which takes as much memory for some.
SIZES = [0, 1, 2, 3, 4, 64, 128, 192, 2**16]
OPERATORS = ["MatMul", "Gemm", "Transpose", "DequantizeLinear", "Attention", "Identity", "Sub"]
TYPES = [
    *(TensorProto.UNDEFINED, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8),
    *(TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4, TensorProto.INT64),
    *(TensorProto.INT32, TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.BOOL),
]


def change_node(choices: fuzzing.Choices, graph: onnx.GraphProto) -> None:
    node = choices.of(list(graph.node))
    names = [*node.input, *node.output, "", "unknown"]
    kind = choices.below(7)
    if kind == 0 and node.input:
        node.input[choices.below(len(node.input))] = choices.of(names)
    elif kind == 1 and node.input:
        del node.input[choices.below(len(node.input)) :]
    elif kind == 2:
        node.op_type = choices.of(OPERATORS)
        node.domain = choices.of(["", "", "com.microsoft", "unknown"])
    elif kind == 3 and node.output:
        del node.output[choices.below(len(node.output)) :]
    elif kind == 4:
        graph.node.remove(node)
    elif node.attribute:
        attribute = choices.of(list(node.attribute))
        if kind == 5:
            node.attribute.remove(attribute)
        else:
            attribute.i = choices.of([-1, *SIZES, choices.below(2**16)])
            attribute.f = choices.of([0.0, 1.0, -1.0, float("nan"), 1e30])
            if attribute.ints:
                attribute.ints[choices.below(len(attribute.ints))] = attribute.i


def change_tensor(choices: fuzzing.Choices, graph: onnx.GraphProto) -> None:
    if not graph.initializer:
        return
    tensor = choices.of(list(graph.initializer))
    kind = choices.below(5)
    if kind == 0:
        tensor.data_type = choices.of(TYPES)
    elif kind == 1 and tensor.dims:
        tensor.dims[choices.below(len(tensor.dims))] = choices.of(SIZES)
    elif kind == 2 and tensor.raw_data:
        position = choices.below(len(tensor.raw_data))
        data = bytearray(tensor.raw_data)
        data[position] = choices.below(256)
        tensor.raw_data = bytes(data)
    elif kind == 3:
        del tensor.dims[:]
        tensor.dims.extend(choices.of(SIZES) for _ in range(choices.below(4)))
    else:
        tensor.name = choices.of(["x", "", "kv_cache_0", "edge_llm_plugins.axis_0"])


def change_value(choices: fuzzing.Choices, graph: onnx.GraphProto) -> None:
    value = choices.of([*graph.input, *graph.output])
    kind = choices.below(4)
    dims = value.type.tensor_type.shape.dim
    if kind == 0:
        value.type.tensor_type.elem_type = choices.of(TYPES)
    elif kind == 1 and dims:
        dims[choices.below(len(dims))].dim_value = choices.of(SIZES)
    elif kind == 2:
        value.type.tensor_type.ClearField("shape")
    else:
        value.name = choices.of(["context_lengths", "kv_cache_0", "q", "x", "y"])


def changed(data: bytes) -> onnx.ModelProto:
    choices = fuzzing.Choices(data)
    model = onnx.ModelProto()
    model.CopyFrom(choices.of(MODELS))
    for _ in range(choices.below(4)):
        choices.of([change_node, change_node, change_tensor, change_value])(choices, model.graph)
        if not model.graph.node or not model.graph.input:
            break
    if not choices.below(16):
        model.opset_import[0].version = choices.of([-1, 0, 1, 7, 13, 21, 25, 99])
    return model


def fuzz(data: bytes) -> None:
    if data[:1] == b"\x08":
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except google.protobuf.message.DecodeError:
            return
    else:
        model = changed(data)
    before = model.SerializeToString()
    with fuzzing.refusals():
        rewritten = rewriter.rewrite(model, capacity=8, tree_attention=bool(len(data) % 2))
        rewritten.proto()
    assert model.SerializeToString() == before, "the model that was given is changed"


if __name__ == "__main__":
    logging.disable()  # onnx_ir prints a traceback where shapes are not inferred
    for given in MODELS:
        rewriter.rewrite(given, capacity=8).proto()
    seeds = [bytes([i]) * 32 for i in range(16) if i != 8]
    fuzzing.main(fuzz, [*seeds, *(given.SerializeToString() for given in MODELS)])
