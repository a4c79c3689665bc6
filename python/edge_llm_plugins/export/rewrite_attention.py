"""ONNX's Attention and com.microsoft's GroupQueryAttention as AttentionPlugin.

The plugin's cache has a fixed capacity and holds K and V, so the model's inputs and outputs change:

    past key and value [B, Hkv, past, D] of each node  ->  kv_cache_<i> [B, 2, Hkv, capacity, D]
    present key and value                              ->  kv_cache_out_<i>
    lengths, or what they were computed from           ->  context_lengths [B],
        kv_cache_start_index [0] or [B], and with tree attention attention_mask, attention_pos_ids

`AttentionStep.inputs` makes the small ones; the others keep their names. Where a node applies RoPE
itself (do_rotary), its tables become the constant table of the plugin. Where RoPE comes before the
node or does not at all, the plugin gets a table that turns nothing.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edge_llm_plugins.export import schemas
from edge_llm_plugins.export.graph_edit import (
    Inserter,
    NotReplaced,
    add_initializer,
    attribute,
    check_half,
    constant,
    input_at,
)

GROUP_QUERY = ("com.microsoft", "GroupQueryAttention")
ATTENTION = ("", "Attention")

# The attributes of each operator that the plugin serves: the values that are allowed, or None for
# those that are looked at elsewhere. One that is not listed is refused, unless it is absent.
_ATTRIBUTES = {
    ATTENTION: {
        "is_causal": (1,),
        "kv_num_heads": None,
        "left_window_size": (-1,),
        "q_num_heads": None,
        "qk_matmul_output_mode": None,  # of an output that must not be used
        "right_window_size": (-1,),
        "scale": None,
        "softcap": (0.0,),
        "softmax_precision": None,  # the plugin's is FP32
    },
    GROUP_QUERY: {
        "do_rotary": (0, 1),
        "kv_num_heads": None,
        "local_window_size": (-1,),
        "num_heads": None,
        "qk_output": (0,),
        "rotary_interleaved": (0,),
        "scale": None,
        "smooth_softmax": (0, -1),
        "softcap": (0.0,),
    },
}
_INPUTS = {
    ATTENTION: ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"),
    GROUP_QUERY: (
        *("query", "key", "value", "past_key", "past_value", "seqlens_k"),
        *("total_sequence_length", "cos_cache", "sin_cache"),
        *("position_ids", "attention_bias", "head_sink", "k_scale", "v_scale"),
    ),
}
_REFUSED_INPUTS = {
    ATTENTION: ("attn_mask", "nonpad_kv_seqlen"),
    GROUP_QUERY: ("position_ids", "attention_bias", "head_sink", "k_scale", "v_scale"),
}


class AttentionRewriter:
    """Replaces attention; all nodes share the inputs that describe the step."""

    def __init__(
        self, graph: ir.Graph, plugin_version: str, capacity: int | None, tree_attention: bool
    ) -> None:
        self._graph, self._capacity, self._tree = graph, capacity, tree_attention
        self._version = plugin_version
        self._count = 0
        self._step_inputs: dict[str, ir.Value] = {}
        self._tables: dict[tuple[ir.Value | None, ir.Value | None], ir.Value] = {}

    def is_candidate(self, node: ir.Node) -> bool:
        return (node.domain, node.op_type) in _ATTRIBUTES

    def replace(self, node: ir.Node) -> str:
        """Replaces the node, and says by what.

        Raises:
          NotReplaced: the plugin does not compute the same.
        """
        if self._capacity is None:
            raise NotReplaced("no capacity of the KV caches is given")
        kind = (node.domain, node.op_type)
        inputs = {name: input_at(node, i) for i, name in enumerate(_INPUTS[kind])}
        _check_attributes(node, kind)
        for name in _REFUSED_INPUTS[kind]:
            if inputs[name] is not None:
                raise NotReplaced(f"it has the input {name}")
        if kind == ATTENTION:
            q, k, v = (inputs[name] for name in ("Q", "K", "V"))
        else:
            q, k, v = (inputs[name] for name in ("query", "key", "value"))
        heads = _Heads(node, kind, q, k, v)
        caches = self._check_caches(node, inputs["past_key"], inputs["past_value"])
        table = self._table(node, inputs.get("cos_cache"), inputs.get("sin_cache"), heads)

        add = Inserter(self._graph, node)
        cache = self._cache_input(node, heads)
        fields = {
            "num_q_heads": heads.num_q_heads,
            "num_kv_heads": heads.num_kv_heads,
            "head_size": heads.head_size,
            "enable_tree_attention": int(self._tree),
            "plugin_version": self._version,
        }
        plugin_inputs = [heads.packed(add), cache, *self._inputs_of_a_step(table)]
        output, cache_out = add.node(schemas.ATTENTION, plugin_inputs, fields, outputs=2)
        output.dtype = ir.DataType.FLOAT16
        add.replace(node.outputs[0], heads.unpacked(add, output))
        self._replace_caches(node, caches, cache, cache_out)
        add.remove_old()
        self._count += 1
        return (
            f"{schemas.ATTENTION} with {heads.num_q_heads} Q heads on {heads.num_kv_heads} KV "
            f"heads of {heads.head_size}"
        )

    def _check_caches(
        self, node: ir.Node, past_key: ir.Value | None, past_value: ir.Value | None
    ) -> list[ir.Value]:
        """The past's inputs of the graph; nothing but this node may use past and present."""
        pasts = [value for value in (past_key, past_value) if value is not None]
        for value in pasts:
            if not value.is_graph_input() or len(value.uses()) != 1:
                raise NotReplaced(f"its {value.name!r} is not an input of the model for it alone")
        for value in node.outputs[1:]:
            if value.uses():
                raise NotReplaced(f"its output {value.name!r} is used inside of the model")
        for value in node.outputs[3:]:
            if value.is_graph_output():
                raise NotReplaced(f"its output {value.name!r} is an output of the model")
        return pasts

    def _cache_input(self, node: ir.Node, heads: _Heads) -> ir.Value:
        batch = node.inputs[0].shape[0]
        shape = [batch, 2, heads.num_kv_heads, self._capacity, heads.head_size]
        return self._new_input(f"kv_cache_{self._count}", ir.DataType.FLOAT16, shape)

    def _replace_caches(
        self, node: ir.Node, pasts: list[ir.Value], cache: ir.Value, cache_out: ir.Value
    ) -> None:
        graph = self._graph
        cache_out.name = f"kv_cache_out_{self._count}"
        cache_out.shape, cache_out.type = cache.shape, cache.type
        presents = [value for value in node.outputs[1:3] if value.is_graph_output()]
        place = graph.outputs.index(presents[0]) if presents else len(graph.outputs)
        graph.outputs.insert(place, cache_out)
        for value in presents:
            graph.outputs.remove(value)
        for i, value in enumerate(node.inputs):
            if value in pasts:
                node.replace_input_with(i, None)
        for value in pasts:
            graph.inputs.remove(value)

    def _inputs_of_a_step(self, table: ir.Value) -> list[ir.Value]:
        if not self._step_inputs:
            names = {"context_lengths": ["batch"], "kv_cache_start_index": ["start_rows"]}
            if self._tree:
                names["attention_mask"] = ["batch", "mask_rows", "mask_words"]
                names["attention_pos_ids"] = ["batch", "position_columns"]
            for name, shape in names.items():
                self._step_inputs[name] = self._new_input(name, ir.DataType.INT32, shape)
        lengths, start, *tree = self._step_inputs.values()
        return [lengths, table, start, *tree]

    def _new_input(self, name: str, dtype: ir.DataType, shape: list) -> ir.Value:
        if any(value.name == name for value in self._graph.inputs):
            raise ValueError(f"the model has an input {name!r} already: rename it")
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self._graph.inputs.append(value)
        return value

    def _table(
        self, node: ir.Node, cos: ir.Value | None, sin: ir.Value | None, heads: _Heads
    ) -> ir.Value:
        """The RoPE table [1, capacity, R]."""
        rotates = bool(attribute(node, "do_rotary", 0))
        if not rotates:
            cos = sin = None
        if (cos, sin) not in self._tables:
            if not rotates:
                table = np.zeros((1, self._capacity, 2), np.float32)
                table[..., 0] = 1
            else:
                halves = [constant(cos, "cos_cache"), constant(sin, "sin_cache")]
                shapes = [list(half.shape) for half in halves]
                if halves[0].ndim != 2 or shapes[0] != shapes[1]:
                    raise NotReplaced(
                        f"its cos_cache has shape {shapes[0]} and sin_cache {shapes[1]}: one shape "
                        "[P, R/2] is allowed"
                    )
                table = np.concatenate([half.astype(np.float32) for half in halves], axis=1)[None]
                _, positions, rotary_size = table.shape
                if positions < self._capacity:
                    raise NotReplaced(
                        f"its cos_cache has {positions} positions: at least the capacity, "
                        f"{self._capacity}, is allowed"
                    )
                if rotary_size > heads.head_size:
                    raise NotReplaced(f"its cos_cache turns {rotary_size} dimensions of a head")
                table = table[:, : self._capacity]
            name = f"edge_llm_plugins.rope_cos_sin_{len(self._tables)}"
            self._tables[cos, sin] = add_initializer(self._graph, name, table)
        return self._tables[cos, sin]


