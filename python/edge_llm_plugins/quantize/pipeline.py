"""Streams a checkpoint into a quantized model folder, one layer in memory at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import quantization
from edge_llm_plugins._extras import require
from edge_llm_plugins.models import transformer
from edge_llm_plugins.models.checkpoints import Checkpoint, open_checkpoint
from edge_llm_plugins.models.folder import FolderWriter
from edge_llm_plugins.quantize import awq, calibration, search
from edge_llm_plugins.quantize.layer import LINEARS, Layer, read_layer

METHODS = {
    "rtn": "round to nearest, scale max|w| / 7",
    "search": "round to nearest with the scale of least error; weighted by activations where given",
    "awq": "search, with activation-aware scaling of channels; needs calibration sequences",
    "import": "codes and scales of an AWQ or GPTQ checkpoint as they are",
}


def quantize(
    checkpoint: str | os.PathLike[str] | Checkpoint,
    folder: str | os.PathLike[str],
    method: str | None = None,
    calibration_sequences: Sequence[ArrayLike] | None = None,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Quantizes a checkpoint into a new folder (see `models.folder`).

    Args:
      checkpoint: a path that `open_checkpoint` takes, or an open checkpoint.
      folder: where the model goes; does not exist or is empty.
      method: one of METHODS; by default "import" for AWQ and GPTQ checkpoints, else "awq" with
        calibration sequences and "search" without.
      calibration_sequences: token ids of some texts, int [S] each. With them the report has the
        error of each layer's output on these texts, too.
      progress: shows a progress bar on stderr.

    Returns:
      The content of report.json: "method", and "layers", one dict per linear layer:
        name, n, k; relative_error: |W - W'| / |W| (Frobenius norms), W' what the codes stand for;
        output_error: |X (W - W')^T| / |X W^T| of its activations X, with calibration sequences;
        alpha: the exponent of AWQ's channel scales.

    Raises:
      FileNotFoundError, FileExistsError: the checkpoint or the folder.
      ValueError: a method, model, layer or tensor that is not served; the folder is then removed
        from, but for its tokenizer.
      ImportError: an extra is not installed.
    """
    tqdm = require("tqdm", "quantize")
    if isinstance(checkpoint, (str, os.PathLike)):
        checkpoint = open_checkpoint(checkpoint)
    config = checkpoint.config
    method = _choose_method(checkpoint, method, calibration_sequences)
    tokenizer_files = checkpoint.tokenizer_files()
    inputs = None
    if calibration_sequences is not None:
        inputs = calibration.layer_inputs(checkpoint, calibration_sequences)
    rows: list[dict[str, Any]] = []
    how = {"method": method, "group_size": quantization.GROUP_SIZE}
    with FolderWriter(folder, config, how) as writer:
        for index in tqdm.tqdm(
            range(config.num_layers), unit=" layers", file=sys.stderr, disable=not progress
        ):
            layer = read_layer(checkpoint, index)
            x = None if inputs is None else next(inputs)
            rows += _quantize_layer(writer, checkpoint, layer, method, x)
        for name in config.tensor_shapes():
            if not name.startswith("model.layers."):
                writer.add_tensor(name, checkpoint.tensor(name))
        for name, content in tokenizer_files.items():
            writer.write_file(name, content)
        report = {"method": method, "layers": rows}
        writer.write_report(report)
    return report


def format_report(report: dict[str, Any]) -> str:
    """The report as a table: one line per transformer layer, a relative error per linear layer."""
    key = "output_error" if "output_error" in report["layers"][0] else "relative_error"
    what = "outputs on the calibration texts" if key == "output_error" else "weights"
    names = [name.rpartition(".")[2] for name in LINEARS]
    lines = [
        f"method {report['method']}, relative error of {what}",
        "layer " + "".join(f"{name:>14}" for name in names),
    ]
    errors = np.array([row[key] for row in report["layers"]]).reshape(-1, len(LINEARS))
    labels = [*map(str, range(len(errors))), "mean"]
    for label, line in zip(labels, [*errors, errors.mean(axis=0)], strict=True):
        lines.append(f"{label:>5} " + "".join(f"{error:>14.5f}" for error in line))
    return "\n".join(lines)


def _choose_method(
    checkpoint: Checkpoint, method: str | None, sequences: Sequence[ArrayLike] | None
) -> str:
    first = transformer.parts(next(iter(checkpoint.config.linear_shapes())))[0]
    if method is None:
        if checkpoint.quantized_linear(first) is not None:
            return "import"
        return "search" if sequences is None else "awq"
    if method not in METHODS:
        raise ValueError(f"method is {method!r}: {', '.join(METHODS)} are allowed")
    if method == "awq" and sequences is None:
        raise ValueError("method awq needs calibration sequences: give some, or take search")
    return method


def _quantize_layer(
    writer: FolderWriter,
    checkpoint: Checkpoint,
    layer: Layer,
    method: str,
    inputs: dict[str, NDArray[np.float32]] | None,
) -> list[dict[str, Any]]:
    """Writes one layer; returns its part of the report."""
    scales, alphas = {}, {}
    if method == "awq":
        scales, alphas = awq.scale_layer(layer, inputs)
    rows = []
    for name, weight in layer.linears.items():
        full_name = f"{layer.prefix}.{name}"
        x = None
        if inputs is not None:
            x = inputs[name] / scales.get(name, np.float32(1))
        codes, group_scales = _codes(checkpoint, full_name, weight, method, x)
        writer.add_linear(full_name, quantization.pack(codes), group_scales, layer.biases.get(name))
        difference = search.dequantize_codes(codes, group_scales) - weight
        row = {"name": full_name, "n": weight.shape[0], "k": weight.shape[1]}
        if x is not None:
            row["output_error"] = awq.output_error(difference, weight, x)
        # Channel scales out again: the error of the weights that the checkpoint has.
        columns = scales.get(name, np.float32(1))
        norm = np.linalg.norm(weight / columns)
        row["relative_error"] = float(np.linalg.norm(difference / columns) / max(norm, 1e-30))
        if name in alphas:
            row["alpha"] = alphas[name]
        rows.append(row)
    for name, values in layer.others.items():
        writer.add_tensor(f"{layer.prefix}.{name}", values)
    return rows


def _codes(
    checkpoint: Checkpoint,
    full_name: str,
    weight: NDArray[np.float32],
    method: str,
    x: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Codes [N, K] and scales [ceil(K/128), N] of one linear layer."""
    if method == "rtn":
        packed, scales = quantization.quantize_groupwise(weight)
        return quantization.unpack(packed), scales
    if method == "import":
        linears = []
        for part in transformer.parts(full_name):
            linears.append(checkpoint.quantized_linear(part))
            if linears[-1] is None:
                raise ValueError(f"{part} is not quantized in the checkpoint: take method search")
        return (
            np.concatenate([linear.codes for linear in linears]),
            np.concatenate([linear.scales for linear in linears], axis=1),
        )
    return search.search_groupwise(weight, None if x is None else np.square(x).mean(axis=0))
