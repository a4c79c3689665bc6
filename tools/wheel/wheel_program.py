"""What a wheel must do wherever it is unpacked, as a program for an interpreter of its own."""

from __future__ import annotations

# Raises where a version of the plugin computes something else than NumPy, on the emulator.
COMPUTE = """
import numpy as np
from edge_llm_plugins import ops, quantization, reference
rng = np.random.default_rng(0)
packed, scales = quantization.quantize_groupwise(rng.standard_normal((64, 320)))
x = rng.standard_normal((1, 3, 320)).astype(np.float16)
expected = reference.int4_groupwise_gemm(x, packed, scales)
for version in "1", "2":
    y = ops.int4_groupwise_gemm(x, packed, scales, device="emulator", plugin_version=version)
    reference.assert_close(y, expected)
"""
