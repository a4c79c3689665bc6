"""Times AttentionPlugin beside the back ends of PyTorch's scaled_dot_product_attention.

    python3 -m tools.bench.bench_attention --output=attention.json [--only=REGEX]

Our times include RoPE and the write of K and V to the cache; the peers' do not. Every output is
checked against FP32 in the same run. --device=emulator tries tiny cases without times.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

import torch

from tools.bench import attention_peers, bench, machines, timing
from tools.bench.attention_inputs import Problem, Shared, largest_error
from tools.bench.bench import Contender
from tools.bench.cases import AttentionCase
from tools.bench.machines import Machine, PluginTensor, loaded_plugin
from tools.bench.results import OURS


class Rotation:
    """Inputs and outputs of a case, as many as it takes to leave the L2 behind.

    What all layers of a model share in a step, the calls share too, so that it stays in the L2 as
    it does there: lengths, starts, RoPE table, tree. QKV, cache and output are each call's own.
    """

    def __init__(self, machine: Machine, case: AttentionCase) -> None:
        self.machine = machine
        self.shared = Shared(case, machine.torch_device)
        # The cache of a prefill is written, not read: Q, K and V of the new tokens come instead.
        copies = timing.rotation(case.nbytes) if machine.has_peers else 1
        self.problems = [Problem(self.shared) for _ in range(copies)]
        self._expected = self.problems[0].expected(self.shared)
        self.qkvs = [machine.plugin_tensor(problem.qkv) for problem in self.problems]
        self.caches = [machine.plugin_tensor(problem.cache) for problem in self.problems]
        self.outputs = [machines.unwritten(machine, self._expected.shape) for _ in self.problems]
        self.context_lengths = machine.plugin_tensor(self.shared.context_lengths)
        self.rope_cos_sin = machine.plugin_tensor(self.shared.rope_cos_sin)
        self.start_index = machine.plugin_tensor(self.shared.start_index)
        self.tree = [machine.plugin_tensor(tensor) for tensor in self.shared.tree]

    @contextlib.contextmanager
    def ours(self) -> Iterator[Contender]:
        """The plugin, with its own choice of kernels."""
        common = [self.context_lengths, self.rope_cos_sin, self.start_index, *self.tree]
        inputs = [[qkv, cache, *common] for qkv, cache in zip(self.qkvs, self.caches, strict=True)]
        fields = self.shared.fields
        with loaded_plugin(self.machine, "AttentionPlugin", fields, inputs[0]) as context:

            def plugin(index: int) -> PluginTensor:
                outputs = [self.outputs[index], self.caches[index]]
                context.enqueue(inputs[index], outputs, self.machine.stream)
                return self.outputs[index]

            yield self.contender(OURS, plugin)

    def contender(self, name: str, call: Callable[[int], PluginTensor]) -> Contender:
        """One that computes what the plugin does."""
        return Contender(name, len(self.problems), call, self._check)

    def peers(self) -> list[Contender]:
        """What PyTorch has."""
        return [
            Contender(name, len(self.problems), call, self._check_peer)
            for name, call in attention_peers.peers(self.shared, self.problems).items()
        ]

    def _check(self, output: torch.Tensor) -> float:
        self.problems[0].check_cache(self.machine.read(self.caches[0]))
        return largest_error(output, self._expected)

    def _check_peer(self, output: torch.Tensor) -> float:
        rows = output.reshape(self._expected.transpose(1, 2).shape).transpose(1, 2)
        return largest_error(rows, self._expected, factor=2)


@contextlib.contextmanager
def case_contenders(machine: Machine, case: AttentionCase) -> Iterator[list[Contender]]:
    """Everything that computes this case."""
    rotation = Rotation(machine, case)
    with rotation.ours() as ours:
        yield [ours, *(rotation.peers() if machine.has_peers else [])]


def contenders(
    machine: Machine, selected: Sequence[AttentionCase]
) -> Iterator[tuple[AttentionCase, contextlib.AbstractContextManager[list[Contender]]]]:
    """Each case with its contenders."""
    for case in selected:
        yield case, case_contenders(machine, case)


if __name__ == "__main__":
    sys.exit(bench.main("attention", __doc__.splitlines()[0], contenders))
