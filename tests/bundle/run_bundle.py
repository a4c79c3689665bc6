"""Runs the numeric tests of a bundle, by default all of them, on the GPU of this machine.

    ./run.sh                                          every numeric test on the first GPU
    ./run.sh tests/ops/int4_values_test.py -k nan     what pytest's arguments select
    ./run.sh --device=emulator kernels/gemm           without a GPU: all SMs of the build, slowly
    ./run.sh --sanitizer                              a reduced suite under compute-sanitizer
    ./run.sh --sanitizer=racecheck                    ... under one of its tools
    ./run.sh python SCRIPT ...                        another program with the same packages

The folder of results gets junit.xml, and pytest.log with every failure in full. The last line that
is printed is 'N passed, N failed'. A test that crashes or hangs counts as failed, and those behind
it run all the same. Each tool of compute-sanitizer has a folder with its logs and prints one line;
any finding makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import zipfile

BUNDLE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(BUNDLE))

from tests.bundle import junit, run_log, sanitizer  # noqa: E402
from tests.bundle.sanitizer import Sanitizer  # noqa: E402
from tools.testing.device_under_test import KINDS  # noqa: E402

# No test takes seconds on a GPU; the emulator and compute-sanitizer may take minutes.
SECONDS_PER_TEST = {"cuda": 60, "emulator": 1200}
SECONDS_PER_SANITIZED_TEST = 300
FAILURES_PRINTED = 20


def check_machine() -> None:
    """Exits with one line where this is no machine that the bundle was built for."""
    facts = json.loads((BUNDLE / "manifest.json").read_text())
    python = "{}.{}".format(*sys.version_info)
    if (python, platform.machine()) != (facts["python"], facts["cpu"]):
        sys.exit(
            f"run.sh: this is Python {python} on {platform.machine()}; the bundle is for Python "
            f"{facts['python']} on {facts['cpu']}: set PYTHON, or build it with --python={python}"
        )


def install_wheel(folder: pathlib.Path) -> None:
    """Unpacks the wheel, which is all that pip would do, into a folder."""
    (wheel,) = (BUNDLE / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def environment(wheel: pathlib.Path, device: str) -> dict[str, str]:
    """The bundle's packages before those of the machine, and the choice of the device."""
    paths = [str(BUNDLE), str(wheel), str(BUNDLE / "site-packages")]
    if "PYTHONPATH" in os.environ:
        paths.append(os.environ["PYTHONPATH"])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        # Plugins of the machine's own pytest know nothing of this one.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "EDGE_LLM_TEST_DEVICE": device,
    }


