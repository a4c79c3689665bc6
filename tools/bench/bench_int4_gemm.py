"""Times Int4GroupwiseGemmPlugin beside cuBLAS with FP16 weights and tinygemm.

    python3 -m tools.bench.bench_int4_gemm --output=int4_gemm.json [--only=REGEX]

Every output is checked against FP32 in the same run. --device=emulator tries tiny cases without
times.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from edge_llm_plugins import reference
from tools.bench import bench, machines, timing
from tools.bench.bench import Contender
from tools.bench.cases import GROUP_SIZE, Int4Case
from tools.bench.int4_inputs import Int4Weights, TinygemmWeights, relative_rms
from tools.bench.machines import Machine, PluginTensor, loaded_plugin
from tools.bench.results import OURS

# Relative RMS errors. cuBLAS may add partial sums in FP16, tinygemm computes in BF16.
TOLERANCES = {OURS: reference.INT4_RELATIVE_RMS, "cublas": 2e-3, "tinygemm": 1e-2}

# tinygemm reads the weights once for each row, more or less: beyond this it only costs time.
TINYGEMM_ROWS = 128


class Layer:
    """The weights of all cases of one shape: enough copies for a rotation."""

    def __init__(self, n: int, k: int, machine: Machine) -> None:
        first = Int4Weights(n, k, machine.torch_device)
        rotated = timing.rotation(first.nbytes) if machine.has_peers else 1
        more = [Int4Weights(n, k, machine.torch_device) for _ in range(rotated - 1)]
        self.ours = [first, *more]
        self.exact = first.dequantized()

    @functools.cached_property
    def fp16(self) -> list[torch.Tensor]:
        copies = timing.rotation(self.exact.nbytes // 2)
        return [weights.dequantized().half() for weights in self.ours[:copies]]

    @functools.cached_property
    def tinygemm(self) -> list[TinygemmWeights]:
        return [TinygemmWeights(weights) for weights in self.ours]


def layers(
    machine: Machine, selected: Iterable[Int4Case]
) -> Iterator[tuple[Layer, Iterator[Int4Case]]]:
    """Cases of one shape share their weights."""
    for (n, k), group in itertools.groupby(selected, key=lambda case: (case.n, case.k)):
        yield Layer(n, k, machine), group


class Rotation:
    """Inputs and outputs of a case, as many as it takes to leave the L2 behind."""

    def __init__(self, machine: Machine, layer: Layer, case: Int4Case) -> None:
        self.machine, self.layer, self.case = machine, layer, case
        self.xs = [
            torch.randn(1, case.m, case.k, device=machine.torch_device).half() for _ in layer.ours
        ]
        self._expected = self.xs[0].float() @ layer.exact.T
        self.inputs = [
            [machine.plugin_tensor(tensor) for tensor in (x, weights.packed, weights.scales)]
            for x, weights in zip(self.xs, layer.ours, strict=True)
        ]
        self.ys = [machines.unwritten(machine, (1, case.m, case.n)) for _ in layer.ours]

    def contender(self, name: str, call: Callable[[int], Any], copies: int = 0) -> Contender:
        """One whose output is y; `copies` where it rotates over fewer."""
        check = functools.partial(self._check, TOLERANCES.get(name, reference.INT4_RELATIVE_RMS))
        return Contender(name, copies or len(self.xs), call, check)

    @contextlib.contextmanager
    def ours(self) -> Iterator[Contender]:
        """The plugin, with its own choice of kernels."""
        fields = {"gemm_n": self.case.n, "gemm_k": self.case.k, "group_size": GROUP_SIZE}
        with loaded_plugin(
            self.machine, "Int4GroupwiseGemmPlugin", fields, self.inputs[0]
        ) as context:

            def plugin(index: int) -> PluginTensor:
                context.enqueue(self.inputs[index], [self.ys[index]], self.machine.stream)
                return self.ys[index]

            yield self.contender(OURS, plugin)

    def peers(self) -> list[Contender]:
        """What PyTorch has."""
        fp16, case = self.layer.fp16, self.case
        products = [torch.empty(case.m, case.n, device="cuda", dtype=torch.float16) for _ in fp16]

        def cublas(index: int) -> torch.Tensor:
            return torch.matmul(self.xs[index][0], fp16[index].T, out=products[index])

        peers = [self.contender("cublas", cublas, copies=len(fp16))]
        if case.m <= TINYGEMM_ROWS:
            rows = [x[0].bfloat16() for x in self.xs]

            def tinygemm(index: int) -> torch.Tensor:
                return self.layer.tinygemm[index].multiply(rows[index])

            peers.append(self.contender("tinygemm", tinygemm))
        return peers

    def _check(self, tolerance: float, output: torch.Tensor) -> float:
        expected = self._expected
        error = relative_rms(output.reshape(expected.shape).to(expected.device), expected)
        assert error <= tolerance, f"relative RMS error {error:.3g} > {tolerance:g}"
        return error


@contextlib.contextmanager
def case_contenders(machine: Machine, layer: Layer, case: Int4Case) -> Iterator[list[Contender]]:
    """Everything that computes this case, on inputs of its own."""
    rotation = Rotation(machine, layer, case)
    with rotation.ours() as ours:
        yield [ours, *(rotation.peers() if machine.has_peers else [])]


def contenders(
    machine: Machine, selected: Sequence[Int4Case]
) -> Iterator[tuple[Int4Case, contextlib.AbstractContextManager[list[Contender]]]]:
    """Each case with its contenders; cases of one shape share their weights."""
    for layer, group in layers(machine, selected):
        for case in group:
            yield case, case_contenders(machine, layer, case)


if __name__ == "__main__":
    sys.exit(bench.main("int4_gemm", __doc__.splitlines()[0], contenders))
