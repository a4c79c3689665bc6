"""The rewriter: what is replaced computes the same, what is left says why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_llm_plugins import reference
from edge_llm_plugins.export import rewriter, schemas
from edge_llm_plugins.export.evaluator import evaluator
from edge_llm_plugins.export.testdata.foreign_models import (
    GroupQueryAttention,
    attention_model,
    group_query_model,
    linear_model,
)
from edge_llm_plugins.models.steps import AttentionStep

RNG_SEED = 3
CAPACITY = 12
HEADS = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 32}


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def names(values) -> list[str]:
    return [value.name for value in values]


# Linear layers.


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("weights", ["int4", "int8", "uint4", "uint8"])
@pytest.mark.parametrize("form", ["matmul", "transposed", "gemm", "gemm_transposed"])
def test_int4_layers_compute_the_same(form, weights, rank):
    if rank == 3 and form.startswith("gemm"):
        rank = 2  # all that Gemm takes
    x = np.random.default_rng(RNG_SEED).standard_normal((2, 3, 192)[-rank:]).astype(np.float16)
    model = linear_model(form, weights, rank)
    expected = evaluator(linear_model(form, weights, rank, half=False)).run(
        None, {"x": x.astype(np.float32)}
    )[0]
    result = rewriter.rewrite(model)
    assert result.left == () and len(result.replaced) == 1
    rewritten = result.proto()
    assert "Int4GroupwiseGemmPlugin" in kinds(rewritten)
    assert not {"DequantizeLinear", "MatMul", "Gemm"} & set(kinds(rewritten))
    assert names(rewritten.graph.output) == ["y"]
    assert {t.data_type for t in rewritten.graph.initializer} <= {
        TensorProto.INT8,
        TensorProto.FLOAT16,
        TensorProto.INT64,
    }
    reference.assert_close(evaluator(rewritten).run(None, {"x": x})[0], expected)


def test_shared_weights_are_packed_once():
    model = linear_model("matmul", "int4", 3)
    model.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["z"], name="second"))
    shape = ["B", "S", 64]
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, shape))
    rewritten = rewriter.rewrite(model).proto()
    assert kinds(rewritten) == ["Int4GroupwiseGemmPlugin"] * 2
    assert len(rewritten.graph.initializer) == 2


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"block_size": 64}, "DequantizeLinear 'dequantize' has block_size 64: 128 is allowed"),
        ({"axis": 1}, "DequantizeLinear 'dequantize' has axis 1: 0, along K, is allowed"),
        ({"half": False}, "its input is FLOAT: FLOAT16 is needed; convert the model to FP16"),
        ({"codes": 8}, "1 of 12288 weights that are not -8 to 7"),
        ({"scale": 1 / 3}, r"1 of 128 scales that are no FP16 numbers, such as 0\.333333343"),
        ({"rank": 4}, "its input has rank 4: 2 or 3 is allowed"),
        ({"n": 6}, "'dequantize': codes has 6 rows: N must be a multiple of 4"),
        ({"constant": False}, "its weight 'codes' is not constant"),
        ({"form": "gemm", "rank": 2, "alpha": 0.5}, r"its alpha is 0\.5: 1\.0 is allowed"),
        ({"form": "gemm", "rank": 2, "trans_a": 1}, "its transA is 1: 0 is allowed"),
    ],
)
def test_layers_that_the_plugin_does_not_compute_are_left_alone(options, reason):
    options = {"form": "matmul", "weights": "int8", "rank": 3, **options}
    model = linear_model(**options)
    before = model.SerializeToString()
    result = rewriter.rewrite(model)
    assert result.replaced == ()
    (line,) = result.left
    assert "'product': " in line and "\n" not in line
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(line)
    assert kinds(result.proto()) == kinds(model)
    assert model.SerializeToString() == before


# Attention.


def run_attention(
    model: onnx.ModelProto, steps: list[AttentionStep], feeds: list[dict[str, np.ndarray]]
) -> list[np.ndarray]:
    """The output of each step; the cache goes from one to the next."""
    run = evaluator(model).run
    cache = np.zeros((2, 2, 2, CAPACITY, 32), np.float16)
    outputs = []
    for step, feed in zip(steps, feeds, strict=True):
        seq_len = feed["q"].shape[2 if feed["q"].ndim == 4 else 1]
        inputs = {**feed, **step.inputs(seq_len, tree_inputs=False), "kv_cache_0": cache}
        output, cache = run(None, inputs)
        outputs.append(output)
    return outputs


def random_qkv(rng, seq_len: int, layout: str) -> dict[str, np.ndarray]:
    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float16)

    if layout == "packed":
        return {"q": draw(2, seq_len, 8 * 32)}
    if layout == "heads_first":
        return {name: draw(2, h, seq_len, 32) for name, h in (("q", 4), ("k", 2), ("v", 2))}
    return {name: draw(2, seq_len, h * 32) for name, h in (("q", 4), ("k", 2), ("v", 2))}


@pytest.mark.parametrize("layout", ["tokens_first", "heads_first"])
def test_attention_of_opset_23_computes_the_same_step_by_step(layout):
    rng = np.random.default_rng(RNG_SEED)
    model = attention_model(layout)
    result = rewriter.rewrite(model, capacity=CAPACITY)
    assert result.left == () and len(result.replaced) == 1
    rewritten = result.proto()
    assert names(rewritten.graph.output) == ["y", "kv_cache_out_0"]
    assert not {"past_key", "past_value"} & set(names(rewritten.graph.input))
    feeds = [random_qkv(rng, seq_len, layout) for seq_len in (5, 3, 1)]
    steps = [AttentionStep.prefill([5, 5]), AttentionStep.chunk([5, 5], [3, 3])]
    steps.append(AttentionStep.decode([8, 8]))
    single = evaluator(attention_model(layout, half=False))
    past = [np.zeros((2, 2, 0, 32), np.float32)] * 2
    outputs = run_attention(rewritten, steps, feeds)
    for feed, actual in zip(feeds, outputs, strict=True):
        inputs = {name: value.astype(np.float32) for name, value in feed.items()}
        expected, *past = single.run(None, inputs | {"past_key": past[0], "past_value": past[1]})
        reference.assert_attention_close(actual, expected)


@pytest.mark.parametrize("rotary", [0, 16, 32])
@pytest.mark.parametrize("layout", ["tokens_first", "packed"])
def test_group_query_attention_computes_the_same_with_rows_of_their_own_length(layout, rotary):
    rng = np.random.default_rng(RNG_SEED)
    model = group_query_model(layout, rotary)
    result = rewriter.rewrite(model, capacity=CAPACITY)
    assert result.left == () and len(result.replaced) == 1
    rewritten = result.proto()
    expected_inputs = {"q", "kv_cache_0", "context_lengths", "kv_cache_start_index"}
    expected_inputs |= set() if layout == "packed" else {"k", "v"}
    assert set(names(rewritten.graph.input)) == expected_inputs
    feeds = [random_qkv(rng, seq_len, layout) for seq_len in (5, 1)]
    lengths = np.array([5, 3])
    steps = [AttentionStep.prefill(lengths), AttentionStep.decode(lengths)]
    outputs = run_attention(rewritten, steps, feeds)
    original = GroupQueryAttention(rotary, CAPACITY)
    for feed, actual, totals in zip(feeds, outputs, (lengths, lengths + 1), strict=True):
        expected = original.step(feed, totals)
        for b in range(2):
            valid = min(actual.shape[1], totals[b])
            reference.assert_attention_close(actual[b, :valid], expected[b, :valid])


def test_tree_attention_adds_its_inputs():
    model = group_query_model("packed", 32)
    rewritten = rewriter.rewrite(model, capacity=CAPACITY, tree_attention=True).proto()
    node = rewritten.graph.node[0]
    assert len(node.input) == 7 and list(node.input[5:]) == ["attention_mask", "attention_pos_ids"]
    fields = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    heads = {**HEADS, "enable_tree_attention": 1}
    assert fields == {**heads, "plugin_version": b"2"}


@pytest.mark.parametrize(
    "attributes, reason",
    [
        ({"is_causal": 0}, "its is_causal is 0: 1 is allowed"),
        ({"softcap": 30.0}, r"its softcap is 30\.0: 0 is allowed"),
        ({"scale": 0.5}, r"its scale is 0\.5: 0\.176777 is allowed"),
        ({"mask": True}, "it has the input attn_mask"),
        ({"half": False}, "its input 'q' is FLOAT: FLOAT16 is needed"),
        ({"used_present": True}, "its output 'present_key' is used inside of the model"),
        ({"shared_past": True}, "its 'past_key' is not an input of the model for it alone"),
        ({"scale": 0.0}, r"its scale is 0\.0: "),
        ({"unknown_tokens": True}, "tokens: the same number is allowed"),
        ({"v_size": 16}, r"have the sizes \[32\.0, 32\.0, 16\.0\]: one is allowed"),
    ],
)
def test_attention_that_the_plugin_does_not_compute_is_left_alone(attributes, reason):
    result = rewriter.rewrite(attention_model("tokens_first", **attributes), capacity=CAPACITY)
    assert result.replaced == ()
    (line,) = result.left
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(line)


@pytest.mark.parametrize(
    "attributes, reason",
    [
        ({"local_window_size": 4}, "its local_window_size is 4: -1 is allowed"),
        ({"rotary_interleaved": 1}, "its rotary_interleaved is 1: 0 is allowed"),
        ({"tables": False}, "its cos_cache is not constant"),
        ({"positions": 8}, "its cos_cache has 8 positions: at least the capacity, 12, is allowed"),
        ({"k_quant_type": "PER_TENSOR"}, "it has the attribute k_quant_type"),
    ],
)
def test_group_query_attention_is_left_alone_where_it_differs(attributes, reason):
    result = rewriter.rewrite(group_query_model("packed", 32, **attributes), capacity=CAPACITY)
    assert result.replaced == () and result.left[0].endswith(reason)


def test_attention_needs_a_capacity():
    result = rewriter.rewrite(attention_model("tokens_first"))
    assert result.left == ("Attention 'attention': no capacity of the KV caches is given",)


def test_saved_model_is_the_rewritten_one(tmp_path, monkeypatch):
    result = rewriter.rewrite(linear_model("matmul", "int4", 3))
    x = {"x": np.ones((1, 1, 192), np.float16)}
    expected = evaluator(result.proto()).run(None, x)[0]
    monkeypatch.setattr(rewriter, "INLINE_LIMIT", 100)
    result.save(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size >= 192 * 32
    again = onnx.load(tmp_path / "model.onnx")
    np.testing.assert_array_equal(evaluator(again).run(None, x)[0], expected)
    (name,) = [t.name for t in again.graph.initializer if t.data_type == TensorProto.INT8]
    assert numpy_helper.to_array(
        next(t for t in again.graph.initializer if t.name == name)
    ).shape == (32, 192)
    assert again.opset_import[-1].domain == schemas.DOMAIN


def test_constants_without_the_data_of_their_shape_are_refused():
    model = linear_model("matmul", "int4", 3)
    model.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(ValueError, match=r"'codes' of shape \[1099511627776, 64\] has the data of"):
        rewriter.rewrite(model)


def test_scales_of_another_shape_are_left_alone():
    model = linear_model("matmul", "int4", 3)
    scales = model.graph.initializer[1]
    scales.dims[:] = [1, 128]
    (line,) = rewriter.rewrite(model).left
    assert line.endswith("has scales of shape [1, 128]: [2, 64] is allowed")


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError, match="is missing: an ONNX model is needed"):
        rewriter.rewrite(path)
    path.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="the model is no valid ONNX: ") as error:
        rewriter.rewrite(path)
    assert "\n" not in str(error.value)
    model = linear_model("matmul", "int4", 3)
    model.opset_import[0].version = 12
    model.graph.node[0].op_type = model.graph.node[1].op_type = "Identity"
    del model.graph.node[0].attribute[:], model.graph.node[0].input[1:]
    del model.graph.node[1].input[1:]
    with pytest.raises(ValueError, match="the model has opset 12: 13 or later is allowed"):
        rewriter.rewrite(model)


def test_refusals_name_the_value():
    with pytest.raises(ValueError, match="plugin_version is '3'"):
        rewriter.rewrite(attention_model("tokens_first"), plugin_version="3")
    with pytest.raises(ValueError, match="capacity is 0"):
        rewriter.rewrite(attention_model("tokens_first"), capacity=0)
