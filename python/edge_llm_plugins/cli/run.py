"""edge-llm-plugins run"""

from __future__ import annotations

from absl import flags

from edge_llm_plugins import host
from edge_llm_plugins.cli.command import Command, UsageError
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.runtime.backends import Backend, HostBackend, ReferenceBackend
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
_TREE_TOKENS = flags.DEFINE_integer(
    "tree_tokens", 8, "Tokens of a step with --speculative, at most 128.", flag_values=FLAGS
)
_DEVICE = flags.DEFINE_enum(
    "device",
    "auto",
    ["auto", "gpu", "emulator", "reference"],
    "Where the plugins run; reference: NumPy without plugins. auto: the GPU when there is one, "
    "else the emulator.",
    flag_values=FLAGS,
)
_ENGINE = flags.DEFINE_string(
    "engine",
    None,
    "An engine that `build` wrote of this model; TensorRT runs it on the GPU. The flags of limits "
    "and of where plugins run do not matter then.",
    flag_values=FLAGS,
)
_SM = flags.DEFINE_integer("sm", None, "The SM to emulate, such as 87.", flag_values=FLAGS)
_PLUGIN_VERSION = flags.DEFINE_enum(
    "plugin_version",
    "2",
    ["1", "2"],
    "1 is IPluginV2DynamicExt, 2 is IPluginV3.",
    flag_values=FLAGS,
)
_CHECKS = flags.DEFINE_bool(
    "emulator_checks",
    False,
    "Has the emulator look for races, uninitialised reads and the like; several times slower.",
    flag_values=FLAGS,
)
_PREFILL_TOKENS = flags.DEFINE_integer(
    "prefill_tokens", 512, "Tokens of the prompt that are computed at once.", flag_values=FLAGS
)


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
    backend, place = _open_backend(folder, len(prompt) + _TOKENS.value)
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
    print(f"{generation.statistics}; {place}")


def _open_backend(folder: str, capacity: int) -> tuple[Backend, str]:
    """The back end that the flags ask for, and where it runs."""
    model = QuantizedModel(folder)
    if _ENGINE.value is not None:
        return _open_engine(model, _ENGINE.value)
    trees = _TREE_TOKENS.value if _SPECULATIVE.value else 0
    limits = Limits(
        capacity,
        prefill_tokens=min(_PREFILL_TOKENS.value, capacity),
        tree_tokens=min(trees, capacity),
    )
    if _DEVICE.value == "reference":
        return ReferenceBackend(model, limits), "NumPy"
    backend = HostBackend(
        model,
        limits,
        device={"gpu": "cuda"}.get(_DEVICE.value, _DEVICE.value),
        sm=_SM.value,
        plugin_version=_PLUGIN_VERSION.value,
        emulator_checks="all" if _CHECKS.value else "none",
    )
    return backend, _place(backend.device)


def _open_engine(model: QuantizedModel, path: str) -> tuple[Backend, str]:
    # Here, as it takes TensorRT's side of the package along.
    from edge_llm_plugins.runtime.engine_backend import EngineBackend

    backend = EngineBackend(path)
    if backend.config != model.config:
        raise ValueError(f"--engine is {path}: it was built of another model than {model.path}")
    return backend, f"{backend.metadata.package} {backend.metadata.tensorrt}, {backend.device.name}"


def _place(device: host.Device) -> str:
    if device.kind != "emulator":
        return device.name
    return f"{device.name}, its checks {'on' if _CHECKS.value else 'off'}"


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
