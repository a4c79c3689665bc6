"""The package imports on one Python, and computes with both versions of a plugin.

The extension module is built for that Python; all else is the wheel's.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import zipfile

import pytest

from tools.wheel.wheel_program import COMPUTE

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
VERSION = os.environ["PYTHON_VERSION"]

PROGRAM = f"""{COMPUTE}
import sys, edge_llm_plugins
print("%d.%d" % sys.version_info[:2])
print(edge_llm_plugins.host.plugin_library().version() == edge_llm_plugins.__version__)
"""


@pytest.fixture(scope="module")
def bindings() -> pathlib.Path:
    """The extension module for this Python."""
    path = RUNFILES / os.environ["BINDINGS"]
    if path.suffix == ".txt":
        pytest.skip(path.read_text())  # no headers: what a release goes without is said there too
    return path


def test_sources_are_of_this_python(bindings: pathlib.Path) -> None:
    """pybind11 writes the version that it was compiled for into the module, and refuses others."""
    minor = VERSION.partition(".")[2]
    assert re.search(rb"\x003\.%s\x00" % minor.encode(), bindings.read_bytes())


def test_package_computes(bindings: pathlib.Path, tmp_path: pathlib.Path) -> None:
    interpreter = (RUNFILES / os.environ["INTERPRETER"]).read_text()
    if not interpreter:
        pytest.skip(f"no Python {VERSION} is installed here")
    (wheel,) = pathlib.Path("python").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "edge_llm_plugins" / "_bindings.so").write_bytes(bindings.read_bytes())
    result = subprocess.run(
        [interpreter, "-c", PROGRAM],
        cwd=tmp_path,
        env={
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(RUNFILES / os.environ["NUMPY"])]),
            "PATH": "/usr/bin",
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [VERSION, "True"]
