"""Puts the plugins into a user's own ONNX model.

    rewritten = rewrite(onnx.load("model.onnx"), capacity=4096)
    rewritten.replaced     # what became a plugin node, one line each
    rewritten.left         # what did not, and why, one line each

- DequantizeLinear (INT4, UINT4, or INT8, UINT8 that hold 4 bits; blocks of 128 along K) followed by
  MatMul or Gemm becomes Int4GroupwiseGemmPlugin with packed weights (`rewrite_linear`).
- Attention (opset 23 on) and com.microsoft's GroupQueryAttention become AttentionPlugin, if a
  `capacity` is given: it changes the model's inputs and outputs (`rewrite_attention`).

What is replaced computes the same; sums are FP32, and a weight is not rounded to FP16 on its way.
Everything else stays as it is. Activations must be FP16, as the plugins take no others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import onnx_ir.passes.common

from edge_llm_plugins.export import schemas
from edge_llm_plugins.export.graph_edit import NotReplaced, check_data, describe
from edge_llm_plugins.export.rewrite_attention import AttentionRewriter
from edge_llm_plugins.export.rewrite_linear import LinearRewriter
from edge_llm_plugins.models.json_values import one_line

# Beyond this, weights go to a file beside the model: a protobuf file holds at most 2 GiB.
INLINE_LIMIT = 2**31 - 2**26

# Of the nodes that are put around the plugins: from here on axes are an input.
OLDEST_OPSET = 13


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """A rewritten model, and a line for each node that was, or could have been, replaced."""

    model: ir.Model
    replaced: tuple[str, ...]
    left: tuple[str, ...]

    def proto(self) -> onnx.ModelProto:
        """The model, checked by onnx.

        Raises:
          ValueError: a part of the model, which was replaced by nothing, cannot be written.
          onnx.checker.ValidationError: the rewritten model is no valid ONNX.
        """
        with _refusals():
            proto = ir.to_proto(self.model)
        onnx.checker.check_model(proto)
        return proto

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model; weights of more than 2 GB go to a file beside it, named PATH.data."""
        path = os.fspath(path)
        size = sum(value.const_value.nbytes for value in self.model.graph.initializers.values())
        external = os.path.basename(path) + ".data" if size > INLINE_LIMIT else None
        ir.save(self.model, path, external_data=external)
        onnx.checker.check_model(path)


def rewrite(
    model: onnx.ModelProto | str | os.PathLike[str],
    *,
    capacity: int | None = None,
    tree_attention: bool = False,
    plugin_version: str = "2",
) -> Rewritten:
    """Replaces what the plugins compute.

    Args:
      model: an ONNX model, or the path of one; not changed.
      capacity: slots of each KV cache. Without it attention is left as it is.
      tree_attention: gives the attention plugins the inputs of draft trees.
      plugin_version: "2" (IPluginV3), or "1" for TensorRT 8.6.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the capacity or the version, or the model is no valid ONNX or of an old opset.
    """
    if plugin_version not in ("1", "2"):
        raise ValueError(f'plugin_version is {plugin_version!r}: "1" or "2" is allowed')
    if capacity is not None and capacity < 1:
        raise ValueError(f"capacity is {capacity}: at least 1 is allowed")
    _check(model)
    schemas.register()
    with _refusals():
        copied = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else ir.load(model)
    graph = copied.graph
    opset = graph.opset_imports.get("", 0)
    if opset < OLDEST_OPSET:
        raise ValueError(
            f"the model has opset {opset}: {OLDEST_OPSET} or later is allowed; convert it"
        )
    for value in graph.initializers.values():
        check_data(value.const_value)
    ir.passes.common.ShapeInferencePass()(copied)
    used_inputs = {value for value in graph.inputs if value.uses()}
    rewriters = [
        LinearRewriter(graph, plugin_version),
        AttentionRewriter(graph, plugin_version, capacity, tree_attention),
    ]
    replaced, left = [], []
    for node in list(graph):
        for rewriter in rewriters:
            if not rewriter.is_candidate(node):
                continue
            try:
                replaced.append(f"{describe(node)}: {rewriter.replace(node)}")
            except NotReplaced as reason:
                left.append(f"{describe(node)}: {reason}")
    if replaced:
        graph.opset_imports[schemas.DOMAIN] = schemas.OPSET
        _remove_unused(copied, used_inputs)
    return Rewritten(copied, tuple(replaced), tuple(left))


def _check(model: onnx.ModelProto | str | os.PathLike[str]) -> None:
    if not isinstance(model, onnx.ModelProto) and not os.path.exists(model):
        raise FileNotFoundError(f"{os.fspath(model)} is missing: an ONNX model is needed")
    with _refusals():
        onnx.checker.check_model(model)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turns what reading and writing a defective model raises into the error that says so."""
    try:
        yield
    except (onnx.checker.ValidationError, ir.serde.SerdeError, UnicodeDecodeError) as error:
        while isinstance(error.__cause__, Exception):  # the part that is wrong, not the whole model
            error = error.__cause__
        raise ValueError(f"the model is no valid ONNX: {one_line(error)}") from None


def _remove_unused(model: ir.Model, used_inputs: set[ir.Value]) -> None:
    """Removes nodes, weights and inputs that only served what was replaced."""
    ir.passes.common.RemoveUnusedNodesPass()(model)
    graph = model.graph
    for value in list(_without_use(graph, used_inputs)):
        graph.inputs.remove(value)
    ir.passes.common.ShapeInferencePass()(model)


def _without_use(graph: ir.Graph, used_inputs: set[ir.Value]) -> Iterator[ir.Value]:
    for value in graph.inputs:
        if value in used_inputs and not value.uses() and value not in graph.outputs:
            yield value
