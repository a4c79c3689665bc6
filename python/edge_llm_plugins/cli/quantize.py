"""edge-llm-plugins quantize"""

from __future__ import annotations

import pathlib

from absl import flags

from edge_llm_plugins.cli.command import Command
from edge_llm_plugins.models.checkpoints import open_checkpoint
from edge_llm_plugins.quantize import calibration, pipeline

FLAGS = flags.FlagValues()

_METHOD = flags.DEFINE_enum(
    "method",
    None,
    list(pipeline.METHODS),
    "; ".join(f"{name}: {text}" for name, text in pipeline.METHODS.items())
    + ". By default import for AWQ and GPTQ checkpoints, else awq with --calibration and search "
    "without.",
    flag_values=FLAGS,
)
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "A text file, each paragraph of which (blank lines between them) is one calibration sequence. "
    "A few hundred words of what the model will read are enough.",
    flag_values=FLAGS,
)


def run(checkpoint_path: str, folder: str) -> None:
    checkpoint = open_checkpoint(checkpoint_path)
    sequences = None
    if _CALIBRATION.value is not None:
        sequences = calibration.tokenize(checkpoint, _read_text(_CALIBRATION.value))
    report = pipeline.quantize(checkpoint, folder, _METHOD.value, sequences)
    print(pipeline.format_report(report))
    print(f"wrote {folder}")


def _read_text(path: str) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error.reason} at {error.start}") from None


COMMAND = Command(
    "quantize",
    ("CHECKPOINT", "FOLDER"),
    """Quantizes a checkpoint's linear layers to INT4, in groups of 128, into a new folder.

CHECKPOINT is a folder with safetensors and config.json, as Hugging Face has them, or a GGUF file.
One layer is in memory at a time. The table at the end, and report.json in the folder, say what
each layer lost.

  edge-llm-plugins quantize SmolLM2-135M-Instruct.gguf smollm2
  edge-llm-plugins quantize Llama-3.1-8B-Instruct llama --calibration=texts.txt""",
    FLAGS,
    run,
)
