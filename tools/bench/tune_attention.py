"""Times every variant of attention with every number of splits: what heuristics learn from.

    python3 -m tools.bench.tune_attention --images=FOLDER --output=tuning.json [--only=REGEX]

The folder has the cubins of the GPU's SM and the manifest of their build. Every result is checked.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from tools.bench import cases, launch, tuning
from tools.bench.bench_attention import Rotation
from tools.bench.cases import AttentionCase
from tools.bench.machines import Machine, PluginTensor
from tools.bench.tuning import Candidate

SPLITS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)

# CTAs per multiprocessor beyond which more splits only add partial results.
_MOST_CTAS_PER_SM = 8

# What the decode kernels take: bits of a row of a tree's mask.
_MOST_DECODED_TOKENS = 128


class AttentionTuner:
    """Attention's part of tuning."""

    family = "attention"

    def cases(self) -> Sequence[AttentionCase]:
        return cases.ATTENTION_TUNING_CASES

    def rotations(
        self, machine: Machine, selected: Sequence[AttentionCase]
    ) -> Iterator[tuple[AttentionCase, Callable[[], Rotation]]]:
        for case in selected:
            yield case, functools.partial(Rotation, machine, case)

    def candidates(
        self, case: AttentionCase, images: launch.Images, sm_count: int
    ) -> list[Candidate]:
        """The variants and splits that are worth a measurement for a case."""
        found = []
        model = case.model
        kinds = ["prefill"] if case.mode in ("prefill", "chunk") else []
        kinds += ["decode"] if case.mode != "prefill" and case.q_len <= _MOST_DECODED_TOKENS else []
        for variant in _serving(images, kinds, case):
            tile = variant["tile"]
            group = model.q_heads // model.kv_heads if variant["kind"] == "decode" else 1
            tiles = -(-case.q_len * group // tile["tile_q"])
            ctas = tiles * model.q_heads // group * case.batch
            most = min(-(-case.kv_len // tile["tile_kv"]), _MOST_CTAS_PER_SM * sm_count // ctas)
            if case.mode == "prefill":
                most = 1  # its tiles share the KV range as they are
            found += [Candidate(variant, splits) for splits in SPLITS if splits <= max(1, most)]
        return found

    def calls(
        self, launcher: launch.Launcher, rotation: Rotation, found: Sequence[Candidate]
    ) -> Iterator[Callable[[int], PluginTensor]]:
        case, machine = rotation.shared.case, rotation.machine
        model = case.model
        heads = case.batch * case.q_len * model.q_heads
        most = max(candidate.splits for candidate in found)
        partials = machine.plugin_tensor(
            torch.empty(most * heads * (model.head_size + 2), device=machine.torch_device)
        )
        start_index = 0 if case.mode == "prefill" else rotation.start_index.address
        mask, positions = [tensor.address for tensor in rotation.tree] or (0, 0)
        rope = rotation.rope_cos_sin.address
        common = [rotation.context_lengths.address, rope, start_index, mask, positions]

        def call(candidate: Candidate, index: int) -> PluginTensor:
            output = rotation.outputs[index]
            own = [rotation.qkvs[index].address, rotation.caches[index].address]
            pointers = [*own, *common, partials.address, output.address]
            stream = machine.stream.handle
            launch.attention(launcher, candidate.variant, case, candidate.splits, pointers, stream)
            return output

        return (functools.partial(call, candidate) for candidate in found)


def _serving(
    images: launch.Images, kinds: Sequence[str], case: AttentionCase
) -> list[dict[str, Any]]:
    variants = [variant for kind in kinds for variant in images.of("attention", kind)]
    return [v for v in variants if v["tile"]["head_size"] == case.model.head_size]


if __name__ == "__main__":
    sys.exit(tuning.main(__doc__.splitlines()[0], AttentionTuner()))
