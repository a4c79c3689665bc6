"""The problems to verify on a device: one for each kernel, and the edges that users reach."""

from __future__ import annotations

import itertools

from edge_llm_plugins._build import KERNELS
from edge_llm_plugins.verify.problems import Attention, Int4Gemm, PlannedDevice, Problem

HEAD_SIZES = (32, 64, 80, 96, 128, 256)

# Every mode on every head size, with rows of different lengths, and Q heads that share KV heads.
_EVERY_MODE = tuple(
    Attention(mode, 2, past, tokens, 6, 2, head_size)
    for head_size in HEAD_SIZES
    for mode, past, tokens in (
        ("prefill", 0, 21),
        ("chunk", 30, 19),
        ("decode", 70, 1),
        ("tree", 40, 9),
    )
)

# Rows around the tile edges, a last group of k that is half full, and an n that ends within a tile.
_EDGES = tuple(Int4Gemm(m, 132, 320) for m in (1, 8, 9, 17, 33, 65, 129))

# Where the kernels that these did not reach are looked for, layers of real models among them.
_INT4_SEARCH = tuple(
    Int4Gemm(m, n, k)
    for m, (n, k) in itertools.product(
        (1, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024),
        (
            (576, 576),
            (1536, 576),
            (576, 1536),
            (1024, 1024),
            (8192, 1024),
            (2048, 2048),
            (4096, 4096),
            (49152, 576),
            (14336, 4096),
            (4096, 14336),
            (28672, 4096),
            (151936, 1024),
        ),
    )
)
_ATTENTION_SEARCH = tuple(
    Attention(mode, batch, past, tokens, num_q_heads, num_kv_heads, head_size)
    for head_size in HEAD_SIZES
    for mode, lengths in (
        ("prefill", ((0, 33), (0, 64), (0, 129), (0, 256))),
        ("chunk", ((65, 33), (255, 65), (255, 129))),
        ("decode", ((127, 1), (511, 1))),
        ("tree", ((65, 20), (255, 64))),
    )
    for past, tokens in lengths
    for batch, (num_q_heads, num_kv_heads) in itertools.product(
        (1, 2, 8), ((2, 2), (8, 2), (14, 2), (32, 8))
    )
)


# Run on every device.
ALWAYS: tuple[Problem, ...] = (*_EDGES, *_EVERY_MODE)

# Searched where these reach too few kernels, the cheapest first.
SEARCHED: tuple[Problem, ...] = tuple(
    sorted((*_INT4_SEARCH, *_ATTENTION_SEARCH), key=lambda problem: problem.work)
)


def kernels_of(sm: int) -> tuple[str, ...]:
    """The kernels that this build has for an SM."""
    return tuple(name for name, without in KERNELS.items() if sm not in without)


def problems(device: PlannedDevice) -> tuple[list[Problem], list[str]]:
    """Those of ALWAYS, and the cheapest of SEARCHED for each kernel that they do not reach.

    Returns:
      The problems.
      The kernels that no problem reaches: this device's plans choose others.
    """
    chosen = list(ALWAYS)
    missing = set(kernels_of(device.sm))
    for problem in chosen:
        missing -= set(problem.kernels(device))
    for problem in SEARCHED:
        if not missing:
            break
        found = missing & set(problem.kernels(device))
        if found:
            chosen.append(problem)
            missing -= found
    return chosen, [name for name in kernels_of(device.sm) if name in missing]
