"""Runs ONNX models that contain the plugins in NumPy: onnx's evaluator, and reference.py."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edge_llm_plugins import reference
from edge_llm_plugins.export import schemas


class AttentionPlugin(OpRun):
    op_domain = schemas.DOMAIN

    def _run(self, *inputs: NDArray, **attributes) -> tuple[NDArray, NDArray]:
        qkv, cache, lengths, rope, start, *tree = inputs
        mask, positions = tree or (None, None)
        output, cache = reference.attention(
            qkv,
            cache,
            lengths,
            rope,
            start,
            **{name: attributes[name] for name in ("num_q_heads", "num_kv_heads", "head_size")},
            attention_mask=mask,
            attention_pos_ids=positions,
        )
        return output.astype(np.float16), cache


class Int4GroupwiseGemmPlugin(OpRun):
    op_domain = schemas.DOMAIN

    def _run(self, x: NDArray, packed: NDArray, scales: NDArray, **_) -> tuple[NDArray]:
        return (reference.int4_groupwise_gemm(x, packed, scales).astype(np.float16),)


def evaluator(model: onnx.ModelProto | str) -> ReferenceEvaluator:
    """An evaluator that knows the plugins: `evaluator(model).run(None, {name: array})`.

    Args:
      model: an ONNX model, or the path of one.
    """
    schemas.register()
    return ReferenceEvaluator(model, new_ops=[AttentionPlugin, Int4GroupwiseGemmPlugin])