class _Heads:
    """How a node's heads are laid out: [B, S, H D] each, [B, H, S, D] each, or packed already."""

    def __init__(
        self,
        node: ir.Node,
        kind: tuple[str, str],
        q: ir.Value,
        k: ir.Value | None,
        v: ir.Value | None,
    ) -> None:
        self._parts = [value for value in (q, k, v) if value is not None]
        if q is None or len(self._parts) == 2:
            raise NotReplaced("it has some of Q, K and V: all, or one that is packed, are allowed")
        for value in self._parts:
            check_half(value, f"input {value.name!r}")
            if value.shape is None or len(value.shape) not in (3, 4):
                raise NotReplaced(f"its input {value.name!r} has an unknown shape")
        ranks = [len(value.shape) for value in self._parts]
        self._heads_first = ranks[0] == 4
        if len(set(ranks)) > 1 or (self._heads_first and len(ranks) == 1):
            raise NotReplaced(f"its Q, K and V have ranks {ranks}: one rank, 3 or 4, is allowed")
        if self._heads_first:
            self.num_q_heads, self.num_kv_heads = q.shape[1], k.shape[1]
            sizes = [value.shape[3] for value in self._parts]
        else:
            self.num_q_heads = attribute(node, "q_num_heads" if kind == ATTENTION else "num_heads")
            self.num_kv_heads = attribute(node, "kv_num_heads")
            counts = [self.num_q_heads, self.num_kv_heads, self.num_kv_heads]
            if not all(isinstance(count, int) and count > 0 for count in counts):
                raise NotReplaced(f"its numbers of heads are {counts[:2]}: 1 or more are allowed")
            if len(self._parts) == 1:
                counts = [sum(counts)]
            widths = [value.shape[2] for value in self._parts]
            sizes = [
                width / count if isinstance(width, int) else None
                for width, count in zip(widths, counts, strict=True)
            ]
        counts = (self.num_q_heads, self.num_kv_heads)
        if not all(isinstance(number, (int, float)) for number in (*counts, *sizes)):
            raise NotReplaced("its numbers or sizes of heads are not known")
        if len(set(sizes)) != 1 or sizes[0] != int(sizes[0]) or sizes[0] < 1:
            raise NotReplaced(f"its heads of Q, K and V have the sizes {sizes}: one is allowed")
        self.head_size = int(sizes[0])
        tokens = [value.shape[2 if self._heads_first else 1] for value in self._parts]
        if len(tokens) > 1 and (None in map(_extent, tokens) or len(set(tokens)) > 1):
            raise NotReplaced(f"its Q, K and V have {tokens} tokens: the same number is allowed")
        default = self.head_size**-0.5
        scale = attribute(node, "scale", default)
        if kind == GROUP_QUERY and scale == 0:
            scale = default
        if not isinstance(scale, float) or not math.isclose(scale, default, rel_tol=1e-6):
            raise NotReplaced(f"its scale is {scale}: {default:g} is allowed")

    def packed(self, add: Inserter) -> ir.Value:
        """[B, S, (Hq + 2 Hkv) D], or [B, S, Hq + 2 Hkv, D]."""
        if len(self._parts) == 1:
            return self._parts[0]
        parts = self._parts
        if self._heads_first:
            names = ("q", "k", "v")
            perm = {"perm": [0, 2, 1, 3]}
            parts = [
                add.node("Transpose", [part], perm, suffix=f"{name}_heads")[0]
                for name, part in zip(names, parts, strict=True)
            ]
        return add.one("Concat", parts, axis=2)

    def unpacked(self, add: Inserter, output: ir.Value) -> ir.Value:
        """The plugin's [B, S, Hq, D] as the node's output."""
        if self._heads_first:
            return add.one("Transpose", [output], perm=[0, 2, 1, 3])
        shape = np.array([0, 0, self.num_q_heads * self.head_size], np.int64)
        value = add.node("Constant", [], {"value": ir.tensor(shape)}, suffix="merged_shape")[0]
        return add.one("Reshape", [output, value])


def _extent(dimension: int | ir.SymbolicDim) -> int | str | None:
    """A number or a name; None where neither is known."""
    return dimension.value if isinstance(dimension, ir.SymbolicDim) else dimension


def _check_attributes(node: ir.Node, kind: tuple[str, str]) -> None:
    for name, found in node.attributes.items():
        if name not in _ATTRIBUTES[kind]:
            raise NotReplaced(f"it has the attribute {name}")
        allowed = _ATTRIBUTES[kind][name]
        if allowed is not None and found.value not in allowed:
            values = " or ".join(f"{value:g}" for value in allowed)
            raise NotReplaced(f"its {name} is {found.value}: {values} is allowed")
    if kind == ATTENTION and "is_causal" not in node.attributes:
        raise NotReplaced("its is_causal is 0: 1 is allowed")
