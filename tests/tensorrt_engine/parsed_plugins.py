"""Plugin layers in networks of TensorRT-RTX, whose Python bindings have no call that adds one.

Its ONNX parser adds them, to an empty network. So a network is written twice: the first time its
plugin layers are only noted, and a model of these alone is parsed; the second time they are taken
from what the parser made, and wired up.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto, helper

Tensor = Any  # TensorRT's ITensor
Shape = tuple[int, ...]

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


class NotedPlugins:
    """Notes plugin layers as ONNX nodes, with the ONNX inputs that they need."""

    def __init__(self, trt: ModuleType, network: Any) -> None:
        self._trt, self._network = trt, network
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def add(
        self, name: str, version: str, fields: dict[str, int], inputs: Sequence[Tensor]
    ) -> _StandIn:
        """Notes a layer; what it gives is good for writing the rest of the network."""
        layer = f"plugin{len(self._nodes)}"
        names = [f"{layer}.in{i}" for i in range(len(inputs))]
        for input_name, tensor in zip(names, inputs, strict=True):
            # Any shape will do until the layer is wired up, but for what no profile will know.
            shape = [max(extent, 1) for extent in tensor.shape]
            onnx_type = ONNX_TYPES[tensor.dtype.name]
            self._inputs.append(helper.make_tensor_value_info(input_name, onnx_type, shape))
        shapes = output_shapes(fields, inputs)
        outputs = [f"{layer}.out{i}" for i in range(len(shapes))]
        attributes = {**fields, "plugin_version": version}
        self._nodes.append(
            helper.make_node(name, names, outputs, name=layer, domain="trt", **attributes)
        )
        half = self._trt.float16
        return _StandIn(
            [
                self._network.add_input(output, half, shape)
                for output, shape in zip(outputs, shapes, strict=True)
            ]
        )

    def model(self) -> bytes:
        """An ONNX model of the plugin layers alone."""
        outputs = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT16, None)
            for node in self._nodes
            for output in node.output
        ]
        graph = helper.make_graph(self._nodes, "plugins", self._inputs, outputs)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("trt", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


class ParsedPlugins:
    """Takes the plugin layers that a network has already, in their order."""

    def __init__(self, trt: ModuleType, network: Any, logger: Any, model: bytes) -> None:
        """Parses the model of `NotedPlugins` into an empty network.

        Raises:
          RuntimeError: TensorRT-RTX refuses it.
        """
        self._network = network
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(model):
            raise RuntimeError(str([parser.get_error(i) for i in range(parser.num_errors)]))
        self._layers = iter([network.get_layer(i) for i in range(network.num_layers)])

    def next(self, inputs: Sequence[Tensor]) -> Any:
        """The next layer, with these inputs."""
        layer = next(self._layers)
        for i in range(layer.num_outputs):
            self._network.unmark_output(layer.get_output(i))
        for i, tensor in enumerate(inputs):
            layer.set_input(i, tensor)
        return layer
