"""ONNX models of one plugin layer, for TensorRT-RTX.

The nodes are shaped as upstream's exporter writes them: domain trt, fields as attributes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]  # of each input: min, opt, max


@dataclasses.dataclass(frozen=True)
class Model:
    onnx: bytes
    profiles: list[Profile]


def int4_gemm_model(n: int, k: int, attributes: dict[str, int | str]) -> Model:
    """y = plugin(x, weights, scales), x f16 [B, S, k]; weights and scales are constants."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (n // 2, k), dtype=np.int8)
    scales = rng.random((-(-k // 128), n), dtype=np.float32).astype(np.float16)
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(scales, "scales"),
    ]
    onnx_bytes = _one_layer(
        helper.make_node(
            "Int4GroupwiseGemmPlugin", ["x", "weights", "scales"], ["y"], name="layer", **attributes
        ),
        inputs={"x": (TensorProto.FLOAT16, ["B", "S", k])},
        outputs={"y": (TensorProto.FLOAT16, ["B", "S", n])},
        constants=constants,
    )
    return Model(onnx_bytes, [{"x": ((1, 1, k), (1, 8, k), (4, 128, k))}])


def attention_model(
    tree: bool, split_heads: bool, attributes: dict[str, int | str], capacity: int = 256
) -> Model:
    """output, cache_out = plugin(qkv, cache, ...) for 4 Q heads on 2 KV heads of size 64.

    The first profile is prefill, with a start index of shape [0]; the second one is generation:
    decode, or decode of trees of up to 60 tokens. split_heads gives qkv four dimensions.
    """
    int32, half = TensorProto.INT32, TensorProto.FLOAT16
    packed = [8, 64] if split_heads else [8 * 64]
    cache = [2, 2, capacity, 64]
    inputs = {
        "qkv": (half, ["B", "S", *packed]),
        "cache": (half, ["B", *cache]),
        "lengths": (int32, ["B"]),
        "rope": (TensorProto.FLOAT, ["rope_rows", capacity, 64]),
        "start": (int32, ["start_rows"]),
    }
    if tree:
        inputs["mask"] = (int32, ["B", "mask_rows", "mask_words"])
        inputs["positions"] = (int32, ["B", "position_columns"])
    outputs = {
        "output": (half, ["B", "S", 4, 64]),
        "cache_out": (half, ["B", *cache]),
    }
    node = helper.make_node(
        "AttentionPlugin", list(inputs), list(outputs), name="layer", **attributes
    )

    def profile(q_lens: Shape, prefill: bool) -> Profile:
        """Batches of 1 to 4, with the smallest, the usual and the largest q_len."""
        batches = (1, 2, 4)
        trees = (1, 1, 1) if prefill else q_lens
        shapes = {
            "qkv": [(b, s, *packed) for b, s in zip(batches, q_lens, strict=True)],
            "cache": [(b, *cache) for b in batches],
            "lengths": [(b,) for b in batches],
            "rope": [(rows, capacity, 64) for rows in (1, 1, 4)],
            "start": [(0 if prefill else b,) for b in batches],
            "mask": [(b, s, -(-s // 32)) for b, s in zip(batches, trees, strict=True)],
            "positions": [(b, s) for b, s in zip(batches, trees, strict=True)],
        }
        return {name: tuple(shapes[name]) for name in inputs}

    generated = (1, 8, 60) if tree else (1, 1, 1)
    profiles = [profile((1, 32, 128), prefill=True), profile(generated, prefill=False)]
    return Model(_one_layer(node, inputs, outputs), profiles)


def _one_layer(
    node: onnx.NodeProto,
    inputs: dict[str, tuple[int, list]],
    outputs: dict[str, tuple[int, list]],
    constants: list[onnx.TensorProto] | None = None,
) -> bytes:
    node.domain = "trt"
    graph = helper.make_graph(
        [node],
        "one_layer",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("trt", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
