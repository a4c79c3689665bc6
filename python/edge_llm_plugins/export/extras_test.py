"""Without the packages of its extra, export says what to install."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["onnx", "onnx_ir"])
def test_missing_package_is_named_with_the_extra(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import edge_llm_plugins.export.builder"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    last = result.stderr.splitlines()[-1]
    message = f"ImportError: {missing} is not installed: pip install 'edge-llm-plugins[export]'"
    assert last == message
