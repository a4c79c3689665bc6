"""Builds engines of a whole model and generates text with them, and compares it with NumPy's.

    python3 -m tests.tensorrt_model.run_model --model FOLDER --output FOLDER

Needs what `run_engines` needs, and onnx and onnx_ir; --model is a quantized model folder. Prints
one line per check, and 'N passed, N failed' last; exits with 1 when one failed.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys

import numpy as np

from edge_llm_plugins import _tensorrt, reference
from edge_llm_plugins.engines.build import build_engine
from edge_llm_plugins.export import builder
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.runtime.backends import ReferenceBackend
from edge_llm_plugins.runtime.engine_backend import EngineBackend
from edge_llm_plugins.runtime.generate import Decoder, Generation
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder, compare_greedy
from tests.tensorrt_engine.installed import is_weakly_typed
from tests.tensorrt_engine.run_engines import Report

# The largest shapes of the engines, with AttentionPlugin's five inputs and with its seven.
FORMS = {
    "plain": Limits(capacity=64, batch=2, prefill_tokens=16),
    "tree": Limits(capacity=64, batch=2, prefill_tokens=16, tree_tokens=8),
}
PROMPT, NEW_TOKENS = 24, 32  # more than a prefill, so that there is a chunk
LOGITS_RELATIVE_RMS = 2e-2  # of a whole model in FP16, whose sums have another order


class ModelEngine:
    """An engine of a model, and the checks of it; each returns what it found, as text."""

    def __init__(self, model: QuantizedModel, folder: pathlib.Path, limits: Limits) -> None:
        self._model, self._folder, self._limits = model, folder, limits
        self._judge = ReferenceBackend(model, limits)
        # Its second half repeats the first one, so that there is something to guess from.
        half = np.random.default_rng(0).integers(model.config.vocab_size, size=PROMPT // 2)
        self._prompt = [*half.tolist(), *half.tolist()]

    def build(self, weakly_typed: bool) -> str:
        """Writes model.onnx and model.engine."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = builder.export_model(
            self._model,
            self._folder / "model.onnx",
            self._limits,
            tensorrt_major=8 if weakly_typed else 10,
        )
        engine_path = self._folder / "model.engine"
        # Machines that carry a TensorRT 8.6 for this test have neither cuBLAS nor cuDNN.
        metadata = build_engine(path, engine_path, external_tactics=not weakly_typed)
        return (
            f"built in {metadata.seconds} s, {engine_path.stat().st_size / 1e6:.1f} MB, "
            f"{metadata.plugin_layers} found in the {metadata.layers_found_in}"
        )

    def load(self) -> str:
        self._backend = EngineBackend(self._folder / "model.engine")
        return self._backend.device.name

    def two_rows(self) -> str:
        """Logits of a prefill, a chunk and decode of two rows of different lengths."""
        ids = np.array([self._prompt[:16], self._prompt[8:]], np.int32)
        errors = []
        for token_ids, step in (
            (ids, AttentionStep.prefill([16, 9])),
            (ids[:, :4], AttentionStep.chunk([16, 9], [4, 3])),
            (ids[:, :1], AttentionStep.decode([20, 12])),
            (ids[:1, :1], AttentionStep.decode([21])),
        ):
            actual, expected = (b.run(token_ids, step) for b in (self._backend, self._judge))
            reference.assert_close(actual, expected, LOGITS_RELATIVE_RMS, hint="logits")
            errors.append(f"{reference.relative_rms(actual, expected):.1e}")
        return f"relative RMS errors of logits {', '.join(errors)}"

    def text(self, decoder: Decoder | None) -> str:
        """Greedy text: the reference's, or another one from where two tokens are as good."""
        expected = list(Generation(self._judge, self._prompt, max_tokens=NEW_TOKENS))
        generation = Generation(self._backend, self._prompt, max_tokens=NEW_TOKENS, decoder=decoder)
        agreement = compare_greedy(self._prompt, expected, list(generation), self._judge)
        assert agreement.within(), str(agreement)
        return f"{agreement}; {generation.statistics}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="of quantize")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a folder")
    args = parser.parse_args(words)
    trt = _tensorrt.find_tensorrt()
    print(f"{trt.__name__} {trt.__version__}, Python {sys.version.split()[0]}", flush=True)
    model, report = QuantizedModel(args.model), Report()
    for form, limits in FORMS.items():
        engine = ModelEngine(model, args.output / form, limits)
        failed = report.failed
        report.check(f"{form}, build", functools.partial(engine.build, is_weakly_typed(trt)))
        if report.failed == failed:
            report.check(f"{form}, load", engine.load)
        if report.failed > failed:
            continue  # the others would only say the same again
        report.check(f"{form}, two rows", engine.two_rows)
        report.check(f"{form}, text", functools.partial(engine.text, None))
        if limits.tree_tokens:
            speculative = functools.partial(engine.text, SpeculativeDecoder())
            report.check(f"{form}, speculative text", speculative)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
