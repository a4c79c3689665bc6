"""The workflows of .github run what README.md says, for every platform."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.house import source_tree


def jobs_of(workflow: str) -> dict[str, dict]:
    path = source_tree.unpack() / ".github/workflows" / workflow
    return yaml.safe_load(path.read_text())["jobs"]


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict]:
    return jobs_of("ci.yml")


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_tests_are_those_of_ci(jobs: dict[str, dict]) -> None:
    assert commands(jobs["test"])[-1] == "bash .ci/run"


def test_every_platform_is_released(jobs: dict[str, dict]) -> None:
    release = jobs["release"]
    assert release["strategy"]["matrix"]["platform"] == os.environ["PLATFORMS"].split()
    assert commands(release) == ["./bazelw build --config=${{ matrix.platform }} //:dist"]
    (upload,) = [step["with"] for step in release["steps"] if "upload" in step.get("uses", "")]
    assert upload["path"] == "bazel-bin/edge_llm_plugins-*-${{ matrix.platform }}.tar.gz"


def test_nights_are_those_of_the_script() -> None:
    (job,) = jobs_of("nightly.yml").values()
    assert commands(job) == ["bash .ci/nightly"]
    script = (source_tree.unpack() / ".ci/nightly").read_text()
    options = (source_tree.unpack() / ".bazelrc").read_text()
    assert "./bazelw test --config=nightly //..." in script
    assert "build:nightly --//tools/testing:fuzz_seconds=600\n" in options
