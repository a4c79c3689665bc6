"""Runs a fuzzer for a while, as a test, and says how to repeat what it finds.

With FUZZ_INPUT=<base64> in the environment it runs that one input instead, and with FUZZ_SEED=0 it
takes another way each time. What was found is also a file among Bazel's test outputs.
"""

from __future__ import annotations

import argparse
import base64
import os
import pathlib
import re
import subprocess
import sys
import tempfile

MEMORY_MIB = 2048
SECONDS_OF_AN_INPUT = 10

# A line for each new path, and a dictionary of what paths compare with.
PROGRESS = re.compile(r"#\d+\s|#####|\"")
COVERAGE = re.compile(r"#\d+.* cov: (\d+)")
RUNS = re.compile(r"stat::number_of_executed_units: +(\d+)")

ENVIRONMENT = {
    # zig's libc++ is compiled without sanitizers, so containers are not always told what it does.
    "ASAN_OPTIONS": "detect_container_overflow=0",
    # Rust tells of each panic that Python catches; of its hundred callers it need not.
    "RUST_BACKTRACE": "0",
}


class Outcome:
    """What a fuzzer printed, its progress left out, and how it ended."""

    def __init__(self, command: list[str]) -> None:
        self.coverage = self.runs = 0
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
            encoding="utf-8",
            errors="backslashreplace",
        )
        assert process.stdout
        printed = set()
        for line in process.stdout:
            if match := COVERAGE.match(line):
                self.coverage = int(match[1])
            if match := RUNS.match(line):
                self.runs = int(match[1])
            # What an input makes a library say is worth one line, not one of each such input.
            if not PROGRESS.match(line) and line not in printed:
                print(line, end="", flush=True)
                printed.add(line)
        self.status = process.wait()


def run_one(fuzzer: str, encoded: str) -> int:
    """Runs one input; the exit status."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64decode(encoded))
        file.flush()
        return Outcome([fuzzer, f"-timeout={SECONDS_OF_AN_INPUT}", file.name]).status


def report(found: pathlib.Path, target: str) -> None:
    """Prints an input and how to repeat it."""
    data = found.read_bytes()
    print(f"\n{target}: {found.name.partition('-')[0]} by an input of {len(data)} bytes")
    if len(data) <= 64:
        print(f"  hex: {data.hex(' ')}")
    encoded = base64.b64encode(data).decode()
    print(f"repeat it with:\n  ./bazelw test {target} --test_env=FUZZ_INPUT={encoded}")


def run(fuzzer: str, target: str, seconds: int, max_length: int) -> int:
    """Fuzzes from the fuzzer's seeds; the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        found = pathlib.Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", folder / "found"))
        seeds, corpus = folder / "seeds", folder / "corpus"
        for path in (seeds, corpus, found):
            path.mkdir(parents=True, exist_ok=True)
        subprocess.run([fuzzer, f"--write_seeds={seeds}"], check=True)
        outcome = Outcome(
            [
                fuzzer,
                str(corpus),
                str(seeds),
                f"-max_total_time={seconds}",
                f"-max_len={max_length}",
                f"-timeout={SECONDS_OF_AN_INPUT}",
                f"-rss_limit_mb={MEMORY_MIB}",
                f"-seed={os.environ.get('FUZZ_SEED', '1')}",
                f"-artifact_prefix={found}/",
                "-print_final_stats=1",
            ]
        )
        for path in sorted(found.iterdir()):
            if not path.name.startswith("slow-unit"):
                report(path, target)
        seed_count = len(list(seeds.iterdir()))
    print(f"{target}: {outcome.runs} inputs, coverage {outcome.coverage}, {seed_count} seeds")
    if outcome.status:
        return 1
    if not seed_count or outcome.runs <= seed_count or not outcome.coverage:
        print(f"{target} tried nothing: it needs seeds, and instrumented code")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="its label")
    parser.add_argument("--seconds", required=True, type=int)
    parser.add_argument("--max_length", required=True, type=int, help="of an input, in bytes")
    parser.add_argument("fuzzer", help="the program")
    args = parser.parse_args()
    fuzzer = os.path.abspath(args.fuzzer)
    encoded = os.environ.get("FUZZ_INPUT")
    if encoded is not None:
        return run_one(fuzzer, encoded)
    return run(fuzzer, args.target, args.seconds, args.max_length)


if __name__ == "__main__":
    sys.exit(main())
