"""Tensors that are announced to a plugin as other than they are."""

from __future__ import annotations

from edge_llm_plugins import host


class Described:
    """A tensor that is announced, or addressed, as another one."""

    def __init__(
        self,
        tensor: host.DeviceTensor,
        shape: tuple[int, ...] | None = None,
        data_type: host.DataType | None = None,
        address: int | None = None,
    ) -> None:
        description = tensor.description
        self.description = host.Tensor(
            data_type or description.type, list(shape or description.shape)
        )
        self.address = tensor.address if address is None else address
