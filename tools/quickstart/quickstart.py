"""From a checkpoint to text: quantizes SmolLM2-135M-Instruct, and answers a prompt with it.

Every phase of the pipeline on a real model: INT4 weights by AWQ, ONNX with the plugins as nodes, an
engine built by TensorRT-RTX (a check, which needs no GPU), and text through the plugins, on a GPU
or, where there is none, in the emulator. Then what came out is verified; the exit code is 1 where
something is wrong.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator

from absl import app, flags

import edge_llm_plugins
from edge_llm_plugins import host
from edge_llm_plugins.runtime.backends import ReferenceBackend
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder
from edge_llm_plugins.runtime.tokenizer import TextStream
from tools.quickstart import checks
from tools.quickstart.pipeline import Pipeline

_MODEL = flags.DEFINE_string(
    "model", None, "SmolLM2-135M-Instruct as a GGUF file; `bazel run` sets it.", required=True
)
_PROMPT = flags.DEFINE_string("prompt", "Write the numbers from 1 to 20.", "The message to answer.")
_TOKENS = flags.DEFINE_integer("tokens", 32, "New tokens at most.", lower_bound=1)
_METHOD = flags.DEFINE_enum("method", "awq", ["awq", "search", "rtn"], "How to quantize.")
_DEVICE = flags.DEFINE_enum("device", "auto", ["auto", "cuda", "emulator"], "Where to run.")
_SM = flags.DEFINE_integer("sm", None, "The SM to emulate, such as 87.")
_PLUGIN_VERSION = flags.DEFINE_enum(
    "plugin_version", "2", ["1", "2"], "1 is IPluginV2DynamicExt, 2 is IPluginV3."
)
_ENGINE = flags.DEFINE_bool(
    "engine", True, "Exports the model and builds an engine of it; needs onnx and a TensorRT."
)
_FOLDER = flags.DEFINE_string(
    "folder", None, "An empty folder to keep the quantized model, ONNX and engine in."
)

flags.register_validator(
    "model", os.path.exists, message="no such file: it comes with `./bazelw run //:quickstart`."
)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Says what begins, and how long it took."""
    print(f"\n{name}", flush=True)
    start = time.perf_counter()
    yield
    print(f"  {time.perf_counter() - start:.1f} s", flush=True)


@contextlib.contextmanager
def working_folder() -> Iterator[pathlib.Path]:
    if _FOLDER.value is not None:
        yield pathlib.Path(_FOLDER.value)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    device = host.open_device(_DEVICE.value, _SM.value)
    emulated = device.kind == "emulator"
    where = "the PTX emulator, with its checks off" if emulated else "GPU"
    print(f"edge-llm-plugins {edge_llm_plugins.__version__} on {device.name}: {where}")
    with working_folder() as folder:
        results = run(Pipeline(_MODEL.value, folder, device, _PLUGIN_VERSION.value))
    print(f"\n{checks.format_table(results)}")
    return 0 if all(result.right for result in results) else 1


def run(pipeline: Pipeline) -> list[checks.Result]:
    """All phases, one after the other."""
    method, message, count = _METHOD.value, _PROMPT.value, _TOKENS.value
    with phase(f"Quantize SmolLM2-135M-Instruct (Apache-2.0, Q4_1) to INT4 by {method}"):
        print(f"  {pipeline.quantize(method)}")
    results = []
    if _ENGINE.value:
        with phase("Export as ONNX"):
            print(f"  {pipeline.export()}")
        with phase("Build an engine of it"):
            engine = pipeline.build()
            results.append(checks.engine(engine, pipeline.model.config.num_layers))
            print(f"  {engine.package} {engine.tensorrt}")

    with phase(f"Answer {message!r}"):
        backend = pipeline.backend()
        answer = pipeline.text(backend, message, count)
        stream = TextStream(pipeline.tokenizer, answer.prompt)
        print("  ", end="")
        for token in answer:
            print(stream.add(token), end="", flush=True)
        print(f"{stream.rest()}\n  {answer.statistics}", flush=True)
    with phase("Answer again, with speculative decoding"):
        speculated = pipeline.text(backend, message, count, SpeculativeDecoder())
        list(speculated)
        print(f"  {speculated.statistics}")
    with phase("Answer again, in NumPy"):
        judge = ReferenceBackend(pipeline.model, pipeline.limits)
        reference = pipeline.text(judge, message, count)
        list(reference)
    results.append(checks.against_numpy(answer, reference, judge))
    results.append(checks.speculative(answer, speculated, judge))
    with phase("Measure perplexities"):
        results.append(checks.perplexity_loss(pipeline, method))
    return results


if __name__ == "__main__":
    app.run(main)
