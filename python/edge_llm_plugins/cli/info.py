"""edge-llm-plugins info"""

from __future__ import annotations

import importlib.metadata
import importlib.util

from absl import flags

import edge_llm_plugins
from edge_llm_plugins import _tensorrt, host
from edge_llm_plugins.cli.command import Command

FLAGS = flags.FlagValues()


def run() -> None:
    print(f"version   {edge_llm_plugins.__version__}")
    print(f"library   {edge_llm_plugins.library_path()}")
    print(f"kernels   for SM {' '.join(map(str, host.SMS))}")
    print(f"emulator  of SM {' '.join(map(str, host.EMULATED_SMS))}")
    device = host.open_device()
    emulated = device.kind == "emulator"
    where = "no GPU; operations run in the emulator, as" if emulated else "GPU"
    print(f"device    {where} {device.name}, SM {device.sm}, {device.sm_count} multiprocessors")
    if device.sm not in host.SMS and not emulated:
        print(f"          no kernels for SM {device.sm} here: build with --sms={device.sm}")
    print(f"TensorRT  {_tensorrt_packages()}")


def _tensorrt_packages() -> str:
    found = [
        f"{name} {_version(name)}"
        for name in _tensorrt.PACKAGES
        if importlib.util.find_spec(name) is not None
    ]
    names = ", ".join(_tensorrt.INSTALLABLE)
    return ", ".join(found) or f"none: pip install one of {names} to build engines"


def _version(package: str) -> str:
    distributions = importlib.metadata.packages_distributions().get(package, [])
    return " ".join(importlib.metadata.version(name) for name in distributions)


COMMAND = Command(
    "info",
    (),
    """Shows this installation, the device it would run on, and the TensorRTs beside it.""",
    FLAGS,
    run,
)
