"""DequantizeLinear followed by MatMul or Gemm as Int4GroupwiseGemmPlugin."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edge_llm_plugins import quantization
from edge_llm_plugins.export import schemas
from edge_llm_plugins.export.graph_edit import (
    Inserter,
    NotReplaced,
    add_initializer,
    attribute,
    check_half,
    constant,
    describe,
    input_at,
)


class LinearRewriter:
    """Replaces linear layers; weights that several layers share are packed once."""

    def __init__(self, graph: ir.Graph, plugin_version: str) -> None:
        self._graph, self._version = graph, plugin_version
        self._packed: dict[tuple[ir.Node, bool], tuple[ir.Value, ir.Value]] = {}

    def is_candidate(self, node: ir.Node) -> bool:
        """Whether it is a product whose second factor is dequantized."""
        is_product = node.domain == "" and node.op_type in ("MatMul", "Gemm")
        return is_product and _dequantize(node) is not None

    def replace(self, node: ir.Node) -> str:
        """Replaces the node, and says by what.

        Raises:
          NotReplaced: the plugin does not compute the same.
        """
        x, bias = node.inputs[0], None
        check_half(x, "input")
        rank = None if x.shape is None else len(x.shape)
        if rank not in (2, 3):
            raise NotReplaced(f"its input has rank {rank}: 2 or 3 is allowed")
        if node.op_type == "Gemm":
            bias = input_at(node, 2)
            for name, allowed in (("transA", 0), ("alpha", 1.0), ("beta", 1.0)):
                value = attribute(node, name, allowed)
                if value != allowed and not (name == "beta" and bias is None):
                    raise NotReplaced(f"its {name} is {value}: {allowed} is allowed")
        packed, scales = self._weights(*_dequantize(node))
        n, k = 2 * packed.shape[0], packed.shape[1]
        add = Inserter(self._graph, node)
        axes = self._axes_zero() if rank == 2 else None
        y = x if axes is None else add.one("Unsqueeze", [x, axes])
        fields = {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE}
        inputs = [y, packed, scales]
        y = add.one(schemas.INT4_GEMM, inputs, **fields, plugin_version=self._version)
        y = y if axes is None else add.one("Squeeze", [y, axes])
        y = y if bias is None else add.one("Add", [y, bias])
        add.replace(node.outputs[0], y)
        add.remove_old()
        return f"{schemas.INT4_GEMM} with N = {n}, K = {k}"

    def _axes_zero(self) -> ir.Value:
        name = "edge_llm_plugins.axis_0"
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        return add_initializer(self._graph, name, np.zeros(1, np.int64))

    def _weights(self, dequantize: ir.Node, rows_are_n: bool) -> tuple[ir.Value, ir.Value]:
        key = (dequantize, rows_are_n)
        if key not in self._packed:
            codes, scales = _codes_and_scales(dequantize, rows_are_n)
            try:
                packed = quantization.pack(codes)
                scales = quantization.check_scales(scales, *codes.shape)
            except ValueError as error:
                raise NotReplaced(f"{describe(dequantize)}: {error}") from None
            name = dequantize.outputs[0].name + (".rows_n" if rows_are_n else "")
            self._packed[key] = (
                add_initializer(self._graph, f"{name}.packed", packed),
                add_initializer(self._graph, f"{name}.scales", scales),
            )
        return self._packed[key]


def _dequantize(node: ir.Node) -> tuple[ir.Node, bool] | None:
    """The DequantizeLinear of a product's weights, and whether its rows are those of N."""
    rows_are_n = node.op_type == "Gemm" and attribute(node, "transB", 0) == 1
    producer = node.inputs[1].producer()
    if producer is not None and (producer.domain, producer.op_type) == ("", "Transpose"):
        if list(attribute(producer, "perm", [1, 0])) != [1, 0]:
            return None
        rows_are_n, producer = not rows_are_n, producer.inputs[0].producer()
    if producer is None or (producer.domain, producer.op_type) != ("", "DequantizeLinear"):
        return None
    return producer, rows_are_n


def _codes_and_scales(
    dequantize: ir.Node, rows_are_n: bool
) -> tuple[NDArray[np.int16], NDArray[np.float16]]:
    """Codes [N, K] and scales [ceil(K/128), N].

    Raises:
      NotReplaced: the weights are no INT4 codes with a scale per 128 of them along K.
    """
    who, size = describe(dequantize), quantization.GROUP_SIZE
    codes = constant(dequantize.inputs[0], f"weight {dequantize.inputs[0].name!r}")
    if codes.ndim != 2:
        raise NotReplaced(f"{who} has weights of rank {codes.ndim}: 2 is allowed")
    scales = constant(dequantize.inputs[1], f"scale {dequantize.inputs[1].name!r}")
    k_axis, axis = int(rows_are_n), attribute(dequantize, "axis", 1)
    block = attribute(dequantize, "block_size", 0)
    if block != size:
        raise NotReplaced(f"{who} has block_size {block}: {size} is allowed")
    if axis not in (k_axis, k_axis - 2):
        raise NotReplaced(f"{who} has axis {axis}: {k_axis}, along K, is allowed")
    blocks = tuple(-(-n // size) if i == k_axis else n for i, n in enumerate(codes.shape))
    _check_blocks(who, "scales", scales, blocks)
    if scales.dtype.name not in ("float16", "float32", "bfloat16"):
        raise NotReplaced(
            f"{who} has scales of {scales.dtype}: FLOAT, FLOAT16, BFLOAT16 are allowed"
        )
    scales = scales.astype(np.float32)
    zero_points = input_at(dequantize, 2)
    codes = codes.astype(np.int16)
    if zero_points is not None:
        zeros = constant(zero_points, f"zero point {zero_points.name!r}")
        _check_blocks(who, "zero points", zeros, blocks)
        zeros = zeros.astype(np.int16)
        spread = np.repeat(zeros, size, axis=k_axis)
        codes = codes - (spread[:, : codes.shape[1]] if k_axis else spread[: codes.shape[0]])
    if not rows_are_n:
        codes, scales = codes.T, scales.T
    outside = (codes < quantization.CODE_MIN) | (codes > quantization.CODE_MAX)
    if outside.any():
        raise NotReplaced(
            f"{who} has {outside.sum()} of {outside.size} weights that are not -8 to 7 once their "
            "zero point is taken off"
        )
    halves = scales.astype(np.float16)
    if not np.array_equal(halves, scales):
        inexact = scales[halves != scales]
        raise NotReplaced(
            f"{who} has {inexact.size} of {scales.size} scales that are no FP16 numbers, such as "
            f"{float(inexact.flat[0]):.9g}"
        )
    return codes, halves.T


def _check_blocks(who: str, what: str, array: NDArray, blocks: tuple[int, ...]) -> None:
    if array.shape != blocks:
        raise NotReplaced(
            f"{who} has {what} of shape {list(array.shape)}: {list(blocks)} is allowed"
        )
