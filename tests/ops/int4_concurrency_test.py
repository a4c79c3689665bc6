"""Several contexts, streams, engines and threads at once."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import int4_cases
from tests.ops.together import run_together

THREADS = 4
ROUNDS = 3


@pytest.mark.parametrize("version", ["1", "2"])
def test_contexts_of_one_engine_run_on_their_own_streams(device: host.Device, version: str) -> None:
    """Each context has another M, so that plans differ; all of them split K."""
    cases = [int4_cases.random_case(1, m, n=8, k=8192) for m in (1, 8, 17, 64)]
    expected = [int4_cases.run(device, case, version) for case in cases]
    largest = cases[-1]
    engine = host.build_engine(
        int4_cases.creator(device, version),
        largest.fields,
        [
            host.dynamic_range(np.float16, [1, 1, 8192], [1, 8, 8192], largest.x.shape),
            host.fixed_range(np.int8, largest.packed.shape),
            host.fixed_range(np.float16, largest.scales.shape),
        ],
    )
    with engine.load(device) as loaded:
        contexts = [loaded.create_context() for _ in cases]

        def job(index: int) -> None:
            stream = device.stream()
            for _ in range(ROUNDS):
                tensors = int4_cases.CaseTensors(device, cases[index])
                contexts[index].enqueue(tensors.inputs, [tensors.y], stream)
                stream.synchronize()
                assert tensors.result().tobytes() == expected[index].tobytes(), (
                    f"context {index}\n{int4_cases.rerun()}"
                )

        run_together([lambda index=index: job(index) for index in range(len(cases))])


def test_engines_are_built_loaded_and_run_in_every_thread(device: host.Device) -> None:
    case = int4_cases.random_case(1, 9, n=68, k=192)
    expected = int4_cases.run(device, case)

    def job(version: str, major: int) -> None:
        for _ in range(ROUNDS):
            result = int4_cases.run(device, case, version, major)
            assert result.tobytes() == expected.tobytes(), (
                f"{version}, {major}\n{int4_cases.rerun()}"
            )

    interfaces = int4_cases.INTERFACES[:THREADS]
    run_together([lambda interface=interface: job(*interface) for interface in interfaces])


@pytest.mark.emulator_only
def test_devices_of_different_sms_run_at_the_same_time() -> None:
    devices = host.emulated_devices()[:THREADS]
    case = int4_cases.random_case(1, 33, n=68, k=192)

    def job(device: host.Device) -> None:
        for _ in range(ROUNDS):
            int4_cases.assert_correct(int4_cases.run(device, case), case)

    run_together([lambda device=device: job(device) for device in devices])


def test_errors_belong_to_their_thread(device: host.Device) -> None:
    """A thread that fails sees its own message, whatever others do."""
    creator = int4_cases.creator(device)

    def job(n: int) -> None:
        for _ in range(50):
            with pytest.raises(host.PluginError, match=f"gemm_n = {n};"):
                creator.create(
                    "layer",
                    [
                        host.field(name, value)
                        for name, value in {"gemm_n": n, "gemm_k": 64, "group_size": 128}.items()
                    ],
                )

    run_together([lambda n=n: job(n) for n in (1, 2, 3, 5)])
