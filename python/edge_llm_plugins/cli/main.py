"""The entry point of the command `edge-llm-plugins`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from edge_llm_plugins import __version__
from edge_llm_plugins.cli.command import Command, UsageError

# In the order in which a user needs them; each is a module here with COMMAND.
COMMANDS = ("info", "quantize", "export", "build", "run", "verify", "bench")

# What a user can mend. Everything else is a defect, and keeps its traceback.
REFUSALS = (ImportError, OSError, TypeError, ValueError)


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      words: what stands behind `edge-llm-plugins`; by default the process's own arguments.

    Returns:
      0; 1 if the command was refused or interrupted, 2 if there is no such call, with one line on
      stderr.
    """
    words = sys.argv[1:] if words is None else list(words)
    if words[:1] in (["--help"], ["-h"], ["help"]):
        print(overview())
        return 0
    try:
        if not words or words[0] not in COMMANDS:
            asked = f"{words[0]!r} is no command" if words else "a command is missing"
            raise UsageError(f"{asked}: {', '.join(COMMANDS)} are there; --help tells more")
        command = _command(words[0])
        if "--help" in words or "-h" in words:
            print(command.help())
        else:
            command(words[1:])
    except UsageError as error:
        return _refuse(error, 2)
    except (*REFUSALS, *_device_errors()) as error:
        return _refuse(error, 1)
    except KeyboardInterrupt:
        return _refuse("interrupted", 1)
    return 0


def _device_errors() -> tuple[type[Exception], ...]:
    """No driver, no memory, no kernels: users can mend these too, where a device was asked for."""
    bindings = sys.modules.get("edge_llm_plugins._bindings")
    return () if bindings is None else (bindings.CudaError, bindings.PluginError)


def overview() -> str:
    lines = [
        f"edge-llm-plugins {__version__}: from a checkpoint to a model with fused LLM operations",
        "",
        "usage: edge-llm-plugins COMMAND ... [--flags]; COMMAND --help tells more",
        "",
    ]
    for name in COMMANDS:
        lines.append(f"  {name:10} {_command(name).about.strip().splitlines()[0]}")
    return "\n".join(lines)


def _command(name: str) -> Command:
    # Commands import what they need, and only the one that is asked for.
    return importlib.import_module(f"edge_llm_plugins.cli.{name}").COMMAND


def _refuse(error: Exception | str, code: int) -> int:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        error = f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"edge-llm-plugins: {text}", file=sys.stderr)
    return code
