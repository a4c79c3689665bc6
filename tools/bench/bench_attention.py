"""Times AttentionPlugin beside the back ends of PyTorch's scaled_dot_product_attention.

    python3 -m tools.bench.bench_attention --output=attention.json [--only=REGEX]

Our times include RoPE and the write of K and V to the cache; the peers' do not. Every output is
checked against FP32 in the same run. --device=emulator tries tiny cases without times.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import torch

from tools.bench import attention_peers, bench, machines, timing
from tools.bench.attention_inputs import Problem, Shared, largest_error
from tools.bench.bench import Contender
from tools.bench.cases import AttentionCase
from tools.bench.machines import Machine, loaded_plugin
from tools.bench.results import OURS


@contextlib.contextmanager
def case_contenders(machine: Machine, case: AttentionCase) -> Iterator[list[Contender]]:
    """Everything that computes this case."""
    shared = Shared(case, machine.torch_device)
    # The cache of a prefill is written, not read: Q, K and V of the new tokens come instead.
    rotated = timing.rotation(case.nbytes) if machine.has_peers else 1
    problems = [Problem(shared) for _ in range(rotated)]
    expected = problems[0].expected(shared)
    caches = [machine.plugin_tensor(problem.cache) for problem in problems]
    outputs = [machines.unwritten(machine, expected.shape) for _ in problems]
    common = [
        machine.plugin_tensor(tensor)
        for tensor in (shared.context_lengths, shared.rope_cos_sin, shared.start_index)
    ]
    trees = [machine.plugin_tensor(tensor) for tensor in shared.tree]
    inputs = [
        [machine.plugin_tensor(problem.qkv), cache, *common, *trees]
        for problem, cache in zip(problems, caches, strict=True)
    ]

    def check_ours(output: torch.Tensor) -> float:
        problems[0].check_cache(machine.read(caches[0]))
        return largest_error(output, expected)

    def check_peer(output: torch.Tensor) -> float:
        rows = output.reshape(expected.transpose(1, 2).shape).transpose(1, 2)
        return largest_error(rows, expected, factor=2)

    with loaded_plugin(machine, "AttentionPlugin", shared.fields, inputs[0]) as context:

        def plugin(index: int) -> object:
            context.enqueue(inputs[index], [outputs[index], caches[index]], machine.stream)
            return outputs[index]

        contenders = [Contender(OURS, rotated, plugin, check_ours)]
        if machine.has_peers:
            contenders += [
                Contender(name, rotated, call, check_peer)
                for name, call in attention_peers.peers(shared, problems).items()
            ]
        yield contenders


def contenders(
    machine: Machine, selected: Sequence[AttentionCase]
) -> Iterator[tuple[AttentionCase, contextlib.AbstractContextManager[list[Contender]]]]:
    """Each case with its contenders."""
    for case in selected:
        yield case, case_contenders(machine, case)


if __name__ == "__main__":
    sys.exit(bench.main("attention", __doc__.splitlines()[0], contenders))
