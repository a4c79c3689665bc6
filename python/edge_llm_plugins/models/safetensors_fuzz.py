"""Fuzzes safetensors files, alone and as shards of an index."""

from __future__ import annotations

import copy
import json
import pathlib
import tempfile

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.models.tensor_files import TensorFiles

HEADER = {
    "__metadata__": {"format": "np"},
    "a.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
    "c.packed": {"dtype": "I8", "shape": [8], "data_offsets": [24, 32]},
}
DTYPES = [
    *("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F4", "I16", "U16", "F16", "BF16", "I32", "U32"),
    *("F32", "F64", "I64", "U64", "C64", "F6_E2M3", "F8_E8M0"),
]
INDEX = {
    "metadata": {"total_size": 32},
    "weight_map": {"a.weight": "model.safetensors", "b.weight": "model.safetensors"},
}
FOLDER = pathlib.Path(tempfile.mkdtemp())
PLAIN, SHARD, INDEX_FILE = (
    FOLDER / name for name in ("model.safetensors", "x", "model.safetensors.index.json")
)


def file(header: bytes, data: bytes = bytes(range(32))) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def check() -> None:
    """Reads the folder."""
    with fuzzing.refusals():
        files = TensorFiles(FOLDER)
        for name in files.names():
            with fuzzing.refusals():
                shape = files.shape(name)
                assert files.tensor(name).shape == shape


def fuzz(data: bytes) -> None:
    PLAIN.unlink(missing_ok=True)
    choices = fuzzing.Choices(data)
    if data[8:9] == b"{":
        PLAIN.write_bytes(data)
    elif choices.below(2):
        header = choices.changed(HEADER) if choices.below(2) else copy.deepcopy(HEADER)
        for entry in header.values():
            if isinstance(entry, dict) and choices.below(2):
                entry["dtype"] = choices.of(DTYPES)
        PLAIN.write_bytes(file(json.dumps(header).encode()))
    else:
        SHARD.write_bytes(file(json.dumps(HEADER).encode()))
        index = json.dumps(choices.changed(INDEX)).replace("model.safetensors", "x")
        INDEX_FILE.write_text(index)
    check()


if __name__ == "__main__":
    fuzzing.main(fuzz, [file(json.dumps(HEADER).encode()), *(bytes([i]) * 32 for i in range(8))])
