"""How many CTAs run at the same time, as the library's launchers count and spread them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.generator.facts import RESERVED_SHARED_BYTES, resident_ctas

_SHARED_UNIT = 128  # bytes


def ctas_per_sm(variant: Mapping[str, Any], sm: Mapping[str, Any]) -> int:
    """Resident CTAs of one multiprocessor.

    Args:
      variant: its row of the manifest.
      sm: the row of the SM in the manifest.
    """
    return resident_ctas(variant["ctas_per_sm"], variant["shared_bytes"], sm["shared_per_sm"])


def spread_shared_bytes(
    variant: Mapping[str, Any], sm: Mapping[str, Any], ctas: int, sm_count: int
) -> int:
    """Dynamic shared memory of a CTA with which no multiprocessor takes more than its share.

    Args:
      variant: its row of the manifest.
      sm: the row of the SM in the manifest.
      ctas: of the whole grid.
      sm_count: multiprocessors of the GPU.
    """
    share = -(-ctas // sm_count)
    spread = sm["shared_per_sm"] // share - RESERVED_SHARED_BYTES
    return max(variant["shared_bytes"], min(spread, sm["shared_per_block"]))


def least_spread_shared_bytes(
    variant: Mapping[str, Any], sm: Mapping[str, Any], ctas: int, sm_count: int
) -> int:
    """The least of these, with which one CTA more than the share does not fit.

    Args:
      variant: its row of the manifest.
      sm: the row of the SM in the manifest.
      ctas: of the whole grid.
      sm_count: multiprocessors of the GPU.
    """
    too_many = -(-ctas // sm_count) + 1
    units = (sm["shared_per_sm"] // too_many - RESERVED_SHARED_BYTES) // _SHARED_UNIT + 1
    return max(variant["shared_bytes"], min(units * _SHARED_UNIT, sm["shared_per_block"]))
