"""Imports of packages that only some parts of the pipeline need."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Imports a module that the wheel's extra `extra` installs.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f"{error.name} is not installed: pip install 'edge-llm-plugins[{extra}]'"
        ) from None
