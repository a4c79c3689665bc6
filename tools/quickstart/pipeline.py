"""The phases of the pipeline on one model, each with the package's own functions."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from edge_llm_plugins import host
from edge_llm_plugins.engines.metadata import EngineMetadata
from edge_llm_plugins.models.checkpoints import open_checkpoint
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.quantize import calibration
from edge_llm_plugins.quantize import pipeline as quantization_pipeline
from edge_llm_plugins.runtime.backends import Backend, HostBackend
from edge_llm_plugins.runtime.generate import Decoder, Generation
from edge_llm_plugins.runtime.tokenizer import Tokenizer

_TEXTS = pathlib.Path(__file__).parent
_LARGEST = Limits(capacity=128, prefill_tokens=64, tree_tokens=8)


class Text:
    """A prompt and its greedy continuation, which is computed while it is iterated over."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        prompt: list[int],
        max_tokens: int,
        decoder: Decoder | None = None,
    ) -> None:
        self.prompt = prompt
        self.stop_tokens = (*backend.config.eos_token_ids, *tokenizer.stop_tokens)
        self.tokens: list[int] = []
        self._generation = Generation(
            backend, prompt, max_tokens=max_tokens, stop_tokens=self.stop_tokens, decoder=decoder
        )
        self.statistics = self._generation.statistics

    def __iter__(self) -> Iterator[int]:
        for token in self._generation:
            self.tokens.append(token)
            yield token


class Pipeline:
    """A checkpoint on its way to text; what the phases write goes to `folder`."""

    def __init__(
        self, checkpoint: str, folder: pathlib.Path, device: host.Device, plugin_version: str
    ) -> None:
        self.checkpoint = open_checkpoint(checkpoint)
        self.limits = _LARGEST
        self._device, self._plugin_version = device, plugin_version
        self._model_folder = folder / "model"
        self._onnx = folder / "model.onnx"
        self._engine = folder / "model.engine"

    def quantize(self, method: str) -> str:
        """Writes the quantized model folder; returns the mean error of its layers."""
        sequences = None
        if method == "awq":
            text = (_TEXTS / "calibration.txt").read_text(encoding="utf-8")
            sequences = calibration.tokenize(self.checkpoint, text)
        report = quantization_pipeline.quantize(
            self.checkpoint, self._model_folder, method, sequences
        )
        self.model = QuantizedModel(self._model_folder)
        self.tokenizer = Tokenizer(self._model_folder)
        layers = report["layers"]
        error = np.mean([layer["relative_error"] for layer in layers])
        return f"{len(layers)} linear layers, mean relative error of their weights {error:.3f}"

    def export(self) -> str:
        """Writes the ONNX model, checked and with all shapes inferred; returns its size."""
        from edge_llm_plugins.export import builder

        builder.export_model(self.model, self._onnx, self.limits)
        return f"{self._onnx.name}, {self._onnx.stat().st_size / 1e6:.0f} MB"

    def build(self) -> EngineMetadata:
        """Builds an engine of the ONNX model, in which every plugin layer was found."""
        from edge_llm_plugins.engines.build import build_engine

        return build_engine(self._onnx, self._engine)

    def backend(self) -> HostBackend:
        """The plugins, on the device."""
        return HostBackend(
            self.model,
            self.limits,
            device=self._device.kind,
            sm=self._device.emulated_sm,
            plugin_version=self._plugin_version,
            # The one place with the checks off: kernels were tested with all of them.
            emulator_checks="none",
        )

    def text(
        self,
        backend: Backend,
        message: str,
        max_tokens: int,
        decoder: Decoder | None = None,
    ) -> Text:
        """A back end's answer to a message, not computed yet."""
        prompt = self.tokenizer.encode_chat(message)
        return Text(backend, self.tokenizer, prompt, max_tokens, decoder)
