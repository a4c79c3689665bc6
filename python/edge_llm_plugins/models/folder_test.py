"""The quantized model folder, written and read back."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from edge_llm_plugins import quantization
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.folder import FolderWriter, QuantizedModel
from edge_llm_plugins.models.tensor_files import SHARD_LIMIT

CONFIG = ModelConfig(
    architecture="qwen2",
    hidden_size=64,
    num_layers=2,
    num_q_heads=2,
    num_kv_heads=1,
    head_size=32,
    intermediate_size=192,
    vocab_size=10,
    max_positions=32,
    rms_norm_eps=1e-6,
    rope_theta=1e4,
    rotary_size=32,
    qkv_bias=True,
)
DOWN = "model.layers.1.mlp.down_proj"
QKV = "model.layers.1.self_attn.qkv_proj"


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Seeded by the name, so that a mix-up of two tensors is seen."""
    return np.random.default_rng(list(name.encode())).standard_normal(shape).astype(np.float32)


def write(path: pathlib.Path, limit: int = SHARD_LIMIT, skip: str = "") -> dict[str, np.ndarray]:
    """Writes a model; returns every array by its name in the folder."""
    written: dict[str, Any] = {}
    with FolderWriter(path, CONFIG, {"method": "rtn"}, limit) as writer:
        for prefix, shape in CONFIG.linear_shapes().items():
            packed, scales = quantization.quantize_groupwise(values(prefix, shape))
            bias = values(prefix + "b", shape[:1]) if "qkv" in prefix else None
            if prefix != skip:
                writer.add_linear(prefix, packed, scales, bias)
            written |= {f"{prefix}.packed": packed, f"{prefix}.scales": scales}
            written[f"{prefix}.bias"] = None if bias is None else bias.astype(np.float16)
        for name, shape in CONFIG.tensor_shapes().items():
            writer.add_tensor(name, values(name, shape))
            written[name] = values(name, shape).astype(np.float16)
        writer.write_file("tokenizer.json", b"{}")
        writer.write_report({"layers": []})
    return written


def check(model: QuantizedModel, written: dict[str, np.ndarray]) -> None:
    for prefix in CONFIG.linear_shapes():
        packed, scales, bias = model.linear(prefix)
        np.testing.assert_array_equal(packed, written[f"{prefix}.packed"], prefix)
        np.testing.assert_array_equal(scales, written[f"{prefix}.scales"], prefix)
        if bias is None:
            assert written[f"{prefix}.bias"] is None, prefix
        else:
            np.testing.assert_array_equal(bias, written[f"{prefix}.bias"], prefix)
    for name in CONFIG.tensor_shapes():
        assert model.tensor(name).dtype == np.float16
        np.testing.assert_array_equal(model.tensor(name), written[name], name)


def test_one_file_comes_back(tmp_path: pathlib.Path) -> None:
    written = write(tmp_path / "new" / "model")
    model = QuantizedModel(tmp_path / "new" / "model")
    assert model.config == CONFIG
    assert model.quantization == {"method": "rtn"}
    assert model.report == {"layers": []}
    check(model, written)
    assert len({path.stat().st_mode for path in model.path.iterdir()}) == 1
    assert sorted(path.name for path in model.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "report.json",
        "tokenizer.json",
    ]


def test_shards_hold_at_most_the_limit_and_come_back(tmp_path: pathlib.Path) -> None:
    limit = 13_000
    written = write(tmp_path, limit)
    check(QuantizedModel(tmp_path), written)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert sorted(path.name for path in tmp_path.glob("model*")) == [
        *shards,
        "model.safetensors.index.json",
    ]
    sizes = {shard: 0 for shard in shards}
    for name, shard in index["weight_map"].items():
        sizes[shard] += written[name].nbytes
    assert max(sizes.values()) <= limit
    assert sum(sizes.values()) == index["metadata"]["total_size"]


def test_an_incomplete_model_is_refused_and_removed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=rf"{QKV}\.packed was not written, nor 2 other"):
        write(tmp_path, skip=QKV)
    assert not list(tmp_path.glob("model*"))
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        QuantizedModel(tmp_path)


def test_an_exception_removes_all_shards(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyError), FolderWriter(tmp_path, CONFIG, {}, shard_limit=1) as writer:
        writer.add_tensor("model.norm.weight", np.ones(64))
        writer.add_tensor("model.embed_tokens.weight", np.ones((10, 64)))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_wrong_tensors_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError), FolderWriter(tmp_path, CONFIG, {}) as writer:
        with pytest.raises(ValueError, match=r"has shape \[63\]: \[64\] belongs to the model"):
            writer.add_tensor("model.norm.weight", np.ones(63))
        with pytest.raises(ValueError, match="no such tensor"):
            writer.add_tensor("model.norm.bias", np.ones(64))
        with pytest.raises(ValueError, match=r"weight\[2, 1\] is 100000\.0: finite values"):
            embedding = np.zeros((10, 64), np.float32)
            embedding[2, 1] = 1e5
            writer.add_tensor("model.embed_tokens.weight", embedding)


def test_a_folder_in_use_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(FileExistsError, match="not empty: name a new folder"):
        FolderWriter(tmp_path, CONFIG, {})
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_layer_that_cannot_be_packed_is_refused_by_name(tmp_path: pathlib.Path) -> None:
    fields = CONFIG.to_json() | {"intermediate_size": 96}
    with pytest.raises(ValueError, match=r"0\.mlp\.down_proj has N = 64, K = 96: .* of 64"):
        FolderWriter(tmp_path / "new", ModelConfig.from_json(fields), {})
    assert not (tmp_path / "new").exists()


def test_another_format_version_is_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format_version": 2}))
    with pytest.raises(ValueError, match="format_version 2: 1 is allowed"):
        QuantizedModel(tmp_path)


def test_tensors_of_another_config_are_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 11}))
    with pytest.raises(ValueError, match=r"embed_tokens\.weight has shape \[10, 64\]: \[11, 64\]"):
        QuantizedModel(tmp_path)


def test_tensors_of_another_dtype_are_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    names = ("model.norm.weight", f"{DOWN}.packed")
    wrong = {name: tensors[name].astype(np.float32) for name in names}
    safetensors.numpy.save_file(tensors | wrong, path)
    model = QuantizedModel(tmp_path)
    with pytest.raises(ValueError, match=r"norm\.weight has dtype float32: float16 is allowed"):
        model.tensor("model.norm.weight")
    with pytest.raises(ValueError, match=r"down_proj\.packed has dtype float32: int8 is allowed"):
        model.linear(DOWN)


def test_damaged_files_are_one_line(tmp_path: pathlib.Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=r"has no tensor model\.norm\.bias"):
        QuantizedModel(tmp_path).tensor("model.norm.bias")
    (tmp_path / "model.safetensors").write_bytes(b"\1\0\0\0")
    with pytest.raises(ValueError, match=r"model\.safetensors is no safetensors file"):
        QuantizedModel(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor"):
        QuantizedModel(tmp_path)
