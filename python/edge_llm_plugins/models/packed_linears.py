"""The INT4 layouts of AWQ and GPTQ checkpoints, and what of them has an exact form here.

A weight is (u - z) * scale, u and z in 0..15, with one zero point z and one float16 scale per group
along K. Both formats put eight of them into an int32, lowest bits first:

    AWQ    qweight int32 [K, N/8]   columns 8 i + (0, 2, 4, 6, 1, 3, 5, 7)
           qzeros  int32 [K/G, N/8] the same order
    GPTQ   qweight int32 [K/8, N]   rows 8 i + (0, 1, ... 7)
           qzeros  int32 [K/G, N/8] columns 8 i + (0, 1, ... 7); holds z in format "gptq_v2",
                                    and z - 1 in format "gptq"
           g_idx   int32 [K]        the group of each column of the weight
    both   scales  float16 [K/G, N]

Here a weight is a code -8..7 times the scale of its group of 128, so u - z must lie in -8..7, and G
must be a multiple of 128 (scales are repeated) or -1 (one group).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import quantization
from edge_llm_plugins.models import json_values

PARTS = ("qweight", "qzeros", "scales", "g_idx")

_INT32 = (("int32",), 2, "int32 of two dimensions, not empty,")
_PART_KINDS = {
    "qweight": _INT32,
    "qzeros": _INT32,
    "scales": (("float16", "float32"), 2, "F16, F32 or BF16 of two dimensions, not empty,"),
    "g_idx": (("int32", "int64"), 1, "int32 of one dimension, not empty,"),
}

_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PLAIN_ORDER = tuple(range(8))


@dataclasses.dataclass(frozen=True)
class QuantizedLinear:
    """codes: int8 [N, K] in -8..7; scales: float16 [ceil(K/128), N]."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float16]


@dataclasses.dataclass(frozen=True)
class Layout:
    """method is "awq" or "gptq"; zero_offset is what must be added to a stored zero point."""

    method: str
    group_size: int
    zero_offset: int


