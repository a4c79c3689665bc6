"""Finds the TensorRT of this process and gives it the plugin library."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

INSTALLABLE = ("tensorrt", "tensorrt_lean", "tensorrt_rtx")
# Each only re-exports its bindings, which some installations have alone.
PACKAGES = (*INSTALLABLE, *(f"{name}_bindings" for name in INSTALLABLE))

# Those that build engines.
BUILDERS = ("tensorrt", "tensorrt_rtx")

_loaded: set[str] = set()


def load(library_path: str, tensorrt: ModuleType | None = None) -> None:
    """Gives the library to the plugin registry of a TensorRT, by default the process's, once."""
    tensorrt = tensorrt or find_tensorrt()
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


def find_builder(package: str | None = None) -> str:
    """The module to import of an installed TensorRT that builds engines; it is not imported.

    Args:
      package: one of BUILDERS; by default the first one that is installed.

    Raises:
      ImportError: it is not installed, or none is.
      ValueError: there is no such package.
    """
    if package not in (None, *BUILDERS):
        raise ValueError(f"package is {package!r}: {' or '.join(BUILDERS)} is allowed")
    for name in BUILDERS if package is None else (package,):
        for module in (name, f"{name}_bindings"):
            if importlib.util.find_spec(module) is not None:
                return module
    if package is None:
        raise ImportError(
            "no TensorRT that builds engines is installed: pip install one of "
            + ", ".join(BUILDERS)
        )
    raise ImportError(f"{package} is not installed: pip install {package}")
