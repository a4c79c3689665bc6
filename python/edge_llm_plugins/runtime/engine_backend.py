"""Runs a TensorRT engine of an exported model: 8.6, 10, 11 and TensorRT-RTX alike."""

from __future__ import annotations

import functools
import importlib
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import _tensorrt, host
from edge_llm_plugins.engines import versions
from edge_llm_plugins.engines.metadata import EXTERNAL, STREAMED, EngineMetadata, model_digest
from edge_llm_plugins.engines.versions import EngineError
from edge_llm_plugins.models.limits import GENERATION, PREFILL, Shape
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.transformer import check_token_ids
from edge_llm_plugins.runtime import kv_caches
from edge_llm_plugins.runtime.backends import check_step

_ROPE = "rope_cos_sin"


class EngineBackend:
    """A `Backend` whose whole network is an engine that `engines.build` wrote.

    Each optimization profile has an execution context. The KV caches stay in device memory, as
    inputs and outputs at the same addresses; a step copies its few small inputs to the device and
    its logits back.
    """

    def __init__(
        self,
        engine_path: str | os.PathLike[str],
        *,
        onnx_path: str | os.PathLike[str] | None = None,
        weights_budget: int | None = None,
    ) -> None:
        """Loads the engine on the first GPU.

        Args:
          engine_path: the engine; its metadata are beside it.
          onnx_path: the model, from which an engine with external weights takes them; by default
            the file beside the engine.
          weights_budget: bytes of device memory for the weights of an engine that streams them; by
            default what TensorRT takes for best.

        Raises:
          FileNotFoundError: the engine, its metadata, or the model is missing.
          ImportError: the TensorRT that built the engine is not installed.
          CudaError: no driver or no GPU.
          EngineError: another version built the engine, it cannot be loaded, or the model is
            another one.
        """
        engine_path = pathlib.Path(engine_path)
        self.metadata = EngineMetadata.read(engine_path)
        self.config, self.limits = self.metadata.config, self.metadata.limits
        module = _tensorrt.find_builder(self.metadata.package)
        self._trt = versions.with_plugins(importlib.import_module(module))
        if self._trt.__version__ != self.metadata.tensorrt:
            raise EngineError(
                f"{engine_path} was built by {self.metadata.package} {self.metadata.tensorrt}, and "
                f"{versions.described(self._trt)} is installed: build it again"
            )
        self.device = host.open_device("cuda")
        self._stream = self.device.stream()
        self._logger = versions.collecting_logger(self._trt)
        # Kept, as the engine needs it.
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._load(engine_path)
        if self.metadata.weights == EXTERNAL:
            self._take_weights(pathlib.Path(onnx_path or engine_path.parent / self.metadata.onnx))
        if self.metadata.weights == STREAMED:
            if weights_budget is None:
                weights_budget = self._engine.get_weight_streaming_automatic_budget()
            self._engine.weight_streaming_budget_v2 = weights_budget
        self._caches = kv_caches.empty_kv_caches(self.device, self.config, self.limits)
        self._tensors = self._allocate()
        self._check_tensors()
        self._contexts = {
            name: _Context(self._engine, index, self._tensors, self._stream, self._logger)
            for index, name in enumerate(self.metadata.profiles)
        }

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        """As `Backend.run` says.

        Raises:
          EngineError: TensorRT did not run the step.
        """
        check_step(self.limits, token_ids, step)
        check_token_ids(token_ids, self.config.vocab_size)
        batch, seq_len = token_ids.shape
        inputs = {
            "input_ids": token_ids.astype(np.int32),
            **step.inputs(seq_len, self.limits.tree_tokens > 0),
            "logit_indices": step.logit_indices(seq_len),
        }
        for name, array in inputs.items():
            self._tensors[name].leading(array.shape).write(array)
        shapes = {name: array.shape for name, array in inputs.items()}
        for layer, cache in enumerate(self._caches):
            shapes[f"kv_cache_{layer}"] = (batch, *cache.shape[1:])
        profile = GENERATION if step.kv_cache_start_index.size else PREFILL
        self._contexts[profile].run(shapes)
        logits = (*inputs["logit_indices"].shape, self.config.vocab_size)
        return self._tensors["logits"].leading(logits).numpy()

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        """As `Backend.move_slots` says."""
        kv_caches.move_slots(self._caches, row, sources, destination)

    def _load(self, engine_path: pathlib.Path) -> Any:
        engine = self._runtime.deserialize_cuda_engine(engine_path.read_bytes())
        _demand(self._logger, engine, str(engine_path))
        return engine

    def _take_weights(self, onnx_path: pathlib.Path) -> None:
        """Fills an engine without weights from the model that it was built of."""
        if not onnx_path.exists():
            raise FileNotFoundError(f"{onnx_path} does not exist: the engine's weights are there")
        if model_digest(onnx_path) != self.metadata.onnx_sha256:
            raise EngineError(f"{onnx_path} is not the model that the engine was built of")
        refitter = self._trt.Refitter(self._engine, self._logger)
        parser = self._trt.OnnxParserRefitter(refitter, self._logger)
        refitted = parser.refit_from_file(str(onnx_path)) and refitter.refit_cuda_engine()
        _demand(self._logger, refitted, f"the weights of {onnx_path}")

    def _allocate(self) -> dict[str, host.DeviceTensor]:
        """Memory for every tensor of the engine, of its largest shape, by the tensors' names."""
        rope = self.config.rope_cos_sin(self.limits.capacity)
        tensors = {_ROPE: self.device.tensor(rope, _ROPE)}
        for layer, cache in enumerate(self._caches):
            tensors[f"kv_cache_{layer}"] = tensors[f"kv_cache_out_{layer}"] = cache
        profiles = self.metadata.profiles.values()
        for name in next(iter(profiles)).keys() - tensors.keys():
            elements = max(math.prod(ranges[name][2]) for ranges in profiles)
            tensors[name] = self.device.empty(np.int32, (elements,), name)
        logits = self.limits.batch * max(self.limits.tree_tokens, 1) * self.config.vocab_size
        tensors["logits"] = self.device.empty(np.float32, (logits,), "logits")
        return tensors

    def _check_tensors(self) -> None:
        """Refuses an engine whose tensors are not those of the metadata.

        Raises:
          EngineError: names the first that differs.
        """
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name for name in names}
        wanted = {name: tensor.dtype.name for name, tensor in self._tensors.items()}
        for name in sorted(types.keys() | wanted.keys()):
            actual, expected = (of.get(name, "missing") for of in (types, wanted))
            if actual != expected:
                raise EngineError(
                    f"the engine's tensor {name} is {actual}, and {expected} by its metadata: "
                    "build it again"
                )


