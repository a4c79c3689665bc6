"""The plugin layers of an exported model, and whether a network and an engine hold them all."""

from __future__ import annotations

import collections
import mmap
import os
import pathlib
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import onnx

from edge_llm_plugins.engines import versions
from edge_llm_plugins.export import schemas

IN_ENGINE, IN_FILE = "engine", "file"


def plugin_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """The plugin of each plugin node by its name, such as "AttentionPlugin".

    Raises:
      ValueError: there is none.
    """
    nodes = {node.name: node.op_type for node in model.graph.node if node.domain == schemas.DOMAIN}
    if not nodes:
        raise ValueError(f"the ONNX model has no node of the domain {schemas.DOMAIN!r}")
    return nodes


def aliases_caches(model: onnx.ModelProto) -> bool:
    """Whether the model declares that a plugin updates its cache in place."""
    return any(
        attribute.name == "alias_kv_cache" and attribute.i != 0
        for node in model.graph.node
        if node.domain == schemas.DOMAIN
        for attribute in node.attribute
    )


def missing_in_network(names: Iterable[str], network: Any) -> list[str]:
    """Those that no plugin layer of the network has as its name, or more than one."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    counts = collections.Counter(
        layer.name for layer in layers if layer.type.name.startswith("PLUGIN")
    )
    return [name for name in names if counts[name] != 1]


def missing_in_engine(
    trt: ModuleType, names: Iterable[str], path: str | os.PathLike[str]
) -> tuple[list[str], str]:
    """Those whose layers an engine file lacks, and where the last ones were found.

    TensorRT's inspector lists the layers of an engine that it can load: not without a GPU, nor for
    another GPU than this one, and not one by one where they are compiled together. So what it does
    not list may be found in the file, in which builders leave no name of a layer that they drop.
    """
    names, where = list(names), IN_ENGINE
    missing = _missing_in_text(names, _inspected(trt, pathlib.Path(path)))
    if missing:
        where = IN_FILE
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as engine,
        ):
            missing = _missing_in_text(missing, engine)
    return missing, where


def _inspected(trt: ModuleType, path: pathlib.Path) -> bytes:
    """What the inspector tells of all layers; nothing where the engine cannot be loaded here."""
    runtime = trt.Runtime(versions.collecting_logger(trt, lambda text: None))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        return b""
    inspector = engine.create_engine_inspector()
    return inspector.get_engine_information(trt.LayerInformationFormat.JSON).encode()


def _missing_in_text(names: list[str], text: bytes | mmap.mmap) -> list[str]:
    # One pass for all names: a search for each would take minutes in an engine of gigabytes.
    prefix = os.path.commonprefix(names).encode()  # noqa: RUF071
    # The names of other layers and tensors go on where a plugin layer's name ends.
    found = {match.group() for match in re.finditer(re.escape(prefix) + rb"[\w./-]*", text)}
    return [name for name in names if name.encode() not in found]
