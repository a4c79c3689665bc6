"""`edge-llm-plugins build` with TensorRT-RTX: real engines of tiny models, without a GPU."""

from __future__ import annotations

import json
import pathlib

import onnx
import pytest

from edge_llm_plugins.cli.main import main
from edge_llm_plugins.engines.build import build_engine
from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.engines.versions import EngineError
from edge_llm_plugins.export import builder
from edge_llm_plugins.export.metadata import Limits
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, quantized_folder

FAKE_DRIVER = pathlib.Path("plugins/testing/libfake_cuda_driver.so").resolve()
LIMITS = Limits(48, batch=2, prefill_tokens=32, tree_tokens=8)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    def run(name: str, **options) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(name)
        model = quantized_folder(CONFIGS[name], folder / "quantized")
        return builder.export_model(model, folder / "model.onnx", LIMITS, **options)

    return run


@pytest.fixture
def engine_path(tmp_path) -> pathlib.Path:
    (tmp_path / "engines").mkdir()
    return tmp_path / "engines" / "model.engine"


def files(engine_path: pathlib.Path) -> list[str]:
    return sorted(path.name for path in engine_path.parent.iterdir())


@pytest.mark.parametrize("name", CONFIGS)
def test_engine_of_every_architecture_has_all_plugins(export, engine_path, name):
    metadata = build_engine(export(name), engine_path)
    assert files(engine_path) == ["model.engine", "model.engine.json"]
    assert metadata.package == "tensorrt_rtx"
    assert metadata.tensorrt.startswith("1.7.1.")
    assert metadata.plugin_layers == {"AttentionPlugin": 2, "Int4GroupwiseGemmPlugin": 8}
    assert metadata.layers_found_in == "file"
    assert list(metadata.profiles) == ["prefill", "generation"]
    assert b"[profile 1]" in engine_path.read_bytes(), "one profile alone was built"


@pytest.mark.parametrize(
    "export_options, build_options",
    [
        ({"tensorrt_major": 8}, {}),
        ({}, {"weights": "streamed"}),
        ({}, {"sms": [86, 120], "optimization_level": 1}),
        ({}, {"external_tactics": False}),
    ],
    ids=["form_of_8", "streamed", "sms", "no_tactics"],
)
def test_engine_is_built_in_every_way(export, engine_path, export_options, build_options):
    build_engine(export("llama", **export_options), engine_path, **build_options)
    assert EngineMetadata.read(engine_path).weights == build_options.get("weights", "inside")


def test_aliased_caches_are_built_where_there_is_a_driver(export, engine_path, monkeypatch):
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", str(FAKE_DRIVER))
    assert build_engine(export("qwen3", alias_kv_cache=True), engine_path).alias_kv_cache


def test_end_of_tensorrts_process_becomes_one_line(export, engine_path, monkeypatch):
    # TensorRT-RTX attaches aliased plugins while it builds, and crashes when that is refused.
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "libnone.so")
    with pytest.raises(
        EngineError, match=r"ended its process with signal .*: AttentionPlugin .*no"
    ):
        build_engine(export("qwen3", alias_kv_cache=True), engine_path)
    assert files(engine_path) == []


def test_plugin_that_the_builder_drops_is_missed(export, engine_path):
    path = export("qwen2")
    model = onnx.load(path)
    (residual,) = (n for n in model.graph.node if n.name == "model.layers.1.self_attn.residual")
    residual.input[1] = residual.input[0]  # what o_proj computes is wanted no more
    onnx.save(model, path)
    with pytest.raises(
        EngineError, match=r"1 of the 10 .* as model\.layers\.1\.self_attn\.o_proj$"
    ):
        build_engine(path, engine_path)
    assert files(engine_path) == []


def test_field_that_the_plugin_refuses_is_told_in_its_words(export, engine_path):
    path = export("llama")
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.op_type == "Int4GroupwiseGemmPlugin")
    next(a for a in node.attribute if a.name == "group_size").i = 64
    onnx.save(model, path)
    with pytest.raises(EngineError, match=r"does not parse .* group_size = 64; 128 is allowed"):
        build_engine(path, engine_path)
    assert files(engine_path) == []


def test_command_builds_and_tells(export, engine_path, capsys):
    assert main(["build", str(export("llama")), str(engine_path), "--sms=89"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("built by tensorrt_rtx 1.7.1.")
    assert lines[1:] == [
        "profiles prefill, generation",
        "found in the file: 2 AttentionPlugin and 8 Int4GroupwiseGemmPlugin, "
        "which is all of the model",
        f"wrote {engine_path} and {engine_path}.json",
    ]
    assert json.loads(engine_path.with_name("model.engine.json").read_text())["format_version"] == 1


def test_command_refuses_in_one_line(export, engine_path, capsys):
    path = str(export("llama"))
    for words, message in (
        (["--sms=90"], "sms has 90: tensorrt_rtx 1.7.1.116 takes 75, 80, 86, 89, 120, 121"),
        (["--sms=orin"], "--sms has 'orin': numbers such as 89 are allowed"),
        (["--package=tensorrt"], "tensorrt is not installed: pip install tensorrt"),
    ):
        assert main(["build", path, str(engine_path), *words]) == 1
        assert capsys.readouterr().err == f"edge-llm-plugins: {message}\n"
    assert files(engine_path) == []
