"""Checkpoints of every format, written small and read back."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from edge_llm_plugins.models.checkpoints import open_checkpoint
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.testdata import tiny_models

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 192,
    "vocab_size": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
UP = "model.layers.1.mlp.up_proj.weight"


def weights(hf_config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Seeded float32 weights by Hugging Face's names."""
    tiny = tiny_models.TinyCheckpoint(ModelConfig.from_hf(hf_config))
    return {name: tiny.tensor(name) for name in tiny.names()}


def write_folder(
    folder: pathlib.Path, tensors: dict[str, np.ndarray], config: dict[str, Any]
) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def assert_same(checkpoint: Any, expected: dict[str, np.ndarray]) -> None:
    assert sorted(checkpoint.names()) == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), values, name)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=["f32", "f16", "bf16"]
)
def test_one_file_of_each_dtype(dtype: type, tmp_path: pathlib.Path) -> None:
    tensors = {name: values.astype(dtype) for name, values in weights(LLAMA).items()}
    write_folder(tmp_path, tensors, LLAMA)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == ModelConfig.from_hf(LLAMA)
    assert_same(checkpoint, {name: values.astype(np.float32) for name, values in tensors.items()})
    expected = np.float16 if dtype is np.float16 else np.float32
    assert checkpoint.tensor(UP).dtype == expected
    assert checkpoint.quantized_linear("model.layers.1.mlp.up_proj") is None


def test_shards_with_an_index(tmp_path: pathlib.Path) -> None:
    tensors = weights(LLAMA)
    names = list(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for file, shard_names in shards.items():
        shard = {name: tensors[name] for name in shard_names}
        safetensors.numpy.save_file(shard, tmp_path / file)
    weight_map = {name: file for file, shard_names in shards.items() for name in shard_names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert_same(open_checkpoint(tmp_path), tensors)

    index.write_text(json.dumps({"weight_map": weight_map | {UP: "a.safetensors"} | {"x": "a"}}))
    with pytest.raises(ValueError, match=r"a\.safetensors has no tensor .*: the index names it"):
        open_checkpoint(tmp_path).tensor(names[0])
    (tmp_path / "b.safetensors").unlink()
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(FileNotFoundError, match=r"b\.safetensors is missing: its index names it"):
        open_checkpoint(tmp_path).tensor(names[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds a list: a JSON object is allowed"),
        ("{}", "has no weight_map"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"weight_map": {"x": 1}}', "x is 1: a text is allowed"),
        ('{"weight_map": {"x": "../y"}}', "x is '../y': the name of a file beside the index"),
    ],
)
def test_an_index_that_is_none_is_refused(
    tmp_path: pathlib.Path, content: str, message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path).names()


def test_a_quantized_model_is_no_checkpoint(tmp_path: pathlib.Path) -> None:
    tiny_models.quantized_folder(tiny_models.CONFIGS["llama"], tmp_path / "model")
    with pytest.raises(ValueError, match="has no model_type: the folder of a checkpoint is needed"):
        open_checkpoint(tmp_path / "model")


def test_other_dtypes_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    write_folder(tmp_path, weights(LLAMA) | {UP: np.zeros((192, 64), np.int8)}, LLAMA)
    with pytest.raises(ValueError, match=rf"{UP} has dtype int8: F32, F16 or BF16 is served"):
        open_checkpoint(tmp_path).tensor(UP)


def test_dtypes_that_numpy_lacks_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    eights = np.zeros((192, 64), ml_dtypes.float8_e4m3fn)
    write_folder(tmp_path, weights(LLAMA) | {UP: eights}, LLAMA)
    with pytest.raises(ValueError, match=rf"{UP} has dtype F8_E4M3: one of NumPy or BF16"):
        open_checkpoint(tmp_path).tensor(UP)


def test_tokenizer_files_are_carried_over(tmp_path: pathlib.Path) -> None:
    write_folder(tmp_path, weights(LLAMA), LLAMA)
    (tmp_path / "tokenizer.json").write_bytes(b"\xe2\x82\xac")
    (tmp_path / "training_args.json").write_bytes(b"{}")
    assert open_checkpoint(tmp_path).tokenizer_files() == {"tokenizer.json": b"\xe2\x82\xac"}


def test_what_is_no_checkpoint_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing: a GGUF file or a checkpoint's folder"):
        open_checkpoint(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"no config\.json and 0 GGUF files"):
        open_checkpoint(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"GGU")
    with pytest.raises(ValueError, match=r"x\.bin is no \.gguf file"):
        open_checkpoint(tmp_path / "x.bin")
    (tmp_path / "x.gguf").write_bytes(b"GGUX" * 20)
    with pytest.raises(ValueError, match=r"x\.gguf is no GGUF file"):
        open_checkpoint(tmp_path / "x.gguf")


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}


def test_packed_linears_are_tensors_and_codes(tmp_path: pathlib.Path) -> None:
    prefix = UP.removesuffix(".weight")
    tensors = weights(LLAMA)
    del tensors[UP]
    # All codes 0x9 - 8 = 1, all zero points 8, in any order of nibbles.
    tensors[f"{prefix}.qweight"] = np.full((64, 24), 0x99999999, np.uint32).view(np.int32)
    tensors[f"{prefix}.qzeros"] = np.full((1, 24), 0x88888888, np.uint32).view(np.int32)
    tensors[f"{prefix}.scales"] = scales = np.arange(1, 193).astype(np.float16)[None]
    write_folder(tmp_path, tensors, LLAMA | {"quantization_config": AWQ})
    checkpoint = open_checkpoint(tmp_path)
    assert sorted(checkpoint.names()) == sorted(weights(LLAMA))
    np.testing.assert_array_equal(checkpoint.tensor(UP), np.repeat(scales.T, 64, axis=1))
    linear = checkpoint.quantized_linear(prefix)
    np.testing.assert_array_equal(linear.codes, np.ones((192, 64)))
    np.testing.assert_array_equal(linear.scales, scales)
    assert checkpoint.quantized_linear("model.layers.1.mlp.gate_proj") is None

    write_folder(tmp_path, tensors, LLAMA)
    with pytest.raises(ValueError, match=r"qweight is there, but config\.json has no quantization"):
        open_checkpoint(tmp_path).tensor(UP)


# GGUF.

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}
TOKENS = [
    "<end>",
    "<s>",
    "</s>",
    "<tool>",
    "a",
    "b",
    "Ġ",
    "1",
    "2",
    "ab",
    "Ċ",
    "ba",
]  # no merge makes "ba"


