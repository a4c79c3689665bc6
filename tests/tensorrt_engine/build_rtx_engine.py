"""Builds the layer's engine with TensorRT-RTX, on a machine without a GPU.

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

from edge_llm_plugins.engines.versions import create_network
from tests.tensorrt_engine.build_engine import make_config
from tests.tensorrt_engine.cases import Form
from tests.tensorrt_engine.installed import load_tensorrt, make_logger
from tests.tensorrt_engine.layer import Layer
from tests.tensorrt_engine.network import NetworkWriter, Tensor
from tests.tensorrt_engine.parsed_plugins import NotedPlugins, ParsedPlugins


class NotingWriter(NetworkWriter):
    """Notes the plugin layers."""

    def __init__(self, trt: ModuleType, network: Any, version: str) -> None:
        super().__init__(trt, network, version)
        self.plugins = NotedPlugins(trt, network)

    def add_plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> Any:
        return self.plugins.add(name, self._version, fields, inputs)

    def mark_output(self, name: str, tensor: Tensor) -> None:
        """Nothing: a stand-in is an input, which cannot be an output as well."""


class WiringWriter(NetworkWriter):
    """Takes the plugin layers that were noted."""

    def __init__(self, trt: ModuleType, network: Any, version: str, plugins: ParsedPlugins) -> None:
        super().__init__(trt, network, version)
        self._plugins = plugins

    def add_plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> Any:
        return self._plugins.next(inputs)


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
    plugins = ParsedPlugins(trt, network, logger, noting.plugins.model())
    WiringWriter(trt, network, args.plugin_version, plugins).add_layer(layer, form)
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
