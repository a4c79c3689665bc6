"""ONNX models that edge_llm_plugins.export makes, for TensorRT-RTX."""

from __future__ import annotations

import pathlib
import tempfile

import onnx

from edge_llm_plugins.export import builder, rewriter
from edge_llm_plugins.export.metadata import Limits, read_metadata
from edge_llm_plugins.export.testdata.foreign_models import group_query_model, linear_model
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, quantized_folder
from tests.tensorrt.rtx.onnx_models import Model

CAPACITY = 48


def exported_model(name: str, tree_tokens: int, alias: bool = False) -> Model:
    """A tiny model of builder.py, with the profiles of its metadata."""
    limits = Limits(CAPACITY, batch=2, prefill_tokens=32, tree_tokens=tree_tokens)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        model = quantized_folder(CONFIGS[name], path / "quantized")
        builder.export_model(model, path / "model.onnx", limits, alias_kv_cache=alias)
        proto = onnx.load(path / "model.onnx")
    return Model(proto.SerializeToString(), list(read_metadata(proto).profiles.values()))


def rewritten_linear_model() -> Model:
    """DequantizeLinear and Gemm of another exporter, rewritten."""
    proto = rewriter.rewrite(linear_model("gemm_transposed", "int4", 2)).proto()
    return Model(proto.SerializeToString(), [{"x": ((1, 192), (8, 192), (128, 192))}])


def rewritten_attention_model() -> Model:
    """GroupQueryAttention of another exporter, rewritten, with prefill and decode."""
    proto = rewriter.rewrite(group_query_model("tokens_first", 32), capacity=32).proto()
    profiles = []
    for tokens, starts in (((1, 8, 32), (0, 0, 0)), ((1, 1, 8), (1, 2, 2))):
        steps = list(zip((1, 2, 2), tokens, starts, strict=True))
        profile = {
            name: tuple((b, s, width) for b, s, _ in steps)
            for name, width in (("q", 128), ("k", 64), ("v", 64))
        }
        profile["kv_cache_0"] = tuple((b, 2, 2, 32, 32) for b, _, _ in steps)
        profile["context_lengths"] = tuple((b,) for b, _, _ in steps)
        profile["kv_cache_start_index"] = tuple((rows,) for _, _, rows in steps)
        profiles.append(profile)
    return Model(proto.SerializeToString(), profiles)
