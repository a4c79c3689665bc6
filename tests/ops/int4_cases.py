"""Seeded INT4 GEMM problems, and one way to run them through the plugin."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import host, quantization, reference
from tools.testing.device_under_test import rerun_command as rerun

PLUGIN = "Int4GroupwiseGemmPlugin"

# (plugin version, TensorRT major): every binary interface of the plugin.
INTERFACES = (("1", 8), ("1", 10), ("1", 11), ("2", 10), ("2", 11))


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem: x float16 [B, S, K], packed int8 [N/2, K], scales float16 [ceil(K/128), N]."""

    x: NDArray[np.float16]
    packed: NDArray[np.int8]
    scales: NDArray[np.float16]

    @property
    def n(self) -> int:
        return 2 * self.packed.shape[0]

    @property
    def k(self) -> int:
        return self.packed.shape[1]

    @property
    def fields(self) -> dict[str, int]:
        return {"gemm_n": self.n, "gemm_k": self.k, "group_size": 128}

    def expected(self) -> NDArray[np.float64]:
        return reference.int4_groupwise_gemm(self.x, self.packed, self.scales)


def random_case(batch: int, seq: int, n: int, k: int, seed: int = 0) -> Case:
    """A problem whose values depend on shape and seed alone."""
    rng = np.random.default_rng([seed, batch, seq, n, k])
    return Case(
        rng.standard_normal((batch, seq, k)).astype(np.float16),
        quantization.pack(rng.integers(-8, 8, (n, k))),
        rng.uniform(0.01, 0.1, (-(-k // 128), n)).astype(np.float16),
    )


def creator(device: host.Device, version: str = "2", major: int = 10) -> host.HostedCreator:
    return host.find_creator(device.library, PLUGIN, version, major)


def build(device: host.Device, case: Case, version: str = "2", major: int = 10) -> host.Engine:
    """Builds an engine for exactly the shapes of a case."""
    ranges = [
        host.fixed_range(array.dtype, array.shape) for array in (case.x, case.packed, case.scales)
    ]
    return host.build_engine(creator(device, version, major), case.fields, ranges)


class CaseTensors:
    """A case on a device, the output full of NaN.

    The emulator reports every access outside an allocation, reads included, so there each tensor
    is an allocation of its own size. On a GPU guards around the tensors catch what is written.
    """

    def __init__(self, device: host.Device, case: Case) -> None:
        self._case = case
        guard_bytes = 0 if device.kind == "emulator" else 256
        self.inputs = [
            device.tensor(array, name, guard_bytes)
            for name, array in (("x", case.x), ("packed", case.packed), ("scales", case.scales))
        ]
        unwritten = np.full((*case.x.shape[:2], case.n), np.nan, np.float16)
        self.y = device.tensor(unwritten, "y", guard_bytes)

    def result(self) -> NDArray[np.float16]:
        """The output, after checking that nothing else was written."""
        for tensor in (*self.inputs, self.y):
            assert tensor.guards_intact(), f"written outside a tensor of {tensor.shape}\n{rerun()}"
        for tensor, array in zip(
            self.inputs, (self._case.x, self._case.packed, self._case.scales), strict=True
        ):
            assert tensor.numpy().tobytes() == array.tobytes(), f"an input was written\n{rerun()}"
        return self.y.numpy()


def run(
    device: host.Device, case: Case, version: str = "2", major: int = 10
) -> NDArray[np.float16]:
    """The plugin's result: float16 [B, S, N]."""
    tensors = CaseTensors(device, case)
    stream = device.stream()
    with build(device, case, version, major).load(device) as loaded:
        context = loaded.create_context()
        context.enqueue(tensors.inputs, [tensors.y], stream)
        stream.synchronize()
    return tensors.result()


def assert_correct(actual: NDArray[np.float16], case: Case) -> None:
    """Compares a result with the reference, and says how to run the test again."""
    reference.assert_close(actual, case.expected(), hint=rerun())
