"""The package imports on one Python, and computes with both plugins and both versions of each.

The extension module is built for that Python; all else is the wheel's.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import zipfile

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
VERSION = os.environ["PYTHON_VERSION"]

PROGRAM = """
import sys
import numpy as np, edge_llm_plugins
from edge_llm_plugins import ops, quantization, reference
print("%d.%d" % sys.version_info[:2])
rng = np.random.default_rng(0)
packed, scales = quantization.quantize_groupwise(rng.standard_normal((64, 320)))
x = rng.standard_normal((1, 3, 320)).astype(np.float16)
expected = reference.int4_groupwise_gemm(x, packed, scales)
for version in "1", "2":
    y = ops.int4_groupwise_gemm(x, packed, scales, device="emulator", plugin_version=version)
    reference.assert_close(y, expected)
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
