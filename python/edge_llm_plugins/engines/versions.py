"""What TensorRT's versions have and lack, found by attribute: 8.6, 10, 11 and TensorRT-RTX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import edge_llm_plugins
from edge_llm_plugins import _tensorrt

# Their numbers differ between versions, and 8.6 lacks both.
ALIASED_IO, PLUGIN_V3 = "ALIASED_PLUGIN_IO", "IPluginV3"


class EngineError(ValueError):
    """TensorRT refuses a model or an engine; one line."""


def with_plugins(trt: ModuleType) -> ModuleType:
    """Gives the plugin library to this TensorRT, and returns it.

    Raises:
      RuntimeError: it refused the library.
    """
    _tensorrt.load(edge_llm_plugins.library_path(), trt)
    return trt


def distribution(trt: ModuleType) -> str:
    """What pip calls it: "tensorrt" for the module tensorrt_bindings."""
    return trt.__name__.removesuffix("_bindings")


def described(trt: ModuleType) -> str:
    """Such as "tensorrt 10.3.0"."""
    return f"{distribution(trt)} {trt.__version__}"


def is_weakly_typed(trt: ModuleType) -> bool:
    """Whether the builder chooses types by itself, and knows V2 plugins alone (TensorRT 8.6)."""
    return not hasattr(trt, PLUGIN_V3)


def member(enum: Any, prefix: str) -> Any | None:
    """The member of an enum whose name begins so, or None where this version has none."""
    names = getattr(enum, "__members__", {})
    return next((value for name, value in names.items() if name.startswith(prefix)), None)


def create_network(trt: ModuleType, builder: Any) -> Any:
    """A network of explicit batch, strongly typed from TensorRT 10 on."""
    flags = trt.NetworkDefinitionCreationFlag
    wanted = member(flags, "STRONGLY_TYPED")
    wanted = member(flags, "EXPLICIT_BATCH") if wanted is None else wanted
    return builder.create_network(0 if wanted is None else 1 << int(wanted))


def collecting_logger(trt: ModuleType, write: Callable[[str], Any] = sys.stderr.write) -> Any:
    """A TensorRT logger that writes warnings and errors, and keeps the errors in `errors`."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                self.errors.append(message)
            elif severity.name != "WARNING":
                return
            write(f"[{trt.__name__}] {severity.name.lower()}: {message}\n")

    return Logger()
