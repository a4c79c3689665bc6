"""The devices that the operations are tested on."""

from __future__ import annotations

import pytest

from edge_llm_plugins import host
from tools.testing.device_under_test import device_kind

# The emulator has a device of every SM, of which the first is enough for most tests.
_SMS = [device.sm for device in host.emulated_devices()] if device_kind() == "emulator" else [None]


@pytest.fixture(scope="session")
def device() -> host.Device:
    """The device that is tested on."""
    return host.open_device(device_kind())


@pytest.fixture(params=_SMS, ids=lambda sm: f"sm{sm}" if sm else "own sm")
def sm(request: pytest.FixtureRequest) -> int | None:
    """Each SM that is emulated, as `sm` of host.open_device and of ops; None on a GPU."""
    return request.param
