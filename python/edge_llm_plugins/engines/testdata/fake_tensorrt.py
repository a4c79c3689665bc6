"""Stands for a TensorRT that this machine cannot have: other versions, and refusals.

Its engines are JSON: what was asked of the builder, and the layers of the network.
"""

from __future__ import annotations

import enum
import json
import pathlib
from collections.abc import Collection
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx

PLUGIN_LAYERS = {"8": "PLUGIN_V2", "10": "PLUGIN_V3", "11": "PLUGIN_V3"}
LAYER_TYPES = {"Cast": "CAST", "Constant": "CONSTANT", "Gather": "GATHER"}

# The members that the code asks for, by version; numbers differ on purpose.
PREVIEW_FEATURES = {
    "8.6.0": {"PROFILE_SHARING_0806": 2},
    "10.0.1": {"PROFILE_SHARING_0806": 0},
    "10.3.0": {"PROFILE_SHARING_0806": 0, "ALIASED_PLUGIN_IO_10_03": 1},
    "11.4.0": {"ALIASED_PLUGIN_IO_10_03": 0, "RUNTIME_ACTIVATION_RESIZE_10_10": 1},
}
NETWORK_FLAGS = {
    "8.6.0": {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1},
    "10.0.1": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    "10.3.0": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    "11.4.0": {"STRONGLY_TYPED": 1},
}
BUILDER_FLAGS = {
    "8.6.0": ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"],
    "10.0.1": ["STRIP_PLAN", "WEIGHT_STREAMING"],
    "10.3.0": ["STRIP_PLAN", "WEIGHT_STREAMING"],
    "11.4.0": ["STRIP_PLAN", "WEIGHT_STREAMING"],
}


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3


class Severity(enum.Enum):
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        """As the bindings want it to be called."""


class Layer(SimpleNamespace):
    """name, type, outputs; precision and output_types where they are set."""

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_output(self, index: int) -> SimpleNamespace:
        return self.outputs[index]

    def set_output_type(self, index: int, dtype: DataType) -> None:
        self.output_types[index] = dtype.name


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.layers: list[Layer] = []
        self.outputs: list[SimpleNamespace] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    def get_output(self, index: int) -> SimpleNamespace:
        return self.outputs[index]


class Config:
    def __init__(self, refuses_profiles: bool) -> None:
        self.builder_optimization_level: int | None = None
        self.flags: list[str] = []
        self.tactic_sources: int | None = None
        self.preview: dict[str, bool] = {}
        self.profiles: list[dict] = []
        self._refuses_profiles = refuses_profiles

    def set_flag(self, flag: enum.Enum) -> None:
        self.flags.append(flag.name)

    def set_tactic_sources(self, sources: int) -> None:
        self.tactic_sources = sources

    def set_preview_feature(self, feature: enum.Enum, on: bool) -> None:
        self.preview[feature.name] = on

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return -1 if self._refuses_profiles else len(self.profiles) - 1


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, name: str, smallest: tuple, usual: tuple, largest: tuple) -> None:
        self.shapes[name] = (smallest, usual, largest)


def fake_tensorrt(
    version: str,
    *,
    parser_drops: Collection[str] = (),
    builder_drops: Collection[str] = (),
    loads: bool = True,
    inspector_hides: Collection[str] = (),
    says: str = "",
    fails: str = "",
) -> ModuleType:
    """A module like tensorrt.

    Args:
      version: one of PREVIEW_FEATURES.
      parser_drops, builder_drops: names of layers that get lost.
      loads: whether engines can be loaded, for which a GPU is needed.
      inspector_hides: names of layers that the inspector does not list.
      says: what is logged as an error where something fails.
      fails: "builder", "parse", "profile" or "build".
    """
    trt = ModuleType("tensorrt")
    trt.__version__ = version
    trt.float32, trt.float16, trt.ILogger = DataType.FLOAT, DataType.HALF, ILogger
    trt.BuilderFlag = enum.Enum("BuilderFlag", BUILDER_FLAGS[version])
    trt.PreviewFeature = enum.IntEnum("PreviewFeature", PREVIEW_FEATURES[version])
    trt.NetworkDefinitionCreationFlag = enum.IntEnum("CreationFlag", NETWORK_FLAGS[version])
    trt.LayerInformationFormat = SimpleNamespace(JSON="JSON")
    if not version.startswith("8."):
        trt.IPluginV3 = object
    trt.get_plugin_registry = lambda: SimpleNamespace(load_library=lambda path: path)
    plugin_layer = PLUGIN_LAYERS[version.split(".")[0]]

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            if fails == "builder":
                logger.log(Severity.ERROR, says)
                raise TypeError("factory function returned nullptr")

        def create_network(self, flags: int) -> Network:
            return Network(flags)

        def create_builder_config(self) -> Config:
            return Config(fails == "profile")

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            if fails == "build":
                self.logger.log(Severity.ERROR, says)
                return None
            layers = [layer for layer in network.layers if layer.name not in builder_drops]
            engine = {
                "layers": [f"{layer.name} [profile 0]" for layer in layers],
                "tensors": [output.name + ".copy" for x in network.layers for output in x.outputs],
                "network_flags": network.flags,
                "outputs": {o.name: getattr(o.dtype, "name", None) for o in network.outputs},
                "precisions": {x.name: x.precision.name for x in layers if x.precision},
                "output_types": {x.name: x.output_types for x in layers if x.output_types},
                "level": config.builder_optimization_level,
                "tactic_sources": config.tactic_sources,
                **{name: getattr(config, name) for name in ("flags", "preview", "profiles")},
            }
            return json.dumps(engine).encode()

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None:
            self._network = network

        def get_error(self, index: int) -> str:
            return says

        def parse_from_file(self, path: str) -> bool:
            if fails == "parse":
                return False
            graph = onnx.load(pathlib.Path(path), load_external_data=False).graph
            for node in graph.node:
                kind = plugin_layer if node.domain == "trt" else LAYER_TYPES.get(node.op_type, "OP")
                if node.name not in parser_drops:
                    self._network.layers.append(_layer(node.name, kind, node.output))
            # A layer of the parser's own, which computes a shape.
            self._network.layers.append(_layer("shape", "OP", ["shape_output"]))
            self._network.outputs = [SimpleNamespace(name=o.name, dtype=None) for o in graph.output]
            return True

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            if not loads:
                self.logger.log(Severity.ERROR, "no CUDA")
                return None
            layers = [
                name
                for name in json.loads(plan)["layers"]
                if name.split(" ")[0] not in inspector_hides
            ]
            text = json.dumps({"Layers": layers})
            inspector = SimpleNamespace(get_engine_information=lambda kind: text)
            return SimpleNamespace(create_engine_inspector=lambda: inspector)

    trt.Builder, trt.OnnxParser, trt.Runtime = Builder, OnnxParser, Runtime
    return trt


def _layer(name: str, kind: str, outputs: Collection[str]) -> Layer:
    return Layer(
        name=name,
        type=SimpleNamespace(name=kind),
        outputs=[SimpleNamespace(name=output) for output in outputs],
        precision=None,
        output_types={},
    )
