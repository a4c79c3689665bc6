"""Builds one engine with the plugins inside, and writes it as a plan file.

    python3 -m tests.tensorrt_engine.build_engine --layer layer.npz --form plain --plan plain.plan

A program of its own, as TensorRT ends the process for some failures. Beside the plan it writes the
TensorRT version, the layers of the network and the seconds of the build, as JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from types import ModuleType
from typing import Any

import numpy as np

from edge_llm_plugins.engines.versions import create_network
from tests.tensorrt_engine.cases import Form, profiles
from tests.tensorrt_engine.installed import is_weakly_typed, load_tensorrt, make_logger
from tests.tensorrt_engine.layer import Layer
from tests.tensorrt_engine.network import NetworkWriter, WeightPath
from tests.tensorrt_engine.run_engine import run_cases


def make_config(trt: ModuleType, builder: Any, layer: Layer, form: Form) -> Any:
    """The builder's configuration, with the profiles of `form`.

    Raises:
      RuntimeError: TensorRT refused a profile.
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for ranges in profiles(layer, form):
        profile = builder.create_optimization_profile()
        for name, (smallest, usual, largest) in ranges.items():
            profile.set_shape(name, smallest, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise RuntimeError(f"TensorRT refused the optimization profile {ranges}")
    return config


def set_types(trt: ModuleType, network: Any, config: Any) -> None:
    """Lets a weakly typed network (TensorRT 8.6) have the types that it is written with."""
    for i in range(network.num_outputs):
        # What plugins and casts give; the default is a conversion to FP32.
        network.get_output(i).dtype = trt.float16
    for flag in ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    # Nothing here multiplies matrices outside a plugin: neither cublas nor cudnn is needed.
    config.set_tactic_sources(0)


def build(trt: ModuleType, layer: Layer, args: argparse.Namespace) -> tuple[bytes, dict]:
    """The plan, and facts about it.

    Raises:
      RuntimeError: TensorRT refused something; its logger has said what.
    """
    builder = trt.Builder(make_logger(trt))
    network = create_network(trt, builder)
    form = Form(args.form)
    writer = NetworkWriter(trt, network, args.plugin_version, WeightPath(args.weights))
    writer.add_layer(layer, form)
    config = make_config(trt, builder, layer, form)
    if is_weakly_typed(trt):
        set_types(trt, network, config)
        config.builder_optimization_level = 0  # the default took more than a minute for the layer
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT built no engine")
    facts = {
        "tensorrt": trt.__version__,
        "layers": [network.get_layer(i).type.name for i in range(network.num_layers)],
        "seconds": round(time.perf_counter() - start, 1),
    }
    return bytes(plan), facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="of make_layer.py")
    parser.add_argument("--form", choices=[form.value for form in Form], required=True)
    parser.add_argument("--plan", type=pathlib.Path, required=True, help="written")
    parser.add_argument("--results", type=pathlib.Path, help="if given, as of run_engine.py")
    parser.add_argument("--plugin-version", choices=["1", "2"], default="1")
    parser.add_argument("--weights", choices=[path.value for path in WeightPath], required=True)
    args = parser.parse_args()
    trt = load_tensorrt()
    layer = Layer.load(args.layer)
    plan, facts = build(trt, layer, args)
    args.plan.write_bytes(plan)
    args.plan.with_suffix(".json").write_text(json.dumps({**facts, "plan_bytes": len(plan)}))
    if args.results:
        np.savez(args.results, **run_cases(trt, layer, Form(args.form), plan))


if __name__ == "__main__":
    main()
