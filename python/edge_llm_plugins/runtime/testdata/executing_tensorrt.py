"""Stands for a TensorRT at run time: its engines compute in NumPy, on the emulator's memory.

It is as strict as the real one: shapes within the profile, an address for every tensor.
"""

from __future__ import annotations

import ctypes
import dataclasses
import pathlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_llm_plugins import emulator, host
from edge_llm_plugins.engines.metadata import EngineMetadata, metadata_path, model_digest
from edge_llm_plugins.engines.testdata.fake_tensorrt import Severity, fake_tensorrt
from edge_llm_plugins.export.builder import optimization_profiles
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits, Shape
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.transformer import QuantizedWeights, ReferenceOperations, Transformer
from tools.ptx_emulator.cuda_driver import PtxEmulator

COMPLAINT = "Error Code 1: the reason"


def install_engine(
    monkeypatch: pytest.MonkeyPatch,
    folder: pathlib.Path,
    model: QuantizedModel,
    limits: Limits,
    version: str = "10.3.0",
    *,
    changes: dict | None = None,
    **fake: object,
) -> tuple[pathlib.Path, ModuleType]:
    """Writes an engine of the model, and puts a TensorRT and a GPU where they are looked for.

    Args:
      monkeypatch: takes them away again.
      folder: of model.engine, model.engine.json and model.onnx.
      model, limits, version: of the engine.
      changes: fields of its metadata that differ.
      **fake: as `executing_tensorrt` takes it.

    Returns:
      The engine's path, and the TensorRT; its `engines` are those that were loaded.
    """
    path, onnx_path = folder / "model.engine", folder / "model.onnx"
    path.write_bytes(b"a plan")
    onnx_path.write_bytes(b"the model")
    metadata = EngineMetadata(
        config=model.config,
        limits=limits,
        profiles=optimization_profiles(model.config, limits),
        package="tensorrt",
        tensorrt=version,
        plugins="1.0",
        plugin_layers={},
        layers_found_in="engine",
        alias_kv_cache=False,
        weights="inside",
        onnx=onnx_path.name,
        onnx_sha256=model_digest(onnx_path),
        seconds=1.0,
    )
    metadata = dataclasses.replace(metadata, **(changes or {}))
    metadata.write(metadata_path(path))
    trt = executing_tensorrt(version, model, metadata, **fake)
    trt.__spec__ = object()  # importlib asks for one
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(host, "open_device", lambda kind: host.emulated_devices()[0])
    return path, trt


def executing_tensorrt(
    version: str,
    model: QuantizedModel,
    metadata: EngineMetadata,
    refuses: str = "",
    types: dict[str, type] | None = None,
) -> ModuleType:
    """A module like tensorrt whose runtime gives engines of this model, whatever the plan.

    Args:
      version: as `fake_tensorrt` takes it.
      model, metadata: of the engine.
      refuses: the name of a method that fails.
      types: dtypes of tensors that differ from the exported model's.
    """
    trt = fake_tensorrt(version)
    trt.nptype = lambda dtype: dtype
    trt.engines = []

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            def allows(method: str) -> bool:
                if method == refuses:
                    self._logger.log(Severity.ERROR, COMPLAINT)
                return method != refuses

            if not allows("deserialize_cuda_engine"):
                return None
            trt.engines.append(Engine(model, metadata, allows, types or {}))
            return trt.engines[-1]

    class OnnxParserRefitter:
        def __init__(self, refitter: SimpleNamespace, logger: Any) -> None:
            self._engine = refitter.engine

        def refit_from_file(self, path: str) -> bool:
            self._engine.refitted_from = path
            return self._engine.allows("refit_from_file")

    trt.Runtime, trt.OnnxParserRefitter = Runtime, OnnxParserRefitter
    trt.Refitter = lambda engine, logger: SimpleNamespace(
        engine=engine, refit_cuda_engine=lambda: engine.allows("refit_cuda_engine")
    )
    return trt


