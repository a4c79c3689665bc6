"""edge-llm-plugins build"""

from __future__ import annotations

import pathlib

from absl import flags

from edge_llm_plugins._extras import require
from edge_llm_plugins._tensorrt import BUILDERS
from edge_llm_plugins.cli.command import Command
from edge_llm_plugins.engines.metadata import INSIDE, WEIGHTS

FLAGS = flags.FlagValues()

_PACKAGE = flags.DEFINE_enum(
    "package",
    None,
    list(BUILDERS),
    "The TensorRT to build with. By default the first one that is installed.",
    flag_values=FLAGS,
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    INSIDE,
    list(WEIGHTS),
    "Where the weights are at run time; "
    + "; ".join(f"{name}: {text}" for name, text in WEIGHTS.items())
    + ".",
    flag_values=FLAGS,
)
_SMS = flags.DEFINE_list(
    "sms",
    [],
    "SMs to build for, separated by commas, where TensorRT builds for others than this machine's "
    "(TensorRT-RTX). By default what TensorRT takes for its default.",
    flag_values=FLAGS,
)
_OPTIMIZATION_LEVEL = flags.DEFINE_integer(
    "optimization_level",
    None,
    "TensorRT's, 0 to 5: the more, the longer it searches. By default TensorRT's own, and 0 for "
    "TensorRT 8.6.",
    flag_values=FLAGS,
)
_EXTERNAL_TACTICS = flags.DEFINE_bool(
    "external_tactics",
    True,
    "Lets TensorRT compute with cuBLAS and cuDNN. --noexternal_tactics is for TensorRT 8.6 where "
    "these are not installed.",
    flag_values=FLAGS,
)
_VERBOSE = flags.DEFINE_bool("verbose", False, "Shows what TensorRT says.", flag_values=FLAGS)


def run(onnx_path: str, engine_path: str) -> None:
    require("onnx", "export")
    from edge_llm_plugins.engines import build

    for sm in _SMS.value:
        if not sm.isdecimal():
            raise ValueError(f"--sms has {sm!r}: numbers such as 89 are allowed")
    metadata = build.build_engine(
        onnx_path,
        engine_path,
        package=_PACKAGE.value,
        weights=_WEIGHTS.value,
        sms=[int(sm) for sm in _SMS.value],
        optimization_level=_OPTIMIZATION_LEVEL.value,
        external_tactics=_EXTERNAL_TACTICS.value,
        verbose=_VERBOSE.value,
    )
    layers = " and ".join(f"{count} {name}" for name, count in metadata.plugin_layers.items())
    size = pathlib.Path(engine_path).stat().st_size / 1e6
    print(f"built by {metadata.package} {metadata.tensorrt} in {metadata.seconds} s, {size:.1f} MB")
    print(f"profiles {', '.join(metadata.profiles)}")
    print(f"found in the {metadata.layers_found_in}: {layers}, which is all of the model")
    print(f"wrote {engine_path} and {engine_path}.json")


COMMAND = Command(
    "build",
    ("MODEL.onnx", "MODEL.engine"),
    """Builds a TensorRT engine of an exported model, and checks that every plugin is in it.

MODEL.onnx is what `export` wrote. The engine takes the optimization profiles of its limits:
`prefill`, from an empty cache, and `generation`, for all other steps. Beside the engine its
metadata are written, which `run` reads. On refusal nothing is written.

  pip install tensorrt_rtx                 # or tensorrt: 10, 11, or 8.6 with export --tensorrt=8
  edge-llm-plugins build smollm2.onnx smollm2.engine
  edge-llm-plugins build smollm2.onnx smollm2.engine --package=tensorrt_rtx --sms=89

An engine runs on the version of TensorRT that built it. TensorRT-RTX builds without a GPU.""",
    FLAGS,
    run,
)
