"""Engine data of a V2 plugin that lost, gained or changed a byte is refused, for every plugin."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import attention_cases, int4_cases

TREES = np.stack([attention_cases.random_tree(5)] * 2)
PLUGINS = {
    "int4": (int4_cases.creator, int4_cases.random_case(1, 3, n=68, k=192).fields),
    "attention": (
        attention_cases.creator,
        attention_cases.draft_trees(TREES, [3, 9], capacity=16).fields,
    ),
}


@pytest.fixture(name="creator", params=host.TENSORRT_MAJORS)
def _creator(
    request: pytest.FixtureRequest, device: host.Device, plugin: str
) -> host.HostedCreator:
    find, _ = PLUGINS[plugin]
    return find(device, "1", request.param)


@pytest.fixture(name="data")
def _data(creator: host.HostedCreator, plugin: str) -> bytes:
    _, fields = PLUGINS[plugin]
    named = [host.field(name, value) for name, value in fields.items()]
    return creator.create("layer", named).serialize().bytes


@pytest.mark.parametrize("plugin", PLUGINS)
def test_short_or_long(creator: host.HostedCreator, data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(host.PluginError, match=rf"engine data of {size} bytes.*rebuild"):
            creator.deserialize("layer", host.SerializedPlugin(data[:size]))
    with pytest.raises(host.PluginError, match="rebuild the engine"):
        creator.deserialize("layer", host.SerializedPlugin(data + b"\0"))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_any_changed_byte(creator: host.HostedCreator, data: bytes) -> None:
    for position in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            corrupted = bytearray(data)
            corrupted[position] ^= change
            with pytest.raises(host.PluginError, match="rebuild the engine"):
                creator.deserialize("layer", host.SerializedPlugin(bytes(corrupted)))
