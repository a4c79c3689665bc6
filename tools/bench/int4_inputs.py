"""Random INT4 weights and activations as PyTorch tensors, in the layout of every contender."""

from __future__ import annotations

import torch

from tools.bench.cases import GROUP_SIZE


class Int4Weights:
    """Random weights of one layer."""

    def __init__(self, n: int, k: int, device: str) -> None:
        # Any byte is two valid codes, so random bytes are random weights.
        self.packed = torch.randint(-128, 128, (n // 2, k), dtype=torch.int8, device=device)
        scales = torch.empty(-(-k // GROUP_SIZE), n, device=device).uniform_(0.01, 0.1)
        self.scales = scales.half()

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.scales.nbytes

    def codes(self) -> torch.Tensor:
        """The codes 0..15 as uint8 [N, K]: what edge_llm_plugins.quantization packs, plus 8."""
        half_n, k = self.packed.shape
        words = self.packed.view(torch.int16)
        words = words.reshape(half_n // 2, k // 64, 4, 2, 4, 2)  # n4 t r h b c
        nibbles = torch.stack([(words >> 4 * a) & 15 for a in range(4)], dim=4)  # n4 t r h a b c
        return nibbles.to(torch.uint8).transpose(1, 2).reshape(2 * half_n, k)

    def dequantized(self) -> torch.Tensor:
        """The weights in FP32 [N, K], exact."""
        spread = self.scales.float().repeat_interleave(GROUP_SIZE, dim=0)
        weights = self.codes().float()
        return weights.sub_(8).mul_(spread[: weights.shape[1]].T)


class TinygemmWeights:
    """The same weights as torch.ops.aten._weight_int4pack_mm takes them."""

    _INNER_K_TILES = 8

    def __init__(self, weights: Int4Weights) -> None:
        codes = weights.codes()
        pairs = (codes[:, ::2] << 4) | codes[:, 1::2]
        self.packed = torch.ops.aten._convert_weight_to_int4pack(pairs, self._INNER_K_TILES)
        scales = weights.scales.bfloat16()
        self.scales_and_zeros = torch.stack([scales, torch.zeros_like(scales)], dim=2).contiguous()

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._weight_int4pack_mm(x, self.packed, GROUP_SIZE, self.scales_and_zeros)


def relative_rms(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """As edge_llm_plugins.reference.relative_rms; NaN where `actual` has one."""
    difference = (actual.double() - expected.double()).norm()
    return (difference / expected.double().norm()).item()
