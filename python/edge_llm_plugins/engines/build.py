"""Builds TensorRT engines of exported models."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from edge_llm_plugins import _tensorrt
from edge_llm_plugins.engines.construct import ENGINE, METADATA, RESULT, Request
from edge_llm_plugins.engines.metadata import INSIDE, WEIGHTS, EngineMetadata, metadata_path
from edge_llm_plugins.engines.versions import EngineError

__all__ = ["EngineError", "build_engine"]


def build_engine(
    onnx_path: str | os.PathLike[str],
    engine_path: str | os.PathLike[str],
    *,
    package: str | None = None,
    weights: str = INSIDE,
    sms: Sequence[int] = (),
    optimization_level: int | None = None,
    external_tactics: bool = True,
    verbose: bool = False,
) -> EngineMetadata:
    """Builds the engine of a model that `export.builder` wrote, with its optimization profiles.

    Writes the engine and, beside it, its metadata as JSON. Both only when every plugin layer of the
    model was found in the engine; on refusal what was there before stays.

    Args:
      onnx_path: the model.
      engine_path: the file to write, such as "model.engine"; its folder must exist.
      package: "tensorrt" or "tensorrt_rtx"; by default the first one that is installed.
      weights: a key of metadata.WEIGHTS; TensorRT 8.6 has "inside" alone.
      sms: SMs to build for, where TensorRT builds for others than this machine's (TensorRT-RTX), as
        87; by default what TensorRT takes for its default.
      optimization_level: TensorRT's, 0 to 5; by default TensorRT's own, and 0 for TensorRT 8.6.
      external_tactics: whether TensorRT may compute with cuBLAS and cuDNN. TensorRT 8.6 looks for
        these libraries otherwise, and builds nothing where they are missing.
      verbose: shows what TensorRT says.

    Returns:
      The metadata.

    Raises:
      ImportError: no such TensorRT is installed; says what to install.
      FileNotFoundError: the model or the engine's folder is missing.
      ValueError: an option is not among the allowed ones.
      EngineError: TensorRT builds no engine of this model, or one without some plugin layers.
    """
    onnx_path, engine_path = pathlib.Path(onnx_path), pathlib.Path(engine_path)
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}: {', '.join(WEIGHTS)} is allowed")
    if optimization_level not in (None, *range(6)):
        raise ValueError(f"optimization_level is {optimization_level}: 0 to 5 is allowed")
    module = _tensorrt.find_builder(package)
    for path in (onnx_path, engine_path.parent):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    # Beside the engine, so that what is finished only needs to be renamed.
    with tempfile.TemporaryDirectory(prefix=".building_", dir=engine_path.parent) as name:
        folder = pathlib.Path(name)
        request = Request(
            str(onnx_path.resolve()),
            str(folder),
            module,
            weights,
            tuple(sms),
            optimization_level,
            external_tactics,
        )
        _construct(request, verbose)
        os.replace(folder / METADATA, metadata_path(engine_path))
        os.replace(folder / ENGINE, engine_path)
    return EngineMetadata.read(engine_path)


def _construct(request: Request, verbose: bool) -> None:
    """Runs `construct` on the request.

    Raises:
      EngineError: it failed, or ended before it was done.
    """
    folder = pathlib.Path(request.folder)
    request_path, log_path, result = folder / "request.json", folder / "log", folder / RESULT
    request_path.write_text(json.dumps(dataclasses.asdict(request)), encoding="utf-8")
    command = [sys.executable, "-m", "edge_llm_plugins.engines.construct", str(request_path)]
    with contextlib.ExitStack() as stack:
        log = None if verbose else stack.enter_context(log_path.open("wb"))
        code = subprocess.run(
            command, env=_environment(folder), stdout=log, stderr=subprocess.STDOUT
        ).returncode
    text = "" if verbose else log_path.read_text(encoding="utf-8", errors="replace")
    if not result.exists():
        end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise EngineError(f"{request.module} ended its process with {end}{_cause(text)}")
    error = json.loads(result.read_text(encoding="utf-8")).get("error")
    if error is not None:
        raise EngineError(error + _cause(text, error))


def _cause(log: str, known: str = "") -> str:
    """What the plugins, or else TensorRT, said first; the plugins know most about their layers."""
    for source in (r"edge-llm-plugins", r"\w+"):
        for line in re.findall(rf"^\[{source}\] error: (.+)$", log, re.MULTILINE):
            if line not in known:
                return f": {line}"
        if known:
            break
    return ""


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """This process's environment and module path, and what TensorRT-RTX misses.

    Its ONNX parser opens libtensorrt_rtx.so by this name, and its wheel has libtensorrt_rtx.so.1
    alone; without the file the parser ends the process.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    wheel = importlib.util.find_spec("tensorrt_rtx_libs")
    if wheel is None or wheel.origin is None:
        return environment
    for library in pathlib.Path(wheel.origin).parent.glob("lib*.so.*"):
        link = folder / library.name[: library.name.index(".so") + 3]
        if not link.exists():
            link.symlink_to(library.resolve())
    paths = [str(folder), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    return environment