@dataclasses.dataclass(frozen=True)
class PackedLinear:
    """A layer as it is stored: (u - zeros[group]) * scales[group], group = group_of[k].

    u: int8 [N, K] in 0..15; zeros: int8 [groups, N]; scales: [groups, N]; group_of: int [K].
    """

    prefix: str
    u: NDArray[np.int8]
    zeros: NDArray[np.int8]
    scales: NDArray
    group_of: NDArray[np.integer]
    group_size: int

    def dequantize(self) -> NDArray[np.float32]:
        """The weight, float32 [N, K]."""
        return self._codes() * self.scales.astype(np.float32).T[:, self.group_of]

    def exact(self) -> QuantizedLinear:
        """The same weights with group 128 and zero point 8.

        Raises:
          ValueError: there is no such form; says how many weights or columns stand against it.
        """
        columns = self.u.shape[1]
        moved = np.count_nonzero(self.group_of != np.arange(columns) // self.group_size)
        if moved:
            raise ValueError(
                f"{self.prefix}.g_idx puts {moved} of {columns} columns into another group than "
                "their place (desc_act): only groups of neighbours have an exact form; quantize "
                "it again with method search"
            )
        groups = -(-columns // quantization.GROUP_SIZE)
        if self.group_size % quantization.GROUP_SIZE and self.group_size < columns:
            raise ValueError(
                f"{self.prefix} has group_size {self.group_size}: -1 or a multiple of "
                f"{quantization.GROUP_SIZE} has an exact form; quantize it again with method search"
            )
        codes = self._codes()
        outside = np.count_nonzero(
            (codes < quantization.CODE_MIN) | (codes > quantization.CODE_MAX)
        )
        if outside:
            raise ValueError(
                f"{self.prefix} has zero points other than 8: {outside} of {codes.size} weights "
                f"({outside / codes.size:.2%}) would clip; quantize it again with method search"
            )
        with np.errstate(over="ignore"):
            scales = self.scales.astype(np.float16)
        if (scales != self.scales).any():
            raise ValueError(
                f"{self.prefix}.scales has {np.count_nonzero(scales != self.scales)} values that "
                "float16 does not hold; quantize it again with method search"
            )
        place = np.arange(groups) * quantization.GROUP_SIZE // self.group_size
        scales = np.ascontiguousarray(scales[place])
        return QuantizedLinear(codes, quantization.check_scales(scales, *codes.shape))

    def _codes(self) -> NDArray[np.int8]:
        return self.u - self.zeros.T[:, self.group_of]


def layout(quantization_config: Mapping[str, Any]) -> Layout:
    """Reads config.json's quantization_config.

    Raises:
      ValueError: the method, its version or its bits are not served.
    """
    method = quantization_config.get("quant_method")
    if method not in ("awq", "gptq"):
        raise ValueError(f"quant_method is {method!r}: awq, gptq are served")
    bits = quantization_config.get("bits")
    if bits != 4:
        raise ValueError(f"bits of quantization_config is {bits!r}: 4 is served")
    group_size = json_values.integer(
        quantization_config, "group_size", quantization.GROUP_SIZE, smallest=-1
    )
    if group_size == 0:
        raise ValueError("group_size is 0: -1 (one group) or a number above 0 is allowed")
    if method == "awq":
        version = str(quantization_config.get("version", "gemm")).lower()
        if version != "gemm":
            raise ValueError(f"version of quantization_config is {version!r}: 'gemm' is served")
        return Layout(method, group_size, zero_offset=0)
    checkpoint_format = quantization_config.get("checkpoint_format", "gptq")
    if checkpoint_format not in ("gptq", "gptq_v2"):
        raise ValueError(f"checkpoint_format is {checkpoint_format!r}: gptq, gptq_v2 are served")
    return Layout(method, group_size, zero_offset=int(checkpoint_format == "gptq"))


def unpack(prefix: str, parts: Mapping[str, NDArray], layout: Layout) -> PackedLinear:
    """Unpacks a layer.

    Args:
      prefix: its name, for messages.
      parts: qweight, qzeros and scales, and for GPTQ g_idx (by default groups of neighbours).
      layout: of the checkpoint.

    Raises:
      ValueError: a part is missing, or parts do not fit each other.
    """
    for part in PARTS[:3]:
        if part not in parts:
            raise ValueError(f"{prefix}.{part} is missing")
    for part, array in parts.items():
        kinds, ndim, allowed = _PART_KINDS[part]
        if array.dtype.name not in kinds or array.ndim != ndim or not array.size:
            raise ValueError(
                f"{prefix}.{part} is {array.dtype} {list(array.shape)}: {allowed} is allowed"
            )
    if layout.method == "awq":
        u = _nibbles(parts["qweight"], _AWQ_ORDER).T
        zeros = _nibbles(parts["qzeros"], _AWQ_ORDER)
    else:
        u = _nibbles(parts["qweight"].T, _PLAIN_ORDER)
        zeros = _nibbles(parts["qzeros"], _PLAIN_ORDER) + np.int8(layout.zero_offset)
    rows, columns = u.shape
    group_size = columns if layout.group_size == -1 else layout.group_size
    scales = parts["scales"]
    expected = (-(-columns // group_size), rows)
    for part, array in (("qzeros", zeros), ("scales", scales)):
        if array.shape != expected:
            raise ValueError(
                f"{prefix}.{part} is for {list(array.shape)} groups and rows: {list(expected)} "
                f"belongs to N = {rows}, K = {columns}, group_size {group_size}"
            )
    group_of = parts.get("g_idx", np.arange(columns) // group_size)
    if group_of.shape != (columns,) or group_of.min() < 0 or group_of.max() >= len(scales):
        raise ValueError(f"{prefix}.g_idx: {columns} numbers in 0..{len(scales) - 1} are allowed")
    return PackedLinear(prefix, np.ascontiguousarray(u), zeros, scales, group_of, group_size)


def _nibbles(words: NDArray[np.int32], order: tuple[int, ...]) -> NDArray[np.int8]:
    """int32 [R, C] to int8 [R, 8 C]: bits 4i..4i+3 of word c go to column 8 c + order[i]."""
    rows, columns = words.shape
    nibbles = np.empty((rows, columns, 8), np.int8)
    for i, place in enumerate(order):
        nibbles[:, :, place] = (words >> np.int32(4 * i)) & 15
    return nibbles.reshape(rows, 8 * columns)
