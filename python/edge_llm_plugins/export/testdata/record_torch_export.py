"""Records what torch.onnx makes of the custom operators of torch_ops, as ONNX text.

    pip install torch onnxscript               # and the wheel of this project
    python3 -m edge_llm_plugins.export.testdata.record_torch_export

Run from `python/`, it writes torch_export.onnxtxt beside itself: a linear layer and attention with
the weights as inputs. It fails unless eager mode and the exported model agree. The test that reads
the file needs neither package.
"""

from __future__ import annotations

import pathlib
import textwrap

import numpy as np
import onnx
import torch

from edge_llm_plugins import quantization, rope
from edge_llm_plugins.export import torch_ops
from edge_llm_plugins.export.evaluator import evaluator

HEADS = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 32}


class Layer(torch.nn.Module):
    """The QKV projection and attention of a layer, with the inputs of draft trees."""

    def forward(self, x, packed, scales, cache, lengths, rope_cos_sin, start, mask, positions):
        qkv = torch_ops.int4_groupwise_gemm(x, packed, scales)
        tree = {"attention_mask": mask, "attention_pos_ids": positions}
        return torch_ops.attention(qkv, cache, lengths, rope_cos_sin, start, **HEADS, **tree)


def inputs() -> dict[str, np.ndarray]:
    """A tree of two tokens behind three old ones, in two rows."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((256, 64)).astype(np.float32)
    packed, scales = quantization.quantize_groupwise(weight / 8)
    return {
        "x": rng.standard_normal((2, 2, 64)).astype(np.float16),
        "packed": packed,
        "scales": scales,
        "cache": rng.standard_normal((2, 2, 2, 8, 32)).astype(np.float16),
        "lengths": np.array([5, 5], np.int32),
        "rope_cos_sin": rope.cos_sin(8, 32),
        "start": np.zeros(2, np.int32),
        "mask": np.array([[[1], [3]]] * 2, np.int32),
        "positions": np.array([[3, 4]] * 2, np.int32),
    }


def main() -> None:
    arrays = inputs()
    tensors = tuple(torch.from_numpy(array) for array in arrays.values())
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    rows, rows_of_tokens = {0: batch}, {0: batch, 1: tokens}
    program = torch.onnx.export(
        Layer(),
        tensors,
        input_names=list(arrays),
        output_names=["output", "cache_out"],
        dynamic_shapes={
            "x": rows_of_tokens,
            "packed": None,
            "scales": None,
            "cache": rows,
            "lengths": rows,
            "rope_cos_sin": None,
            "start": rows,
            "mask": rows_of_tokens,
            "positions": rows_of_tokens,
        },
        dynamo=True,
        opset_version=18,
        custom_translation_table=torch_ops.translation_table(),
    )
    model = program.model_proto
    for eager, exported in zip(Layer()(*tensors), evaluator(model).run(None, arrays), strict=True):
        np.testing.assert_array_equal(eager.numpy(), exported)
    del model.metadata_props[:]
    model.producer_version = torch.__version__
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]
    path = pathlib.Path(__file__).with_name("torch_export.onnxtxt")
    lines = onnx.printer.to_text(model).splitlines()
    wrapped = [textwrap.fill(line, 100, subsequent_indent="    ") for line in lines]
    path.write_text("\n".join(wrapped) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
