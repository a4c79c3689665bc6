"""Seeded inputs that Python and C++ make alike, by the bit (tools/verify/inputs.cc).

Every number is an integer of a hash, scaled to what FP16 holds exactly. So products and sums of the
references are exact where they are not exponentials, and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import rope

# SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

_ROPE_STEPS = 4096


def words(seed: int, tensor: int, count: int) -> NDArray[np.uint64]:
    """Random words [count].

    Args:
      seed: 0 to 2^32 - 1.
      tensor: 0 to 255; each has words of its own.
      count: how many.
    """
    z = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA + np.uint64(seed << 8 | tensor)
    z = (z ^ (z >> np.uint64(30))) * _FACTORS[0]
    z = (z ^ (z >> np.uint64(27))) * _FACTORS[1]
    return z ^ (z >> np.uint64(31))


def normals(seed: int, tensor: int, shape: Sequence[int]) -> NDArray[np.float16]:
    """Nearly normal numbers, of deviation 1.15: multiples of 1/512 from -4 to 4, both included."""
    # Four uniform numbers of 16 bits are summed.
    sums = words(seed, tensor, int(np.prod(shape))).astype("<u8").view("<u2").reshape(-1, 4)
    centered = sums.sum(axis=1, dtype=np.int32) - 2 * 65535
    return ((centered >> 6).astype(np.float32) / 512).astype(np.float16).reshape(shape)


def scales(seed: int, tensor: int, shape: Sequence[int]) -> NDArray[np.float16]:
    """Scales of INT4 weights: multiples of 2^-14 from 0.01 to 0.1."""
    steps = words(seed, tensor, int(np.prod(shape))) % np.uint64(1475) + np.uint64(164)
    return (steps.astype(np.float32) / 16384).astype(np.float16).reshape(shape)


def int8s(seed: int, tensor: int, shape: Sequence[int]) -> NDArray[np.int8]:
    """All bytes alike; the shape has a multiple of 8 of them."""
    return words(seed, tensor, int(np.prod(shape)) // 8).astype("<u8").view(np.int8).reshape(shape)


def rope_table(positions: int, rotary_size: int) -> NDArray[np.float32]:
    """`rope.cos_sin` rounded to multiples of 1/4096, which no last bit of a cosine changes."""
    return np.rint(rope.cos_sin(positions, rotary_size) * _ROPE_STEPS) / np.float32(_ROPE_STEPS)


def parents(seed: int, tensor: int, tokens: int) -> NDArray[np.int32]:
    """A draft tree: the parent of each token, an earlier one or tree.ROOT."""
    choices = np.arange(1, tokens + 1, dtype=np.uint64)
    return (words(seed, tensor, tokens) % choices).astype(np.int32) - np.int32(1)
