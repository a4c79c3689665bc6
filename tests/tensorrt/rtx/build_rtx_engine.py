"""Builds a TensorRT-RTX engine with plugin layers from ONNX, on a machine without a GPU.

A program of its own, because TensorRT-RTX ends the process for some failures and its parser wants
an LD_LIBRARY_PATH from the start. Prints one JSON object: what the parser and the builder did.
"""

from __future__ import annotations

import argparse
import json
import sys

import tensorrt_rtx_bindings as trt

from tests.tensorrt.rtx.exported_models import (
    exported_model,
    rewritten_attention_model,
    rewritten_linear_model,
)
from tests.tensorrt.rtx.onnx_models import Model, attention_model, int4_gemm_model

PLUGINS = ["AttentionPlugin", "Int4GroupwiseGemmPlugin"]
MODELS = {
    "attention": attention_model,
    "exported": exported_model,
    "int4_gemm": int4_gemm_model,
    "rewritten_attention": rewritten_attention_model,
    "rewritten_linear": rewritten_linear_model,
}


class Logger(trt.ILogger):
    """Collects messages; a failed build says why there."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.messages: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        self.messages.append(f"{severity.name}: {message}")


def build(model: Model, sm: int, aliased_io: bool, logger: Logger) -> dict:
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.onnx):
        return {"errors": [str(parser.get_error(i)) for i in range(parser.num_errors)]}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), 0)
    config.set_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03, aliased_io)
    for shapes in model.profiles:
        profile = builder.create_optimization_profile()
        for name, (smallest, usual, largest) in shapes.items():
            profile.set_shape(name, smallest, usual, largest)
        assert config.add_optimization_profile(profile) >= 0, f"refused profile {shapes}"
    engine = builder.build_serialized_network(network, config)
    engine_bytes = b"" if engine is None else bytes(engine)
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {
        "layers": [network.get_layer(i).type.name for i in range(network.num_layers)],
        "outputs": [[output.dtype.name, list(output.shape)] for output in outputs],
        "engine_bytes": len(engine_bytes),
        "plugins_in_engine": [name for name in PLUGINS if name.encode() in engine_bytes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", help="the plugin library; without it, none is loaded")
    parser.add_argument("--sm", type=int, required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--arguments", type=json.loads, required=True, help="of the model, JSON")
    parser.add_argument("--aliased-io", action="store_true", help="outputs may share memory")
    args = parser.parse_args()
    if args.library is not None:
        handle = trt.get_plugin_registry().load_library(args.library)
        assert handle is not None, f"TensorRT-RTX does not load {args.library}"
    logger = Logger()
    model = MODELS[args.model](**args.arguments)
    result = build(model, args.sm, args.aliased_io, logger)
    json.dump({**result, "version": trt.__version__, "log": logger.messages}, sys.stdout)


if __name__ == "__main__":
    main()
