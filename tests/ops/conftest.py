"""The devices that the operations are tested on."""

from __future__ import annotations

import os

import pytest

from edge_llm_plugins import host
from tools.testing.device_under_test import device_kind

# The emulator has a device of every SM, of which the first is enough for most tests, unless
# EDGE_LLM_TEST_SMS=all asks for the others too.
_SMS = [device.sm for device in host.emulated_devices()] if device_kind() == "emulator" else [None]
_DEVICES = _SMS if os.environ.get("EDGE_LLM_TEST_SMS") == "all" else None


@pytest.fixture(scope="session", params=_DEVICES, ids=lambda sm: f"sm{sm}")
def device(request: pytest.FixtureRequest) -> host.Device:
    """The device that is tested on."""
    return host.open_device(device_kind(), sm=getattr(request, "param", None))


@pytest.fixture(params=_SMS, ids=lambda sm: f"sm{sm}" if sm else "own sm")
def sm(request: pytest.FixtureRequest) -> int | None:
    """Each SM that is emulated, as `sm` of host.open_device and of ops; None on a GPU."""
    return request.param
