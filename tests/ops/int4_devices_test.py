"""Which device an operation runs on: every emulated SM, and what happens without a GPU."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from edge_llm_plugins import emulator, host, ops, quantization
from tests.ops import int4_cases


def emulated_sms() -> list[int]:
    return [device.sm for device in host.emulated_devices()]


@pytest.mark.parametrize("m", [3, 40])
def test_every_sm_runs_gemv_and_gemm(device: host.Device, sm: int | None, m: int) -> None:
    case = int4_cases.random_case(1, m, n=68, k=576)
    actual = ops.int4_groupwise_gemm(case.x, case.packed, case.scales, device=device.kind, sm=sm)
    int4_cases.assert_correct(actual, case)


@pytest.mark.emulator_only
def test_an_unknown_sm_is_refused_with_the_known_ones() -> None:
    known = ", ".join(str(sm) for sm in emulated_sms())
    with pytest.raises(ValueError, match=f"sm is 75: {known} are emulated"):
        host.open_device("emulator", 75)


@pytest.mark.emulator_only
def test_devices_look_like_their_sm() -> None:
    for device in host.emulated_devices():
        assert device.name
        assert device.sm_count > 0


def test_ops_take_what_quantization_returns(device: host.Device) -> None:
    """Two whole groups and half a group of K, so that scales have more than one row."""
    rng = np.random.default_rng(1)
    packed, scales = quantization.quantize_groupwise(rng.standard_normal((64, 320)))
    x = rng.standard_normal((1, 3, 320)).astype(np.float16)
    actual = ops.int4_groupwise_gemm(x, packed, scales, device=device.kind)
    int4_cases.assert_correct(actual, int4_cases.Case(x, packed, scales))


@pytest.mark.parametrize("version", ["1", "2"])
def test_ops_default_to_fp16_results_of_the_right_shape(device: host.Device, version: str) -> None:
    case = int4_cases.random_case(2, 3, n=64, k=128)
    actual = ops.int4_groupwise_gemm(
        case.x, case.packed, case.scales, device=device.kind, plugin_version=version
    )
    assert actual.dtype == np.float16
    assert actual.shape == (2, 3, 64)
    int4_cases.assert_correct(actual, case)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> str:
    path = str(tmp_path / "libcuda.so.1")
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", path)
    return path


@pytest.mark.emulator_only
def test_without_a_driver_cuda_is_refused(no_driver: str) -> None:
    case = int4_cases.random_case(1, 1, n=4, k=64)
    with pytest.raises(host.CudaError, match=f"no CUDA driver: {no_driver}"):
        ops.int4_groupwise_gemm(case.x, case.packed, case.scales, device="cuda")


@pytest.mark.emulator_only
def test_without_a_driver_auto_is_the_emulator(no_driver: str) -> None:
    assert host.open_device("auto").kind == "emulator"


@pytest.mark.emulator_only
def test_a_given_sm_means_the_emulator() -> None:
    sm = emulated_sms()[-1]
    device = host.open_device("auto", sm)
    assert (device.kind, device.sm) == ("emulator", sm)


@pytest.mark.emulator_only
@pytest.mark.parametrize(("version", "major"), int4_cases.INTERFACES)
def test_without_a_driver_engines_are_built_and_attaching_fails(
    no_driver: str, version: str, major: int
) -> None:
    """The shipped library needs no driver until a plugin is made ready to run."""
    case = int4_cases.random_case(1, 5, n=68, k=192)
    creator = host.find_creator(host.plugin_library(), int4_cases.PLUGIN, version, major)
    ranges = [
        host.fixed_range(array.dtype, array.shape) for array in (case.x, case.packed, case.scales)
    ]
    engine = host.build_engine(creator, case.fields, ranges)
    plugin = creator.deserialize("layer", engine.serialized)
    some_device = host.open_device("emulator")  # only its context; the library has no driver
    with pytest.raises(host.PluginError, match=no_driver):
        plugin.initialize(some_device.cuda)
        plugin.attach_to_context(some_device.cuda)


@pytest.mark.emulator_only
def test_faults_of_a_kernel_are_in_the_message(device: host.Device) -> None:
    """A scale tensor that is shorter than announced is read out of bounds."""
    case = int4_cases.random_case(1, 4, n=68, k=192)
    tensors = int4_cases.CaseTensors(device, case)
    short = device.tensor(case.scales[:1], "scales")
    short.shape = case.scales.shape
    stream = device.stream()
    with int4_cases.build(device, case).load(device) as loaded:
        context = loaded.create_context()
        with pytest.raises(host.PluginError, match="scales") as raised:
            context.enqueue([*tensors.inputs[:2], short], [tensors.y], stream)
    assert "int4_gemv" in str(raised.value)
    assert emulator.take_faults() == []


@pytest.mark.emulator_only
def test_checks_are_set_within_a_block(device: host.Device) -> None:
    with emulator.checks("none"):
        case = int4_cases.random_case(1, 2, n=4, k=64)
        actual = int4_cases.run(device, case)
        int4_cases.assert_correct(actual, case)
    with pytest.raises(ValueError, match="colour"), emulator.checks("colour"):
        pass


def test_guards_notice_a_write_beside_a_tensor(device: host.Device) -> None:
    tensor = device.tensor(np.zeros(3, np.int8), guard_bytes=256)
    assert tensor.guards_intact()
    for offset in (255, 259):
        tensor._buffer.write(offset, np.zeros(1, np.uint8))
        assert not tensor.guards_intact()
        tensor._buffer.write(offset, np.full(1, tensor.GUARD_BYTE, np.uint8))
        assert tensor.guards_intact()


@pytest.mark.emulator_only
def test_statistics_count_instructions(device: host.Device) -> None:
    case = int4_cases.random_case(1, 2, n=4, k=64)
    emulator.take_stats()
    int4_cases.run(device, case)
    assert emulator.take_stats() != emulator.take_stats()
