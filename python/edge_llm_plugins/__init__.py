"""Fused LLM operations as TensorRT plugins, and what is needed to use and check them.

    edge_llm_plugins.load()            registers the plugins with an installed TensorRT
    edge_llm_plugins.library_path()    the plugin library, for other programs
    quantization, rope, tree           NumPy: INT4 weights, RoPE tables and draft trees as inputs
    reference                          NumPy: what the plugins must compute
    ops                                one call per operation, on a GPU or on the emulator
    host, emulator                     drives plugins as TensorRT does, without TensorRT
    models                             checkpoints, quantized model folders, the network in NumPy
    quantize                           a checkpoint into a quantized model folder, layer by layer
    export                             ONNX models with the plugins as nodes
    engines                            TensorRT engines of these models
    runtime                            text from a quantized model folder

Importing this package loads no library and needs neither a GPU nor TensorRT.
"""

from __future__ import annotations

import importlib
import pathlib
from types import ModuleType

from edge_llm_plugins._build import __version__

__all__ = ["__version__", "library_path", "load"]

_SUBMODULES = (
    *("emulator", "engines", "export", "host", "models", "ops"),
    *("quantization", "quantize", "reference", "rope", "runtime", "tree"),
)


def library_path() -> str:
    """The path of libedge_llm_plugins.so, as IPluginRegistry.load_library wants it.

    Raises:
      FileNotFoundError: the package was not installed from a wheel of this project.
    """
    path = pathlib.Path(__file__).parent / "lib" / "libedge_llm_plugins.so"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install the wheel edge-llm-plugins")
    return str(path)


def load() -> None:
    """Registers the plugins with the TensorRT of this process; calling it again does nothing.

    Takes tensorrt, tensorrt_lean or tensorrt_rtx: the one that is imported already, else the first
    one that is installed.

    Raises:
      ImportError: no TensorRT package is installed.
      RuntimeError: TensorRT refused the library.
    """
    from edge_llm_plugins import _tensorrt

    _tensorrt.load(library_path())


def __getattr__(name: str) -> ModuleType:
    # Submodules import NumPy and the native host, so they are loaded when first used.
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
