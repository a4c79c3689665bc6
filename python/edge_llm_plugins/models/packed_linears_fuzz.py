"""Fuzzes the layers of AWQ and GPTQ checkpoints: their configuration, and parts of any shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.models import packed_linears

CONFIGS = [
    {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
    {"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"},
]
DTYPES = [np.int32, np.float16, np.float32, np.int64, np.uint8, np.bool_, np.float64, np.complex64]


def drawn(choices: fuzzing.Choices, shape: tuple[int, ...], dtype: type, value: float) -> NDArray:
    """An array of the value, or seldom one of another shape, dtype or value."""
    odd = choices.below(64)
    if odd == 1:
        dtype = choices.of(DTYPES)
    if odd == 2:
        shape = tuple(choices.below(5) for _ in range(choices.below(4)))
    if odd == 3:
        value = choices.of([0, -1, 1, 7, 1e9, float("inf"), float("nan")])
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(dtype)


def fuzz(data: bytes) -> None:
    choices = fuzzing.Choices(data)
    config = choices.of(CONFIGS)
    with fuzzing.refusals():
        layout = packed_linears.layout(choices.changed(config) if choices.below(2) else config)
        n, k = 8 * (1 + choices.below(2)), 64 * (1 + choices.below(4))
        groups = -(-k // 128) if config["group_size"] == 128 else 1
        words = (k, n // 8) if config["quant_method"] == "awq" else (k // 8, n)
        parts = {
            "qweight": drawn(choices, words, np.int32, 0x78787878),
            "qzeros": drawn(choices, (groups, n // 8), np.int32, 0x77777777),
            "scales": drawn(choices, (groups, n), np.float16, 0.5),
        }
        if choices.below(2):
            parts["g_idx"] = np.arange(k, dtype=np.int32) // 128
            parts["g_idx"][choices.below(k)] = choices.of([0, 1, 2, -1, 9])
            parts["g_idx"] = parts["g_idx"].astype(choices.of([np.int32, *DTYPES]))
        if not choices.below(8):
            del parts[choices.of(list(parts))]
        linear = packed_linears.unpack("layer", parts, layout)
        weight = linear.dequantize()
        exact = linear.exact()
        scales = np.repeat(exact.scales.T.astype(np.float32), 128, axis=1)[:, : weight.shape[1]]
        np.testing.assert_array_equal(exact.codes * scales, weight)


if __name__ == "__main__":
    fuzzing.main(fuzz, [bytes([i]) * 64 for i in range(16)])
