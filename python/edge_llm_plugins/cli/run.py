"""edge-llm-plugins run"""

from __future__ import annotations

from absl import flags

from edge_llm_plugins.cli.backend_flags import BackendFlags
from edge_llm_plugins.cli.command import Command, UsageError
from edge_llm_plugins.runtime.generate import Generation
from edge_llm_plugins.runtime.sampling import Sampler, Sampling
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder
from edge_llm_plugins.runtime.tokenizer import TextStream, Tokenizer

FLAGS = flags.FlagValues()

_PROMPT = flags.DEFINE_string("prompt", None, "The text to go on from. Needed.", flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum(
    "format",
    "auto",
    ["auto", "chat", "plain"],
    "chat: the prompt is a message in a chat (ChatML), to be answered. plain: the text as it is. "
    "auto: chat where the model's own template is of this kind.",
    flag_values=FLAGS,
)
_SYSTEM = flags.DEFINE_string(
    "system", "", "The system's message before a chat.", flag_values=FLAGS
)
_TOKENS = flags.DEFINE_integer("tokens", 128, "New tokens at most.", flag_values=FLAGS)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    0.0,
    "0 takes the most probable token (greedy); 1 draws as the model says.",
    flag_values=FLAGS,
)
_TOP_K = flags.DEFINE_integer(
    "top_k", 0, "Draws among the k most probable tokens; 0: all.", flag_values=FLAGS
)
_TOP_P = flags.DEFINE_float(
    "top_p",
    1.0,
    "Draws among the most probable tokens that together have this probability.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of what is drawn.", flag_values=FLAGS)
_SPECULATIVE = flags.DEFINE_bool(
    "speculative",
    False,
    "Guesses tokens from the text so far and verifies several in one step. The text is the same.",
    flag_values=FLAGS,
)
_BACKEND = BackendFlags(FLAGS)


def run(folder: str) -> None:
    if _PROMPT.value is None:
        raise UsageError("--prompt is missing: the text to go on from is needed")
    sampling = Sampling(_TEMPERATURE.value, _TOP_K.value, _TOP_P.value, _SEED.value)
    tokenizer = Tokenizer(folder)
    chat = tokenizer.is_chatml if _FORMAT.value == "auto" else _FORMAT.value == "chat"
    if chat:
        prompt = tokenizer.encode_chat(_PROMPT.value, _SYSTEM.value)
    else:
        prompt = tokenizer.encode(_PROMPT.value)
    backend, place = _BACKEND.open(
        folder, len(prompt) + _TOKENS.value, speculative=_SPECULATIVE.value
    )
    generation = Generation(
        backend,
        prompt,
        max_tokens=_TOKENS.value,
        sampler=Sampler(sampling),
        stop_tokens=(*backend.config.eos_token_ids, *(tokenizer.stop_tokens if chat else ())),
        decoder=SpeculativeDecoder() if _SPECULATIVE.value else None,
    )
    stream = TextStream(tokenizer, prompt)
    for token in generation:
        print(stream.add(token), end="", flush=True)
    print(stream.rest())
    print(f"{generation.statistics}\non {place}")


COMMAND = Command(
    "run",
    ("FOLDER",),
    """Generates text with a quantized model.

FOLDER is what `quantize` wrote. The text comes token by token, then one line of statistics.

  edge-llm-plugins run smollm2 --prompt="What is a compiler?" --tokens=32
  edge-llm-plugins run smollm2 --prompt="Once upon a time" --format=plain --temperature=0.8
  edge-llm-plugins run smollm2 --prompt="What is a compiler?" --engine=smollm2.engine""",
    FLAGS,
    run,
)
