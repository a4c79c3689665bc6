"""The network's operations on a GPU or in the emulator: the plugins, and NumPy for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_llm_plugins import host, quantization
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.transformer import NumpyOperations, QuantizedWeights
from edge_llm_plugins.runtime import kv_caches


class HostOperations(NumpyOperations):
    """Linear layers and attention through the plugins, driven as TensorRT does (see `host`).

    Weights are copied to the device once, and the KV caches stay there. Activations go to and fro:
    it shows that the plugins are right, not how fast they are.
    """

    def __init__(
        self, model: QuantizedModel, limits: Limits, device: host.Device, plugin_version: str = "2"
    ) -> None:
        """Loads the plugins and copies the weights.

        Args:
          model: a quantized model folder.
          limits: the largest steps.
          device: from `host.open_device`.
          plugin_version: "2" (IPluginV3) or "1" (IPluginV2DynamicExt).

        Raises:
          PluginError: no kernel serves the model's heads, or the device.
          ValueError: the version.
        """
        super().__init__(QuantizedWeights(model))
        self._model, self._limits, self._device = model, limits, device
        self._version = plugin_version
        self._stream = device.stream()
        self._staging: dict[str, host.DeviceTensor] = {}
        self._loaded: list[host.LoadedEngine] = []
        # The weights are inputs of the plugin: layers of one shape share an engine.
        shapes = set(self.config.linear_shapes().values())
        self._gemms = {shape: self._load_gemm(*shape) for shape in sorted(shapes)}
        self._attention = self._load_attention()
        self._linears: dict[str, list[host.DeviceTensor]] = {}
        self._biases: dict[str, NDArray[np.float16] | None] = {}
        for prefix in self.config.linear_shapes():
            packed, scales, self._biases[prefix] = model.linear(prefix)
            self._linears[prefix] = [
                device.tensor(packed, f"{prefix}.packed"),
                device.tensor(scales, f"{prefix}.scales"),
            ]
        self._rope_cos_sin = device.tensor(self.config.rope_cos_sin(limits.capacity), "rope")
        self._kv_caches = kv_caches.empty_kv_caches(device, self.config, limits)
        self._latest_step: tuple[AttentionStep, int] | None = None
        self._latest_inputs: list[host.DeviceTensor] = []

    def linear(self, prefix: str, x: NDArray) -> NDArray[np.float16]:
        packed, scales = self._linears[prefix]
        n, k = 2 * packed.shape[0], packed.shape[1]
        inputs = [self._upload("x", x), packed, scales]
        output = self._stage("y", np.float16, (*x.shape[:2], n))
        self._gemms[n, k].enqueue(inputs, [output], self._stream)
        return self._download(output)

    def bias(self, prefix: str) -> NDArray[np.float16] | None:
        return self._biases[prefix]

    def attention(self, layer: int, qkv: NDArray, step: AttentionStep) -> NDArray[np.float16]:
        config, cache = self.config, self._kv_caches[layer]
        batch, seq_len = qkv.shape[:2]
        cache = cache.leading((batch, *cache.shape[1:]))
        lengths, start_index, *trees = self._step_inputs(step, seq_len)
        inputs = [self._upload("qkv", qkv), cache, lengths, self._rope_cos_sin, start_index, *trees]
        shape = (batch, seq_len, config.num_q_heads, config.head_size)
        output = self._stage("attention", np.float16, shape)
        self._attention.enqueue(inputs, [output, cache], self._stream)
        return self._download(output)

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        """As `Backend.move_slots` says."""
        kv_caches.move_slots(self._kv_caches, row, sources, destination)

    # Engines, of which each has one context.

    def _load_gemm(self, n: int, k: int) -> host.ExecutionContext:
        fields = {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE}
        groups = -(-k // quantization.GROUP_SIZE)
        inputs = [
            host.dynamic_range(np.float16, (1, 1, k), *[(*self._largest_step(), k)] * 2),
            host.fixed_range(np.int8, (n // 2, k)),
            host.fixed_range(np.float16, (groups, n)),
        ]
        return self._load("Int4GroupwiseGemmPlugin", fields, inputs)

    def _load_attention(self) -> host.ExecutionContext:
        config, limits = self.config, self._limits
        batch, tokens = self._largest_step()
        trees = limits.tree_tokens
        heads = config.num_q_heads + 2 * config.num_kv_heads
        fields = {
            "num_q_heads": config.num_q_heads,
            "num_kv_heads": config.num_kv_heads,
            "head_size": config.head_size,
            "enable_tree_attention": int(trees > 0),
        }
        cache = (2, config.num_kv_heads, limits.capacity, config.head_size)
        rope = (1, limits.capacity, config.rotary_size)
        packed = heads * config.head_size
        extents = [  # the smallest and the largest, input by input
            (np.float16, (1, 1, packed), (batch, tokens, packed)),
            (np.float16, (1, *cache), (batch, *cache)),
            (np.int32, (1,), (batch,)),
            (np.float32, rope, rope),
            (np.int32, (0,), (batch,)),
        ]
        if trees:
            words = -(-trees // 32)
            extents += [
                (np.int32, (1, 1, 1), (batch, trees, words)),
                (np.int32, (1, 1), (batch, trees)),
            ]
        inputs = [
            host.dynamic_range(dtype, smallest, largest, largest)
            for dtype, smallest, largest in extents
        ]
        return self._load("AttentionPlugin", fields, inputs)

    def _largest_step(self) -> tuple[int, int]:
        """B and S."""
        return self._limits.batch, max(self._limits.prefill_tokens, self._limits.tree_tokens)

    def _load(
        self, plugin: str, fields: dict[str, int], inputs: list[host.TensorRange]
    ) -> host.ExecutionContext:
        creator = host.find_creator(self._device.library, plugin, self._version)
        self._loaded.append(host.build_engine(creator, fields, inputs).load(self._device))
        return self._loaded[-1].create_context()

    # Device memory.

    def _step_inputs(self, step: AttentionStep, seq_len: int) -> list[host.DeviceTensor]:
        """Copied once for all layers of a step."""
        latest_step, latest_seq_len = self._latest_step or (None, 0)
        if latest_step is not step or latest_seq_len != seq_len:
            inputs = step.inputs(seq_len, self._limits.tree_tokens > 0)
            self._latest_inputs = [self._upload(name, array) for name, array in inputs.items()]
            self._latest_step = (step, seq_len)
        return self._latest_inputs

    def _stage(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> host.DeviceTensor:
        """A tensor for one operation, in memory that grows as needed."""
        staging = self._staging.get(name)
        size = int(np.prod(shape))
        if staging is None or staging.shape[0] < size:
            self._staging[name] = staging = self._device.empty(dtype, (size,), name)
        return staging.leading(shape)

    def _upload(self, name: str, array: NDArray) -> host.DeviceTensor:
        tensor = self._stage(name, array.dtype, array.shape)
        tensor.write(array)
        return tensor

    def _download(self, tensor: host.DeviceTensor) -> NDArray[np.float16]:
        self._stream.synchronize()
        return tensor.numpy()
