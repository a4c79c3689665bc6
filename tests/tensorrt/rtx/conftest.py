"""Engines of TensorRT-RTX, each built in a process of its own."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.tensorrt.rtx.programs import run_program


@pytest.fixture(scope="module")
def rtx_folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("tensorrt_rtx")


@pytest.fixture
def build(rtx_folder):
    def run(sm: int, model: str, *flags: str, **arguments: object) -> dict:
        """Builds an engine with the model that takes these arguments."""
        options = [f"--sm={sm}", f"--model={model}", f"--arguments={json.dumps(arguments)}", *flags]
        return run_program(rtx_folder, "tests/tensorrt/rtx/build_rtx_engine.py", *options)

    return run
