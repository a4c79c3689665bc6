"""Finds the TensorRT of this process and gives it the plugin library."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

INSTALLABLE = ("tensorrt", "tensorrt_lean", "tensorrt_rtx")
# Each only re-exports its bindings, which some installations have alone.
PACKAGES = (*INSTALLABLE, *(f"{name}_bindings" for name in INSTALLABLE))

_loaded: set[str] = set()


def load(library_path: str) -> None:
    """Gives the library to the plugin registry of the process's TensorRT, once."""
    tensorrt = find_tensorrt()
    if tensorrt.__name__ in _loaded:
        return
    # A refusal is a silent None, or an exception in some versions.
    handle = tensorrt.get_plugin_registry().load_library(library_path)
    if handle is None:
        raise RuntimeError(
            f"{tensorrt.__name__} {tensorrt.__version__} refused {library_path}: "
            "set EDGE_LLM_PLUGINS_LOG=info to see why"
        )
    _loaded.add(tensorrt.__name__)


def find_tensorrt() -> ModuleType:
    """The TensorRT package that is imported already, else the first installed one."""
    for name in PACKAGES:
        if name in sys.modules:
            return sys.modules[name]
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise ImportError(
        f"no TensorRT is installed: pip install one of {', '.join(INSTALLABLE)} "
        "(quantization, reference and ops work without it)"
    )
