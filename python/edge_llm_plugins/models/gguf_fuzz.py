"""Fuzzes GGUF files: any bytes, and files whose fields are changed."""

from __future__ import annotations

import pathlib
import struct
import tempfile
from typing import Any

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins", "gguf.gguf_reader"):
    from edge_llm_plugins.models.gguf_file import GgufCheckpoint

FIELDS = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 4,
    "llama.feed_forward_length": 8,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
    "tokenizer.ggml.token_type": [3, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ messages }}",
}
TENSORS: dict[str, list[Any]] = {  # type and extents, the last dimension first
    "token_embd.weight": [0, [4, 3]],
    "blk.0.attn_q.weight": [1, [4, 4]],
    "output_norm.weight": [0, [4]],
}
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT64 = 4, 6, 7, 8, 9, 11
PATH = pathlib.Path(tempfile.mkdtemp()) / "model.gguf"


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> tuple[int, bytes]:
    """Type and bytes of a value; what GGUF lacks becomes a number."""
    match item:
        case bool():
            return BOOL, bytes([item])
        case float():
            return FLOAT32, struct.pack("<f", min(max(item, -3e38), 3e38))
        case str():
            return STRING, string(item)
        case list():
            kinds, parts = zip(*map(value, item), strict=True) if item else ((UINT32,), ())
            return ARRAY, struct.pack("<IQ", kinds[0], len(item)) + b"".join(parts)
        case int() if 0 <= item < 2**32:
            return UINT32, struct.pack("<I", item)
        case int():
            return INT64, (item % 2**64).to_bytes(8, "little")
    return UINT32, bytes(4)


def file(fields: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    content = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(fields))
    for key, item in fields.items():
        kind, data = value(item)
        content += string(key) + struct.pack("<I", kind) + data
    for name, (kind, extents) in tensors.items():
        content += string(name) + struct.pack("<I", len(extents))
        content += struct.pack(f"<{len(extents)}QIQ", *extents, kind, 0)
    return content + bytes(-len(content) % 32) + bytes(64)


def read(content: bytes) -> None:
    PATH.write_bytes(content)
    checkpoint = GgufCheckpoint(PATH)
    for name in checkpoint.names():
        with fuzzing.refusals():
            checkpoint.tensor(name)
    checkpoint.tokenizer_files()


def fuzz(data: bytes) -> None:
    with fuzzing.refusals():
        read(data if data[:4] == b"GGUF" else changed_file(data))


def changed_file(data: bytes) -> bytes:
    choices = fuzzing.Choices(data)
    tensors = {name: list(facts) for name, facts in TENSORS.items()}
    if choices.below(2):
        facts = choices.of(list(tensors.values()))
        facts[0] = choices.below(40)
        facts[1] = [choices.of([0, 1, 2, 4, 32, 256, 2**62]) for _ in range(choices.below(4))]
    fields = choices.changed(FIELDS) if choices.below(2) else FIELDS
    return file(fields, tensors)


if __name__ == "__main__":
    valid = file(FIELDS, TENSORS)
    read(valid)
    fuzzing.main(fuzz, [valid, *(bytes([i]) * 32 for i in range(8))])
