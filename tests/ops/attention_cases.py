"""Seeded attention problems of every mode, and one way to run them through the plugin."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import emulator, host, reference, rope, tree
from tools.testing.device_under_test import rerun_command as rerun

PLUGIN = "AttentionPlugin"

# (plugin version, TensorRT major): every binary interface of the plugin.
INTERFACES = (("1", 8), ("1", 10), ("1", 11), ("2", 10), ("2", 11))


@dataclasses.dataclass(frozen=True)
class Heads:
    """num_q_heads, num_kv_heads and head_size."""

    q: int
    kv: int
    size: int


# Two KV heads, and a ratio that is no power of two.
SMALL = Heads(6, 2, 64)


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem: the inputs of AttentionPlugin in their order, without a tree the first five."""

    heads: Heads
    qkv: NDArray[np.float16]
    kv_cache: NDArray[np.float16]
    context_lengths: NDArray[np.int32]
    rope_cos_sin: NDArray[np.float32]
    kv_cache_start_index: NDArray[np.int32]
    attention_mask: NDArray[np.int32] | None = None
    attention_pos_ids: NDArray[np.int32] | None = None

    @property
    def arrays(self) -> dict[str, NDArray]:
        """The inputs by name."""
        everything = {name: value for name, value in vars(self).items() if name != "heads"}
        return {name: array for name, array in everything.items() if array is not None}

    @property
    def head_arguments(self) -> dict[str, int]:
        heads = self.heads
        return {"num_q_heads": heads.q, "num_kv_heads": heads.kv, "head_size": heads.size}

    @property
    def fields(self) -> dict[str, int]:
        return {**self.head_arguments, "enable_tree_attention": int(len(self.arrays) == 7)}

    @property
    def capacity(self) -> int:
        return self.kv_cache.shape[3]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (*self.qkv.shape[:2], self.heads.q, self.heads.size)

    @property
    def ranges(self) -> list[host.TensorRange]:
        return [host.fixed_range(array.dtype, array.shape) for array in self.arrays.values()]

    def field_list(self, **changes: object) -> list[host.Field]:
        """The fields with other values, or without those that are None."""
        fields = self.fields | changes
        return [host.field(name, value) for name, value in fields.items() if value is not None]

    def expected(self) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        """Output and cache of the reference."""
        return reference.attention(**self.arrays, **self.head_arguments)

    def replace(self, **changes: object) -> Case:
        return dataclasses.replace(self, **changes)


def _case(
    seq: int,
    lengths: Sequence[int],
    starts: Sequence[int],
    pasts: Sequence[int],
    capacity: int,
    heads: Heads = SMALL,
    rotary_size: int | None = None,
    seed: int = 0,
) -> Case:
    """A cache that is full of NaN but for the `pasts` oldest slots of each row."""
    rng = np.random.default_rng([seed, seq, capacity, heads.q, heads.kv, heads.size])
    batch = len(lengths)
    cache = rng.standard_normal((batch, 2, heads.kv, capacity, heads.size)).astype(np.float16)
    for b, past in enumerate(pasts):
        cache[b, :, :, past:] = np.nan
    packed_size = (heads.q + 2 * heads.kv) * heads.size
    return Case(
        heads,
        rng.standard_normal((batch, seq, packed_size)).astype(np.float16),
        cache,
        np.array(lengths, np.int32),
        rope.cos_sin(capacity, rotary_size or heads.size),
        np.array(starts, np.int32),
    )


def prefill(seq: int, lengths: Sequence[int], capacity: int | None = None, **options) -> Case:
    return _case(seq, lengths, [], [0] * len(lengths), capacity or seq, **options)


def chunk(
    seq: int, lengths: Sequence[int], starts: Sequence[int], capacity: int, **options
) -> Case:
    return _case(seq, lengths, starts, starts, capacity, **options)


def decode(totals: Sequence[int], capacity: int, **options) -> Case:
    """The newest token of each row; start indices are 0."""
    return _case(1, totals, [0] * len(totals), [t - 1 for t in totals], capacity, **options)


def draft_trees(parents: NDArray[np.int32], pasts: Sequence[int], capacity: int, **options) -> Case:
    """Trees [B, S] after `pasts` older tokens."""
    batch, size = parents.shape
    case = _case(size, [p + size for p in pasts], [0] * batch, pasts, capacity, **options)
    return case.replace(
        attention_mask=tree.pack_mask(parents),
        attention_pos_ids=tree.position_ids(parents, pasts),
    )


