"""Tensors in device memory: views of them, and copies within them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import emulator, host


@pytest.fixture(scope="module")
def device() -> host.Device:
    return host.open_device("emulator")


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def test_views_share_the_memory(device: host.Device) -> None:
    array = numbers(3, 4, 5)
    tensor = device.tensor(array, guard_bytes=256)
    np.testing.assert_array_equal(tensor.entry(2).numpy(), array[2])
    np.testing.assert_array_equal(tensor.entry(1).entry(3).numpy(), array[1, 3])
    np.testing.assert_array_equal(tensor.leading((2, 7)).numpy(), array.ravel()[:14].reshape(2, 7))
    tensor.entry(1).leading((2,)).write(np.array([-1, -2], np.int32))
    array[1, 0, :2] = -1, -2
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.entry(1).address - tensor.address == 4 * 4 * 5
    assert tensor.guards_intact()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("guard_bytes", [0, 256])
def test_an_entry_is_copied_along_its_axis(
    device: host.Device, axis: int, guard_bytes: int
) -> None:
    array = numbers(2, 3, 4, 5)
    tensor = device.tensor(array, guard_bytes=guard_bytes)
    tensor.entry(1).copy_along(axis, 2, 0)
    part = np.moveaxis(array[1], axis, 0)
    part[0] = part[2]
    np.testing.assert_array_equal(tensor.numpy(), array)
    tensor.entry(0).copy_along(axis, 1, 1)
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.guards_intact()
    assert emulator.take_faults() == []


def test_a_tensor_is_filled_byte_by_byte(device: host.Device) -> None:
    tensor = device.empty(np.int32, (3,))
    tensor.fill(1)
    assert tensor.numpy().tolist() == [0x01010101] * 3


def test_what_lies_outside_is_refused(device: host.Device) -> None:
    tensor = device.tensor(numbers(3, 4))
    with pytest.raises(ValueError, match=r"\[13\] is larger than the tensor's \[3, 4\]"):
        tensor.leading((13,))
    for index in (-1, 3):
        with pytest.raises(IndexError, match=rf"entry {index} of \[3, 4\]"):
            tensor.entry(index)
    for source, destination in ((0, 4), (4, 0), (-1, 0)):
        with pytest.raises(IndexError, match=rf"entries {source}, {destination} of axis 1"):
            tensor.copy_along(1, source, destination)
