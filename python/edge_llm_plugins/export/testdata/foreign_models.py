"""ONNX models as other exporters write them, of one layer each."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

K, N = 192, 64
TYPES = {
    "int4": ml_dtypes.int4,
    "int8": np.int8,
    "uint4": ml_dtypes.uint4,
    "uint8": np.uint8,
}


def linear_model(
    form: str,
    weights: str,
    rank: int,
    *,
    half: bool = True,
    n: int = N,
    block_size: int = 128,
    axis: int | None = None,
    codes: int | None = None,
    scale: float | None = None,
    constant: bool = True,
    alpha: float = 1.0,
    trans_a: int = 0,
) -> onnx.ModelProto:
    """y = x W, or x W + c: W is dequantized from codes of the type `weights`, in blocks along K.

    `codes` and `scale` set one element; the other options say what they are named after.
    """
    rng = np.random.default_rng(7)
    rows_are_n = form.endswith("transposed")
    k_axis = int(rows_are_n)
    quantized_axis = k_axis if axis is None else axis
    shape = (n, K) if rows_are_n else (K, n)
    blocks = tuple(
        -(-size // block_size) if i == quantized_axis else size for i, size in enumerate(shape)
    )
    zero = 8 if weights.startswith("u") else 0
    values = rng.integers(-8, 8, shape)
    if codes is not None:
        values[0, 0] = codes
    scales = rng.uniform(0.01, 0.1, blocks).astype(np.float16).astype(np.float32)
    if scale is not None:
        scales[0, 0] = scale
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    options = {"axis": quantized_axis, "block_size": block_size}
    if half and scale is None:
        scales = scales.astype(np.float16)
    elif half:
        options["output_dtype"] = dtype
    arrays = {
        "codes": (values + zero).astype(TYPES[weights]),
        "scales": scales,
        "zeros": np.full(blocks, zero).astype(TYPES[weights]),
        "c": rng.standard_normal(n).astype(np.float16).astype(np.float16 if half else np.float32),
    }
    inputs = ["codes", "scales"] + (["zeros"] if zero else [])
    weight = "w_turned" if form == "transposed" else "w"
    nodes = [helper.make_node("DequantizeLinear", inputs, [weight], name="dequantize", **options)]
    if form == "transposed":
        nodes.append(helper.make_node("Transpose", [weight], ["w"], perm=[1, 0], name="turn"))
        weight = "w"
    used = [*inputs]
    if form.startswith("gemm"):
        nodes.append(
            helper.make_node(
                "Gemm",
                ["x", weight, "c"],
                ["y"],
                name="product",
                alpha=alpha,
                transA=trans_a,
                transB=int(rows_are_n),
            )
        )
        used.append("c")
    else:
        nodes.append(helper.make_node("MatMul", ["x", weight], ["y"], name="product"))
    leading = ["A", "B", "S"][4 - rank :]
    graph_inputs = [helper.make_tensor_value_info("x", dtype, [*leading, K])]
    if trans_a:
        graph_inputs = [helper.make_tensor_value_info("x", dtype, [K, *leading])]
    initializers = [numpy_helper.from_array(arrays[name], name) for name in used]
    if not constant:
        tensor = initializers.pop(0)
        graph_inputs.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    outputs = [helper.make_tensor_value_info("y", dtype, [*leading, n])]
    return _model(nodes, graph_inputs, outputs, initializers)


def attention_model(
    layout: str,
    *,
    half: bool = True,
    mask: bool = False,
    used_present: bool = False,
    shared_past: bool = False,
    v_size: int = 32,
    unknown_tokens: bool = False,
    **attributes: object,
) -> onnx.ModelProto:
    """ONNX's Attention with past and present, 4 Q heads on 2 KV heads of 32."""
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    attributes = {"is_causal": 1} | attributes
    shapes: dict[str, list]
    if layout == "heads_first":
        shapes = {"q": ["B", 4, "S", 32], "k": ["B", 2, "S", 32], "v": ["B", 2, "S", v_size]}
        y = ["B", 4, "S", v_size]
    else:
        shapes = {"q": ["B", "S", 128], "k": ["B", "S", 64], "v": ["B", "S", 2 * v_size]}
        y = ["B", "S", 4 * v_size]
        attributes |= {"q_num_heads": 4, "kv_num_heads": 2}
    if unknown_tokens:
        shapes = {name: ["B", None, shape[2]] for name, shape in shapes.items()}
    pasts = {"past_key": ["B", 2, "P", 32], "past_value": ["B", 2, "P", v_size]}
    shapes |= pasts | ({"mask": ["S", "T"]} if mask else {})
    inputs = ["q", "k", "v", "mask" if mask else "", *pasts]
    outputs = ["y", "present_key", "present_value"]
    nodes = [helper.make_node("Attention", inputs, outputs, name="attention", **attributes)]
    results = {
        "y": y,
        "present_key": ["B", 2, "T", 32],
        "present_value": ["B", 2, "T", v_size],
    }
    if used_present:
        nodes.append(helper.make_node("Neg", ["present_key"], ["negative"]))
        results["negative"] = results["present_key"]
    if shared_past:
        nodes.append(helper.make_node("Neg", ["past_key"], ["negative"]))
        results["negative"] = pasts["past_key"]
    return _model(
        nodes,
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in results.items()],
        [],
    )


