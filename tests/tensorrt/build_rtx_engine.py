"""Builds a TensorRT-RTX engine with one INT4 GEMM layer from ONNX, on a machine without a GPU.

A program of its own, because TensorRT-RTX ends the process for some failures and its parser wants
an LD_LIBRARY_PATH from the start. Prints one JSON object: what the parser and the builder did.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import onnx
import tensorrt_rtx_bindings as trt
from onnx import TensorProto, helper, numpy_helper

PLUGIN = "Int4GroupwiseGemmPlugin"


def int4_gemm_model(n: int, k: int, attributes: dict[str, int | str]) -> bytes:
    """A model y = plugin(x, weights, scales), x f16 [B, S, k]; weights and scales are constants.

    The node is shaped as upstream's exporter writes it: domain trt, fields as attributes.
    """
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (n // 2, k), dtype=np.int8)
    scales = rng.random((-(-k // 128), n), dtype=np.float32).astype(np.float16)
    node = helper.make_node(
        PLUGIN, ["x", "weights", "scales"], ["y"], name="int4_gemm", domain="trt", **attributes
    )
    graph = helper.make_graph(
        [node],
        "one_layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["B", "S", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["B", "S", n])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(scales, "scales")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("trt", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Logger(trt.ILogger):
    """Collects messages; a failed build says why there."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.messages: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        self.messages.append(f"{severity.name}: {message}")


def build(model: bytes, sm: int, k: int, logger: Logger) -> dict:
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        return {"errors": [str(parser.get_error(i)) for i in range(parser.num_errors)]}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 1, k), (1, 8, k), (4, 128, k))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    return {
        "layers": [network.get_layer(i).type.name for i in range(network.num_layers)],
        "output_shape": list(network.get_output(0).shape),
        "output_type": network.get_output(0).dtype.name,
        "engine_bytes": 0 if engine is None else engine.nbytes,
        "engine_names_the_plugin": engine is not None and PLUGIN.encode() in bytes(engine),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", help="the plugin library; without it, none is loaded")
    parser.add_argument("--sm", type=int, required=True)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--k", type=int, default=192, help="of x and of the weights")
    parser.add_argument("--attributes", type=json.loads, required=True, help="of the node, JSON")
    args = parser.parse_args()
    if args.library is not None:
        handle = trt.get_plugin_registry().load_library(args.library)
        assert handle is not None, f"TensorRT-RTX does not load {args.library}"
    logger = Logger()
    result = build(int4_gemm_model(args.n, args.k, args.attributes), args.sm, args.k, logger)
    json.dump({**result, "version": trt.__version__, "log": logger.messages}, sys.stdout)


if __name__ == "__main__":
    main()
