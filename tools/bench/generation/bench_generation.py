"""How fast a whole model generates on a GPU, and how much of that our kernels take.

    python3 -m tools.bench.generation.bench_generation --model smollm2 --output generation.json

`--model` is a folder that `edge-llm-plugins quantize` (or the quickstart, with --folder) wrote. The
built-in host runs the plugins, with NumPy between them, so tokens per second tell about this host;
the time of the kernels is what an engine would spend in the plugins. It is what PyTorch's profiler
records of the decode steps, with nothing between kernels counted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import numpy as np

from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.runtime import benchmark
from edge_llm_plugins.runtime.backends import Backend, HostBackend, ReferenceBackend
from edge_llm_plugins.runtime.generate import Generation
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder, compare_greedy

_OURS = ("attention_", "int4_")
_PROMPT_TOKENS, _TOKENS = 128, 64
_LIMITS = Limits(capacity=256, prefill_tokens=128, tree_tokens=8)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Launches of one kernel in some steps, and their time on the GPU."""

    name: str
    launches: int
    us: float


def our_kernels(found: Iterable[Kernel]) -> list[Kernel]:
    """Without those of others, the longest first."""
    ours = [kernel for kernel in found if kernel.name.startswith(_OURS)]
    return sorted(ours, key=lambda kernel: -kernel.us)


def per_step(kernels: Iterable[Kernel], steps: int) -> dict[str, dict[str, float]]:
    """By kernel: launches and microseconds of one step."""
    return {
        kernel.name: {"launches": kernel.launches / steps, "us": round(kernel.us / steps, 2)}
        for kernel in kernels
    }


@contextlib.contextmanager
def profiled() -> Iterator[list[Kernel]]:
    """Fills the list with the kernels that ran meanwhile."""
    import torch

    torch.cuda.init()
    kernels: list[Kernel] = []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        yield kernels
        torch.cuda.synchronize()
    for row in profile.key_averages():
        if row.self_device_time_total > 0:
            kernels.append(Kernel(row.key, row.count, row.self_device_time_total))


def decode_kernels(backend: Backend, past: int, steps: int) -> list[Kernel]:
    """Those of `steps` decode steps behind `past` tokens."""
    token = np.array([[1]], np.int32)
    with profiled() as kernels:
        for step in range(steps):
            backend.run(token, AttentionStep.decode([past + step]))
    return our_kernels(kernels)


def verdict(backend: Backend, reference: Backend, prompt: list[int]) -> dict[str, str | bool]:
    """Whether greedy tokens, speculative ones too, are those of NumPy on the quantized model."""
    texts = [
        list(Generation(run_by, prompt, max_tokens=_TOKENS, stop_tokens=(), decoder=decoder))
        for run_by, decoder in (
            (backend, None),
            (reference, None),
            (backend, SpeculativeDecoder()),
        )
    ]
    against = compare_greedy(prompt, texts[0], texts[1], reference, ())
    speculative = compare_greedy(prompt, texts[0], texts[2], reference, ())
    return {
        "against_numpy": str(against),
        "speculative": str(speculative),
        "right": against.within() and speculative.within(),
    }


def measure(model: QuantizedModel) -> Mapping[str, object]:
    """Everything that goes to the JSON."""
    backend = HostBackend(model, _LIMITS, device="cuda")
    sizes = {"prompt_tokens": _PROMPT_TOKENS, "tokens": _TOKENS}
    plain = benchmark.measure(backend, **sizes)
    speculative = benchmark.measure(backend, **sizes, decoder=SpeculativeDecoder())
    steps = _LIMITS.capacity - _PROMPT_TOKENS
    kernels = decode_kernels(backend, _PROMPT_TOKENS, steps)
    prompt = np.random.default_rng(0).integers(model.config.vocab_size, size=32).tolist()
    return {
        "gpu": backend.device.name,
        "sm": backend.device.sm,
        "date": datetime.date.today().isoformat(),
        "model": model.path.name,
        **sizes,
        "tokens_per_second": {
            "prefill": round(plain.prefill, 1),
            "decode": round(plain.decode, 1),
            "speculative_decode": round(speculative.decode, 1),
            "speculative_tokens_per_step": round(speculative.tokens_per_step, 2),
        },
        "kernel_us_per_token": round(sum(kernel.us for kernel in kernels) / steps, 1),
        "kernels_per_token": per_step(kernels, steps),
        "verdict": verdict(backend, ReferenceBackend(model, _LIMITS), prompt),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a quantized model")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    found = measure(QuantizedModel(args.model))
    text = json.dumps(found, indent=1)
    args.output.write_text(text + "\n")
    print(text)
    return 0 if found["verdict"]["right"] else 1


def leave(code: int) -> NoReturn:
    """Ends the process without its exit handlers.

    In the last of them libcudart releases the CUDA context. CUPTI then hands its buffers back to
    PyTorch's profiler, which is gone by that time: "double free or corruption" in three of four
    runs (PyTorch 2.11, CUDA 13.0), with nothing of ours on the stack.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
