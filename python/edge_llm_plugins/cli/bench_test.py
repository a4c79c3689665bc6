"""edge-llm-plugins bench."""

from __future__ import annotations

import pathlib
import re

import pytest

from edge_llm_plugins.cli.main import main
from edge_llm_plugins.models.testdata import tiny_models


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    tiny_models.quantized_folder(tiny_models.CONFIGS["llama"], tmp_path / "model")
    return str(tmp_path / "model")


def test_prints_both_rates(capsys: pytest.CaptureFixture[str], folder: str) -> None:
    flags = ["--device=reference", "--prompt_tokens=5", "--tokens=3", "--repeats=1"]
    assert main(["bench", folder, *flags]) == 0
    where, prefill, decode = capsys.readouterr().out.splitlines()
    assert where == f"{folder} on NumPy"
    assert re.fullmatch(r"prefill +\d+\.\d tokens/s, 5 tokens", prefill)
    assert re.fullmatch(r"decode +\d+\.\d tokens/s, 3 tokens", decode)


def test_speculative_prints_tokens_per_step(
    capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    flags = ["--device=reference", "--prompt_tokens=5", "--tokens=9", "--repeats=1"]
    assert main(["bench", folder, *flags, "--speculative"]) == 0
    assert re.search(r"9 tokens, \d\.\d\d per step\n", capsys.readouterr().out)


def test_a_missing_folder_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert main(["bench", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
