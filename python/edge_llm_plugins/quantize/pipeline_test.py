"""Whole checkpoints quantized into folders."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tracemalloc

import numpy as np
import pytest

from edge_llm_plugins import quantization
from edge_llm_plugins.models import transformer
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.packed_linears import QuantizedLinear
from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.quantize import awq, calibration, pipeline, search

TEXTS = [tiny_models.TOKENS, tiny_models.TOKENS[:7]]
O_PROJ = "model.layers.1.self_attn.o_proj"


class Checkpoint(tiny_models.TinyCheckpoint):
    """A seeded checkpoint with large activations in some channels; `replaced` has other tensors."""

    def __init__(self, name: str = "llama", **changes: int) -> None:
        super().__init__(dataclasses.replace(tiny_models.CONFIGS[name], **changes))
        self.replaced: dict[str, np.ndarray] = {}

    def names(self) -> list[str]:
        return list({**self._shapes, **self.replaced})

    def tensor(self, name: str) -> np.ndarray:
        if name in self.replaced:
            return self.replaced[name]
        values = super().tensor(name)
        if name.endswith("layernorm.weight"):
            values[::9] *= 32
        return values

    def quantized_linear(self, prefix: str) -> QuantizedLinear | None:
        return None

    def tokenizer_files(self) -> dict[str, bytes]:
        return {"tokenizer.json": b"{}"}


class QuantizedCheckpoint(Checkpoint):
    """Every linear layer is quantized, but for `plain`."""

    plain = ""

    def quantized_linear(self, prefix: str) -> QuantizedLinear | None:
        if prefix == self.plain:
            return None
        packed, scales = quantization.quantize_groupwise(super().tensor(f"{prefix}.weight"))
        codes = quantization.unpack(packed)
        codes[0, 0] = -8  # which rounding to nearest would never choose
        return QuantizedLinear(codes, scales)

    def tensor(self, name: str) -> np.ndarray:
        prefix, _, last = name.rpartition(".")
        if prefix.endswith("_proj") and last == "weight":
            linear = self.quantized_linear(prefix)
            return quantization.dequantize(quantization.pack(linear.codes), linear.scales)
        return super().tensor(name)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_rtn_is_plain_rounding_of_fused_layers(name: str, tmp_path: pathlib.Path) -> None:
    checkpoint = Checkpoint(name)
    report = pipeline.quantize(checkpoint, tmp_path, "rtn", progress=False)
    model = QuantizedModel(tmp_path)
    assert model.config == checkpoint.config
    assert model.quantization == {"method": "rtn", "group_size": 128}
    assert model.report == json.loads(json.dumps(report))
    assert (tmp_path / "tokenizer.json").read_bytes() == b"{}"
    weights = transformer.CheckpointWeights(checkpoint)
    assert [row["name"] for row in report["layers"]] == list(checkpoint.config.linear_shapes())
    for row in report["layers"]:
        weight = weights.weight(row["name"])
        packed, scales, bias = model.linear(row["name"])
        expected_packed, expected_scales = quantization.quantize_groupwise(weight)
        np.testing.assert_array_equal(packed, expected_packed, row["name"])
        np.testing.assert_array_equal(scales, expected_scales, row["name"])
        if name == "qwen2" and "qkv" in row["name"]:
            np.testing.assert_array_equal(bias, weights.bias(row["name"]))
        else:
            assert bias is None
        assert (row["n"], row["k"]) == weight.shape
        difference = quantization.dequantize(packed, scales) - weight
        error = np.linalg.norm(difference) / np.linalg.norm(weight)
        assert row["relative_error"] == pytest.approx(error, rel=1e-5)
        assert "output_error" not in row
    for tensor in checkpoint.config.tensor_shapes():
        np.testing.assert_array_equal(model.tensor(tensor), checkpoint.tensor(tensor), tensor)


def logits(weights: transformer.Weights) -> np.ndarray:
    operations = transformer.ReferenceOperations(weights, 16, dtype=np.float32)
    step = transformer.AttentionStep.prefill([16])
    return transformer.Transformer(operations).logits(np.array([tiny_models.TOKENS]), step)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_each_method_comes_closer_to_the_network(name: str, tmp_path: pathlib.Path) -> None:
    checkpoint = Checkpoint(name)
    exact = logits(transformer.CheckpointWeights(checkpoint))
    output_errors, logit_errors = {}, {}
    for method in ("rtn", "search", "awq"):
        report = pipeline.quantize(checkpoint, tmp_path / method, method, TEXTS, progress=False)
        output_errors[method] = np.mean([row["output_error"] for row in report["layers"]])
        model = transformer.QuantizedWeights(QuantizedModel(tmp_path / method))
        logit_errors[method] = np.linalg.norm(logits(model) - exact) / np.linalg.norm(exact)
    assert output_errors["awq"] < output_errors["search"] < 0.8 * output_errors["rtn"]
    assert logit_errors["awq"] < 0.9 * logit_errors["rtn"], logit_errors


def test_awq_reports_errors_against_the_original_weights(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awq, "ALPHAS", (0.5,))
    checkpoint = Checkpoint()
    report = pipeline.quantize(checkpoint, tmp_path, calibration_sequences=TEXTS, progress=False)
    assert report["method"] == "awq"
    (row,) = [row for row in report["layers"] if row["name"] == "model.layers.0.mlp.down_proj"]
    assert row["alpha"] == 0.5
    weight = checkpoint.tensor(f"{row['name']}.weight")
    x = next(calibration.layer_inputs(checkpoint, TEXTS))["mlp.down_proj"]
    scales = awq.search_channel_scales(weight, x).scales
    assert scales.max() > 2 * scales.min()
    packed, group_scales, _ = QuantizedModel(tmp_path).linear(row["name"])
    difference = quantization.dequantize(packed, group_scales) / scales - weight
    error = np.linalg.norm(difference) / np.linalg.norm(weight)
    assert row["relative_error"] == pytest.approx(error, rel=1e-4)
    error = np.linalg.norm(x @ difference.T) / np.linalg.norm(x @ weight.T)
    assert row["output_error"] == pytest.approx(error, rel=1e-4)


def test_import_carries_codes_and_scales_over(tmp_path: pathlib.Path) -> None:
    checkpoint = QuantizedCheckpoint()
    report = pipeline.quantize(checkpoint, tmp_path, progress=False)
    assert report["method"] == "import"
    model = QuantizedModel(tmp_path)
    for row in report["layers"]:
        packed, scales, _ = model.linear(row["name"])
        parts = [checkpoint.quantized_linear(part) for part in transformer.parts(row["name"])]
        codes = np.concatenate([part.codes for part in parts])
        np.testing.assert_array_equal(quantization.unpack(packed), codes, row["name"])
        expected = np.concatenate([part.scales for part in parts], axis=1)
        np.testing.assert_array_equal(scales, expected, row["name"])
        assert row["relative_error"] == 0


def test_import_of_a_layer_that_is_not_quantized_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = QuantizedCheckpoint()
    checkpoint.plain = O_PROJ
    weight = np.zeros((64, 128), np.float32)
    checkpoint.tensor = lambda name: (
        weight if O_PROJ in name else Checkpoint.tensor(checkpoint, name)
    )
    with pytest.raises(ValueError, match=rf"{O_PROJ} is not quantized in the checkpoint"):
        pipeline.quantize(checkpoint, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("gptq", "method is 'gptq': rtn, search, awq, import are allowed"),
        ("awq", "method awq needs calibration sequences"),
        ("import", r"layers\.0\.self_attn\.q_proj is not quantized in the checkpoint"),
    ],
)
def test_methods_that_cannot_be_are_refused(
    method: str, message: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline.quantize(Checkpoint(), tmp_path, method, progress=False)
    assert not list(tmp_path.iterdir())


def test_biases_without_a_place_are_refused_unless_zero(tmp_path: pathlib.Path) -> None:
    checkpoint = Checkpoint()
    checkpoint.replaced[f"{O_PROJ}.bias"] = np.zeros(64, np.float32)
    pipeline.quantize(checkpoint, tmp_path / "zeros", progress=False)
    checkpoint.replaced[f"{O_PROJ}.bias"][3] = 1
    with pytest.raises(ValueError, match=rf"{O_PROJ} has a bias: llama has none"):
        pipeline.quantize(checkpoint, tmp_path / "ones", progress=False)


def test_a_weight_of_another_shape_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = Checkpoint()
    checkpoint.replaced[f"{O_PROJ}.weight"] = np.zeros((64, 64), np.float32)
    with pytest.raises(ValueError, match=rf"{O_PROJ} has shape \[64, 64\]: \[64, 128\] belongs"):
        pipeline.quantize(checkpoint, tmp_path, progress=False)


def peak_memory(layers: int, folder: pathlib.Path, texts: list[list[int]] | None) -> int:
    """Bytes at the peak of a run whose layers have 1.7 MB of float32 weights each."""
    checkpoint = Checkpoint(num_layers=layers, hidden_size=256, intermediate_size=384)
    tracemalloc.start()
    pipeline.quantize(checkpoint, folder, calibration_sequences=texts, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("texts", [None, TEXTS], ids=["search", "awq"])
def test_memory_does_not_grow_with_layers(
    texts: list[list[int]] | None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awq, "ALPHAS", (0.5,))  # tracing memory is slow
    monkeypatch.setattr(search.os, "cpu_count", lambda: 1)  # threads' peaks fall together or not
    few = peak_memory(2, tmp_path / "few", texts)
    many = peak_memory(10, tmp_path / "many", texts)
    # Another 8 layers have 14 MB of float32 weights, and 2 MB of codes and scales.
    assert many < few + 500_000, f"{many} bytes with 10 layers, {few} with 2"


def test_progress_goes_to_stderr(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline.quantize(Checkpoint(), tmp_path / "shown")
    output = capfd.readouterr()
    assert "2/2" in output.err and not output.out
    pipeline.quantize(Checkpoint(), tmp_path / "hidden", progress=False)
    assert capfd.readouterr().err == ""


def test_table_has_a_line_per_layer_and_the_mean() -> None:
    rows = [{"name": f"{i}", "relative_error": i / 8} for i in range(8)]
    table = pipeline.format_report({"method": "rtn", "layers": rows}).splitlines()
    assert table[0] == "method rtn, relative error of weights"
    assert table[1].split() == ["layer", "qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    assert table[2].split() == ["0", "0.00000", "0.12500", "0.25000", "0.37500"]
    assert table[-1].split() == ["mean", "0.25000", "0.37500", "0.50000", "0.62500"]
    for row in rows:
        row["output_error"] = 1.0
    assert "outputs on the calibration texts" in pipeline.format_report(
        {"method": "awq", "layers": rows}
    )
