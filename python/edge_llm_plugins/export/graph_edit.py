"""What the rewriters share: reading a graph's nodes, and putting new ones into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edge_llm_plugins.export import schemas
from edge_llm_plugins.models.json_values import one_line


class NotReplaced(Exception):
    """Why a node stays as it is, in one line."""


def describe(node: ir.Node) -> str:
    return f"{node.op_type} {(node.name or node.outputs[0].name)!r}"


def constant(value: ir.Value | None, what: str) -> NDArray:
    """The array of a constant.

    Raises:
      NotReplaced: the value is no constant, or its data are not those of its shape and dtype.
    """
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None:
        raise NotReplaced(f"its {what} is not constant")
    try:
        check_data(tensor)
        return tensor.numpy()
    except (MemoryError, TypeError, ValueError) as error:
        raise NotReplaced(f"its {what} cannot be read: {one_line(error)}") from None


def check_data(tensor: ir.TensorProtocol) -> None:
    """Refuses a tensor without the data of its shape, which a reader fills up, whatever it costs.

    Raises:
      ValueError: there are too few or too many.
    """
    proto = tensor.raw
    if not isinstance(proto, onnx.TensorProto):
        return
    values = len(proto.raw_data) / tensor.dtype.itemsize
    if not proto.HasField("raw_data"):
        fields = ("float", "int32", "int64", "double", "uint64", "string")
        # int32_data hold up to four values of less than a byte each.
        values = 4 * max(len(getattr(proto, f"{field}_data")) for field in fields)
    if tensor.size > values:
        raise ValueError(
            f"the constant {tensor.name!r} of shape {list(tensor.shape)} has the data of "
            f"{values:g} values at most"
        )


def attribute(node: ir.Node, name: str, default: int | float | str | None = None):
    found = node.attributes.get(name)
    return default if found is None else found.value


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def check_half(value: ir.Value, what: str) -> None:
    """Refuses activations that are not FP16."""
    if value.dtype is not ir.DataType.FLOAT16:
        dtype = "of unknown dtype" if value.dtype is None else value.dtype.name
        raise NotReplaced(f"its {what} is {dtype}: FLOAT16 is needed; convert the model to FP16")


class Inserter:
    """Puts new nodes in front of one that they replace."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph, self._before = graph, before

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        attributes: Mapping[str, object] | None = None,
        *,
        outputs: int = 1,
        suffix: str = "",
    ) -> Sequence[ir.Value]:
        """Adds a node of ONNX, or of the plugins; returns its outputs, named after the old node."""
        domain = schemas.DOMAIN if op_type in (schemas.ATTENTION, schemas.INT4_GEMM) else ""
        new = ir.node(op_type, inputs, attributes or {}, domain=domain, num_outputs=outputs)
        base = f"{self._before.name or self._before.outputs[0].name}/{suffix or op_type}"
        new.name = base
        for i, value in enumerate(new.outputs):
            value.name = f"{base}:{i}"
        self._graph.insert_before(self._before, new)
        return new.outputs

    def one(self, op_type: str, inputs: Sequence[ir.Value], **attributes: object) -> ir.Value:
        """Adds a node that has one output."""
        return self.node(op_type, inputs, attributes)[0]

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Lets everything read `new` where it read `old`; an output of the graph keeps its name."""
        new.shape, new.type = old.shape, old.type
        if old.is_graph_output():
            name, old.name = old.name, f"{old.name}/replaced"
            new.name = name
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def remove_old(self) -> None:
        self._graph.remove(self._before, safe=True)


def add_initializer(graph: ir.Graph, name: str, array: NDArray) -> ir.Value:
    """Adds a constant; the name must be new."""
    if name in graph.initializers:
        raise ValueError(f"the model has an initializer {name!r} already: rename it")
    array = np.ascontiguousarray(array)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
