"""The plugins as ONNX operators of the domain `trt`: schemas, with type and shape inference.

`register` makes onnx.checker and onnx.shape_inference know them, for the rest of the process.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence

import onnx
from onnx import TensorProto, TypeProto, defs, helper
from onnx.shape_inference import InferenceContext

DOMAIN = "trt"
OPSET = 1
ATTENTION = "AttentionPlugin"
INT4_GEMM = "Int4GroupwiseGemmPlugin"

ATTENTION_INPUTS = (
    "PackedQKV",
    "KVCache",
    "ContextLengths",
    "RopeCosSin",
    "KVCacheStartIndex",
    "AttentionMask",
    "AttentionPosIds",
)

Dimension = int | str | None


def register() -> None:
    """Registers the schemas with onnx; calling it again does nothing."""
    if defs.has(ATTENTION, DOMAIN):
        return
    for schema in (_attention_schema(), _int4_gemm_schema()):
        defs.register_schema(schema)
        # Some releases of onnx end a process with a crash, freeing Python's inference functions
        # after the interpreter is gone.
        atexit.register(defs.deregister_schema, schema.name, OPSET, DOMAIN)


def _attention_schema() -> defs.OpSchema:
    types = ["half", "half", "int32", "float", "int32", "int32", "int32"]
    required = defs.OpSchema.FormalParameterOption.Single
    optional = defs.OpSchema.FormalParameterOption.Optional
    schema = defs.OpSchema(
        ATTENTION,
        DOMAIN,
        OPSET,
        "RoPE, KV cache and attention; see edge_llm_plugins.reference.attention.",
        inputs=[
            _parameter(name, kind, required if i < 5 else optional)
            for i, (name, kind) in enumerate(zip(ATTENTION_INPUTS, types, strict=True))
        ],
        outputs=[_parameter("AttentionOutput", "half"), _parameter("KVCacheOut", "half")],
        attributes=[
            *_required_ints("num_q_heads", "num_kv_heads", "head_size", "enable_tree_attention"),
            defs.OpSchema.Attribute("alias_kv_cache", helper.make_attribute("alias_kv_cache", 0)),
            *_plugin_attributes(),
        ],
        type_constraints=_constraints(),
    )
    return schema.set_type_and_shape_inference_function(_infer(_attention_outputs))


def _int4_gemm_schema() -> defs.OpSchema:
    schema = defs.OpSchema(
        INT4_GEMM,
        DOMAIN,
        OPSET,
        "Activations times INT4 weights; see edge_llm_plugins.reference.int4_groupwise_gemm.",
        inputs=[
            _parameter("GEMMInput", "half"),
            _parameter("Int4Weights", "int8"),
            _parameter("ScalingFactors", "half"),
        ],
        outputs=[_parameter("GEMMOutput", "half")],
        attributes=[*_required_ints("gemm_n", "gemm_k", "group_size"), *_plugin_attributes()],
        type_constraints=_constraints(),
    )
    return schema.set_type_and_shape_inference_function(_infer(_int4_gemm_outputs))


def _parameter(
    name: str,
    kind: str,
    option: defs.OpSchema.FormalParameterOption = defs.OpSchema.FormalParameterOption.Single,
) -> defs.OpSchema.FormalParameter:
    return defs.OpSchema.FormalParameter(name, kind, param_option=option)


def _constraints() -> list[tuple[str, list[str], str]]:
    types = {"half": "float16", "float": "float", "int32": "int32", "int8": "int8"}
    return [(kind, [f"tensor({name})"], "") for kind, name in types.items()]


def _required_ints(*names: str) -> list[defs.OpSchema.Attribute]:
    return [defs.OpSchema.Attribute(name, defs.OpSchema.AttrType.INT) for name in names]


def _plugin_attributes() -> list[defs.OpSchema.Attribute]:
    """What TensorRT's ONNX parser looks a plugin up by; no version means "1"."""
    return [
        defs.OpSchema.Attribute(name, helper.make_attribute(name, value))
        for name, value in (("plugin_version", "1"), ("plugin_namespace", ""))
    ]


def _infer(
    outputs: Callable[[InferenceContext], Sequence[tuple[Sequence[Dimension], int] | None]],
) -> Callable[[InferenceContext], None]:
    """An inference function: shape and dtype of each output, where its inputs have a shape."""

    def infer(context: InferenceContext) -> None:
        for i, output in enumerate(outputs(context)):
            if output is not None:
                shape, dtype = output
                context.set_output_type(i, helper.make_tensor_type_proto(dtype, shape))

    return infer


def _attention_outputs(context: InferenceContext) -> list:
    qkv, cache = _shape(context, 0), _shape(context, 1)
    num_q_heads, num_kv_heads, head_size = (
        context.get_attribute(name).i for name in ("num_q_heads", "num_kv_heads", "head_size")
    )
    if bool(context.get_attribute("enable_tree_attention").i) != (context.get_num_inputs() == 7):
        raise onnx.shape_inference.InferenceError(
            f"{ATTENTION} has {context.get_num_inputs()} inputs: 5 are allowed, or 7 with "
            "enable_tree_attention = 1"
        )
    heads = num_q_heads + 2 * num_kv_heads
    outputs: list = [None, None]
    if qkv is not None:
        if not any(_fits(qkv[2:], end) for end in ([heads * head_size], [heads, head_size])):
            raise onnx.shape_inference.InferenceError(
                f"PackedQKV has shape {qkv}: [B, S, {heads * head_size}] or "
                f"[B, S, {heads}, {head_size}] is allowed"
            )
        outputs[0] = ([*qkv[:2], num_q_heads, head_size], TensorProto.FLOAT16)
    if cache is not None:
        if not _fits(cache, [None, 2, num_kv_heads, None, head_size]):
            raise onnx.shape_inference.InferenceError(
                f"KVCache has shape {cache}: [B, 2, {num_kv_heads}, Cap, {head_size}] is allowed"
            )
        outputs[1] = (cache, TensorProto.FLOAT16)
    return outputs


def _int4_gemm_outputs(context: InferenceContext) -> list:
    x = _shape(context, 0)
    n, k, group_size = (
        context.get_attribute(name).i for name in ("gemm_n", "gemm_k", "group_size")
    )
    allowed = {
        "GEMMInput": (x, [None, None, k]),
        "Int4Weights": (_shape(context, 1), [n // 2, k]),
        "ScalingFactors": (_shape(context, 2), [-(-k // group_size), n]),
    }
    for name, (shape, expected) in allowed.items():
        if shape is not None and not _fits(shape, expected):
            wanted = str(expected).replace("None, None", "B, S")
            raise onnx.shape_inference.InferenceError(
                f"{name} has shape {shape}: {wanted} is allowed for gemm_n = {n}, gemm_k = {k}"
            )
    return [None if x is None else ([*x[:2], n], TensorProto.FLOAT16)]


def _shape(context: InferenceContext, index: int) -> list[Dimension] | None:
    """The dimensions of an input: numbers, names, or None; None where the rank is not known."""
    input_type: TypeProto | None = context.get_input_type(index)
    if input_type is None or not input_type.tensor_type.HasField("shape"):
        return None
    return [
        getattr(dimension, dimension.WhichOneof("value") or "", None)
        for dimension in input_type.tensor_type.shape.dim
    ]


def _fits(shape: Sequence[Dimension], expected: Sequence[Dimension]) -> bool:
    """Whether a shape can be the expected one; what is no number on either side can be any."""
    return len(shape) == len(expected) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(shape, expected, strict=True)
    )
