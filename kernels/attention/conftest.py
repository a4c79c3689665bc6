"""The kernel under test: the images of the variant that a test file is named after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernels.attention.attention_harness import AttentionKernel, kernel_on
from kernels.testing.variant_under_test import variant_of
from tools.testing.device_under_test import rerun_command


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    sms = variant_of(metafunc.module.__file__).sms
    for name, chosen in (("kernel", sms[:1]), ("any_kernel", sms)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, indirect=True, scope="module")


@pytest.fixture(scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[AttentionKernel]:
    """The image for one SM: enough for an edge that is the same on all."""
    with kernel_on(variant_of(request.module.__file__), request.param) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def any_kernel(request: pytest.FixtureRequest) -> Iterator[AttentionKernel]:
    """The image for each SM."""
    with kernel_on(variant_of(request.module.__file__), request.param) as kernel:
        yield kernel


@pytest.fixture
def rerun() -> str:
    """The command that runs the test again."""
    return rerun_command()
