"""Builds real TensorRT engines with the plugins inside, runs every case, compares with NumPy.

    python3 -m tests.tensorrt_engine.run_engines --layer layer.npz --output FOLDER

Needs a GPU, a TensorRT 8.6, 10 or 11 with its Python bindings, the package edge_llm_plugins and
NumPy. Prints one line per check, and 'N passed, N failed' last; exits with 1 when one failed. Each
engine is built and run in one process, and loaded from its file in another one; the folder keeps
the plans, the outputs and what TensorRT said.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import itertools
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import _tensorrt
from tests.tensorrt_engine import verify
from tests.tensorrt_engine.cases import Case, Form, cases
from tests.tensorrt_engine.installed import is_weakly_typed
from tests.tensorrt_engine.layer import Layer
from tests.tensorrt_engine.network import WEIGHT_PATHS
from tests.tensorrt_engine.run_engine import APART, variants

LIMIT = 170  # seconds of one process

# What a builder may refuse, and what is tried next.
FALLBACKS = (
    [],
    ["--constraints=prefer"],
    ["--loose-start"],
    ["--constraints=none", "--loose-start"],
)


@dataclasses.dataclass
class Report:
    passed: int = 0
    failed: int = 0

    def check(self, name: str, check: Callable[[], str]) -> None:
        """Prints the line of one check."""
        try:
            print(f"{name}: {check()}, PASS", flush=True)
            self.passed += 1
        except Exception as error:
            text = " ".join(str(error).split())[:400]
            print(f"{name}: {type(error).__name__}: {text}, FAIL", flush=True)
            self.failed += 1


class Engine:
    """One engine: its options, and the files of the output folder that belong to it."""

    def __init__(self, folder: pathlib.Path, layer: pathlib.Path, form: Form, **options: str):
        self.form = form
        self.folder = folder / "_".join([form.value, *options.values()]).replace(", ", "_")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plan = self.folder / "engine.plan"
        self._common = [f"--layer={layer}", f"--form={form.value}", f"--plan={self.plan}"]
        self._options = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]

    def build(self, fallback: list[str]) -> dict:
        """Builds the engine and runs it; returns the builder's facts.

        Raises:
          RuntimeError: there is no plan.
        """
        self.plan.unlink(missing_ok=True)
        results = f"--results={self.folder / 'builder.npz'}"
        log = self._program("build_engine", [*self._options, *fallback, results])
        if not self.plan.exists():
            raise RuntimeError(complaint(log))
        return json.loads(self.plan.with_suffix(".json").read_text())

    def load(self) -> None:
        """Runs the plan in a process of its own."""
        self._program("run_engine", [f"--results={self.folder / 'loader.npz'}"])

    def results(self, who: str) -> Mapping[str, NDArray]:
        """The outputs of the builder or the loader.

        Raises:
          RuntimeError: the process ended before it wrote them.
        """
        path = self.folder / f"{who}.npz"
        if not path.exists():
            program = {"builder": "build_engine", "loader": "run_engine"}[who]
            raise RuntimeError(f"no outputs: {complaint(self.folder / f'{program}.log')}")
        with np.load(path) as arrays:
            return dict(arrays)

    def _program(self, name: str, options: list[str]) -> pathlib.Path:
        """Runs one of this folder's programs; returns the file with all that it said."""
        command = [sys.executable, "-m", f"tests.tensorrt_engine.{name}", *self._common, *options]
        path = self.folder / f"{name}.log"
        with path.open("w") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=log, timeout=LIMIT).returncode
            except subprocess.TimeoutExpired:
                code = f"none after {LIMIT} s"
            log.write(f"\n{name}: exit code {code}\n")
        return path