def group_query_model(
    layout: str, rotary: int, positions: int = 32, tables: bool = True, **attributes: object
) -> onnx.ModelProto:
    """com.microsoft's GroupQueryAttention, with lengths computed from an attention mask."""
    half, int32 = TensorProto.FLOAT16, TensorProto.INT32
    shapes = {"q": (half, ["B", "S", 256])}
    if layout != "packed":
        shapes = {name: (half, ["B", "S", h * 32]) for name, h in (("q", 4), ("k", 2), ("v", 2))}
    pasts = {name: (half, ["B", 2, "P", 32]) for name in ("past_key", "past_value")}
    shapes |= pasts | {"lengths": (int32, ["B"]), "total": (int32, [])}
    initializers = [numpy_helper.from_array(np.array([1], np.int32), "one")]
    rope_inputs = []
    if rotary and tables:
        rope_inputs = ["cos", "sin"]
        cos_sin = rope_tables(rotary, positions)
        initializers += [
            numpy_helper.from_array(table, name)
            for name, table in zip(rope_inputs, cos_sin, strict=True)
        ]
    separate = ["", ""] if layout == "packed" else ["k", "v"]
    inputs = ["q", *separate, *pasts, "seqlens_k", "total", *rope_inputs]
    attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": int(rotary > 0)} | attributes
    nodes = [
        helper.make_node("Sub", ["lengths", "one"], ["seqlens_k"]),
        helper.make_node(
            "GroupQueryAttention",
            inputs,
            ["y", "present_key", "present_value"],
            name="attention",
            domain="com.microsoft",
            **attributes,
        ),
    ]
    results = {"y": ["B", "S", 128]}
    results |= {name: ["B", 2, "T", 32] for name in ("present_key", "present_value")}
    return _model(
        nodes,
        [helper.make_tensor_value_info(name, *value) for name, value in shapes.items()],
        [helper.make_tensor_value_info(name, half, shape) for name, shape in results.items()],
        initializers,
    )


def rope_tables(rotary: int, positions: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """cos_cache and sin_cache of GroupQueryAttention: float16 [P, R/2]."""
    frequencies = 100.0 ** (-np.arange(rotary // 2) / (rotary // 2))
    angles = np.arange(positions)[:, None] * frequencies
    return np.cos(angles).astype(np.float16), np.sin(angles).astype(np.float16)


class GroupQueryAttention:
    """The operator of group_query_model in NumPy, FP64, with a cache of its own.

    Written after its documentation: row b has totals[b] valid tokens with the new ones, of which
    the first S' = min(S, totals[b]) tokens of the input are the last.
    """

    def __init__(self, rotary: int, capacity: int) -> None:
        self.rotary = rotary
        self.tables = rope_tables(rotary, capacity) if rotary else None
        self.keys = np.zeros((2, 2, capacity, 32))
        self.values = np.zeros((2, 2, capacity, 32))

    def step(self, feed: dict[str, NDArray], totals: NDArray) -> NDArray[np.float64]:
        qkv = np.concatenate(list(feed.values()), axis=2).astype(np.float64)
        batch, seq_len = qkv.shape[:2]
        heads = qkv.reshape(batch, seq_len, 8, 32).transpose(0, 2, 1, 3)
        output = np.zeros((batch, seq_len, 128))
        for b in range(batch):
            new = min(seq_len, totals[b])
            past = totals[b] - new
            for i in range(new):
                slot = past + i
                q = self._rotate(heads[b, :4, i], slot)
                self.keys[b, :, slot] = self._rotate(heads[b, 4:6, i], slot)
                self.values[b, :, slot] = heads[b, 6:, i]
                for head in range(4):
                    keys = self.keys[b, head // 2, : slot + 1]
                    scores = keys @ q[head] / np.sqrt(32)
                    weights = np.exp(scores - scores.max())
                    values = weights @ self.values[b, head // 2, : slot + 1] / weights.sum()
                    output[b, i, 32 * head : 32 * head + 32] = values
        return output

    def _rotate(self, x: NDArray, position: int) -> NDArray:
        if self.tables is None:
            return x
        cos, sin = (table[position].astype(np.float64) for table in self.tables)
        half = self.rotary // 2
        first, second = x[:, :half], x[:, half : self.rotary]
        turned = [first * cos - second * sin, second * cos + first * sin, x[:, self.rotary :]]
        return np.concatenate(turned, axis=1)


def _model(nodes: list, inputs: list, outputs: list, initializers: list) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "layer", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)
