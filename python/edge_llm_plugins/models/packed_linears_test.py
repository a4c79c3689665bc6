"""Layers of AWQ and GPTQ checkpoints, packed literally and imported."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from edge_llm_plugins.models import packed_linears

N, K = 16, 384
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "GEMM", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}


def pack_awq(u: np.ndarray) -> np.ndarray:
    """[R, C] to int32 [R, C/8]: the nibbles of a word are columns 0 2 4 6 1 3 5 7 of its eight."""
    words = np.zeros((u.shape[0], u.shape[1] // 8), np.uint32)
    for row in range(u.shape[0]):
        for column in range(u.shape[1]):
            nibble = (0, 4, 1, 5, 2, 6, 3, 7)[column % 8]
            words[row, column // 8] |= np.uint32(int(u[row, column]) << (4 * nibble))
    return words.view(np.int32)


def pack_gptq_rows(u: np.ndarray) -> np.ndarray:
    """[R, C] to int32 [R/8, C]: the nibbles of a word are eight rows in their order."""
    words = np.zeros((u.shape[0] // 8, u.shape[1]), np.uint32)
    for row in range(u.shape[0]):
        for column in range(u.shape[1]):
            words[row // 8, column] |= np.uint32(int(u[row, column]) << (4 * (row % 8)))
    return words.view(np.int32)


class Layer:
    """A layer's u [N, K], zero points and scales [groups, N], and its stored parts."""

    def __init__(self, config: dict[str, Any], zeros: int | np.ndarray = 8, low: int = 0) -> None:
        rng = np.random.default_rng(0)
        self.config = config
        self.size = K if config["group_size"] == -1 else config["group_size"]
        groups = -(-K // self.size)
        self.u = rng.integers(low, 16, (N, K))
        self.zeros = np.broadcast_to(zeros, (groups, N))
        self.scales = rng.uniform(0.01, 0.1, (groups, N)).astype(np.float16)
        self.parts = {"scales": self.scales}
        if config["quant_method"] == "awq":
            self.parts |= {"qweight": pack_awq(self.u.T), "qzeros": pack_awq(self.zeros)}
        else:
            stored = self.zeros - (config.get("checkpoint_format", "gptq") == "gptq")
            self.parts["qweight"] = pack_gptq_rows(self.u.T)
            self.parts["qzeros"] = pack_gptq_rows(stored.T).T
            self.parts["g_idx"] = np.arange(K, dtype=np.int32) // self.size

    def unpack(self) -> packed_linears.PackedLinear:
        return packed_linears.unpack("a.b", self.parts, packed_linears.layout(self.config))

    def values(self, group_of: np.ndarray | None = None) -> np.ndarray:
        if group_of is None:
            group_of = np.arange(K) // self.size
        return (self.u - self.zeros.T[:, group_of]) * self.scales.T[:, group_of].astype(np.float32)


@pytest.mark.parametrize(
    "config",
    [AWQ, GPTQ, GPTQ | {"checkpoint_format": "gptq_v2"}],
    ids=["awq", "gptq", "gptq_v2"],
)
def test_zero_point_8_and_group_128_are_carried_over(config: dict[str, Any]) -> None:
    layer = Layer(config)
    exact = layer.unpack().exact()
    assert exact.codes.dtype == np.int8
    np.testing.assert_array_equal(exact.codes, layer.u - 8)
    np.testing.assert_array_equal(exact.scales, layer.scales)
    np.testing.assert_array_equal(layer.unpack().dequantize(), layer.values())


@pytest.mark.parametrize("config", [AWQ, GPTQ], ids=["awq", "gptq"])
def test_zero_points_that_clip_are_counted_in_the_refusal(config: dict[str, Any]) -> None:
    zeros = np.full((3, N), 8)
    zeros[1, 3] = 5
    layer = Layer(config, zeros)
    clipped = np.count_nonzero(layer.u[3, 128:256] > 12)
    assert clipped
    message = (
        f"a.b has zero points other than 8: {clipped} of {N * K} weights ({clipped / N / K:.2%})"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.unpack().exact()
    np.testing.assert_array_equal(layer.unpack().dequantize(), layer.values())


def test_zero_points_that_clip_nothing_are_exact() -> None:
    zeros = np.random.default_rng(1).integers(8, 13, (3, N))
    layer = Layer(AWQ, zeros, low=5)
    exact = layer.unpack().exact()
    np.testing.assert_array_equal(exact.codes, layer.u - np.repeat(zeros.T, 128, axis=1))


@pytest.mark.parametrize(("group_size", "repeats"), [(-1, [3]), (256, [2, 1]), (384, [3])])
def test_larger_groups_repeat_their_scales(group_size: int, repeats: list[int]) -> None:
    layer = Layer(GPTQ | {"group_size": group_size})
    exact = layer.unpack().exact()
    np.testing.assert_array_equal(exact.scales, np.repeat(layer.scales, repeats, axis=0))
    np.testing.assert_array_equal(exact.codes, layer.u - 8)


@pytest.mark.parametrize("group_size", [32, 64, 192])
def test_groups_that_cut_ours_are_refused(group_size: int) -> None:
    layer = Layer(AWQ | {"group_size": group_size})
    message = f"a.b has group_size {group_size}: -1 or a multiple of 128 has an exact form"
    with pytest.raises(ValueError, match=message):
        layer.unpack().exact()
    np.testing.assert_array_equal(layer.unpack().dequantize(), layer.values())


def test_permuted_groups_are_counted_in_the_refusal() -> None:
    layer = Layer(GPTQ)
    layer.parts["g_idx"] = layer.parts["g_idx"].copy()
    layer.parts["g_idx"][[5, 300]] = [2, 0]
    with pytest.raises(ValueError, match=r"a\.b\.g_idx puts 2 of 384 columns into another group"):
        layer.unpack().exact()
    np.testing.assert_array_equal(layer.unpack().dequantize(), layer.values(layer.parts["g_idx"]))


def test_scales_that_float16_does_not_hold_are_refused() -> None:
    layer = Layer(AWQ)
    layer.parts["scales"] = layer.scales.astype(np.float32)
    np.testing.assert_array_equal(layer.unpack().exact().scales, layer.scales)
    layer.parts["scales"][1, 2] *= 1 + 2**-14
    with pytest.raises(ValueError, match=r"a\.b\.scales has 1 values that float16 does not hold"):
        layer.unpack().exact()
    layer.parts["scales"] = np.full((3, N), 9000, np.float16)
    with pytest.raises(ValueError, match="finite scales of at most 8188"):
        layer.unpack().exact()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qweight": None}, "a.b.qweight is missing"),
        ({"qzeros": np.zeros((2, 2), np.int32)}, "a.b.qzeros is for [2, 16] groups and rows"),
        ({"scales": np.zeros((3, 8), np.float16)}, "a.b.scales is for [3, 8] groups and rows"),
        ({"g_idx": np.full(K, 3, np.int32)}, "a.b.g_idx: 384 numbers in 0..2 are allowed"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    layer = Layer(GPTQ)
    layer.parts |= change
    layer.parts = {name: part for name, part in layer.parts.items() if part is not None}
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.unpack()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "fp8"}, "quant_method is 'fp8': awq, gptq are served"),
        (AWQ | {"bits": 8}, "bits of quantization_config is 8: 4 is served"),
        (AWQ | {"version": "gemv"}, "version of quantization_config is 'gemv': 'gemm' is served"),
        (GPTQ | {"checkpoint_format": "marlin"}, "checkpoint_format is 'marlin': gptq, gptq_v2"),
    ],
)
def test_other_layouts_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        packed_linears.layout(config)
