"""Runs the 210 linear layers of a real model through the INT4 plugin, and prints the errors.

Quantises every linear layer of SmolLM2-135M-Instruct to INT4, runs it with M = 1, 8 and 64 rows of
seeded activations on a GPU or on the emulator, and compares with FP64. The exit code is 1 when an
error is above the plugin's tolerance.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

import numpy as np
import tqdm
from absl import app, flags
from numpy.typing import NDArray

import edge_llm_plugins
from edge_llm_plugins import emulator, host, quantization, reference
from tools.quickstart import smollm2, table

_MODEL = flags.DEFINE_string(
    "model", None, "SmolLM2-135M-Instruct as a GGUF file; `bazel run` sets it.", required=True
)
_DEVICE = flags.DEFINE_enum("device", "auto", ["auto", "cuda", "emulator"], "Where to run.")
_SM = flags.DEFINE_integer("sm", None, "The SM to emulate, such as 87.")
_PLUGIN_VERSION = flags.DEFINE_enum(
    "plugin_version", "2", ["1", "2"], "1 is IPluginV2DynamicExt, 2 is IPluginV3."
)
_BLOCKS = flags.DEFINE_integer(
    "blocks",
    smollm2.BLOCKS,
    "How many of the model's 30 transformer blocks, of seven layers each, to run.",
    lower_bound=1,
    upper_bound=smollm2.BLOCKS,
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", reference.INT4_RELATIVE_RMS, "Largest relative RMS error of the plugin."
)

flags.register_validator(
    "model", os.path.exists, message="no such file: it comes with `./bazelw run //:quickstart`."
)

ROWS = (1, 8, 64)


class LayerRunner:
    """Runs layers on one device through one kind of plugin."""

    def __init__(self, device: host.Device, plugin_version: str) -> None:
        self._device = device
        self._stream = device.stream()
        self._creator = host.find_creator(device.library, "Int4GroupwiseGemmPlugin", plugin_version)

    def run(
        self, packed: NDArray[np.int8], scales: NDArray[np.float16], xs: list[NDArray[np.float16]]
    ) -> list[tuple[NDArray[np.float16], float]]:
        """Runs one layer on several x of [1, M, K]: results [1, M, N], and seconds on the device.

        One engine serves every M, as in a language model: prefill and decode share it.
        """
        n, k = 2 * packed.shape[0], packed.shape[1]
        most = max(x.shape[1] for x in xs)
        inputs = [
            host.dynamic_range(np.float16, [1, 1, k], [1, most, k], [1, most, k]),
            host.fixed_range(packed.dtype, packed.shape),
            host.fixed_range(scales.dtype, scales.shape),
        ]
        fields = {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE}
        engine = host.build_engine(self._creator, fields, inputs)
        weights = [self._device.tensor(packed, "packed"), self._device.tensor(scales, "scales")]
        results = []
        with engine.load(self._device) as loaded:
            context = loaded.create_context()
            for x in xs:
                x_device = self._device.tensor(x, "x")
                y_device = self._device.empty(np.float16, (1, x.shape[1], n), "y")
                start = time.perf_counter()
                context.enqueue([x_device, *weights], [y_device], self._stream)
                self._stream.synchronize()
                seconds = time.perf_counter() - start
                results.append((y_device.numpy(), seconds))
        return results


def measure(device: host.Device, model: str, blocks: int) -> list[table.Row]:
    """Quantises and runs every layer; returns the table's rows, role by role."""
    runner = LayerRunner(device, _PLUGIN_VERSION.value)
    rng = np.random.default_rng(0)
    rows: dict[tuple[str, int], table.Row] = {}
    layers = tqdm.tqdm(
        smollm2.linear_layers(model, blocks),
        total=blocks * len(smollm2.ROLES),
        unit=" layers",
        file=sys.stderr,
    )
    for layer in layers:
        packed, scales = quantization.quantize_groupwise(layer.weight)
        n, k = layer.weight.shape
        xs = [rng.standard_normal((1, m, k)).astype(np.float16) for m in ROWS]
        results = runner.run(packed, scales, xs)
        original = layer.weight.astype(np.float64).T
        for x, (y, seconds) in zip(xs, results, strict=True):
            m = x.shape[1]
            if (layer.role, m) not in rows:
                variant = device.library.int4_gemm_variant(m, n, k, device.sm, device.sm_count)
                rows[layer.role, m] = table.Row(layer.role, n, k, m, variant)
            rows[layer.role, m].add(
                reference.relative_rms(y, reference.int4_groupwise_gemm(x, packed, scales)),
                reference.relative_rms(y, x.astype(np.float64) @ original),
                seconds,
            )
    return [rows[role, m] for role in smollm2.ROLES for m in ROWS]


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    device = host.open_device(_DEVICE.value, _SM.value)
    emulated = device.kind == "emulator"
    with emulator.checks("none") if emulated else contextlib.nullcontext():
        start = time.perf_counter()
        rows = measure(device, _MODEL.value, _BLOCKS.value)
        seconds = time.perf_counter() - start

    where = "PTX emulator, its checks off; times are the emulator's" if emulated else "GPU"
    sms = " ".join(map(str, host.SMS))
    worst = max(row.plugin_error for row in rows)
    passed = worst <= _TOLERANCE.value
    print(f"edge-llm-plugins {edge_llm_plugins.__version__}, kernels for SM {sms}")
    print(f"device   {device.name} (SM {device.sm}, {device.sm_count} multiprocessors): {where}")
    print(f"model    SmolLM2-135M-Instruct, {smollm2.LICENSE}, Q4_1 dequantized and requantized")
    print("errors   relative RMS, the worst layer: plugin against FP64 on the same INT4 weights,")
    print("         quantization against FP64 on the dequantized original")
    print(table.format_table(rows))
    print(
        f"{sum(row.layers for row in rows) // len(ROWS)} layers in {seconds:.0f} s, worst plugin "
        f"error {worst:.2e}: {'within' if passed else 'ABOVE'} the tolerance {_TOLERANCE.value:g}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    app.run(main)
