"""Builds an engine of what the converters of docs/torch_tensorrt.md add, with TensorRT-RTX.

A program of its own, as its ONNX parser wants an LD_LIBRARY_PATH. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import tensorrt_rtx_bindings as rtx

from edge_llm_plugins import quantization
from tests.tensorrt.torch_tensorrt.page import run_page, stand_in_for_torch
from tests.tensorrt_engine.parsed_plugins import NotedPlugins, ParsedPlugins

HEADS = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 32}
CAPACITY = 48
WEIGHTS = quantization.quantize_groupwise(
    np.random.default_rng(0).standard_normal((256, 64)).astype(np.float32)
)
INPUTS = {
    "x": (rtx.float16, (-1, -1, 64)),
    "kv_cache": (rtx.float16, (-1, 2, 2, CAPACITY, 32)),
    "context_lengths": (rtx.int32, (-1,)),
    "rope_cos_sin": (rtx.float32, (1, CAPACITY, 32)),
    "kv_cache_start_index": (rtx.int32, (-1,)),
    "attention_mask": (rtx.int32, (-1, -1, -1)),
    "attention_pos_ids": (rtx.int32, (-1, -1)),
}
TREE_INPUTS = ("attention_mask", "attention_pos_ids")
OUTPUTS = ("output", "kv_cache_out")


class Creator:
    """A creator of the registry; notes what each plugin was made of."""

    def __init__(self, creator: Any, made: dict[int, tuple]) -> None:
        self._creator, self._made = creator, made

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
        plugin = self._creator.create_plugin(name, fields, phase)
        assert plugin is not None, f"no {self._creator.name} of these fields"
        values = {field.name: int(np.frombuffer(field.data, np.int32)[0]) for field in fields}
        creator = self._creator
        self._made[id(plugin)] = (plugin, creator.name, creator.plugin_version, values)
        return plugin


class Network:
    """A network that has add_plugin_v3, which TensorRT-RTX's Python bindings lack."""

    def __init__(self, network: Any, add: Callable[..., Any], made: dict[int, tuple]) -> None:
        self.network, self._add, self._made = network, add, made

    def add_plugin_v3(self, inputs: list[Any], shape_inputs: list[Any], plugin: Any) -> Any:
        assert not shape_inputs
        _, name, version, fields = self._made[id(plugin)]
        return self._add(name, version, fields, inputs)


def tensorrt(made: dict[int, tuple]) -> ModuleType:
    """TensorRT-RTX as tensorrt, with a registry that notes plugins."""
    trt = ModuleType("tensorrt")
    trt.__dict__.update(rtx.__dict__, __name__="tensorrt")
    registry = rtx.get_plugin_registry()
    trt.get_plugin_registry = lambda: SimpleNamespace(
        load_library=registry.load_library,
        get_creator=lambda *key: Creator(registry.get_creator(*key), made),
    )
    return trt


def convert(network: Network, converters: dict[str, Callable[..., Any]], form: str) -> list[Any]:
    """The outputs of an INT4 layer and the attention behind it, as the converters add them."""
    ctx, trt_network = SimpleNamespace(net=network), network.network
    weights = [trt_network.add_constant(a.shape, a).get_output(0) for a in WEIGHTS]
    inputs = {
        name: trt_network.add_input(name, *value)
        for name, value in INPUTS.items()
        if form == "tree" or name not in TREE_INPUTS
    }
    trees = {name: inputs.pop(name) for name in TREE_INPUTS if name in inputs}
    x, *rest = inputs.values()
    qkv = converters["int4_groupwise_gemm"](ctx, None, (x, *weights), {}, "int4_layer")
    args = (qkv, *rest, *HEADS.values())
    return converters["attention"](ctx, None, args, trees, "attention_layer")


def main() -> None:
    form = sys.argv[1]
    made: dict[int, tuple] = {}
    converters = stand_in_for_torch()
    run_page(tensorrt(made), stop_before="")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    noting = builder.create_network(0)
    noted = NotedPlugins(rtx, noting)
    convert(Network(noting, noted.add, made), converters, form)
    network = builder.create_network(0)
    parsed = ParsedPlugins(rtx, network, logger, noted.model())
    made.clear()
    wired = Network(network, lambda name, version, fields, inputs: parsed.next(inputs), made)
    for name, output in zip(OUTPUTS, convert(wired, converters, form), strict=True):
        output.name = name
        network.mark_output(output)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    ranges = {"x": [], "kv_cache": [], "attention_mask": []}
    for batch, tokens in ((1, 1), (2, 8), (4, 16)):
        ranges["x"].append((batch, tokens, 64))
        ranges["kv_cache"].append((batch, 2, 2, CAPACITY, 32))
        ranges["attention_mask"].append((batch, tokens, 1))
    ranges["attention_pos_ids"] = [shape[:2] for shape in ranges["x"]]
    for name in ("context_lengths", "kv_cache_start_index"):
        ranges[name] = [shape[:1] for shape in ranges["x"]]
    names = [network.get_input(i).name for i in range(network.num_inputs)]
    for name in ranges.keys() & set(names):
        profile.set_shape(name, *ranges[name])
    assert config.add_optimization_profile(profile) >= 0
    engine = bytes(builder.build_serialized_network(network, config))
    facts = {
        "made": [values[1:] for values in made.values()],
        "engine_bytes": len(engine),
        "named_in_engine": [
            name for name in ("int4_layer", "attention_layer") if name.encode() in engine
        ],
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
