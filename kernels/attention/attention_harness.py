"""Runs images of the attention kernels, for their tests."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import numpy as np

from kernels.attention.attention_cases import Inputs
from kernels.attention.attention_reference import PREFILL, Case
from kernels.testing.variant_under_test import LoadedVariant, Variant

_COMBINED_SPLITS = 4  # kCombinedSplits of attention_params.h


class _Launch:
    """The buffers of one launch, each of exactly the bytes that the kernel is promised."""

    def __init__(self, variant: LoadedVariant, stack: contextlib.ExitStack, case: Case) -> None:
        self._variant = variant
        self._stack = stack
        self._case = case
        self._pointers: dict[str, int] = {}
        self.upload("lengths", np.asarray(case.lengths, np.int32))
        self.upload("rope", np.asarray(case.rope, np.float32))
        if case.mode != PREFILL:
            self.upload("starts", np.asarray(case.starts, np.int32))
        if case.is_tree:
            self.upload("mask", pack_mask(case.mask))
            self.upload("positions", np.asarray(case.positions, np.int32))

    def upload(self, name: str, array: np.ndarray) -> object:
        buffer = self._variant.to_device(self._stack, array, name)
        self._pointers[name] = buffer.pointer
        return buffer

    def empty(self, name: str, nbytes: int) -> object:
        buffer = self._variant.empty(self._stack, nbytes, name)
        self._pointers[name] = buffer.pointer
        return buffer

    def run(self, grid: tuple[int, int, int], splits: int = 1) -> None:
        case = self._case
        names = ("qkv", "cache", "lengths", "rope", "starts", "mask", "positions", "partials")
        pointers = [self._pointers.get(name, 0) for name in (*names, "output")]
        mask_words = pack_mask(case.mask).shape[2] if case.is_tree else 0
        sizes = (case.batch, case.q_len, *case.heads, case.head_size, case.capacity)
        sizes += (*case.rope.shape, mask_words, case.mode, splits)
        self._variant.launch(grid, struct.pack("<9Q12i", *pointers, *sizes))  # AttentionParams

    def run_splits(self, grid: tuple[int, int, int], splits: int) -> tuple[np.ndarray, np.ndarray]:
        """Partial outputs f32 [splits, batch, q_len, Q heads, head size], states [.., heads, 2]."""
        case = self._case
        shape = (splits, case.batch, case.q_len, case.heads[0], case.head_size)
        outputs = int(np.prod(shape))
        partials = self.empty("partials", 4 * (outputs + 2 * splits * heads_of(case)))
        self.run(grid, splits)
        values = partials.numpy(np.float32)
        return values[:outputs].reshape(shape), values[outputs:].reshape(splits, -1, 2)


def pack_mask(mask: np.ndarray) -> np.ndarray:
    """bool [batch, q_len, q_len] to int32 [batch, q_len, words], one word more than needed.

    The bits past q_len are set: the kernels must not look at them.
    """
    batch, q_len, _ = mask.shape
    words = -(-q_len // 32) + 1
    bits = np.ones((batch, q_len, 32 * words), np.uint8)
    bits[:, :, :q_len] = mask
    return np.packbits(bits, axis=2, bitorder="little").view(np.int32)


def heads_of(case: Case) -> int:
    return case.batch * case.q_len * case.heads[0]


class AttentionKernel:
    """The image of one variant for one SM, loaded on the device of that SM."""

    def __init__(self, variant: LoadedVariant) -> None:
        self._variant = variant

    def append(self, case: Case, inputs: Inputs) -> np.ndarray:
        """The new cache, f16; checks that qkv is left as it is."""
        pairs = case.q_len * 2 * case.heads[1] * case.head_size // 16  # of chunks
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            qkv = launch.upload("qkv", inputs.qkv)
            cache = launch.upload("cache", inputs.cache)
            launch.run((-(-pairs // self._variant.row["threads"]), case.batch, 1))
            _assert_unchanged("qkv", qkv, inputs.qkv)
            return cache.numpy(np.float16, inputs.cache.shape)

    def prefill(self, case: Case, inputs: Inputs) -> np.ndarray:
        """The output, f16 as q, after append; checks that its inputs are left as they are."""
        tiles = -(-case.q_len // self._variant.row["tile"]["tile_q"])
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            qkv = launch.upload("qkv", inputs.qkv)
            cache = launch.upload("cache", inputs.new_cache)
            output = launch.empty("output", inputs.q.size * 2)
            launch.run((case.heads[0], tiles, case.batch))
            _assert_unchanged("qkv", qkv, inputs.qkv)
            _assert_unchanged("the cache", cache, inputs.new_cache)
            return output.numpy(np.float16, inputs.q.shape)

    def prefill_splits(
        self, case: Case, inputs: Inputs, splits: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Partial outputs f32 [splits, *q.shape] and states f32 [splits, heads, 2]."""
        tiles = -(-case.q_len // self._variant.row["tile"]["tile_q"])
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            launch.upload("qkv", inputs.qkv)
            launch.upload("cache", inputs.new_cache)
            return launch.run_splits((case.heads[0] * splits, tiles, case.batch), splits)

    def decode(self, case: Case, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Output and new cache, f16, without splits; checks that qkv is left as it is."""
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            qkv = launch.upload("qkv", inputs.qkv)
            cache = launch.upload("cache", inputs.cache)
            output = launch.empty("output", inputs.q.size * 2)
            launch.run(self._decode_grid(case, 1))
            _assert_unchanged("qkv", qkv, inputs.qkv)
            new_cache = cache.numpy(np.float16, inputs.cache.shape)
            return output.numpy(np.float16, inputs.q.shape), new_cache

    def decode_splits(
        self, case: Case, inputs: Inputs, splits: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Partial outputs f32 [splits, *q.shape], states f32 [splits, heads, 2], the new cache."""
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            launch.upload("qkv", inputs.qkv)
            cache = launch.upload("cache", inputs.cache)
            partials = launch.run_splits(self._decode_grid(case, splits), splits)
            return *partials, cache.numpy(np.float16, inputs.cache.shape)

    def combine(self, case: Case, outputs: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The output, f16 [batch, q_len, Q heads, head size], of partial results."""
        splits = len(states)
        with contextlib.ExitStack() as stack:
            launch = _Launch(self._variant, stack, case)
            partials = np.concatenate([outputs.ravel(), states.ravel()]).astype(np.float32)
            launch.upload("partials", partials)
            output = launch.empty("output", outputs[0].size * 2)
            places = self._variant.row["threads"] // (case.head_size // 4)
            lanes = min(places, -(-splits // _COMBINED_SPLITS))  # as combine_lanes()
            heads = places // lanes  # of a CTA
            launch.run((-(-heads_of(case) // heads), 1, 1), splits)
            return output.numpy(np.float16, outputs.shape[1:])

    def _decode_grid(self, case: Case, splits: int) -> tuple[int, int, int]:
        q_heads, kv_heads = case.heads
        row_tiles = -(-case.q_len * (q_heads // kv_heads) // self._variant.row["tile"]["tile_q"])
        return row_tiles * kv_heads, splits, case.batch


def _assert_unchanged(name: str, buffer: object, before: np.ndarray) -> None:
    assert buffer.numpy(np.uint16).tobytes() == before.tobytes(), f"{name} has changed"


@contextlib.contextmanager
def kernel_on(variant: Variant, sm: str) -> Iterator[AttentionKernel]:
    """A variant on the device of an SM."""
    with variant.loaded_on(sm) as loaded:
        yield AttentionKernel(loaded)