def check_device(variables: dict[str, str]) -> None:
    """Prints the device; exits with one line where it is missing or has no kernels here."""
    program = (
        "import sys; from edge_llm_plugins import host;"
        "from tools.testing.device_under_test import device_kind;"
        "device = host.open_device(device_kind());"
        "print(f'{device.name}, SM {device.sm}; built for', *host.SMS);"
        "sys.exit(device.kind == 'cuda' and device.sm not in host.SMS)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        capture_output=True,
        text=True,
    )
    print(result.stdout, end="", flush=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["this SM is not among those of the build"]
        sys.exit(f"run.sh: {lines[-1]}")


def pytest_command(device: str, seconds_per_test: int) -> list[str]:
    """pytest with no settings but ours, wherever the bundle was unpacked."""
    command = [sys.executable, "-u", "tools/testing/run_pytest.py", "-p", "tests.bundle.recorder"]
    command += ["--config-file=/dev/null", "--rootdir=."]
    command += ["-o", f"faulthandler_timeout={seconds_per_test}"]
    command += ["-o", "faulthandler_exit_on_timeout=true", "--tb=short"]
    command += ["--continue-on-collection-errors"]
    if device == "cuda":
        command += ["-m", "not emulator_only"]
    return command


def run_tests(output: pathlib.Path, command: list[str], variables: dict[str, str]) -> list[dict]:
    """Runs pytest until every test has run once, and returns the entries of the log."""
    log = output / "log.jsonl"
    while True:
        known = len(run_log.read(log))
        with (output / "pytest.log").open("a") as file:
            code = subprocess.run(
                command,
                cwd=BUNDLE,
                env=variables | {"EDGE_LLM_TEST_LOG": str(log)},
                stdout=file,
                stderr=subprocess.STDOUT,
            ).returncode
        entries = run_log.read(log)
        unfinished = [test for test, entry in entries.items() if "outcome" not in entry]
        for test in unfinished:
            message = f"pytest ended in this test with exit code {code}; see pytest.log"
            run_log.append(log, test=test, outcome="failed", seconds=0.0, message=message)
        # 0 and 1: all tests have run; 5: none were left. Else it stopped on its way.
        stopped = unfinished or code not in (0, 1, 5)
        if not stopped or len(entries) == known:
            return list(run_log.read(log).values())


def summary(message: str) -> str:
    """The line of a failure's message that says most: pytest marks it with E."""
    lines = message.strip().splitlines()
    return next((line for line in lines if line.startswith("E ")), lines[-1])[:300]


def empty_folder(folder: pathlib.Path) -> pathlib.Path:
    """A folder without the files of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.log"), folder / "log.jsonl", folder / "junit.xml"):
        old.unlink(missing_ok=True)
    return folder


def report(output: pathlib.Path, entries: list[dict]) -> tuple[int, int]:
    """Writes junit.xml, prints what failed, and returns how many passed and failed."""
    junit.write_junit(output / "junit.xml", entries)
    failed = [entry for entry in entries if entry["outcome"] == "failed"]
    for entry in failed[:FAILURES_PRINTED]:
        print(f"FAILED {entry['test']}\n    {summary(entry['message'])}")
    if len(failed) > FAILURES_PRINTED:
        print(f"... and {len(failed) - FAILURES_PRINTED} more, in {output / 'junit.xml'}")
    return len(entries) - len(failed), len(failed)


def test(output: pathlib.Path, selection: list[str], variables: dict[str, str]) -> bool:
    """Runs the selected tests; whether some have run and none has failed."""
    device = variables["EDGE_LLM_TEST_DEVICE"]
    command = pytest_command(device, SECONDS_PER_TEST[device]) + selection
    passed, failed = report(output, run_tests(output, command, variables))
    print(f"{passed} passed, {failed} failed")
    return passed > 0 and not failed


def sanitize(checker: Sanitizer, selection: list[str], variables: dict[str, str]) -> bool:
    """Runs the selected tests of the suite under a tool; whether all is clean."""
    device = variables["EDGE_LLM_TEST_DEVICE"]
    command = [*checker.command, *pytest_command(device, SECONDS_PER_SANITIZED_TEST)]
    command += ["-k", " or ".join(sanitizer.SUITE), *selection]
    output = empty_folder(checker.output)
    passed, failed = report(output, run_tests(output, command, variables))
    found = ", ".join(checker.summaries()) or "nothing was checked"
    print(f"{checker.tool}: {found}; {passed} passed, {failed} failed", flush=True)
    if checker.kernels():
        print(f"    in {', '.join(checker.kernels())}; see {checker.output}", flush=True)
    return checker.is_clean() and passed > 0 and not failed


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and what is left for pytest or another program."""
    parser = argparse.ArgumentParser(
        prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=KINDS, default="cuda")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu_bundle_results"))
    parser.add_argument("--sanitizer", nargs="?", const="all", choices=("all", *sanitizer.TOOLS))
    # The options of another program are its own, whatever they are called.
    given = sys.argv[1:]
    end = given.index("python") if "python" in given else len(given)
    args, rest = parser.parse_known_args(given[:end])
    return args, rest + given[end:]


def main() -> int:
    args, arguments = parse_arguments()
    check_machine()
    output = empty_folder(args.output.resolve())
    install_wheel(output / "wheel")
    variables = environment(output / "wheel", args.device)

    if arguments[:1] == ["python"]:
        return subprocess.run([sys.executable, *arguments[1:]], env=variables).returncode

    check_device(variables)
    if not any((BUNDLE / argument.partition("::")[0]).exists() for argument in arguments):
        arguments = ["kernels", "tests/ops", *arguments]
    if not args.sanitizer:
        return 0 if test(output, arguments, variables) else 1
    tools = sanitizer.TOOLS if args.sanitizer == "all" else (args.sanitizer,)
    checkers = [Sanitizer(tool, output / tool) for tool in tools]
    clean = [sanitize(checker, arguments, variables) for checker in checkers]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
