"""The workflow of .github runs what README.md says, for every platform."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.house import source_tree


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict]:
    workflow = source_tree.unpack() / ".github/workflows/ci.yml"
    return yaml.safe_load(workflow.read_text())["jobs"]


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_tests_are_those_of_ci(jobs: dict[str, dict]) -> None:
    assert commands(jobs["test"]) == ["bash .ci/run"]


def test_every_platform_is_released(jobs: dict[str, dict]) -> None:
    release = jobs["release"]
    assert release["strategy"]["matrix"]["platform"] == os.environ["PLATFORMS"].split()
    assert commands(release) == ["./bazelw build --config=${{ matrix.platform }} //:dist"]
    (upload,) = [step["with"] for step in release["steps"] if "upload" in step.get("uses", "")]
    assert upload["path"] == "bazel-bin/edge_llm_plugins-*-${{ matrix.platform }}.tar.gz"
