"""Importing the package, and handing its library to TensorRT."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

import edge_llm_plugins
from edge_llm_plugins import _tensorrt


def run_python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout


def test_import_is_quick_and_loads_nothing() -> None:
    output = run_python(
        "import sys, time; start = time.process_time(); import edge_llm_plugins;"
        "print(time.process_time() - start);"
        "heavy = {'numpy', 'tensorrt', 'edge_llm_plugins._bindings'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    seconds, loaded = output.splitlines()
    assert float(seconds) < 0.3
    assert loaded == "[]"


def test_submodules_are_attributes() -> None:
    output = run_python("import edge_llm_plugins as e; print(e.quantization.pack.__name__)")
    assert output == "pack\n"
    with pytest.raises(AttributeError, match="no attribute 'quantisation'"):
        edge_llm_plugins.quantisation  # noqa: B018


def test_library_path_and_version_belong_together() -> None:
    assert pathlib.Path(edge_llm_plugins.library_path()).name == "libedge_llm_plugins.so"
    assert re.fullmatch(r"\d+\.\d+\.\d+", edge_llm_plugins.__version__)
    library = edge_llm_plugins.host.plugin_library()
    assert library.version() == edge_llm_plugins.__version__


class FakeTensorRt(types.ModuleType):
    """What load() needs of a TensorRT package."""

    __version__ = "10.9.8"

    def __init__(self, name: str, handle: object) -> None:
        super().__init__(name)
        self.handle = handle
        self.loaded: list[str] = []

    def get_plugin_registry(self) -> FakeTensorRt:
        return self

    def load_library(self, path: str) -> object:
        self.loaded.append(path)
        return self.handle


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tensorrt, "_loaded", set())


def test_load_says_what_to_install() -> None:
    with pytest.raises(
        ImportError, match="pip install one of tensorrt, tensorrt_lean, tensorrt_rtx"
    ):
        edge_llm_plugins.load()


@pytest.mark.parametrize("name", _tensorrt.PACKAGES)
def test_load_gives_the_library_to_the_registry_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorrt = FakeTensorRt(name, handle=object())
    monkeypatch.setitem(sys.modules, name, tensorrt)
    edge_llm_plugins.load()
    edge_llm_plugins.load()
    assert tensorrt.loaded == [edge_llm_plugins.library_path()]


def test_load_reports_a_refusal_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt = FakeTensorRt("tensorrt_lean", handle=None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", tensorrt)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"tensorrt_lean 10\.9\.8 refused .*\.so"):
            edge_llm_plugins.load()
    assert len(tensorrt.loaded) == 2
