"""What EngineBackend asks of TensorRT at run time is in the bindings of each version.

Its tests run it on a stand-in, which must not be able to do more than TensorRT.
"""

from __future__ import annotations

import importlib
import os
import pathlib

import numpy as np
import pytest

from edge_llm_plugins.runtime.testdata.executing_tensorrt import Engine, ExecutionContext

PACKAGE = os.environ["TENSORRT_PACKAGE"]
BINDINGS_8_6 = pathlib.Path("../pypi_tensorrt_lean_8_6/tensorrt_lean/tensorrt_lean.so")

# What TensorRT 8.6 lacks.
STREAMING = {"get_weight_streaming_automatic_budget", "weight_streaming_budget_v2"}


def names(stand_in: type) -> set[str]:
    return {name for name in vars(stand_in) if not name.startswith("_")}


@pytest.mark.parametrize(
    "stand_in, class_name", [(Engine, "ICudaEngine"), (ExecutionContext, "IExecutionContext")]
)
def test_methods_are_in_the_bindings(stand_in, class_name):
    trt = importlib.import_module(PACKAGE)
    assert names(stand_in) - set(dir(getattr(trt, class_name))) == set()


def test_functions_are_in_the_bindings():
    trt = importlib.import_module(PACKAGE)
    assert hasattr(trt.Runtime, "deserialize_cuda_engine")
    for name in ("float16", "float32", "int32"):
        assert np.dtype(trt.nptype(getattr(trt, name))) == name


def test_methods_are_in_the_bindings_of_8_6():
    # They are for Python 3.10 alone; the names of their methods stand in the file.
    bindings = BINDINGS_8_6.read_bytes()
    asked = (names(Engine) | names(ExecutionContext) | {"deserialize_cuda_engine"}) - STREAMING
    assert [name for name in sorted(asked) if name.encode() not in bindings] == []
    assert [name for name in STREAMING if name.encode() in bindings] == []