def complaint(log: pathlib.Path) -> str:
    """The first errors in the log of a process, and how it ended."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line or "Error: " in line or "edge_llm" in line]
    return " | ".join(dict.fromkeys([*errors[:3], *lines[-1:]]))


def outputs_of(results: Mapping[str, NDArray], case: Case, variant: str) -> dict[str, NDArray]:
    """The outputs of one case and variant.

    Raises:
      RuntimeError: it did not run; says why.
    """
    prefix = f"{case.name}/{variant}/"
    outputs = {
        name[len(prefix) :]: array for name, array in results.items() if name.startswith(prefix)
    }
    if "error" in outputs:
        raise RuntimeError(str(outputs["error"]))
    return outputs


def check_engine(report: Report, layer: Layer, engine: Engine, version: str) -> None:
    """One line for the values of each case, and for whatever must give the same bits."""
    for case in cases(layer, engine.form):
        name = f"{case.name} v{version}"
        report.check(name, functools.partial(check_values, layer, engine, case))
        others = [("builder", variant) for variant in variants(engine.form)[1:]]
        others += [("loader", variant) for variant in variants(engine.form)]
        for who, variant in others:
            where = "" if who == "builder" else ", loaded in another process"
            report.check(
                f"{name}, {variant}{where}",
                functools.partial(check_same_bits, engine, case, who, variant),
            )


def check_values(layer: Layer, engine: Engine, case: Case) -> str:
    outputs = outputs_of(engine.results("builder"), case, APART)
    return verify.check_values(layer, case, outputs)


def check_same_bits(engine: Engine, case: Case, who: str, variant: str) -> str:
    """Compares with what the builder's process computed with caches apart."""
    expected = outputs_of(engine.results("builder"), case, APART)
    return verify.check_same_bits(expected, outputs_of(engine.results(who), case, variant))


def weight_paths(folder: pathlib.Path, layer_path: pathlib.Path, layer: Layer) -> list[str]:
    """Tries every way for INT8 weights to reach a V2 plugin; returns those that work."""

    def attempt(path: str) -> str:
        engine = Engine(folder, layer_path, Form.LINEAR, plugin_version="1", weights=path)
        (case,) = cases(layer, Form.LINEAR)
        try:
            engine.build([])
            return verify.check_values(
                layer, case, outputs_of(engine.results("builder"), case, APART)
            )
        except Exception as error:
            return f"no: {' '.join(str(error).split())[:500]}"

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = dict(zip(WEIGHT_PATHS, pool.map(attempt, WEIGHT_PATHS), strict=True))
    for path, result in found.items():
        print(f"weights as {path}: {result}", flush=True)
    return [path for path, result in found.items() if not result.startswith("no:")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="of make_layer.py")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a folder")
    args = parser.parse_args()
    start = time.perf_counter()
    trt = _tensorrt.find_tensorrt()
    print(f"{trt.__name__} {trt.__version__}, Python {sys.version.split()[0]}", flush=True)
    layer, report = Layer.load(args.layer), Report()
    weakly_typed = is_weakly_typed(trt)
    works = weight_paths(args.output, args.layer, layer) if weakly_typed else ["constant"]
    print(f"weights reach plugins as: {works} ({time.perf_counter() - start:.0f} s)", flush=True)
    for version in ["1"] if weakly_typed else ["1", "2"]:
        for form in (Form.PLAIN, Form.TREE):
            for weights, fallback in itertools.product(works or ["constant"], FALLBACKS):
                options = {"plugin_version": version, "weights": weights}
                engine = Engine(args.output, args.layer, form, **options)
                name = " ".join([form.value, f"v{version}", f"weights as {weights}", *fallback])
                try:
                    facts = engine.build(fallback)
                except RuntimeError as error:
                    print(f"{name}: {str(error)[:600]}", flush=True)
                    continue
                print(
                    f"{name}: built in {facts['seconds']} s, {facts['plan_bytes'] / 1e6:.1f} MB, "
                    f"{len(facts['layers'])} layers ({time.perf_counter() - start:.0f} s)",
                    flush=True,
                )
                engine.load()
                break
            check_engine(report, layer, engine, version)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
