"""Several contexts, streams and engines of AttentionPlugin at once."""

from __future__ import annotations

import pytest

from edge_llm_plugins import host
from tests.ops import attention_cases as cases
from tests.ops.together import run_together

ROUNDS = 3
HEADS = cases.Heads(3, 1, 64)
# One engine serves them all: S up to 40, start index [1], capacity 600; decode splits its range.
CASES = [
    cases.decode([600], capacity=600, heads=HEADS),
    cases.chunk(40, [40], [500], capacity=600, heads=HEADS),
    cases.decode([33], capacity=600, heads=HEADS),
    cases.chunk(3, [3], [0], capacity=600, heads=HEADS),
]


@pytest.mark.parametrize("version", ["1", "2"])
def test_contexts_of_one_engine_run_on_their_own_streams(device: host.Device, version: str) -> None:
    expected = [cases.run(device, case, version) for case in CASES]
    ranges = [
        host.TensorRange(low.type, low.min, high.max, high.max)
        for low, high in zip(CASES[0].ranges, CASES[1].ranges, strict=True)
    ]
    engine = host.build_engine(cases.creator(device, version), CASES[0].fields, ranges)
    with engine.load(device) as loaded:
        contexts = [loaded.create_context() for _ in CASES]

        def job(index: int) -> None:
            stream = device.stream()
            for _ in range(ROUNDS):
                tensors = cases.CaseTensors(device, CASES[index])
                contexts[index].enqueue(tensors.inputs, tensors.outputs, stream)
                stream.synchronize()
                for a, b in zip(tensors.result(), expected[index], strict=True):
                    assert a.tobytes() == b.tobytes(), f"context {index}\n{cases.rerun()}"

        run_together([lambda index=index: job(index) for index in range(len(CASES))])


@pytest.mark.emulator_only
def test_devices_of_different_sms_run_at_the_same_time() -> None:
    devices = host.emulated_devices()[: len(CASES)]

    def job(device: host.Device) -> None:
        for case in CASES:
            cases.check(device, case)

    run_together([lambda device=device: job(device) for device in devices])
