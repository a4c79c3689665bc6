"""edge-llm-plugins export"""

from __future__ import annotations

from absl import flags

from edge_llm_plugins._extras import require
from edge_llm_plugins.cli.command import Command
from edge_llm_plugins.models.folder import QuantizedModel

FLAGS = flags.FlagValues()

_CAPACITY = flags.DEFINE_integer(
    "capacity", 4096, "Tokens that a row may have, its prompt included.", flag_values=FLAGS
)
_BATCH = flags.DEFINE_integer("batch", 1, "Rows at most.", flag_values=FLAGS)
_PREFILL_TOKENS = flags.DEFINE_integer(
    "prefill_tokens",
    None,
    "Tokens of a prefill, or of a chunk of a longer one. By default 512, or all of the capacity.",
    flag_values=FLAGS,
)
_TREE_TOKENS = flags.DEFINE_integer(
    "tree_tokens",
    0,
    "Tokens of a draft tree, for speculative decoding; 0 for a model without.",
    flag_values=FLAGS,
)
_TENSORRT = flags.DEFINE_enum(
    "tensorrt",
    "10",
    ["8", "10", "11"],
    "The major version that builds the engine; 10 and 11 serve TensorRT-RTX too.",
    flag_values=FLAGS,
)
_ALIAS = flags.DEFINE_bool(
    "alias_kv_cache",
    False,
    "Declares that KV caches are updated in place; the builder's preview feature must be on.",
    flag_values=FLAGS,
)


def run(folder: str, path: str) -> None:
    require("onnx", "export")
    from edge_llm_plugins.export import builder, metadata

    prefill_tokens = _PREFILL_TOKENS.value
    if prefill_tokens is None:
        prefill_tokens = min(512, _CAPACITY.value)
    limits = metadata.Limits(_CAPACITY.value, _BATCH.value, prefill_tokens, _TREE_TOKENS.value)
    written = builder.export_model(
        QuantizedModel(folder),
        path,
        limits,
        tensorrt_major=int(_TENSORRT.value),
        alias_kv_cache=_ALIAS.value,
    )
    print(f"wrote {written}")


COMMAND = Command(
    "export",
    ("FOLDER", "MODEL.onnx"),
    """Exports a quantized model as ONNX with the plugins as nodes.

FOLDER is what `quantize` wrote. The model has inputs for token ids, KV caches and what the
attention of each step needs, and carries the profiles to build it with.

  edge-llm-plugins export smollm2 smollm2.onnx --capacity=2048 --tree_tokens=16""",
    FLAGS,
    run,
)
