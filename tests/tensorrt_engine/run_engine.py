"""Runs every case of one engine on the GPU, and writes what it computed.

    python3 -m tests.tensorrt_engine.run_engine --layer layer.npz --form plain --plan plain.plan \\
        --results plain.npz

Each case runs with the new cache apart from the old one, in place (one address for both), and in
place as a CUDA graph. The file has `CASE/VARIANT/OUTPUT` for each.
"""

from __future__ import annotations

import argparse
import ctypes
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tensorrt_engine.cases import Case, Form, cases
from tests.tensorrt_engine.installed import load_tensorrt, make_logger
from tests.tensorrt_engine.layer import Layer
from tools.ptx_emulator.cuda_driver import Buffer, Context, CudaDriver

APART, IN_PLACE, GRAPH = "apart", "in place", "CUDA graph"
GARBAGE = 0x7B  # of what is to be written: a large finite FP16 number

Outputs = dict[str, NDArray]


class Stream:
    """A CUDA stream, and capture of what is enqueued to it."""

    def __init__(self, driver: CudaDriver) -> None:
        self._driver = driver
        handle = ctypes.c_void_p()
        driver.call("cuStreamCreate", ctypes.byref(handle), ctypes.c_uint(0))
        self.handle: int = handle.value

    def synchronize(self) -> None:
        self._driver.call("cuStreamSynchronize", ctypes.c_void_p(self.handle))

    @contextmanager
    def captured(self) -> Iterator[Callable[[], None]]:
        """Captures what the block enqueues; afterwards the function that it gave launches it."""
        stream, graph, executable = ctypes.c_void_p(self.handle), ctypes.c_void_p(), None

        def launch() -> None:
            self._driver.call("cuGraphLaunch", executable, stream)

        self._driver.call("cuStreamBeginCapture_v2", stream, ctypes.c_int(2))  # relaxed
        try:
            yield launch
        finally:
            self._driver.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        executable = ctypes.c_void_p()
        self._driver.call(
            "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0)
        )


class Session:
    """An engine on the GPU with one execution context."""

    def __init__(self, trt: ModuleType, context: Context, plan: bytes, weights: Outputs) -> None:
        self._trt = trt
        self._gpu = context
        self._runtime = trt.Runtime(make_logger(trt))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RuntimeError("TensorRT does not load the plan")
        inspector = self._engine.create_engine_inspector()
        print(inspector.get_engine_information(trt.LayerInformationFormat.JSON), file=sys.stderr)
        self._execution = self._engine.create_execution_context()
        self._stream = Stream(context.driver)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        types = {name: str(self._engine.get_tensor_dtype(name)) for name in names}
        print(types, file=sys.stderr)
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self._inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self._weights = {
            name: context.to_device(array) for name, array in weights.items() if name in names
        }

    def run(self, case: Case, variant: str) -> Outputs:
        """The outputs of a case.

        Raises:
          RuntimeError: TensorRT refused a shape or an address, or did not run.
        """
        execution, stream = self._execution, self._stream
        self._demand(
            execution.set_optimization_profile_async(case.profile, stream.handle),
            f"optimization profile {case.profile}",
        )
        stream.synchronize()
        buffers = {name: self._gpu.to_device(array) for name, array in case.inputs.items()}
        buffers.update(self._weights)
        for name in self._inputs:
            if name in case.inputs:
                shape = case.inputs[name].shape
                self._demand(execution.set_input_shape(name, shape), f"{name} of shape {shape}")
        missing = execution.infer_shapes()
        self._demand(not missing, f"no shapes for {missing}")
        outputs = {name: self._new_output(name) for name in self._outputs}
        if variant != APART and "kv_cache_out" in outputs:
            _, dtype, shape = outputs["kv_cache_out"]
            outputs["kv_cache_out"] = (buffers["kv_cache"], dtype, shape)
        buffers.update({name: buffer for name, (buffer, _, _) in outputs.items()})
        for name in self._inputs + self._outputs:
            address = buffers[name].pointer
            self._demand(execution.set_tensor_address(name, address), f"the address of {name}")

        self._enqueue(case)
        stream.synchronize()
        if variant == GRAPH:
            for name, (buffer, _, _) in outputs.items():
                if name == "kv_cache_out":
                    buffer.write(case.inputs["kv_cache"])
                else:
                    buffer.fill(GARBAGE)
            with stream.captured() as launch:
                self._enqueue(case)
            launch()
            launch()  # writes the same slots once more
            stream.synchronize()
        return {
            name: buffer.numpy(dtype, shape) for name, (buffer, dtype, shape) in outputs.items()
        }

    def _new_output(self, name: str) -> tuple[Buffer, Any, tuple[int, ...]]:
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        shape = tuple(self._execution.get_tensor_shape(name))
        buffer = self._gpu.empty(max(int(np.prod(shape)) * dtype.itemsize, 1), name)
        buffer.fill(GARBAGE)
        return buffer, dtype, shape

    def _enqueue(self, case: Case) -> None:
        self._demand(self._execution.execute_async_v3(self._stream.handle), f"to run {case.name}")

    def _demand(self, done: Any, what: str) -> None:
        if not done:
            raise RuntimeError(f"TensorRT refused {what}")


def variants(form: Form) -> list[str]:
    return [APART] if form is Form.LINEAR else [APART, IN_PLACE, GRAPH]


def run_cases(trt: ModuleType, layer: Layer, form: Form, plan: bytes) -> Outputs:
    """Outputs of every case and variant that ran; the error of each other one as text."""
    weights = {f"{name}.packed": linear.packed for name, linear in layer.linears.items()}
    results: Outputs = {}
    with CudaDriver().context(0) as context:
        session = Session(trt, context, plan, weights)
        for case in cases(layer, form):
            for variant in variants(form):
                print(f"{case.name}, {variant}", file=sys.stderr, flush=True)
                try:
                    outputs = session.run(case, variant)
                except Exception as error:  # the other cases shall run all the same
                    traceback.print_exc()
                    outputs = {"error": np.array(f"{type(error).__name__}: {error}")}
                for name, array in outputs.items():
                    results[f"{case.name}/{variant}/{name}"] = array
        del session  # before its memory
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="of make_layer.py")
    parser.add_argument("--form", choices=[form.value for form in Form], required=True)
    parser.add_argument("--plan", type=pathlib.Path, required=True, help="of build_engine.py")
    parser.add_argument("--results", type=pathlib.Path, required=True, help="written, .npz")
    args = parser.parse_args()
    plan = args.plan.read_bytes()
    results = run_cases(load_tensorrt(), Layer.load(args.layer), Form(args.form), plan)
    np.savez(args.results, **results)


if __name__ == "__main__":
    main()
