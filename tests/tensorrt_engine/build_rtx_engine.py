"""Builds the layer's engine with TensorRT-RTX, on a machine without a GPU.

TensorRT-RTX's Python bindings have no call that adds a plugin layer; its ONNX parser adds them. So
the network is written twice: the first time its plugin layers are only noted, and a model of these
alone is parsed; the second time they are taken from what the parser made, and wired up.

A program of its own, as TensorRT-RTX ends the process for some failures. Its last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto, helper

from edge_llm_plugins.engines.versions import create_network
from tests.tensorrt_engine.build_engine import make_config
from tests.tensorrt_engine.cases import Form, Shape
from tests.tensorrt_engine.installed import load_tensorrt, make_logger
from tests.tensorrt_engine.layer import Layer
from tests.tensorrt_engine.network import NetworkWriter, Tensor

ONNX_TYPES = {
    "HALF": TensorProto.FLOAT16,
    "FLOAT": TensorProto.FLOAT,
    "INT8": TensorProto.INT8,
    "INT32": TensorProto.INT32,
}


def output_shapes(fields: dict[str, int], inputs: Sequence[Tensor]) -> list[Shape]:
    """The shapes of a plugin's outputs; -1 is dynamic."""
    if "gemm_n" in fields:
        return [(-1, -1, fields["gemm_n"])]
    return [(-1, -1, fields["num_q_heads"], fields["head_size"]), tuple(inputs[1].shape)]


class _StandIn:
    """Stands for a plugin layer that is only noted: new inputs of the network are its outputs."""

    def __init__(self, outputs: list[Tensor]) -> None:
        self.num_outputs = len(outputs)
        self.get_output = outputs.__getitem__


class NotingWriter(NetworkWriter):
    """Notes the plugin layers as ONNX nodes, with the ONNX inputs that they need."""

    def __init__(self, trt: ModuleType, network: Any, version: str) -> None:
        super().__init__(trt, network, version)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def add_plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> Any:
        layer = f"plugin{len(self.nodes)}"
        names = [f"{layer}.in{i}" for i in range(len(inputs))]
        for input_name, tensor in zip(names, inputs, strict=True):
            # Any shape will do until the layer is wired up, but for what no profile will know.
            shape = [max(extent, 1) for extent in tensor.shape]
            onnx_type = ONNX_TYPES[tensor.dtype.name]
            self.inputs.append(helper.make_tensor_value_info(input_name, onnx_type, shape))
        shapes = output_shapes(fields, inputs)
        outputs = [f"{layer}.out{i}" for i in range(len(shapes))]
        attributes = {**fields, "plugin_version": self._version}
        self.nodes.append(
            helper.make_node(name, names, outputs, name=layer, domain="trt", **attributes)
        )
        half = self._trt.float16
        return _StandIn(
            [
                self._network.add_input(output, half, shape)
                for output, shape in zip(outputs, shapes, strict=True)
            ]
        )

    def mark_output(self, name: str, tensor: Tensor) -> None:
        """Nothing: a stand-in is an input, which cannot be an output as well."""

    def model(self) -> bytes:
        """An ONNX model of the plugin layers alone."""
        outputs = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT16, None)
            for node in self.nodes
            for output in node.output
        ]
        graph = helper.make_graph(self.nodes, "plugins", self.inputs, outputs)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("trt", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


class WiringWriter(NetworkWriter):
    """Takes the plugin layers that the network has already, in their order."""

    def __init__(self, trt: ModuleType, network: Any, version: str) -> None:
        super().__init__(trt, network, version)
        self._layers = iter([network.get_layer(i) for i in range(network.num_layers)])

    def add_plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> Any:
        layer = next(self._layers)
        for i in range(layer.num_outputs):
            self._network.unmark_output(layer.get_output(i))
        for i, tensor in enumerate(inputs):
            layer.set_input(i, tensor)
        return layer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="of make_layer.py")
    parser.add_argument("--form", choices=[form.value for form in Form], required=True)
    parser.add_argument("--plugin-version", choices=["1", "2"], required=True)
    args = parser.parse_args()
    trt = load_tensorrt()
    layer, form = Layer.load(args.layer), Form(args.form)
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    noting = NotingWriter(trt, create_network(trt, builder), args.plugin_version)
    noting.add_layer(layer, form)
    network = create_network(trt, builder)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(noting.model()):
        raise RuntimeError(str([parser.get_error(i) for i in range(parser.num_errors)]))
    WiringWriter(trt, network, args.plugin_version).add_layer(layer, form)
    config = make_config(trt, builder, layer, form)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM80, 0)
    plan = builder.build_serialized_network(network, config)
    facts = {
        "tensorrt": trt.__version__,
        "layers": [network.get_layer(i).type.name for i in range(network.num_layers)],
        "inputs": [network.get_input(i).name for i in range(network.num_inputs)],
        "outputs": [network.get_output(i).name for i in range(network.num_outputs)],
        "plan_bytes": 0 if plan is None else len(bytes(plan)),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
