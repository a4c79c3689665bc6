"""Builds real TensorRT engines with the plugins inside, runs every case, compares with NumPy.

    python3 -m tests.tensorrt_engine.run_engines --layer layer.npz --output FOLDER

Needs a GPU, a TensorRT 8.6, 10 or 11 with its Python bindings, the package edge_llm_plugins and
NumPy. Prints one line per check, and 'N passed, N failed' last; exits with 1 when one failed. Each
engine is built and run in one process, and loaded from its file in another one, --jobs engines at
a time; the folder keeps the plans, the outputs and what TensorRT said.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import itertools
import json
import pathlib
import re
import shutil
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
from tests.tensorrt_engine.network import WeightPath
from tests.tensorrt_engine.run_engine import APART, variants

LIMIT = 240  # seconds of one process


@dataclasses.dataclass
class Report:
    passed: int = 0
    failed: int = 0

    def check(self, name: str, check: Callable[[], str]) -> None:
        """Prints the line of one check."""
        try:
            print(f"PASS {name}: {check()}", flush=True)
            self.passed += 1
        except Exception as error:
            text = " ".join(str(error).split())
            print(f"FAIL {name}: {type(error).__name__}: {text}", flush=True)
            self.failed += 1


class Engine:
    """One engine, and the files of the output folder that belong to it."""

    def __init__(
        self,
        folder: pathlib.Path,
        layer: pathlib.Path,
        form: Form,
        version: str,
        weights: WeightPath,
    ) -> None:
        self.form = form
        self.name = f"{form.value} v{version}, weights as {weights.value}"
        self.folder = folder / f"{form.value}_v{version}_{weights.value}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.plan = self.folder / "engine.plan"
        self._common = [f"--layer={layer}", f"--form={form.value}", f"--plan={self.plan}"]
        self._build = [f"--plugin-version={version}", f"--weights={weights.value}"]

    def build(self) -> str:
        """Builds the engine and runs it, loads it and runs it again; returns facts, as text.

        Raises:
          RuntimeError: TensorRT builds no engine, or a process ended before it had outputs.
        """
        log = self._program("build_engine", "builder", self._build)
        if not self.plan.exists():
            raise RuntimeError(complaint(log))
        if not self._results("builder").exists():
            raise RuntimeError(f"built, but not run: {complaint(log)}")
        log = self._program("run_engine", "loader", [])
        if not self._results("loader").exists():
            raise RuntimeError(f"built, but not loaded and run: {complaint(log)}")
        facts = json.loads(self.plan.with_suffix(".json").read_text())
        return (
            f"built in {facts['seconds']} s, {facts['plan_bytes'] / 1e6:.1f} MB, "
            f"{len(facts['layers'])} layers"
        )

    def results(self, who: str) -> Mapping[str, NDArray]:
        """The outputs of the builder or the loader."""
        with np.load(self._results(who)) as arrays:
            return dict(arrays)

    def _results(self, who: str) -> pathlib.Path:
        return self.folder / f"{who}.npz"

    def _program(self, name: str, who: str, options: list[str]) -> pathlib.Path:
        """Runs one of this folder's programs; returns the file with all that it said."""
        options = [*self._common, f"--results={self._results(who)}", *options]
        command = [sys.executable, "-Xfaulthandler", "-m", f"tests.tensorrt_engine.{name}"]
        path = self.folder / f"{who}.log"
        with path.open("w") as log:
            try:
                code = subprocess.run(
                    [*command, *options], stdout=log, stderr=log, timeout=LIMIT
                ).returncode
            except subprocess.TimeoutExpired:
                code = f"none within {LIMIT} s"
            log.write(f"\nexit code {code} of {name} {' '.join(options)}\n")
        return path


def complaint(log: pathlib.Path) -> str:
    """The first errors in the log of a process."""
    text = re.sub(r"^\[\S+\] \[TRT\] ", "", log.read_text(errors="replace"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = re.compile(r"\[E\]|[\w.]+Error: |Fatal Python error|edge_llm|exit code")
    return " | ".join(list(dict.fromkeys(filter(errors.match, lines)))[:3])


def outputs_of(engine: Engine, who: str, case: Case, variant: str) -> dict[str, NDArray]:
    """The outputs of one case and variant.

    Raises:
      RuntimeError: it did not run; says why.
    """
    prefix = f"{case.name}/{variant}/"
    outputs = {
        name[len(prefix) :]: array
        for name, array in engine.results(who).items()
        if name.startswith(prefix)
    }
    if "error" in outputs:
        raise RuntimeError(str(outputs["error"]))
    return outputs


def check_values(layer: Layer, engine: Engine, case: Case) -> str:
    return verify.check_values(layer, case, outputs_of(engine, "builder", case, APART))


def check_same_bits(engine: Engine, case: Case) -> str:
    """Compares every run of a case with what the builder's process computed, caches apart.

    Raises:
      AssertionError: names each run that differs or failed.
    """
    expected = outputs_of(engine, "builder", case, APART)
    differences = []
    runs = list(itertools.product(("builder", "loader"), variants(engine.form)))[1:]
    for who, variant in runs:
        try:
            verify.check_same_bits(expected, outputs_of(engine, who, case, variant))
        except (AssertionError, RuntimeError) as error:
            differences.append(f"{who} {variant}: {error}")
    assert not differences, "; ".join(differences)
    return "same bits: " + ", ".join(" ".join(run) for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="of make_layer.py")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a folder")
    parser.add_argument("--jobs", type=int, default=2, help="engines at a time; 3 GB of RAM each")
    args = parser.parse_args()
    start = time.perf_counter()
    trt = _tensorrt.find_tensorrt()
    print(f"{trt.__name__} {trt.__version__}, Python {sys.version.split()[0]}", flush=True)
    layer, report = Layer.load(args.layer), Report()
    if is_weakly_typed(trt):
        versions, paths = ["1"], [WeightPath.INPUT, WeightPath.CAST]
    else:
        versions, paths = ["1", "2"], [WeightPath.CONSTANT]
    engines = [
        Engine(args.output, args.layer, form, version, path)
        for version, path, form in itertools.product(versions, paths, Form)
    ]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        builds = {pool.submit(engine.build): engine for engine in engines}
        for built in concurrent.futures.as_completed(builds):
            engine = builds[built]
            report.check(engine.name, built.result)
            if built.exception():
                continue  # its cases would only say the same again
            for case in cases(layer, engine.form):
                name = f"{engine.name}, {case.name}"
                report.check(name, functools.partial(check_values, layer, engine, case))
                report.check(name, functools.partial(check_same_bits, engine, case))
    seconds = time.perf_counter() - start
    print(f"{report.passed} passed, {report.failed} failed ({seconds:.0f} s)")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
