"""Builds an engine in this process: what `build` runs in a process of its own.

    python3 -m edge_llm_plugins.engines.construct REQUEST.json

TensorRT ends the process for some failures. The request names an empty folder; there the engine,
its metadata and, last, "result.json" are written.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from edge_llm_plugins import __version__
from edge_llm_plugins.engines import plugin_layers, versions
from edge_llm_plugins.engines.metadata import (
    EXTERNAL,
    INSIDE,
    STREAMED,
    EngineMetadata,
    model_digest,
)
from edge_llm_plugins.engines.versions import EngineError
from edge_llm_plugins.export.metadata import Metadata, read_metadata
from edge_llm_plugins.models.limits import Profile

ENGINE, METADATA, RESULT = "engine", "metadata.json", "result.json"

_WEIGHT_FLAGS = {STREAMED: "WEIGHT_STREAMING", EXTERNAL: "STRIP_PLAN"}
# Weakly typed networks take types for what computes; these only make or pass on tensors.
_WITHOUT_PRECISION = ("CAST", "CONSTANT", "IDENTITY", "PLUGIN", "SHAPE")


@dataclasses.dataclass(frozen=True)
class Request:
    """What to build, of what, and with which TensorRT; `build.build_engine` says what each means.

    module: of the TensorRT, such as "tensorrt_rtx_bindings".
    """

    onnx_path: str
    folder: str
    module: str
    weights: str = INSIDE
    sms: Sequence[int] = ()
    optimization_level: int | None = None
    external_tactics: bool = True


def build(request: Request) -> EngineMetadata:
    """Builds the engine file in the request's folder.

    Raises:
      EngineError, ValueError: the model or an option is refused.
      ImportError, OSError, RuntimeError: TensorRT or a file is missing, or the plugins are.
    """
    start = time.perf_counter()
    trt = versions.with_plugins(importlib.import_module(request.module))
    try:
        model = onnx.load(request.onnx_path, load_external_data=False)
    except DecodeError:
        raise EngineError(f"{request.onnx_path} is no ONNX model") from None
    facts, nodes = read_metadata(model), plugin_layers.plugin_nodes(model)
    alias = plugin_layers.aliases_caches(model)
    _check_served(trt, request, facts, alias)
    engine_path = pathlib.Path(request.folder) / ENGINE
    _build_engine(trt, request, model, facts, alias, engine_path)
    missing, looked_in = plugin_layers.missing_in_engine(trt, nodes, engine_path)
    _refuse_missing(missing, len(nodes), f"engine of {versions.described(trt)}")
    return EngineMetadata(
        config=facts.config,
        limits=facts.limits,
        profiles=facts.profiles,
        package=versions.distribution(trt),
        tensorrt=trt.__version__,
        plugins=__version__,
        plugin_layers={name: list(nodes.values()).count(name) for name in sorted(nodes.values())},
        layers_found_in=looked_in,
        alias_kv_cache=alias,
        weights=request.weights,
        onnx=pathlib.Path(request.onnx_path).name,
        onnx_sha256=model_digest(request.onnx_path),
        seconds=round(time.perf_counter() - start, 1),
    )


def _check_served(trt: ModuleType, request: Request, facts: Metadata, alias: bool) -> None:
    """Refuses what this version of TensorRT does not have.

    Raises:
      EngineError: says what to do instead.
    """
    here = versions.described(trt)
    if versions.is_weakly_typed(trt) and facts.tensorrt_major != 8:
        raise EngineError(
            f"{request.onnx_path} is exported for TensorRT {facts.tensorrt_major} and later, and "
            f"{here} is installed: export it with --tensorrt=8"
        )
    if alias and versions.member(trt.PreviewFeature, versions.ALIASED_IO) is None:
        raise EngineError(
            f"{request.onnx_path} declares caches that are updated in place, and {here} has no "
            f"preview feature {versions.ALIASED_IO}: export it without --alias_kv_cache"
        )
    flag = _WEIGHT_FLAGS.get(request.weights)
    if flag is not None and versions.member(trt.BuilderFlag, flag) is None:
        raise EngineError(
            f"weights is {request.weights!r}: {here} has no {flag}, only {INSIDE!r} is allowed"
        )
    allowed = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    for sm in request.sms:
        if f"SM{sm}" not in allowed:
            names = ", ".join(name[2:] for name in allowed if name.startswith("SM"))
            raise EngineError(
                f"sms has {sm}: {here} "
                + (f"takes {names}" if names else "builds for the GPU of this machine alone")
            )


def _refuse_missing(missing: Sequence[str], count: int, where: str) -> None:
    if missing:
        raise EngineError(
            f"{len(missing)} of the {count} plugin layers are not in the {where}, such as "
            f"{missing[0]}"
        )


def _build_engine(
    trt: ModuleType,
    request: Request,
    model: onnx.ModelProto,
    facts: Metadata,
    alias: bool,
    engine_path: pathlib.Path,
) -> None:
    """Parses the model, checks that the network has the plugin layers, and writes the engine."""
    logger = versions.collecting_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # the bindings' word for a null pointer
        raise EngineError(
            _refusal(trt, "makes no builder: it needs a GPU with its driver", logger.errors)
        ) from None
    network = versions.create_network(trt, builder)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request.onnx_path):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise EngineError(_refusal(trt, f"does not parse {request.onnx_path}", errors))
    names = plugin_layers.plugin_nodes(model)
    missing = plugin_layers.missing_in_network(names, network)
    _refuse_missing(missing, len(names), f"network that {versions.described(trt)} parsed")
    config = _configure(trt, builder, request, facts.profiles, alias)
    if versions.is_weakly_typed(trt):
        _keep_types(trt, network, config, _types(model))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(_refusal(trt, f"builds no engine of {request.onnx_path}", logger.errors))
    engine_path.write_bytes(engine)


def _refusal(trt: ModuleType, what: str, errors: Sequence[str]) -> str:
    return f"{versions.described(trt)} {what}" + "".join(f": {error}" for error in errors[:1])


def _configure(
    trt: ModuleType, builder: Any, request: Request, profiles: Mapping[str, Profile], alias: bool
) -> Any:
    config = builder.create_builder_config()
    level = request.optimization_level
    if level is None and versions.is_weakly_typed(trt):
        level = 0  # at its default, TensorRT 8.6 took more than a minute for one layer
    if level is not None:
        config.builder_optimization_level = level
    if not request.external_tactics:
        config.set_tactic_sources(0)
    if alias:
        feature = versions.member(trt.PreviewFeature, versions.ALIASED_IO)
        config.set_preview_feature(feature, True)
    if request.weights in _WEIGHT_FLAGS:
        config.set_flag(versions.member(trt.BuilderFlag, _WEIGHT_FLAGS[request.weights]))
    if request.sms:
        config.num_compute_capabilities = len(request.sms)
        for index, sm in enumerate(request.sms):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), index)
    for name, ranges in profiles.items():
        profile = builder.create_optimization_profile()
        for tensor, (smallest, usual, largest) in ranges.items():
            profile.set_shape(tensor, smallest, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(
                f"{versions.described(trt)} refuses the optimization profile {name!r}"
            )
    return config


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """The ONNX type of every tensor that a node of the exported model gives."""
    values = [*model.graph.value_info, *model.graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _keep_types(trt: ModuleType, network: Any, config: Any, types: Mapping[str, int]) -> None:
    """Has a weakly typed network (TensorRT 8.6) compute in the types that the model is written in.

    Left to itself it would square FP32 activations in FP16, and give FP32 caches. INT8 is for
    packed weights, which it takes as INT32 constants that are cast, and only with this flag.
    """
    floats = {TensorProto.FLOAT: trt.float32, TensorProto.FLOAT16: trt.float16}
    for flag in ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    for i in range(network.num_outputs):
        output = network.get_output(i)
        output.dtype = floats[types[output.name]]
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        # The parser's own layers, which compute shapes, have no tensors of the model.
        dtypes = [types.get(layer.get_output(k).name) for k in range(layer.num_outputs)]
        if layer.type.name.startswith(_WITHOUT_PRECISION) or dtypes[0] not in floats:
            continue
        layer.precision = floats[dtypes[0]]
        for k, dtype in enumerate(dtypes):
            layer.set_output_type(k, floats[dtype])


def main(request_path: str) -> None:
    request = Request(**json.loads(pathlib.Path(request_path).read_text(encoding="utf-8")))
    folder, result = pathlib.Path(request.folder), {}
    try:
        build(request).write(folder / METADATA)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        result = {"error": str(error)}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
