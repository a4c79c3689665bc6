"""edge-llm-plugins bench"""

from __future__ import annotations

from absl import flags

from edge_llm_plugins.cli.backend_flags import BackendFlags
from edge_llm_plugins.cli.command import Command
from edge_llm_plugins.runtime import benchmark
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder

FLAGS = flags.FlagValues()

_PROMPT_TOKENS = flags.DEFINE_integer(
    "prompt_tokens", 128, "Random tokens to begin with.", flag_values=FLAGS
)
_TOKENS = flags.DEFINE_integer("tokens", 64, "New tokens.", flag_values=FLAGS)
_REPEATS = flags.DEFINE_integer(
    "repeats", 3, "Times that it is measured, after a first one; medians count.", flag_values=FLAGS
)
_SPECULATIVE = flags.DEFINE_bool(
    "speculative", False, "Measures speculative decoding.", flag_values=FLAGS
)
_BACKEND = BackendFlags(FLAGS)


def run(folder: str) -> None:
    backend, place = _BACKEND.open(
        folder, _PROMPT_TOKENS.value + _TOKENS.value, speculative=_SPECULATIVE.value
    )
    measured = benchmark.measure(
        backend,
        prompt_tokens=_PROMPT_TOKENS.value,
        tokens=_TOKENS.value,
        repeats=_REPEATS.value,
        decoder=SpeculativeDecoder() if _SPECULATIVE.value else None,
    )
    print(f"{folder} on {place}")
    print(f"prefill  {measured.prefill:10.1f} tokens/s, {_PROMPT_TOKENS.value} tokens")
    steps = f", {measured.tokens_per_step:.2f} per step" if _SPECULATIVE.value else ""
    print(f"decode   {measured.decode:10.1f} tokens/s, {_TOKENS.value} tokens{steps}")


COMMAND = Command(
    "bench",
    ("FOLDER",),
    """Measures how many tokens per second a quantized model prefills and decodes.

FOLDER is what `quantize` wrote. Without --engine the plugins run under the built-in host, with
NumPy between them: compare kernels there, not systems. How fast kernels are beside their peers is
in docs/benchmarks.

  edge-llm-plugins bench smollm2 --engine=smollm2.engine
  edge-llm-plugins bench smollm2 --device=emulator --prompt_tokens=8 --tokens=4 --repeats=1""",
    FLAGS,
    run,
)
