"""The layer as a TensorRT network: the same definition for TensorRT 8.6, 10, 11 and TensorRT-RTX.

Everything outside the plugins is FP32 between explicit casts, so weakly typed networks (8.6) and
strongly typed ones compute the same, but for what 8.6 leaves out: a cast to FP16 and back.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tensorrt_engine.cases import Form, input_shapes
from tests.tensorrt_engine.installed import is_weakly_typed
from tests.tensorrt_engine.layer import Layer, Linear

Tensor = Any  # TensorRT's ITensor, of whichever version


class WeightPath(enum.Enum):
    """How packed INT8 weights reach a plugin.

    A weakly typed network takes INT8 for quantized numbers, and refuses constants of that type.
    """

    CONSTANT = "constant"
    CAST = "cast"  # an INT32 constant, cast to INT8
    INPUT = "input"  # an input of the network


class NetworkWriter:
    """Adds layers to a network; keeps the arrays alive that the network refers to."""

    def __init__(
        self,
        trt: ModuleType,
        network: Any,
        plugin_version: str,
        weights: WeightPath = WeightPath.CONSTANT,
    ) -> None:
        self._trt = trt
        self._network = network
        self._version = plugin_version
        self._weights = weights
        self._arrays: list[NDArray] = []
        self._weakly_typed = is_weakly_typed(trt)

    def add_layer(self, layer: Layer, form: Form) -> None:
        """Adds what `form` contains, with inputs and outputs."""
        inputs = {
            name: self._input(name, dtype, shape)
            for name, (dtype, shape) in input_shapes(layer, form).items()
        }
        if form is Form.LINEAR:
            name = "attention_output"
            self.mark_output("y", self._linear(name, layer.linears[name], inputs["x"]))
            return
        hidden = inputs.pop("hidden")
        normed = self._rms_norm(hidden, layer.attention_norm, layer.epsilon)
        qkv = self._linear("qkv", layer.linears["qkv"], normed)
        fields = {**layer.heads, "enable_tree_attention": int(form is Form.TREE)}
        attention, cache = self._plugin("AttentionPlugin", fields, [qkv, *inputs.values()])
        merged = self._network.add_shuffle(attention)
        merged.reshape_dims = (0, 0, layer.hidden_size)
        merged = merged.get_output(0)
        projected = self._linear("attention_output", layer.linears["attention_output"], merged)
        residual = self._sum(hidden, projected)
        normed = self._rms_norm(residual, layer.ffn_norm, layer.epsilon)
        gate = self._linear("gate", layer.linears["gate"], normed)
        up = self._linear("up", layer.linears["up"], normed)
        down = self._linear("down", layer.linears["down"], self._gated(gate, up))
        self.mark_output("hidden_out", self._sum(residual, down))
        self.mark_output("kv_cache_out", cache)
        self.mark_output("qkv", qkv)  # these two let each plugin be checked by itself
        self.mark_output("attention", attention)

    # Plugins.

    def _linear(self, name: str, linear: Linear, x: Tensor) -> Tensor:
        packed = self._packed(name, linear.packed)
        scales = self._constant(linear.scales)
        (y,) = self._plugin("Int4GroupwiseGemmPlugin", linear.fields, [x, packed, scales])
        return y

    def _packed(self, name: str, packed: NDArray[np.int8]) -> Tensor:
        if self._weights is WeightPath.CONSTANT:
            return self._constant(packed)
        if self._weights is WeightPath.CAST:
            return self._cast(self._constant(packed.astype(np.int32)), self._trt.int8)
        tensor = self._input(f"{name}.packed", packed.dtype, packed.shape)
        if self._weakly_typed:
            tensor.dynamic_range = (-127.0, 127.0)  # demanded of INT8 inputs; means the scale 1
        return tensor

    def _plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> list[Tensor]:
        layer = self.add_plugin(name, fields, inputs)
        if layer is None:
            raise RuntimeError(f'TensorRT does not take {name} version "{self._version}"')
        return [layer.get_output(i) for i in range(layer.num_outputs)]

    def add_plugin(self, name: str, fields: dict[str, int], inputs: Sequence[Tensor]) -> Any:
        """Adds a layer with a new plugin; None where TensorRT does not take it."""
        trt = self._trt
        collection = trt.PluginFieldCollection(
            [
                trt.PluginField(field, self._kept([value], np.int32), trt.PluginFieldType.INT32)
                for field, value in fields.items()
            ]
        )
        registry = trt.get_plugin_registry()
        if self._weakly_typed:
            creator = registry.get_plugin_creator(name, self._version, "")
        else:
            creator = registry.get_creator(name, self._version, "")
        if creator is None:
            raise RuntimeError(f'{name} version "{self._version}" is not registered')
        if self._version == "1":
            return self._network.add_plugin_v2(inputs, creator.create_plugin(name, collection))
        plugin = creator.create_plugin(name, collection, trt.TensorRTPhase.BUILD)
        return self._network.add_plugin_v3(inputs, [], plugin)

    # FP32 arithmetic between FP16 tensors.

    def _rms_norm(self, x: Tensor, weight: NDArray[np.float32], epsilon: float) -> Tensor:
        trt, operation = self._trt, self._trt.ElementWiseOperation
        x = self._cast(x, trt.float32)
        squares = self._elementwise(x, x, operation.PROD)
        mean = self._network.add_reduce(squares, trt.ReduceOperation.AVG, 1 << 2, True)
        shifted = self._elementwise(
            self._f32(mean), self._constant(np.full((1, 1, 1), epsilon, np.float32)), operation.SUM
        )
        root = self._f32(self._network.add_unary(shifted, trt.UnaryOperation.SQRT))
        normed = self._elementwise(x, root, operation.DIV)
        weighted = self._elementwise(
            normed, self._constant(weight.reshape(1, 1, -1)), operation.PROD
        )
        return self._cast(weighted, trt.float16)

    def _gated(self, gate: Tensor, up: Tensor) -> Tensor:
        trt, prod = self._trt, self._trt.ElementWiseOperation.PROD
        gate, up = self._cast(gate, trt.float32), self._cast(up, trt.float32)
        sigmoid = self._f32(self._network.add_activation(gate, trt.ActivationType.SIGMOID))
        return self._cast(
            self._elementwise(self._elementwise(gate, sigmoid, prod), up, prod), trt.float16
        )

    def _sum(self, a: Tensor, b: Tensor) -> Tensor:
        trt = self._trt
        a, b = self._cast(a, trt.float32), self._cast(b, trt.float32)
        return self._cast(self._elementwise(a, b, trt.ElementWiseOperation.SUM), trt.float16)

    def _elementwise(self, a: Tensor, b: Tensor, operation: Any) -> Tensor:
        return self._f32(self._network.add_elementwise(a, b, operation))

    def _f32(self, layer: Any) -> Tensor:
        if self._weakly_typed:
            layer.precision = self._trt.float32
            layer.set_output_type(0, self._trt.float32)
        return layer.get_output(0)

    def _cast(self, x: Tensor, dtype: Any) -> Tensor:
        return self._network.add_cast(x, dtype).get_output(0)

    # Tensors.

    def _constant(self, array: NDArray) -> Tensor:
        array = self._kept(array, array.dtype)
        return self._network.add_constant(array.shape, array).get_output(0)

    def _input(self, name: str, dtype: Any, shape: Sequence[int]) -> Tensor:
        return self._network.add_input(name, getattr(self._trt, np.dtype(dtype).name), tuple(shape))

    def mark_output(self, name: str, tensor: Tensor) -> None:
        tensor.name = name
        self._network.mark_output(tensor)

    def _kept(self, values: Any, dtype: Any) -> NDArray:
        array = np.ascontiguousarray(values, dtype)
        self._arrays.append(array)
        return array
