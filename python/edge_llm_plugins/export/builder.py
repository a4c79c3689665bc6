"""A quantized model folder as an ONNX model with the plugins as nodes.

Inputs of the model, B rows of S tokens:

    input_ids              INT32 [B, S]
    kv_cache_<layer>       FP16 [B, 2, Hkv, capacity, D], one per layer
    context_lengths        INT32 [B]
    rope_cos_sin           FP32 [1, positions, R], ModelConfig.rope_cos_sin(positions)
    kv_cache_start_index   INT32 [0] or [B]
    attention_mask         INT32 [B, rows, words]       (these two with tree attention)
    attention_pos_ids      INT32 [B, columns]
    logit_indices          INT32 [B, L]: the tokens whose logits are wanted

Outputs: logits FP32 [B, L, vocabulary], and kv_cache_out_<layer>, for which the runtime binds the
memory of kv_cache_<layer>. `AttentionStep.inputs` and `.logit_indices` make the small inputs: a
generator wants the last token's logits in prefill and decode, and all in a draft tree; logits of
all tokens of a long prefill would be gigabytes.

Activations are FP16, norms and SiLU are FP32 inside; logits are a product in FP16.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_llm_plugins import quantization
from edge_llm_plugins.export import initializers, schemas
from edge_llm_plugins.export.initializers import Initializers
from edge_llm_plugins.export.metadata import Limits, Metadata, Profile
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import GENERATION, PREFILL

# The largest opset that the parser of TensorRT 8.6 knows, and an IR version that goes with it.
OPSET, IR_VERSION = 17, 8
TENSORRT_MAJORS = (8, 10, 11)


def export_model(
    model: QuantizedModel,
    path: str | os.PathLike[str],
    limits: Limits,
    *,
    tensorrt_major: int = 10,
    alias_kv_cache: bool = False,
) -> pathlib.Path:
    """Writes an ONNX model, checked and with all shapes inferred.

    Weights of more than 2 GB go to a file beside it, with ".data" appended to its name.

    Args:
      model: the quantized model.
      path: the file to write, such as "model.onnx".
      limits: the largest shapes of the optimization profiles, and whether there are draft trees.
      tensorrt_major: 10 for TensorRT 10, 11 and TensorRT-RTX, with the plugins of version "2"; 8
        for TensorRT 8.6, with version "1". It takes no INT8 constants: packed weights are INT32
        constants that are cast, four times as large.
      alias_kv_cache: lets TensorRT know that the caches are updated in place; the builder's preview
        feature ALIASED_PLUGIN_IO must be on.

    Returns:
      The path.

    Raises:
      ValueError: the TensorRT version, or a capacity beyond the model's positions.
    """
    path = pathlib.Path(path)
    if tensorrt_major not in TENSORRT_MAJORS:
        raise ValueError(f"tensorrt_major is {tensorrt_major}: 8, 10 or 11 is allowed")
    if limits.capacity > model.config.max_positions:
        raise ValueError(
            f"capacity is {limits.capacity}: at most {model.config.max_positions} is allowed, the "
            "positions that the model was trained for"
        )
    inside = _weight_bytes(model.config, tensorrt_major) <= initializers.INLINE_LIMIT
    weights = Initializers(None if inside else path.with_name(path.name + ".data"))
    writer = _GraphWriter(model, weights, limits.tree_tokens > 0, tensorrt_major, alias_kv_cache)
    onnx_model = writer.model()
    profiles = optimization_profiles(model.config, limits)
    Metadata(model.config, limits, tensorrt_major, profiles).write(onnx_model)
    schemas.register()
    onnx_model = onnx.shape_inference.infer_shapes(
        onnx_model, check_type=True, strict_mode=True, data_prop=True
    )
    onnx.save_model(onnx_model, path)
    onnx.checker.check_model(path, check_custom_domain=True)
    return path


def optimization_profiles(config: ModelConfig, limits: Limits) -> dict[str, Profile]:
    """Ranges of the inputs: "prefill" from an empty cache, "generation" for all other steps."""
    batches = (1, limits.batch, limits.batch)
    trees = (1, max(limits.tree_tokens, 1), max(limits.tree_tokens, 1))
    ones, words = (1, 1, 1), tuple(-(-size // 32) for size in trees)
    layer_cache = (2, config.num_kv_heads)

    def profile(tokens: Sequence[int], starts: Sequence[int], trees: Sequence[int]) -> Profile:
        columns: dict[str, list[tuple[int, ...]]] = {
            "input_ids": list(zip(batches, tokens, strict=True)),
        }
        for layer in range(config.num_layers):
            columns[f"kv_cache_{layer}"] = [
                (b, *layer_cache, slots, config.head_size)
                for b, slots in zip(batches, (1, limits.capacity, limits.capacity), strict=True)
            ]
        columns["context_lengths"] = [(b,) for b in batches]
        columns["rope_cos_sin"] = [
            (1, positions, config.rotary_size)
            for positions in (1, limits.capacity, limits.capacity)
        ]
        columns["kv_cache_start_index"] = [(rows,) for rows in starts]
        if limits.tree_tokens:
            mask_words = words if trees is not ones else ones
            columns["attention_mask"] = list(zip(batches, trees, mask_words, strict=True))
            columns["attention_pos_ids"] = list(zip(batches, trees, strict=True))
        columns["logit_indices"] = list(zip(batches, trees, strict=True))
        return {name: tuple(shapes) for name, shapes in columns.items()}

    largest = limits.prefill_tokens
    usual = limits.tree_tokens or 1
    return {
        PREFILL: profile((1, largest, largest), (0, 0, 0), ones),
        GENERATION: profile((1, usual, max(largest, usual)), batches, trees),
    }


def _weight_bytes(config: ModelConfig, tensorrt_major: int) -> int:
    packed = sum(n * k // 2 for n, k in config.linear_shapes().values())
    packed *= np.dtype(_packed_dtype(tensorrt_major)).itemsize
    scales = sum(2 * n * -(-k // 128) for n, k in config.linear_shapes().values())
    others = sum(2 * int(np.prod(shape)) for shape in config.tensor_shapes().values())
    return packed + scales + others


def _packed_dtype(tensorrt_major: int) -> type[np.integer]:
    return np.int32 if tensorrt_major == 8 else np.int8


class _GraphWriter:
    """Writes the nodes of the network, layer by layer."""

    def __init__(
        self,
        model: QuantizedModel,
        weights: Initializers,
        tree: bool,
        tensorrt_major: int,
        alias_kv_cache: bool,
    ) -> None:
        self._model, self._config, self._weights = model, model.config, weights
        self._packed_dtype = _packed_dtype(tensorrt_major)
        self._version = {"plugin_version": "1" if tensorrt_major == 8 else "2"}
        self._alias = {"alias_kv_cache": 1} if alias_kv_cache else {}
        self._tree = tree
        self._nodes: list[onnx.NodeProto] = []

    def model(self) -> onnx.ModelProto:
        config = self._config
        step_inputs = ["context_lengths", "rope_cos_sin", "kv_cache_start_index"]
        step_inputs += ["attention_mask", "attention_pos_ids"] if self._tree else []
        embedding = self._tensor("model.embed_tokens.weight")
        x = self._node("Gather", [embedding, "input_ids"], "embedding")
        for layer in range(config.num_layers):
            x = self._layer(layer, x, step_inputs)
        x = self._rms_norm("model.norm", x)
        x = self._chosen_tokens(x)
        head = embedding if config.tie_embeddings else self._tensor("lm_head.weight")
        head = self._node("Transpose", [head], "lm_head.transposed", perm=[1, 0])
        logits = self._node("MatMul", [x, head], "lm_head")
        self._node("Cast", [logits], "logits", to=TensorProto.FLOAT)
        graph = helper.make_graph(
            self._nodes, config.architecture, self._inputs(), self._outputs(), list(self._weights)
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(schemas.DOMAIN, 1)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="edge-llm-plugins",
        )

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        config, int32 = self._config, TensorProto.INT32
        inputs = {"input_ids": (int32, ["batch", "tokens"])}
        for layer in range(config.num_layers):
            inputs[f"kv_cache_{layer}"] = (TensorProto.FLOAT16, self._cache_shape())
        inputs["context_lengths"] = (int32, ["batch"])
        inputs["rope_cos_sin"] = (TensorProto.FLOAT, [1, "positions", config.rotary_size])
        inputs["kv_cache_start_index"] = (int32, ["start_rows"])
        if self._tree:
            inputs["attention_mask"] = (int32, ["batch", "mask_rows", "mask_words"])
            inputs["attention_pos_ids"] = (int32, ["batch", "position_columns"])
        inputs["logit_indices"] = (int32, ["batch", "logit_tokens"])
        return [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()]

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        logits = ["batch", "logit_tokens", self._config.vocab_size]
        caches = [
            helper.make_tensor_value_info(
                f"kv_cache_out_{layer}", TensorProto.FLOAT16, self._cache_shape()
            )
            for layer in range(self._config.num_layers)
        ]
        return [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits), *caches]

    def _cache_shape(self) -> list[int | str]:
        return ["batch", 2, self._config.num_kv_heads, "capacity", self._config.head_size]

    # The parts of the network.

    def _layer(self, layer: int, x: str, step_inputs: list[str]) -> str:
        config, prefix = self._config, f"model.layers.{layer}"
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        normed = self._rms_norm(f"{prefix}.input_layernorm", x)
        qkv = self._linear(f"{attention}.qkv_proj", normed)
        if config.qk_norm:
            qkv = self._normalise_heads(attention, qkv)
        attended = f"{attention}.attention"
        self._nodes.append(
            helper.make_node(
                schemas.ATTENTION,
                [qkv, f"kv_cache_{layer}", *step_inputs],
                [attended, f"kv_cache_out_{layer}"],
                name=attended,
                domain=schemas.DOMAIN,
                num_q_heads=config.num_q_heads,
                num_kv_heads=config.num_kv_heads,
                head_size=config.head_size,
                enable_tree_attention=int(self._tree),
                **self._alias,
                **self._version,
            )
        )
        merged = self._reshape(attended, [0, 0, config.q_size], f"{attention}.merged")
        projected = self._linear(f"{attention}.o_proj", merged)
        x = self._node("Add", [x, projected], f"{attention}.residual")
        normed = self._rms_norm(f"{prefix}.post_attention_layernorm", x)
        gate_up = self._linear(f"{mlp}.gate_up_proj", normed)
        down = self._linear(f"{mlp}.down_proj", self._silu_mul(mlp, gate_up))
        return self._node("Add", [x, down], f"{mlp}.residual")

    def _linear(self, prefix: str, x: str) -> str:
        packed, scales, bias = self._model.linear(prefix)
        n, k = 2 * packed.shape[0], packed.shape[1]
        weights = self._weights.add(f"{prefix}.packed", packed.astype(self._packed_dtype))
        if self._packed_dtype is not np.int8:
            weights = self._node("Cast", [weights], f"{prefix}.int8", to=TensorProto.INT8)
        y = self._node(
            schemas.INT4_GEMM,
            [x, weights, self._weights.add(f"{prefix}.scales", scales)],
            prefix,
            domain=schemas.DOMAIN,
            gemm_n=n,
            gemm_k=k,
            group_size=quantization.GROUP_SIZE,
            **self._version,
        )
        if bias is None:
            return y
        return self._node("Add", [y, self._weights.add(f"{prefix}.bias", bias)], f"{prefix}.biased")

    def _rms_norm(self, prefix: str, x: str) -> str:
        x = self._node("Cast", [x], f"{prefix}.float", to=TensorProto.FLOAT)
        squares = self._node("Mul", [x, x], f"{prefix}.squares")
        mean = self._node("ReduceMean", [squares], f"{prefix}.mean", axes=[-1], keepdims=1)
        epsilon = self._constant("rms_norm_eps", np.float32(self._config.rms_norm_eps))
        root = self._node(
            "Sqrt", [self._node("Add", [mean, epsilon], f"{prefix}.shifted")], f"{prefix}.root"
        )
        normed = self._node("Div", [x, root], f"{prefix}.normed")
        name = f"{prefix}.weight"
        weight = self._weights.add(name, self._model.tensor(name).astype(np.float32))
        scaled = self._node("Mul", [normed, weight], f"{prefix}.scaled")
        return self._node("Cast", [scaled], prefix, to=TensorProto.FLOAT16)

    def _normalise_heads(self, prefix: str, qkv: str) -> str:
        """Packed heads [B, S, Hq + 2 Hkv, D] whose Q and K are RMS-normalized."""
        config = self._config
        heads = config.num_q_heads + 2 * config.num_kv_heads
        split = self._reshape(qkv, [0, 0, heads, config.head_size], f"{prefix}.heads")
        sizes = [config.num_q_heads, config.num_kv_heads, config.num_kv_heads]
        names = [f"{prefix}.{part}" for part in ("q", "k", "v")]
        self._split(split, sizes, names, axis=2)
        parts = [self._rms_norm(f"{names[i]}_norm", names[i]) for i in (0, 1)]
        return self._node("Concat", [*parts, names[2]], f"{prefix}.normed_heads", axis=2)

    def _silu_mul(self, prefix: str, gate_up: str) -> str:
        x = self._node("Cast", [gate_up], f"{prefix}.float", to=TensorProto.FLOAT)
        names = [f"{prefix}.gate", f"{prefix}.up"]
        self._split(x, [self._config.intermediate_size] * 2, names, axis=2)
        sigmoid = self._node("Sigmoid", names[:1], f"{prefix}.sigmoid")
        silu = self._node("Mul", [names[0], sigmoid], f"{prefix}.silu")
        gated = self._node("Mul", [silu, names[1]], f"{prefix}.gated")
        return self._node("Cast", [gated], f"{prefix}.half", to=TensorProto.FLOAT16)

    def _chosen_tokens(self, x: str) -> str:
        indices = self._node("Cast", ["logit_indices"], "logit_indices.int64", to=TensorProto.INT64)
        last_axis = self._constant("last_axis", np.array([2], np.int64))
        indices = self._node("Unsqueeze", [indices, last_axis], "logit_indices.unsqueezed")
        return self._node("GatherND", [x, indices], "chosen_tokens", batch_dims=1)

    # Nodes and constants.

    def _node(self, op: str, inputs: Sequence[str], output: str, **attributes) -> str:
        """Adds a node that has one output, and its name."""
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _split(self, x: str, sizes: list[int], outputs: list[str], axis: int) -> None:
        lengths = self._constant("split_" + "_".join(map(str, sizes)), np.array(sizes, np.int64))
        name = f"{outputs[0]}.split"
        self._nodes.append(helper.make_node("Split", [x, lengths], outputs, name=name, axis=axis))

    def _reshape(self, x: str, shape: list[int], output: str) -> str:
        name = "shape_" + "_".join(map(str, shape))
        return self._node("Reshape", [x, self._constant(name, np.array(shape, np.int64))], output)

    def _constant(self, name: str, value: NDArray | np.generic) -> str:
        return name if name in self._weights else self._weights.add(name, np.asarray(value))

    def _tensor(self, name: str) -> str:
        return self._weights.add(name, self._model.tensor(name))
