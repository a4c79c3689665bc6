"""The KV caches of a back end in device memory: one tensor for each layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_llm_plugins import host
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.limits import Limits


def empty_kv_caches(
    device: host.Device, config: ModelConfig, limits: Limits
) -> list[host.DeviceTensor]:
    """Zeros, float16 [limits.batch, 2, Hkv, limits.capacity, D] for each layer."""
    shape = (limits.batch, 2, config.num_kv_heads, limits.capacity, config.head_size)
    caches = [
        device.empty(np.float16, shape, f"kv_cache_{layer}") for layer in range(config.num_layers)
    ]
    for cache in caches:
        cache.fill(0)
    return caches


def move_slots(
    caches: Sequence[host.DeviceTensor], row: int, sources: Sequence[int], destination: int
) -> None:
    """As `Backend.move_slots` says."""
    for cache in caches:
        slots = cache.entry(row)  # [2, Hkv, Cap, D]
        for i, source in enumerate(sources):
            slots.copy_along(2, source, destination + i)
