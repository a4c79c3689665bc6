"""Building engines: with versions of TensorRT that a fake stands for, and what is refused."""

from __future__ import annotations

import json
import pathlib
import sys

import onnx
import pytest

from edge_llm_plugins.engines import build as build_module
from edge_llm_plugins.engines import construct
from edge_llm_plugins.engines.build import build_engine
from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.engines.testdata.fake_tensorrt import fake_tensorrt
from edge_llm_plugins.engines.versions import EngineError
from edge_llm_plugins.export import builder, initializers
from edge_llm_plugins.export.metadata import Limits
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, quantized_folder

LIMITS = Limits(48, batch=2, prefill_tokens=32, tree_tokens=8)
LOST = "model.layers.1.self_attn.qkv_proj"  # its bias has a name that begins so


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Of exported models: for TensorRT 8 and 10, and with aliased caches."""
    path = tmp_path_factory.mktemp("exported")
    model = quantized_folder(CONFIGS["qwen2"], path / "quantized")
    builder.export_model(model, path / "10.onnx", LIMITS)
    builder.export_model(model, path / "8.onnx", LIMITS, tensorrt_major=8)
    builder.export_model(model, path / "alias.onnx", LIMITS, alias_kv_cache=True)
    return path


@pytest.fixture
def construct_engine(folder, tmp_path, monkeypatch):
    def run(name: str, version: str, fake: dict | None = None, **options) -> tuple[dict, dict]:
        """Builds an engine in this process: what the fake was asked for, and the metadata."""
        monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(version, **(fake or {})))
        request = construct.Request(str(folder / name), str(tmp_path), "tensorrt", **options)
        metadata = construct.build(request)
        return json.loads((tmp_path / construct.ENGINE).read_text()), metadata

    return run


def test_tensorrt_8_computes_in_the_types_of_the_model(construct_engine):
    engine, metadata = construct_engine("8.onnx", "8.6.0")
    assert (metadata.package, metadata.tensorrt) == ("tensorrt", "8.6.0")
    assert engine["network_flags"] == 1  # EXPLICIT_BATCH
    assert engine["flags"] == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]
    assert engine["level"] == 0
    caches = {f"kv_cache_out_{layer}": "HALF" for layer in range(2)}
    assert engine["outputs"] == {"logits": "FLOAT", **caches}
    precisions = engine["precisions"]
    assert precisions["model.norm.squares"] == "FLOAT"
    assert precisions["lm_head"] == precisions["embedding"] == "HALF"
    assert engine["output_types"]["model.layers.0.mlp.gate.split"] == {"0": "FLOAT", "1": "FLOAT"}
    # Plugins, casts, and what computes shapes keep what the parser gave them.
    left_alone = ["model.layers.0.mlp.down_proj", "model.norm.float", "logits", "shape"]
    assert not precisions.keys() & {*left_alone, "model.layers.0.self_attn.qkv_proj.int8"}


@pytest.mark.parametrize("version", ["10.0.1", "10.3.0", "11.4.0"])
def test_strongly_typed_networks_are_left_alone(construct_engine, version):
    engine, _ = construct_engine("10.onnx", version)
    assert engine["network_flags"] == 1 << 1  # STRONGLY_TYPED
    assert (engine["flags"], engine["preview"], engine["level"]) == ([], {}, None)
    assert not engine["precisions"] and not engine["output_types"]
    assert set(engine["outputs"].values()) == {None}


def test_profiles_are_those_of_the_model_in_their_order(construct_engine):
    engine, metadata = construct_engine("10.onnx", "10.3.0")
    assert list(metadata.profiles) == ["prefill", "generation"]
    assert engine["profiles"] == json.loads(json.dumps(list(metadata.profiles.values())))
    starts = [profile["kv_cache_start_index"] for profile in engine["profiles"]]
    assert starts == [[[0], [0], [0]], [[1], [2], [2]]]


def test_model_for_later_versions_is_refused_by_tensorrt_8(construct_engine):
    with pytest.raises(EngineError, match=r"for TensorRT 10 and later, and tensorrt 8\.6\.0 .*=8"):
        construct_engine("10.onnx", "8.6.0")


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0"])
def test_aliasing_is_turned_on_by_name_whatever_its_number(construct_engine, version):
    engine, metadata = construct_engine("alias.onnx", version)
    assert engine["preview"] == {"ALIASED_PLUGIN_IO_10_03": True}
    assert metadata.alias_kv_cache


def test_aliased_caches_are_refused_where_the_feature_is_absent(construct_engine):
    with pytest.raises(EngineError, match=r"tensorrt 10\.0\.1 has no .*without --alias_kv_cache"):
        construct_engine("alias.onnx", "10.0.1")


def test_aliasing_that_a_field_turns_off_needs_no_feature(construct_engine, folder):
    model = onnx.load(folder / "alias.onnx")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "alias_kv_cache":
                attribute.i = 0
    onnx.save(model, folder / "off.onnx")
    engine, metadata = construct_engine("off.onnx", "10.0.1")
    assert (engine["preview"], metadata.alias_kv_cache) == ({}, False)


@pytest.mark.parametrize(
    "weights, flags",
    [("inside", []), ("streamed", ["WEIGHT_STREAMING"]), ("external", ["STRIP_PLAN"])],
)
def test_weights_are_where_they_are_asked_to_be(construct_engine, weights, flags):
    engine, metadata = construct_engine("10.onnx", "10.3.0", weights=weights)
    assert engine["flags"] == flags
    assert metadata.weights == weights


@pytest.mark.parametrize("weights", ["streamed", "external"])
def test_weights_elsewhere_are_refused_by_tensorrt_8(construct_engine, weights):
    with pytest.raises(EngineError, match=f"weights is '{weights}': .* only 'inside' is allowed"):
        construct_engine("8.onnx", "8.6.0", weights=weights)


def test_sms_are_refused_where_tensorrt_builds_for_this_machine_alone(construct_engine):
    with pytest.raises(EngineError, match=r"sms has 87: .* the GPU of this machine alone"):
        construct_engine("10.onnx", "10.3.0", sms=[87])


def test_optimization_level_is_passed_on(construct_engine):
    assert construct_engine("10.onnx", "10.3.0", optimization_level=2)[0]["level"] == 2
    assert construct_engine("8.onnx", "8.6.0", optimization_level=3)[0]["level"] == 3


def test_external_tactics_are_those_of_tensorrt_unless_they_are_turned_off(construct_engine):
    assert construct_engine("8.onnx", "8.6.0")[0]["tactic_sources"] is None
    without = construct_engine("8.onnx", "8.6.0", external_tactics=False)[0]
    assert without["tactic_sources"] == 0


def test_every_plugin_layer_is_counted(construct_engine):
    for fake, where in (
        ({}, "engine"),
        ({"loads": False}, "file"),
        ({"inspector_hides": [LOST]}, "file"),
    ):
        _, metadata = construct_engine("10.onnx", "10.3.0", fake)
        assert metadata.plugin_layers == {"AttentionPlugin": 2, "Int4GroupwiseGemmPlugin": 8}
        assert metadata.layers_found_in == where


@pytest.mark.parametrize(
    "fake, where",
    [
        ({"parser_drops": [LOST]}, "network that tensorrt 10.3.0 parsed"),
        ({"builder_drops": [LOST]}, "engine of tensorrt 10.3.0"),
        ({"builder_drops": [LOST], "loads": False}, "engine of tensorrt 10.3.0"),
    ],
    ids=["parser", "builder_inspected", "builder_file"],
)
def test_lost_plugin_layer_is_refused(construct_engine, fake, where):
    with pytest.raises(EngineError, match=f"1 of the 10 plugin layers .* {where}, such as {LOST}$"):
        construct_engine("10.onnx", "10.3.0", fake)


@pytest.mark.parametrize(
    "fails, message",
    [
        ("builder", r"tensorrt 10\.3\.0 makes no builder: it needs a GPU .*: the reason$"),
        ("parse", r"tensorrt 10\.3\.0 does not parse .*10\.onnx: the reason$"),
        ("profile", r"tensorrt 10\.3\.0 refuses the optimization profile 'prefill'$"),
        ("build", r"tensorrt 10\.3\.0 builds no engine of .*10\.onnx: the reason$"),
    ],
)
def test_refusals_of_tensorrt_say_what_it_said(construct_engine, fails, message):
    with pytest.raises(EngineError, match=message):
        construct_engine("10.onnx", "10.3.0", {"fails": fails, "says": "the reason"})


def test_models_of_others_are_refused(construct_engine, folder):
    foreign = onnx.load(folder / "10.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, folder / "foreign.onnx")
    with pytest.raises(ValueError, match="export it with edge-llm-plugins export"):
        construct_engine("foreign.onnx", "10.3.0")
    plain = onnx.load(folder / "10.onnx")
    for node in plain.graph.node:
        node.domain = ""
    onnx.save(plain, folder / "plain.onnx")
    with pytest.raises(ValueError, match="no node of the domain 'trt'"):
        construct_engine("plain.onnx", "10.3.0")
    (folder / "garbage.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(EngineError, match=r"garbage\.onnx is no ONNX model"):
        construct_engine("garbage.onnx", "10.3.0")


def test_digest_covers_external_weights(construct_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(initializers, "INLINE_LIMIT", 1)
    model = quantized_folder(CONFIGS["qwen2"], tmp_path / "quantized")
    path = builder.export_model(model, tmp_path / "m.onnx", LIMITS)
    digests = [construct_engine(path, "10.3.0")[1].onnx_sha256 for _ in range(2)]
    data = tmp_path / "m.onnx.data"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    digests.append(construct_engine(path, "10.3.0")[1].onnx_sha256)
    assert digests[0] == digests[1] != digests[2]


def test_metadata_are_read_as_they_were_written(construct_engine, tmp_path):
    _, metadata = construct_engine("10.onnx", "10.3.0")
    metadata.write(tmp_path / "model.engine.json")
    assert EngineMetadata.read(tmp_path / "model.engine") == metadata
    with pytest.raises(FileNotFoundError, match=r"other\.engine\.json is missing: build"):
        EngineMetadata.read(tmp_path / "other.engine")
    text = (tmp_path / "model.engine.json").read_text().replace('"format_version": 1', '"x": 1')
    (tmp_path / "old.engine.json").write_text(text)
    with pytest.raises(ValueError, match="format_version None: 1 is allowed"):
        EngineMetadata.read(tmp_path / "old.engine")


# The process that builds.


@pytest.fixture
def engine_path(tmp_path: pathlib.Path) -> pathlib.Path:
    """An engine of before, alone in its folder."""
    path = tmp_path / "engines" / "model.engine"
    path.parent.mkdir()
    path.write_text("of before")
    return path


def check_unchanged(engine_path: pathlib.Path) -> None:
    assert [path.name for path in engine_path.parent.iterdir()] == [engine_path.name]
    assert engine_path.read_text() == "of before"


@pytest.fixture
def install(tmp_path, monkeypatch):
    def run(package: str, source: str) -> None:
        """Puts a package where this process and its children find it."""
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path / "site")

    return run


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({}, ImportError, "^no TensorRT .*: pip install one of tensorrt, tensorrt_rtx$"),
        ({"package": "tensorrt_rtx"}, ImportError, "^tensorrt_rtx is not .* install tensorrt_rtx$"),
        ({"package": "tensorrt_lean"}, ValueError, "tensorrt or tensorrt_rtx is allowed"),
        ({"weights": "outside"}, ValueError, "inside, streamed, external is allowed"),
        ({"optimization_level": 6}, ValueError, "0 to 5 is allowed"),
    ],
)
def test_impossible_calls_write_nothing(folder, engine_path, options, error, message):
    with pytest.raises(error, match=message):
        build_engine(folder / "10.onnx", engine_path, **options)
    check_unchanged(engine_path)


@pytest.mark.parametrize(
    "source, message",
    [
        ("import os; os.abort()", "tensorrt ended its process with signal SIGABRT$"),
        (
            "import os, sys\n"
            "print('[tensorrt] error: first', file=sys.stderr)\n"
            "print('[edge-llm-plugins] error: the cause', file=sys.stderr, flush=True)\n"
            "os._exit(3)",
            "tensorrt ended its process with exit code 3: the cause$",
        ),
        ("import os; os._exit(0)", "tensorrt ended its process with exit code 0$"),
        ("raise ImportError('libnvinfer.so.10 is missing')", "^libnvinfer.so.10 is missing$"),
    ],
    ids=["abort", "exit", "silent_exit", "no_library"],
)
def test_end_of_the_process_is_told_and_nothing_written(
    folder, engine_path, install, source, message
):
    install("tensorrt", source)
    with pytest.raises(EngineError, match=message):
        build_engine(folder / "10.onnx", engine_path)
    check_unchanged(engine_path)


def test_missing_files_are_named(folder, engine_path, install):
    install("tensorrt", "")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx does not exist"):
        build_engine(folder / "nowhere.onnx", engine_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        build_engine(folder / "10.onnx", engine_path.parent / "nowhere" / "model.engine")
    check_unchanged(engine_path)


def test_engine_and_metadata_are_written_together(folder, engine_path, install):
    fake = "edge_llm_plugins.engines.testdata.fake_tensorrt"
    install(
        "tensorrt",
        f"import sys\nfrom {fake} import fake_tensorrt\n"
        "sys.modules[__name__] = fake_tensorrt('10.3.0')\n",
    )
    metadata = build_engine(folder / "10.onnx", engine_path)
    assert sorted(path.name for path in engine_path.parent.iterdir()) == [
        "model.engine",
        "model.engine.json",
    ]
    assert "layers" in json.loads(engine_path.read_text())
    assert EngineMetadata.read(engine_path) == metadata
    assert metadata.onnx == "10.onnx"


def test_names_that_tensorrt_rtx_misses_are_made(tmp_path, install):
    install("tensorrt_rtx_libs", "")
    libraries = tmp_path / "site" / "tensorrt_rtx_libs"
    for name in ("libtensorrt_rtx.so.1", "libother.so.1.2"):
        (libraries / name).write_text(name)
    environment = build_module._environment(tmp_path)
    assert environment["LD_LIBRARY_PATH"].split(":")[0] == str(tmp_path)
    assert (tmp_path / "libtensorrt_rtx.so").read_text() == "libtensorrt_rtx.so.1"
    assert (tmp_path / "libother.so").read_text() == "libother.so.1.2"
