"""Compares what an engine computed with NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import reference
from tests.tensorrt_engine.cases import Case, Form
from tests.tensorrt_engine.layer import Layer

# Each of the layer's five INT4 multiplications may be off by reference.INT4_RELATIVE_RMS.
LAYER_RELATIVE_RMS = 1e-3

# No error of an element may be larger than this many times what the RMS of all errors may be.
OUTLIER = 10


def check_values(layer: Layer, case: Case, outputs: Mapping[str, NDArray]) -> str:
    """Checks every output against NumPy; returns the errors, as text.

    Each plugin is held to its own tolerance: attention is compared for the qkv that the engine
    computed, and the rest of the layer for the engine's attention.

    Raises:
      AssertionError: an output is wrong; says which, where and by how much.
    """
    if case.form is Form.LINEAR:
        expected = layer.linears["attention_output"](case.inputs["x"])
        return _check_rms("y", outputs["y"], expected, reference.INT4_RELATIVE_RMS)
    inputs = dict(case.inputs)
    hidden = inputs.pop("hidden")
    qkv, attention, cache, hidden_out = (
        outputs[name] for name in ("qkv", "attention", "kv_cache_out", "hidden_out")
    )
    errors = [
        _check_rms(
            "qkv", qkv, layer.linears["qkv"](layer.normed(hidden)), reference.INT4_RELATIVE_RMS
        )
    ]
    expected, expected_cache = reference.attention(qkv=qkv, **inputs, **layer.heads)
    reference.assert_attention_close(attention, expected, hint="attention")
    reference.assert_cache_close(cache, expected_cache, layer.head_size, hint="kv_cache_out")
    errors.append(f"attention {np.abs(attention - expected).max():.1e}")
    expected = layer.hidden_out(hidden, attention)
    errors.append(_check_rms("hidden_out", hidden_out, expected, LAYER_RELATIVE_RMS))
    return ", ".join(errors)


def check_same_bits(outputs: Mapping[str, NDArray], others: Mapping[str, NDArray]) -> str:
    """Raises AssertionError unless two runs gave the same bits."""
    assert outputs.keys() == others.keys(), f"outputs {list(outputs)} and {list(others)}"
    for name, array in outputs.items():
        other = others[name]
        assert array.shape == other.shape, f"{name}: shapes {array.shape} and {other.shape}"
        different = array.view(np.uint16) != other.view(np.uint16)
        if different.any():
            index = tuple(int(i) for i in np.argwhere(different)[0])
            raise AssertionError(
                f"{name}: {int(different.sum())} of {different.size} elements differ, first at "
                f"{list(index)}: {array[index]:.6g} and {other[index]:.6g}"
            )
    return "same bits"


def _check_rms(name: str, actual: NDArray, expected: NDArray[np.float16], tolerance: float) -> str:
    """A relative RMS error hides a single wrong element among many: none may stand out either."""
    assert actual.dtype == np.float16, f"{name} has dtype {actual.dtype}"
    reference.assert_close(actual, expected, tolerance, hint=name)
    exact = expected.astype(np.float64)
    distance = np.abs(actual - exact)
    allowed = tolerance * (OUTLIER * np.sqrt(np.mean(exact * exact)) + 2 * np.abs(exact))
    if (distance > allowed).any():
        index = np.unravel_index((distance - allowed).argmax(), exact.shape)
        where = [int(i) for i in index]
        raise AssertionError(f"{name}{where} is {actual[index]:.6g}, expected {exact[index]:.6g}")
    return f"{name} {reference.relative_rms(actual, expected):.1e}"
