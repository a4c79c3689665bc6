"""Installs the real wheel into an empty folder and uses it outside the source tree."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zipfile

import numpy
import pytest

from tools.wheel.wheel_program import COMPUTE

PROGRAM = f"""{COMPUTE}
import edge_llm_plugins
import edge_llm_plugins.quantize.pipeline
try:
    edge_llm_plugins.quantize.pipeline.quantize("checkpoint", "folder")
except ImportError as error:
    assert str(error) == "tqdm is not installed: pip install 'edge-llm-plugins[quantize]'", error
else:
    raise AssertionError("tqdm is at hand without its extra")
print(edge_llm_plugins.__version__, edge_llm_plugins.__file__)
"""


@pytest.fixture(scope="module")
def wheel() -> pathlib.Path:
    (found,) = pathlib.Path("python").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    # pip comes from the interpreter alone: the test's own path must not reach it.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, env=environment)
    return target


def test_name_carries_version_and_tags(wheel: pathlib.Path) -> None:
    _, version, python, abi, platform = wheel.stem.split("-")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert (python, abi, platform) == (tag, tag, "manylinux_2_28_x86_64")
    with zipfile.ZipFile(wheel) as archive:
        info = f"edge_llm_plugins-{version}.dist-info"
        assert f"Version: {version}\n" in archive.read(f"{info}/METADATA").decode()
        for extra in ("export", "quantize", "run", "torch"):
            assert f"Provides-Extra: {extra}\n" in archive.read(f"{info}/METADATA").decode()
        assert b"Apache License" in archive.read(f"{info}/LICENSE")


def test_holds_the_package_alone(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    libraries = (
        "libedge_llm_plugins.so",
        "libedge_llm_plugins_ptx.so",
        "libptx_emulator_cuda.so",
    )
    assert "edge_llm_plugins/_bindings.so" in names
    for package in ("cli", "engines", "export", "models", "quantize", "runtime", "verify"):
        assert f"edge_llm_plugins/{package}/__init__.py" in names
    assert {f"edge_llm_plugins/lib/{name}" for name in libraries} <= set(names)
    assert all(name.startswith(("edge_llm_plugins/", "edge_llm_plugins-")) for name in names)
    assert not [name for name in names if name.endswith("_test.py")]


def test_runs_an_op_outside_the_source_tree(
    installed: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    numpy_folder = str(pathlib.Path(numpy.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join([str(installed), numpy_folder]), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert str(installed) in result.stdout
