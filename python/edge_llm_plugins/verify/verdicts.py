"""Runs the problems on a device, and says of each whether its result is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from edge_llm_plugins import host, ops
from edge_llm_plugins.verify.problems import Problem

PLUGIN_VERSIONS = ("1", "2")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one problem.

    error: the worse of both plugin versions, as a share of the allowed one; None where a run ended
      without numbers.
    reason: why it is wrong; None where it is right.
    """

    problem: Problem
    kernels: tuple[str, ...]
    error: float | None
    reason: str | None

    @property
    def works(self) -> bool:
        return self.reason is None


def verify(device: host.Device, problems: Sequence[Problem]) -> Iterator[Verdict]:
    """Runs each problem through both versions of its plugin, one after the other."""
    for problem in problems:
        yield _verify(device, problem)


def _error(device: host.Device, problem: Problem, plugin_version: str) -> float:
    arguments = problem.arguments()
    output = getattr(ops, problem.operation)(
        **arguments, device=device.kind, sm=device.emulated_sm, plugin_version=plugin_version
    )
    return problem.error(output, arguments)


def _verify(device: host.Device, problem: Problem) -> Verdict:
    kernels = problem.kernels(device)
    worst = 0.0
    for version in PLUGIN_VERSIONS:
        try:
            error = _error(device, problem, version)
        except (AssertionError, host.PluginError, host.CudaError) as failure:
            return Verdict(problem, kernels, None, f'plugin "{version}": {failure}')
        worst = max(worst, error)
        if not error <= 1:
            reason = f'plugin "{version}": {error:.3g} times the allowed error'
            return Verdict(problem, kernels, worst, reason)
    return Verdict(problem, kernels, worst, None)