class Engine:
    def __init__(
        self,
        model: QuantizedModel,
        metadata: EngineMetadata,
        allows: Callable[[str], bool],
        types: dict[str, type],
    ) -> None:
        self.model, self.metadata, self.allows = model, metadata, allows
        self._budget: int | None = None
        self.refitted_from: str | None = None
        self.profiles_in_use: list[str] = []
        (inputs, *_) = metadata.profiles.values()
        caches = [f"kv_cache_out_{layer}" for layer in range(metadata.config.num_layers)]
        self.inputs, self.outputs = list(inputs), ["logits", *caches]
        self.types = {name: np.int32 for name in self.inputs}
        self.types |= {"rope_cos_sin": np.float32, "logits": np.float32}
        for name in caches:
            self.types[name] = self.types[name.replace("_out", "")] = np.float16
        self.outputs += types.keys() - self.types.keys()
        self.types |= types

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    @property
    def weight_streaming_budget_v2(self) -> int | None:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, budget: int) -> None:
        assert not self.profiles_in_use, "a context has the old budget"
        self._budget = budget

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_dtype(self, name: str) -> type:
        return self.types[name]

    def get_weight_streaming_automatic_budget(self) -> int:
        return 1234

    def create_execution_context(self) -> ExecutionContext | None:
        if not self.allows("create_execution_context"):
            return None
        return ExecutionContext(self)


class ExecutionContext:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._driver = engine, PtxEmulator(emulator.driver_path())
        self._profile: dict | None = None
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        name = list(self._engine.metadata.profiles)[index]
        if name in self._engine.profiles_in_use:
            return False
        self._engine.profiles_in_use.append(name)
        self._profile, self._shapes = self._engine.metadata.profiles[name], {}
        return self._engine.allows("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        smallest, _, largest = self._profile[name]
        self._shapes[name] = shape
        inside = all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True))
        return inside and self._engine.allows("set_input_shape")

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine.inputs if name not in self._shapes]
        return missing if self._engine.allows("infer_shapes") else ["input_ids"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._engine.allows("set_tensor_address")

    def execute_async_v3(self, stream: int) -> bool:
        if not self._engine.allows("execute_async_v3"):
            return False
        with self._driver.context(0):
            inputs = {name: self._read(name) for name in self._engine.inputs}
            for name, array in self._compute(inputs).items():
                self._write(name, array)
        return True

    def _compute(self, inputs: dict[str, NDArray]) -> dict[str, NDArray]:
        layers = range(self._engine.metadata.config.num_layers)
        batch, _, _, capacity, _ = inputs["kv_cache_0"].shape
        assert batch == len(inputs["input_ids"]), "as the plugin demands"
        weights = QuantizedWeights(self._engine.model)
        operations = ReferenceOperations(weights, capacity, batch=batch)
        np.testing.assert_array_equal(inputs["rope_cos_sin"], operations.rope_cos_sin)
        operations.kv_caches = [inputs[f"kv_cache_{layer}"] for layer in layers]
        step = AttentionStep(
            inputs["context_lengths"],
            inputs["kv_cache_start_index"],
            inputs.get("attention_mask"),
            inputs.get("attention_pos_ids"),
        )
        logits = Transformer(operations).logits(inputs["input_ids"], step, inputs["logit_indices"])
        caches = {f"kv_cache_out_{layer}": operations.kv_caches[layer] for layer in layers}
        return {"logits": logits, **caches}

    def _read(self, name: str) -> NDArray:
        array = np.empty(self._shapes[name], self._engine.types[name])
        if array.size:
            host, address, nbytes = _place(self._addresses[name], array)
            self._driver.call("cuMemcpyDtoH_v2", host, address, nbytes)
        return array

    def _write(self, name: str, array: NDArray) -> None:
        array = np.ascontiguousarray(array, self._engine.types[name])
        host, address, nbytes = _place(self._addresses[name], array)
        self._driver.call("cuMemcpyHtoD_v2", address, host, nbytes)


def _place(address: int, array: NDArray) -> tuple[Any, Any, Any]:
    """Host address, device address and size, as the driver takes them."""
    return (
        ctypes.c_void_p(array.ctypes.data),
        ctypes.c_uint64(address),
        ctypes.c_size_t(array.nbytes),
    )
