"""GGUF files as checkpoints: names, layout and tokenizer turned into Hugging Face's."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins._extras import require
from edge_llm_plugins.models import transformer
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.json_values import one_line, refusal

_EXTRA = "quantize"
_ROPE_FACTORS = "rope_freqs.weight"
_PERMUTED = ("self_attn.q_proj", "self_attn.k_proj")

# tokenizer.ggml.token_type
_CONTROL, _USER_DEFINED = 3, 4

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(pattern: str) -> dict[str, Any]:
    pattern = {"Regex": pattern}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


# How a text is cut before BPE, by tokenizer.ggml.pre; ByteLevel follows.
_CUTS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [],
    "llama-bpe": [_split(_LETTERS + r"\p{N}{1,3}" + _REST)],
    "qwen2": [_split(_LETTERS + r"\p{N}" + _REST)],
    "smollm": [{"type": "Digits", "individual_digits": True}],
}


class GgufCheckpoint:
    """A GGUF file; see `checkpoints.Checkpoint`.

    Raises:
      ValueError: it is no GGUF file, its model is not served, or it has a tensor that the model
        does not.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(path)
        self._gguf = require("gguf", _EXTRA)
        reader = self._reader()
        self._fields = reader.fields
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        for name, tensor in tensors.items():
            if not tensor.data.size or not tensor.data.ndim:
                raise ValueError(f"{self._path} has a tensor {name!r} without values")
        if "token_embd.weight" not in tensors:
            raise ValueError(f"{self._path} has no token_embd.weight: a whole model is needed")
        # Lists are long, and of no use for the configuration.
        metadata = {key: self._field(key) for key in self._fields if key not in self._lists()}
        vocab_size = int(tensors["token_embd.weight"].shape[-1])
        metadata[f"{metadata.get('general.architecture')}.vocab_size"] = vocab_size
        factors = tensors.pop(_ROPE_FACTORS, None)
        self.config = ModelConfig.from_gguf(
            metadata,
            tie_embeddings="output.weight" not in tensors,
            rope_factors=None if factors is None else self._values(factors),
        )
        architecture = self._gguf.MODEL_ARCH[self.config.architecture.upper()]
        self._gguf_names = self._gguf.get_tensor_name_map(architecture, self.config.num_layers)
        self._tensors = {}
        for name in self._model_names():
            if tensor := tensors.pop(self._gguf_name(name), None):
                self._tensors[name] = tensor
        if tensors:
            raise ValueError(
                f"{self._path} has {len(tensors)} tensors that a {self.config.architecture} model "
                f"of {self.config.num_layers} layers does not, such as {next(iter(tensors))!r}"
            )

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> NDArray[np.float32]:
        if name not in self._tensors:
            raise ValueError(f"{self._path} has no tensor {name} ({self._gguf_name(name)})")
        values = self._values(self._tensors[name])
        prefix = name.rpartition(".")[0]
        if self.config.architecture == "llama" and prefix.endswith(_PERMUTED):
            # The file has the pairs of RoPE (i, i + D/2) of each head side by side.
            size = self.config.head_size
            if not values.ndim or len(values) % size:
                raise ValueError(
                    f"{name} has shape {list(values.shape)}: heads of {size} rows are allowed"
                )
            pairs = values.reshape(-1, size // 2, 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values

    def quantized_linear(self, prefix: str) -> None:
        """None: no type of GGUF has groups of 128."""
        return None

    def tokenizer_files(self) -> dict[str, bytes]:
        """tokenizer.json and tokenizer_config.json, of a BPE tokenizer.

        Raises:
          ValueError: the tokenizer is of another kind.
        """
        kind, cut = self._field("tokenizer.ggml.model"), self._field("tokenizer.ggml.pre")
        if kind != "gpt2" or not isinstance(cut, str) or cut not in _CUTS:
            raise ValueError(
                f"tokenizer.ggml.model is {kind!r} and .pre {cut!r}: gpt2 with one of "
                f"{', '.join(_CUTS)} is served; take the model's safetensors checkpoint"
            )
        tokens = self._texts("tokenizer.ggml.tokens")
        for name, index in self._named_tokens().items():
            if index >= len(tokens):
                raise ValueError(
                    f"tokenizer.ggml.{name}_token_id is {index}: 0 to {len(tokens) - 1} is allowed"
                )
        content = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_tokens(tokens),
            "normalizer": {"type": "NFC"} if cut == "qwen2" else None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    *_CUTS[cut],
                    # GPT-2's own cuts, where a split has not made others.
                    _byte_level(use_regex=cut not in ("llama-bpe", "qwen2")),
                ],
            },
            "post_processor": self._post_processor(tokens),
            "decoder": _byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": cut == "llama-bpe",
                "vocab": {token: index for index, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in self._texts("tokenizer.ggml.merges")],
            },
        }
        config: dict[str, Any] = {
            f"{name}_token": tokens[index] for name, index in self._named_tokens().items()
        }
        if template := self._field("tokenizer.chat_template"):
            config["chat_template"] = template
        config["add_bos_token"] = bool(self._field("tokenizer.ggml.add_bos_token"))
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        files = {"tokenizer.json": content, "tokenizer_config.json": config}
        return {
            name: json.dumps(value, ensure_ascii=False, indent=1).encode()
            for name, value in files.items()
        }

    def _added_tokens(self, tokens: list[str]) -> list[dict[str, Any]]:
        kinds = self._field("tokenizer.ggml.token_type") or []
        if not isinstance(kinds, list) or len(kinds) not in (0, len(tokens)):
            raise refusal(
                "tokenizer.ggml.token_type", kinds, f"a list of {len(tokens)} numbers, or none,"
            )
        added = []
        for index, kind in enumerate(kinds):
            if kind in (_CONTROL, _USER_DEFINED):
                flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
                special = kind == _CONTROL
                added.append({"id": index, "content": tokens[index], **flags, "special": special})
        return added

    def _post_processor(self, tokens: list[str]) -> dict[str, Any]:
        bos = self.config.bos_token_id
        if bos is None or not self._field("tokenizer.ggml.add_bos_token"):
            return _byte_level(use_regex=True)
        special = {"SpecialToken": {"id": tokens[bos], "type_id": 0}}
        first = {"Sequence": {"id": "A", "type_id": 0}}
        second = {"Sequence": {"id": "B", "type_id": 1}}
        return {
            "type": "TemplateProcessing",
            "single": [special, first],
            "pair": [special, first, second],
            "special_tokens": {
                tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}
            },
        }

    def _named_tokens(self) -> dict[str, int]:
        eos = next(iter(self.config.eos_token_ids), None)
        named = {"bos": self.config.bos_token_id, "eos": eos}
        return {name: index for name, index in named.items() if index is not None}

    def _model_names(self) -> list[str]:
        """Hugging Face's name of every tensor that a file of this model may have."""
        names = list(self.config.tensor_shapes())
        for fused in self.config.linear_shapes():
            for prefix in transformer.parts(fused):
                names += [f"{prefix}.weight", f"{prefix}.bias"]
        return names

    def _gguf_name(self, name: str) -> str:
        return self._gguf_names.get_name(name, try_suffixes=(".weight", ".bias")) or name

    def _values(self, tensor: Any) -> NDArray[np.float32]:
        try:
            values = self._gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise ValueError(
                f"{tensor.name} has the type {tensor.tensor_type.name}, which the package gguf "
                "does not dequantize"
            ) from None
        return np.array(values, np.float32)  # nothing shall refer to the mapped file

    def _lists(self) -> set[str]:
        array = self._gguf.GGUFValueType.ARRAY
        return {key for key, field in self._fields.items() if field.types[:1] == [array]}

    def _field(self, key: str) -> Any:
        field = self._fields.get(key)
        try:
            return None if field is None else field.contents()
        except (LookupError, ValueError) as error:
            raise ValueError(f"{self._path} has a bad field {key!r}: {one_line(error)}") from None

    def _texts(self, key: str) -> list[str]:
        values = self._field(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise refusal(key, values, "a list of texts")
        return values

    def _reader(self) -> Any:
        class Reader(self._gguf.GGUFReader):
            # Behind the end of the file the package reads empty values, up to 2^64 times.
            def _get(self, offset: int, dtype: Any, count: int = 1, **order: Any) -> NDArray:
                if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                    raise ValueError(f"the file ends within the values at byte {offset}")
                return super()._get(offset, dtype, count, **order)

        try:
            return Reader(self._path)
        except (ArithmeticError, LookupError, RecursionError, ValueError) as error:
            raise ValueError(f"{self._path} is no GGUF file: {one_line(error)}") from None


def _byte_level(use_regex: bool) -> dict[str, Any]:
    flags = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **flags}
