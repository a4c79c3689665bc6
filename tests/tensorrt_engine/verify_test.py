"""What is expected of an engine: the emulator's results pass in every case, wrong ones do not."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_llm_plugins import emulator, ops
from tests.tensorrt_engine import verify
from tests.tensorrt_engine.cases import Case, Form, cases
from tests.tensorrt_engine.layer import Layer

LAYER = Layer.load(pathlib.Path("tests/tensorrt_engine/layer.npz"))
CASES = {case.name: case for form in Form for case in cases(LAYER, form)}


def linear(name: str, x: NDArray) -> NDArray[np.float16]:
    weights, x = LAYER.linears[name], np.ascontiguousarray(x, np.float16)
    return ops.int4_groupwise_gemm(x, weights.packed, weights.scales, device="emulator")


def rms_norm(x: NDArray[np.float16], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    x = x.astype(np.float32)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + LAYER.epsilon) * weight


def run(case: Case) -> dict[str, NDArray[np.float16]]:
    """Computes a case as an engine does: plugins, and FP32 arithmetic between FP16 tensors."""
    if case.form is Form.LINEAR:
        return {"y": linear("attention_output", case.inputs["x"])}
    inputs = dict(case.inputs)
    hidden = inputs.pop("hidden")
    qkv = linear("qkv", rms_norm(hidden, LAYER.attention_norm))
    cache = np.empty_like(inputs["kv_cache"])
    attention = ops.attention(qkv, **inputs, **LAYER.heads, out_kv_cache=cache, device="emulator")
    residual = hidden + linear("attention_output", attention.reshape(hidden.shape))
    normed = rms_norm(residual, LAYER.ffn_norm)
    gate, up = linear("gate", normed).astype(np.float32), linear("up", normed)
    hidden_out = residual + linear("down", gate / (1 + np.exp(-gate)) * up)
    return {"qkv": qkv, "attention": attention, "kv_cache_out": cache, "hidden_out": hidden_out}


@pytest.mark.parametrize("name", CASES)
def test_right_outputs_pass_and_wrong_ones_do_not(name):
    case = CASES[name]
    with emulator.checks("none"):
        outputs = run(case)
    verify.check_values(LAYER, case, outputs)
    for wrong in outputs:
        changed = {name: array.copy() for name, array in outputs.items()}
        changed[wrong].flat[0] += np.float16(0.5)
        with pytest.raises(AssertionError, match=wrong):
            verify.check_values(LAYER, case, changed)
        with pytest.raises(AssertionError, match=f"{wrong}: 1 of .* differ, first at"):
            verify.check_same_bits(outputs, changed)


def test_another_type_of_output_does_not_pass():
    case = CASES["linear"]
    y = LAYER.linears["attention_output"](case.inputs["x"])
    with pytest.raises(AssertionError, match="y has dtype float32"):
        verify.check_values(LAYER, case, {"y": y.astype(np.float32)})
