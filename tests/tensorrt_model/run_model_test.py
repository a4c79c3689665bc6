"""run_model without a GPU: right engines pass, and wrong ones do not."""

from __future__ import annotations

import pytest

from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, quantized_folder
from edge_llm_plugins.runtime.testdata.executing_tensorrt import install_engine
from tests.tensorrt_model import run_model

LIMITS = Limits(capacity=64, batch=2, prefill_tokens=16, tree_tokens=8)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    def program(version: str, inside: str = "qwen3", **fake: object) -> tuple[int, list[str]]:
        """Runs it where engines of TensorRT compute `inside` in place of qwen3."""
        models = {
            name: quantized_folder(CONFIGS[name], tmp_path / name) for name in {"qwen3", inside}
        }
        limits = iter(run_model.FORMS.values())

        def build_engine(onnx_path, engine_path, *, external_tactics):
            assert external_tactics == (not version.startswith("8."))
            folder = engine_path.parent
            install_engine(monkeypatch, folder, models[inside], next(limits), version, **fake)
            return EngineMetadata.read(engine_path)

        install_engine(monkeypatch, tmp_path, models["qwen3"], LIMITS, version)
        monkeypatch.setattr(run_model, "build_engine", build_engine)
        words = [f"--model={tmp_path / 'qwen3'}", f"--output={tmp_path / 'output'}"]
        return run_model.main(words), capsys.readouterr().out.splitlines()

    return program


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0"])
def test_right_engines_pass(run, version):
    code, lines = run(version)
    assert (code, lines[-1]) == (0, "9 passed, 0 failed"), lines
    assert lines[0].startswith(f"tensorrt {version}, Python ")
    text = [line for line in lines if " text: " in line]
    assert all("the same tokens; 32 tokens in " in line for line in text)


def test_engine_of_another_model_fails(run):
    code, lines = run("10.3.0", inside="llama")
    assert (code, lines[-1]) == (1, "4 passed, 5 failed"), lines


def test_engine_that_is_not_loaded_is_not_run(run):
    code, lines = run("10.3.0", refuses="deserialize_cuda_engine")
    assert (code, lines[-1]) == (1, "2 passed, 2 failed"), lines
