"""Where numeric tests run: in the PTX emulator, or on the GPU of this machine."""

from __future__ import annotations

import os

KINDS = ("emulator", "cuda")


def device_kind() -> str:
    """The kind of device that EDGE_LLM_TEST_DEVICE names: "emulator" (the default) or "cuda"."""
    kind = os.environ.get("EDGE_LLM_TEST_DEVICE", "emulator")
    if kind not in KINDS:
        raise ValueError(f"EDGE_LLM_TEST_DEVICE is {kind!r}: {' or '.join(KINDS)} is allowed")
    return kind


def cuda_driver_path() -> str:
    """The driver of the GPU; EDGE_LLM_PLUGINS_CUDA_DRIVER names another one, as for the library."""
    return os.environ.get("EDGE_LLM_PLUGINS_CUDA_DRIVER", "libcuda.so.1")


def rerun_command() -> str:
    """The command that runs the current test again; everything in it is seeded."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if target := os.environ.get("TEST_TARGET"):  # Bazel's
        name = test.rpartition("::")[2]
        return f"{name}: ./bazelw test {target} --test_filter='{name.partition('[')[0]}'"
    return f"./run.sh --device={device_kind()} '{test}'"
