"""The TensorRT of this process, with the plugins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import edge_llm_plugins
from edge_llm_plugins import _tensorrt
from edge_llm_plugins.engines.versions import is_weakly_typed

__all__ = ["is_weakly_typed", "load_tensorrt", "make_logger"]


def load_tensorrt() -> ModuleType:
    """Imports whichever TensorRT is installed, and gives it the plugin library.

    Raises:
      ImportError: no TensorRT is installed.
      RuntimeError: TensorRT refused the library.
    """
    tensorrt = _tensorrt.find_tensorrt()
    edge_llm_plugins.load()
    return tensorrt


def make_logger(tensorrt: ModuleType) -> Any:
    """A TensorRT logger that writes warnings and errors to stdout."""
    return tensorrt.Logger(tensorrt.Logger.WARNING)
