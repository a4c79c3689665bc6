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
from collections.abc import Iterator, Sequence

import torch

from edge_llm_plugins import reference
from tools.bench import bench, machines, timing
from tools.bench.bench import Contender
from tools.bench.cases import GROUP_SIZE, Int4Case
from tools.bench.int4_inputs import Int4Weights, TinygemmWeights, relative_rms
from tools.bench.machines import Machine, loaded_plugin
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
        self.fp16: list[torch.Tensor] = []
        self.tinygemm: list[TinygemmWeights] = []
        if machine.has_peers:
            copies = timing.rotation(self.exact.nbytes // 2)
            self.fp16 = [weights.dequantized().half() for weights in self.ours[:copies]]
            self.tinygemm = [TinygemmWeights(weights) for weights in self.ours]


@contextlib.contextmanager
def case_contenders(machine: Machine, layer: Layer, case: Int4Case) -> Iterator[list[Contender]]:
    """Everything that computes this case, on inputs of its own."""
    rotated = len(layer.ours)
    shape = (1, case.m, case.k)
    xs = [
        torch.randn(shape, device=machine.torch_device, dtype=torch.float16) for _ in range(rotated)
    ]
    expected = xs[0].float() @ layer.exact.T

    def check(name: str, output: torch.Tensor) -> float:
        error = relative_rms(output.reshape(expected.shape).to(expected.device), expected)
        assert error <= TOLERANCES[name], f"relative RMS error {error:.3g} > {TOLERANCES[name]:g}"
        return error

    inputs = [
        [machine.plugin_tensor(tensor) for tensor in (x, weights.packed, weights.scales)]
        for x, weights in zip(xs, layer.ours, strict=True)
    ]
    ys = [machines.unwritten(machine, (1, case.m, case.n)) for _ in range(rotated)]
    fields = {"gemm_n": case.n, "gemm_k": case.k, "group_size": GROUP_SIZE}
    with loaded_plugin(machine, "Int4GroupwiseGemmPlugin", fields, inputs[0]) as context:

        def plugin(index: int) -> object:
            context.enqueue(inputs[index], [ys[index]], machine.stream)
            return ys[index]

        contenders = [Contender(OURS, rotated, plugin, functools.partial(check, OURS))]
        if machine.has_peers:
            contenders += _peers(layer, case, xs, check)
        yield contenders


def _peers(layer: Layer, case: Int4Case, xs: Sequence[torch.Tensor], check) -> list[Contender]:
    shape = (case.m, case.n)
    products = [torch.empty(shape, device="cuda", dtype=torch.float16) for _ in layer.fp16]

    def cublas(index: int) -> torch.Tensor:
        return torch.matmul(xs[index][0], layer.fp16[index].T, out=products[index])

    peers = [Contender("cublas", len(layer.fp16), cublas, functools.partial(check, "cublas"))]
    if case.m <= TINYGEMM_ROWS:
        rows = [x[0].bfloat16() for x in xs]

        def tinygemm(index: int) -> torch.Tensor:
            return layer.tinygemm[index].multiply(rows[index])

        peers.append(Contender("tinygemm", len(xs), tinygemm, functools.partial(check, "tinygemm")))
    return peers


def contenders(
    machine: Machine, selected: Sequence[Int4Case]
) -> Iterator[tuple[Int4Case, contextlib.AbstractContextManager[list[Contender]]]]:
    """Each case with its contenders; cases of one shape share their weights."""
    for (n, k), group in itertools.groupby(selected, key=lambda case: (case.n, case.k)):
        layer = Layer(n, k, machine)
        for case in group:
            yield case, case_contenders(machine, layer, case)


if __name__ == "__main__":
    sys.exit(bench.main("int4_gemm", __doc__.splitlines()[0], contenders))