def random_tree(size: int, seed: int = 0) -> NDArray[np.int32]:
    """Parents of a tree with several roots and branches."""
    rng = np.random.default_rng([seed, size])
    return np.array([-1, *(rng.integers(-1, i) for i in range(1, size))], np.int32)


def no_rotation(positions: int, rotary_size: int) -> NDArray[np.float32]:
    """A RoPE table that turns nothing."""
    table = np.zeros((1, positions, rotary_size), np.float32)
    table[..., : rotary_size // 2] = 1
    return table


def with_dummy_tree(case: Case) -> Case:
    """The same call with enable_tree_attention = 1: dummies select no tree."""
    batch = case.qkv.shape[0]
    return case.replace(
        attention_mask=np.zeros((batch, 1, 1), np.int32),
        attention_pos_ids=np.zeros((batch, 1), np.int32),
    )


def creator(device: host.Device, version: str = "2", major: int = 10) -> host.HostedCreator:
    return host.find_creator(device.library, PLUGIN, version, major)


def build(device: host.Device, case: Case, version: str = "2", major: int = 10) -> host.Engine:
    """Builds an engine for exactly the shapes of a case."""
    return host.build_engine(creator(device, version, major), case.fields, case.ranges)


class CaseTensors:
    """A case on a device, everything that is to be written full of garbage.

    The emulator reports every access outside an allocation, reads included, so there each tensor
    is an allocation of its own size. On a GPU guards around the tensors catch what is written.
    """

    def __init__(self, device: host.Device, case: Case, in_place: bool = True) -> None:
        self._case = case
        guard_bytes = 0 if device.kind == "emulator" else 256
        self.inputs = [
            device.tensor(array, name, guard_bytes) for name, array in case.arrays.items()
        ]
        garbage = np.full(case.output_shape, np.nan, np.float16)
        self.output = device.tensor(garbage, "output", guard_bytes)
        self.cache = self.inputs[1]
        if not in_place:
            garbage = np.full(case.kv_cache.shape, 7, np.float16)
            self.cache = device.tensor(garbage, "out_kv_cache", guard_bytes)

    @property
    def outputs(self) -> list[host.DeviceTensor]:
        return [self.output, self.cache]

    def result(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Output and cache, after checking that nothing else was written."""
        for tensor in (*self.inputs, *self.outputs):
            assert tensor.guards_intact(), f"written outside a tensor of {tensor.shape}\n{rerun()}"
        for tensor, (name, array) in zip(self.inputs, self._case.arrays.items(), strict=True):
            if tensor is not self.cache:
                assert tensor.numpy().tobytes() == array.tobytes(), f"{name} changed\n{rerun()}"
        return self.output.numpy(), self.cache.numpy()


def run(
    device: host.Device, case: Case, version: str = "2", major: int = 10, in_place: bool = True
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The plugin's output and cache."""
    tensors = CaseTensors(device, case, in_place)
    stream = device.stream()
    with build(device, case, version, major).load(device) as loaded:
        context = loaded.create_context()
        context.enqueue(tensors.inputs, tensors.outputs, stream)
        stream.synchronize()
    return tensors.result()


def assert_correct(actual: tuple[NDArray[np.float16], NDArray[np.float16]], case: Case) -> None:
    """Compares output and cache with the reference, and says how to run the test again.

    What the reference leaves at zero is exactly zero: invalid tokens, and those that see nothing.
    """
    output, cache = case.expected()
    reference.assert_attention_close(actual[0], output, hint=rerun())
    nothing = ~output.any(axis=-1)
    assert not actual[0][nothing].any(), f"an invalid token is not zero\n{rerun()}"
    reference.assert_cache_close(actual[1], cache, case.rope_cos_sin.shape[2], hint=rerun())


def check(device: host.Device, case: Case, **options: object) -> None:
    """Runs a case and compares it with the reference."""
    assert_correct(run(device, case, **options), case)


@contextlib.contextmanager
def expected_launches(device: host.Device, count: int) -> Iterator[None]:
    """Checks how many kernels a block launches, where they are counted: on the emulator."""
    if device.kind == "emulator":
        emulator.take_stats()
    yield
    if device.kind == "emulator":
        launches = emulator.take_stats()["launches"]
        assert launches == count, f"{launches} launches, expected {count}\n{rerun()}"
