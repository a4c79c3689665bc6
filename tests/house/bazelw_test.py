"""bazelw picks the right Bazel, makes the caches, and says what is wrong with a machine."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

TOOLS = ["bash", "cat", "cut", "dirname", "env", "mkdir", "mv", "readlink", "sh", "uname"]


class Machine:
    """A PATH with only what a test puts there, a clone of the repository, and empty caches."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.bin = folder / "bin"
        self.clone = folder / "clone"
        self.cache = folder / "cache"
        self.environment = {"PATH": str(self.bin), "EDGE_LLM_CACHE": str(self.cache)}
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.clone.mkdir()
        for name in (".bazelversion", "bazelw"):
            shutil.copy(name, self.clone / name)
        shutil.copytree("tools/bazel/bootstrap", self.bootstrap)

    @property
    def bootstrap(self) -> pathlib.Path:
        return self.clone / "tools/bazel/bootstrap"

    def program(self, path: pathlib.Path, body: str) -> pathlib.Path:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def bazel(self, version: str, name: str = "bazel") -> pathlib.Path:
        """Puts a Bazel of that version on PATH; it prints its name and its arguments."""
        body = f'[ "$1" = --version ] && echo "bazel {version}" && exit\necho {name} {version} "$@"'
        return self.program(self.bin / name, body)

    def installer(self) -> None:
        """Replaces the installer by one that only says that it was called, and with what."""
        installed = self.program(self.clone / "installed", 'echo installed "$@"')
        self.program(
            self.bootstrap / "install_bazel.sh", f'echo "installing $2" >&2; echo "{installed}"'
        )

    def bazelw(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.clone / "bazelw", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_matching_bazel_gets_all_arguments(machine: Machine) -> None:
    machine.bazel("7.7.1")
    result = machine.bazelw("test", "//a b:c", "--x=*")
    assert result.stdout == "bazel 7.7.1 test //a b:c --x=*\n", result.stderr
    assert not result.stderr


def test_bazelisk_is_used_after_an_old_bazel(machine: Machine) -> None:
    machine.bazel("4.2.3")
    machine.bazel("7.6.0", name="bazelisk")
    result = machine.bazelw("build")
    assert result.stdout == "bazelisk 7.6.0 build\n"
    assert "passing over" in result.stderr and "'bazel 4.2.3'" in result.stderr


@pytest.mark.parametrize("version", ["4.2.3", "8.0.0", "70.0.0", "6.7.1", "7.2.1"])
def test_unfit_bazel_is_passed_over_for_the_installer(machine: Machine, version: str) -> None:
    machine.bazel(version)
    machine.installer()
    result = machine.bazelw("build", "//:x")
    assert result.stdout == "installed build //:x\n"
    assert f"passing over {machine.bin}/bazel: it is 'bazel {version}'" in result.stderr
    assert "installing 7" in result.stderr


def test_broken_bazel_is_passed_over(machine: Machine) -> None:
    machine.program(machine.bin / "bazel", "echo no java >&2; exit 36")
    machine.installer()
    result = machine.bazelw("build")
    assert result.stdout == "installed build\n"
    assert f"'{machine.bin}/bazel --version' fails" in result.stderr


def test_chosen_bazel_is_not_checked(machine: Machine) -> None:
    machine.bazel("7.7.1")
    chosen = machine.program(machine.clone / "mine", 'echo mine "$@"')
    machine.environment["EDGE_LLM_BAZEL"] = str(chosen)
    assert machine.bazelw("info").stdout == "mine info\n"


def test_exit_code_of_bazel_is_kept(machine: Machine) -> None:
    chosen = machine.program(machine.clone / "mine", "exit 3")
    machine.environment["EDGE_LLM_BAZEL"] = str(chosen)
    assert machine.bazelw("test").returncode == 3


def test_caches_exist_and_are_named_in_the_rc_file(machine: Machine) -> None:
    machine.bazel("7.7.1")
    machine.bazelw("build")
    text = (machine.clone / ".bazelrc.user").read_text()
    for line in (
        f"startup --output_user_root={machine.cache}/output",
        f"common --repository_cache={machine.cache}/repository",
        f"common --repo_env=EDGE_LLM_WHEEL_CACHE={machine.cache}/wheels",
        f"build --disk_cache={machine.cache}/disk",
    ):
        assert line in text.splitlines()
    for folder in ("output", "repository", "wheels", "disk"):
        assert (machine.cache / folder).is_dir()


def test_rc_file_is_rewritten_only_when_it_changes(machine: Machine) -> None:
    machine.bazel("7.7.1")
    machine.bazelw("build")
    rc = machine.clone / ".bazelrc.user"
    os.utime(rc, ns=(1, 1))
    machine.bazelw("build")
    assert rc.stat().st_mtime_ns == 1
    machine.environment["EDGE_LLM_CACHE"] += "2"
    machine.bazelw("build")
    assert f"{machine.cache}2/disk" in rc.read_text()


def test_cache_defaults_to_the_home_folder(machine: Machine, tmp_path: pathlib.Path) -> None:
    machine.bazel("7.7.1")
    del machine.environment["EDGE_LLM_CACHE"]
    machine.environment["HOME"] = str(tmp_path / "home")
    assert machine.bazelw("build").returncode == 0
    assert (tmp_path / "home/.cache/edge-llm-plugins/disk").is_dir()
    machine.environment["XDG_CACHE_HOME"] = str(tmp_path / "xdg")
    assert machine.bazelw("build").returncode == 0
    assert (tmp_path / "xdg/edge-llm-plugins/disk").is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EDGE_LLM_CACHE": ""}, "HOME is not set; set EDGE_LLM_CACHE"),
        ({"EDGE_LLM_CACHE": "/proc/none"}, "'/proc/none' is not writable; set EDGE_LLM_CACHE"),
        ({"EDGE_LLM_CACHE": "/tmp/a b"}, "'/tmp/a b' must be an absolute path without blanks"),
        ({"EDGE_LLM_CACHE": "relative"}, "'relative' must be an absolute path"),
        ({"EDGE_LLM_BAZEL": "/none"}, "EDGE_LLM_BAZEL='/none' is no executable file"),
    ],
)
def test_refusal_is_one_line(machine: Machine, changes: dict[str, str], message: str) -> None:
    machine.bazel("7.7.1")
    machine.environment.update(changes)
    result = machine.bazelw("build")
    assert result.returncode == 1 and not result.stdout
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_other_hosts_are_refused(machine: Machine) -> None:
    machine.program(machine.bin / "uname", "echo Linux aarch64")
    result = machine.bazelw("build")
    assert result.returncode == 1
    assert "this host is Linux aarch64; build hosts are Linux x86_64" in result.stderr


def test_machine_without_apt_is_told_to_get_bazelisk(machine: Machine) -> None:
    for tool in ("flock", "grep"):
        (machine.bin / tool).symlink_to(shutil.which(tool))
    result = machine.bazelw("build")
    assert result.returncode == 1
    assert "this machine has no apt: put bazelisk or Bazel 7 on PATH" in result.stderr
    assert result.stderr.count("\n") == 1