class _Context:
    """An execution context with one profile, all of its tensors at fixed addresses."""

    def __init__(
        self,
        engine: Any,
        profile: int,
        tensors: Mapping[str, host.DeviceTensor],
        stream: host.Stream,
        logger: Any,
    ) -> None:
        self._stream, self._demand = stream, functools.partial(_demand, logger)
        self._execution = engine.create_execution_context()
        self._demand(self._execution, "an execution context")
        chosen = self._execution.set_optimization_profile_async(profile, stream.handle)
        self._demand(chosen, f"optimization profile {profile}")
        stream.synchronize()
        for name, tensor in tensors.items():
            bound = self._execution.set_tensor_address(name, tensor.address)
            self._demand(bound, f"the address of {name}")
        self._shapes: dict[str, Shape] = {}
        self._set_shape(_ROPE, tensors[_ROPE].shape)

    def run(self, shapes: Mapping[str, Shape]) -> None:
        """Runs the network on what is at the inputs' addresses, and waits for it."""
        for name, shape in shapes.items():
            self._set_shape(name, shape)
        missing = self._execution.infer_shapes()
        self._demand(not missing, f"the step: no shapes for {missing}")
        self._demand(self._execution.execute_async_v3(self._stream.handle), "the step")
        self._stream.synchronize()

    def _set_shape(self, name: str, shape: Shape) -> None:
        if self._shapes.get(name) != shape:
            allowed = self._execution.set_input_shape(name, shape)
            self._demand(allowed, f"{name} of shape {list(shape)}")
            self._shapes[name] = shape


def _demand(logger: Any, done: Any, what: str) -> None:
    """Raises EngineError, with the logger's latest error, unless it was done."""
    if not done:
        raise EngineError(": ".join([f"TensorRT refuses {what}", *logger.errors[-1:]]))
