"""The TensorRT of this process, with the plugins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import edge_llm_plugins
from edge_llm_plugins import _tensorrt


def load_tensorrt() -> ModuleType:
    """Imports whichever TensorRT is installed, and gives it the plugin library.

    Raises:
      ImportError: no TensorRT is installed.
      RuntimeError: TensorRT refused the library.
    """
    tensorrt = _tensorrt.find_tensorrt()
    edge_llm_plugins.load()
    return tensorrt


def is_weakly_typed(tensorrt: ModuleType) -> bool:
    """Whether the builder chooses types by itself, and knows V2 plugins alone (TensorRT 8.6)."""
    return not hasattr(tensorrt, "IPluginV3")


def make_logger(tensorrt: ModuleType) -> Any:
    """A TensorRT logger that writes warnings and errors to stdout."""
    return tensorrt.Logger(tensorrt.Logger.WARNING)