def llama_cpp_rows(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows 0 1 2 ... D/2 ... of each head become 0 D/2 1 D/2+1 ..., row by row."""
    size = len(values) // heads
    order = [
        head * size + pair + half * size // 2
        for head in range(heads)
        for pair in range(size // 2)
        for half in (0, 1)
    ]
    return values[order]


def write_gguf(
    path: pathlib.Path,
    tensors: dict[str, np.ndarray],
    architecture: str = "llama",
    pre: str = "smollm",
    kind: str = "gpt2",
    add_bos: bool = False,
    extra: dict[str, np.ndarray] | None = None,
    matrix_type: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(192)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 4] + [1] * 8)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(add_bos)
    writer.add_chat_template("{{ messages }}")
    for name, values in tensors.items():
        heads = 4 * ("q_proj" in name) + 2 * ("k_proj" in name)
        if architecture == "llama" and heads:
            values = llama_cpp_rows(values, heads)
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        if values.ndim == 2 and matrix_type != gguf.GGMLQuantizationType.F32:
            values = gguf.quants.quantize(values, matrix_type)
            writer.add_tensor(name, values, raw_dtype=matrix_type)
        else:
            writer.add_tensor(name, values)
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_gguf_has_the_same_tensors_and_config(architecture: str, tmp_path: pathlib.Path) -> None:
    config = LLAMA | {"model_type": architecture}
    tensors = weights(config)
    write_gguf(tmp_path / "m.gguf", tensors, architecture)
    checkpoint = open_checkpoint(tmp_path)  # the folder's only GGUF file
    expected = ModelConfig.from_hf(config)
    assert checkpoint.config.rms_norm_eps == pytest.approx(expected.rms_norm_eps)
    fields = checkpoint.config.to_json() | {"rms_norm_eps": expected.rms_norm_eps}
    assert ModelConfig.from_json(fields) == expected
    assert_same(checkpoint, tensors)


def test_gguf_without_output_is_tied(tmp_path: pathlib.Path) -> None:
    tensors = weights(LLAMA | {"tie_word_embeddings": True})
    write_gguf(tmp_path / "m.gguf", tensors)
    assert open_checkpoint(tmp_path / "m.gguf").config.tie_embeddings
    assert_same(open_checkpoint(tmp_path / "m.gguf"), tensors)


def test_quantized_gguf_is_dequantized(tmp_path: pathlib.Path) -> None:
    tensors = weights(LLAMA)
    write_gguf(tmp_path / "m.gguf", tensors, matrix_type=gguf.GGMLQuantizationType.Q8_0)
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    for name in ("model.layers.1.self_attn.k_proj.weight", UP):
        values = checkpoint.tensor(name)
        assert values.dtype == np.float32
        largest = np.abs(tensors[name]).max()
        np.testing.assert_allclose(values, tensors[name], atol=largest / 127, err_msg=name)


def test_rope_factors_of_gguf_are_taken(tmp_path: pathlib.Path) -> None:
    factors = np.linspace(1, 8, 16, dtype=np.float32)
    write_gguf(tmp_path / "m.gguf", weights(LLAMA), extra={"rope_freqs.weight": factors})
    scaling = open_checkpoint(tmp_path / "m.gguf").config.rope_scaling
    assert scaling["short_factor"] == scaling["long_factor"] == factors.tolist()


@pytest.mark.parametrize("size", [30, 200, 700, 1000])
def test_gguf_that_ends_early_is_refused_at_once(tmp_path: pathlib.Path, size: int) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, weights(LLAMA))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"m\.gguf is no GGUF file: the file ends within"):
        open_checkpoint(path)


def test_gguf_list_longer_than_the_file_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, weights(LLAMA))
    content = path.read_bytes()
    key = b"tokenizer.ggml.tokens"
    count = content.index(key) + len(key) + 8  # behind the types of the field and of its items
    path.write_bytes(content[:count] + (2**60).to_bytes(8, "little") + content[count + 8 :])
    with pytest.raises(ValueError, match="is no GGUF file: "):
        open_checkpoint(path)


def test_gguf_tokens_beyond_the_list_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, weights(LLAMA))
    content = path.read_bytes()
    place = content.index(b"tokenizer.ggml.bos_token_id") + 27 + 4
    path.write_bytes(content[:place] + (99).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(ValueError, match=r"bos_token_id is 99: 0 to 11 is allowed"):
        open_checkpoint(path).tokenizer_files()


def test_gguf_with_unknown_or_missing_tensors_is_refused(tmp_path: pathlib.Path) -> None:
    extra = {"blk.0.attn_q.lora_a": np.ones(32, np.float32)}
    write_gguf(tmp_path / "m.gguf", weights(LLAMA), extra=extra)
    with pytest.raises(ValueError, match=r"has 1 tensors .* such as 'blk\.0\.attn_q\.lora_a"):
        open_checkpoint(tmp_path / "m.gguf")
    tensors = weights(LLAMA)
    del tensors[UP]
    write_gguf(tmp_path / "n.gguf", tensors)
    with pytest.raises(ValueError, match=rf"no tensor {UP} \(blk\.1\.ffn_up\.weight\)"):
        open_checkpoint(tmp_path / "n.gguf").tensor(UP)


def gguf_tokenizer(path: pathlib.Path, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    write_gguf(path, weights(LLAMA), **kwargs)
    files = open_checkpoint(path).tokenizer_files()
    tokenizer = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
    return tokenizer, json.loads(files["tokenizer_config.json"])


CUTS = {  # of "It's 1234  x\n\n y", as the models' own tokenizers cut it
    "gpt-2": ["It", "'s", "Ġ1234", "Ġ", "Ġx", "ĊĊ", "Ġy"],
    "llama-bpe": ["It", "'s", "Ġ", "123", "4", "Ġ", "Ġx", "ĊĊ", "Ġy"],
    "qwen2": ["It", "'s", "Ġ", "1", "2", "3", "4", "Ġ", "Ġx", "ĊĊ", "Ġy"],
    "smollm": ["It", "'s", "Ġ", "1", "2", "3", "4", "Ġ", "Ġx", "ĊĊ", "Ġy"],
}


@pytest.mark.parametrize("pre", CUTS)
def test_gguf_tokenizer(pre: str, tmp_path: pathlib.Path) -> None:
    tokenizer, config = gguf_tokenizer(tmp_path / "m.gguf", pre=pre)
    cuts = tokenizer.pre_tokenizer.pre_tokenize_str("It's 1234  x\n\n y")
    assert [cut for cut, _ in cuts] == CUTS[pre]
    assert tokenizer.encode("ab12  a").tokens == ["ab", "1", "2", "Ġ", "Ġ", "a"]
    assert tokenizer.encode("ba").tokens == (["ba"] if pre == "llama-bpe" else ["b", "a"])
    text = "b\n<tool>a</s>"
    encoded = tokenizer.encode(text)
    assert encoded.tokens == ["b", "Ċ", "<tool>", "a", "</s>"]
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text
    assert tokenizer.decode(encoded.ids) == "b\n<tool>a"
    assert (config["bos_token"], config["eos_token"]) == ("<s>", "</s>")
    assert config["chat_template"] == "{{ messages }}"
    assert config["add_bos_token"] is False


def test_gguf_tokenizer_that_adds_bos(tmp_path: pathlib.Path) -> None:
    tokenizer, config = gguf_tokenizer(tmp_path / "m.gguf", add_bos=True)
    assert tokenizer.encode("ab").tokens == ["<s>", "ab"]
    assert tokenizer.encode("ab", add_special_tokens=False).tokens == ["ab"]
    assert config["add_bos_token"] is True


@pytest.mark.parametrize("change", [{"kind": "llama"}, {"pre": "tekken"}])
def test_other_tokenizers_are_refused(change: dict[str, str], tmp_path: pathlib.Path) -> None:
    write_gguf(tmp_path / "m.gguf", weights(LLAMA), **change)
    with pytest.raises(ValueError, match="gpt2 with one of gpt-2, llama-bpe, qwen2, smollm"):
        open_checkpoint(tmp_path / "m.gguf").tokenizer_files()
