"""Fuzzes the files of a tokenizer, and the stream of text behind it."""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.runtime.tokenizer import TextStream, Tokenizer

VOCABULARY = {"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "<0xE2>": 5, "Ã": 6}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 7,
            "content": "<|im_end|>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": "\\p{N}"},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        ],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    },
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": VOCABULARY,
        "merges": [["a", "b"]],
    },
}
CONFIG = {"chat_template": "{{ '<|im_start|>' }}", "add_bos_token": True}
FOLDER = pathlib.Path(tempfile.mkdtemp())


def read(tokenizer: str, config: str, text: str, ids: list[int]) -> None:
    (FOLDER / "tokenizer.json").write_text(tokenizer)
    (FOLDER / "tokenizer_config.json").write_text(config)
    read_back = Tokenizer(FOLDER)
    with fuzzing.refusals():
        read_back.encode(text)
    with fuzzing.refusals():
        read_back.encode_chat(text, system="b")
    with fuzzing.refusals():
        stream = TextStream(read_back, ids[:2])
        "".join([*(stream.add(token) for token in ids), stream.rest()])


def fuzz(data: bytes) -> None:
    choices = fuzzing.Choices(data)
    kind = choices.below(4)
    tokenizer, config = TOKENIZER, CONFIG
    if kind in (0, 2):
        tokenizer = choices.changed(TOKENIZER)
    if kind in (1, 2):
        config = choices.changed(CONFIG)
    ids = [choices.below(300) for _ in range(choices.below(12))]
    with fuzzing.refusals():
        read(json.dumps(tokenizer), json.dumps(config), choices.text(), ids)


if __name__ == "__main__":
    read(json.dumps(TOKENIZER), json.dumps(CONFIG), "ab 1", [1, 3, 6, 6])
    fuzzing.main(fuzz, [bytes([i]) * 40 for i in range(16)])
