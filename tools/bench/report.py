"""Turns the JSON of the benchmarks into what is published: pages, a picture, the JSON itself.

    python3 -m tools.bench.report int4_gemm.json attention.json --folder=docs/benchmarks

writes <family>.md and <family>.json for each file and one roofline.svg, which needs matplotlib, and
prints the missed targets; without --folder it only prints. It needs neither a GPU nor PyTorch.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.bench import recorded, results
from tools.bench.results import OURS, Row
from tools.bench.targets import YARDSTICKS, Goal

_TITLES = {
    "int4_gemm": "INT4 groupwise GEMM",
    "attention": "Attention",
}

_NOTES = {
    "int4_gemm": "Weights are INT4 with an FP16 scale per 128 of K; `N x K`, and M rows.",
    "attention": (
        "Our times include RoPE and the write of K and V to the cache; the peers' do not. Heads "
        "(Q/KV/size): llama8b 32/8/128, qwen3-0.6b 16/8/128, qwen2.5-0.5b 14/2/64."
    ),
}


def page(family: str, machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The Markdown page of a run."""
    peers = [name for name in recorded.PEERS if any(name in row.peers.us for row in rows)]
    lines = [
        f"# {_TITLES[family]} on {machine['gpu']}, {machine['date']}",
        "",
        _machine_line(machine),
        _NOTES[family],
        "",
        "Microseconds per call. *In italics*: recorded on "
        f"{recorded.RECORD.gpu}, {recorded.RECORD.date}, not in this run;",
        f"it counts times `scale`, what {YARDSTICKS[family]} takes in this run over what it took "
        "then.",
        "`of floor`: the floor over our time. `ratio`: the fastest peer's time over ours. "
        "`hopper`: the target",
        "that needs the Hopper matrix path.",
        "",
        *(f"- `{name}`: {recorded.PEERS[name]}" for name in peers),
        "",
        *_table(rows, peers),
        "",
        "## Targets missed",
        "",
        *(missed(rows) or ["None."]),
        "",
    ]
    return "\n".join(lines)


def missed(rows: Iterable[Row]) -> list[str]:
    """A line for each target that a row misses, and for each row without a time."""
    lines = []
    for row in rows:
        name = row.case.name
        if row.ours_us is None:
            reason = row.measured.get(OURS, {}).get("failed", "not measured")
            lines.append(f"- {name}: {reason}")
            continue
        goals = [(row.goals.now, "")]
        if row.goals.hopper != row.goals.now:
            goals.append((row.goals.hopper, " with the Hopper matrix path"))
        for goal, what in goals:
            excess = row.excess(goal)
            if excess is not None and excess > 0:
                lines.append(
                    f"- {name}: {_us(row.ours_us)} us, target{what} {_us(goal.us)} us "
                    f"({goal.rule}): {100 * excess:.0f} % above"
                )
    return lines


def _machine_line(machine: Mapping[str, Any]) -> str:
    facts = [
        f"Driver {machine.get('driver', 'unknown')}, CUDA {machine.get('cuda')}",
        f"PyTorch {machine.get('torch')}, cuDNN {machine.get('cudnn')}",
        f"{machine.get('sm_count')} multiprocessors",
        f"an empty kernel in a graph takes {machine['empty_kernel_us']:.2f} us",
    ]
    if "read_bytes_per_second" in machine:
        facts.append(f"a sum reads {machine['read_bytes_per_second'] / 1e12:.2f} TB/s")
        facts.append(f"cuBLAS computes {machine['matrix_flops'] / 1e12:.0f} TFLOP/s")
    ceilings = machine["ceilings"]
    return (
        f"{'; '.join(facts)}. Floors: {ceilings['bytes_per_second'] / 1e12:.2f} TB/s, "
        f"{ceilings['flops'] / 1e12:.0f} TFLOP/s."
    )


def _table(rows: Sequence[Row], peers: Sequence[str]) -> list[str]:
    header = ["case", "floor", "ours", "of floor", "TFLOP/s", *peers, "scale", "ratio"]
    header += ["target", "hopper", "error"]
    lines = [_line(header), _line(["---"] + ["---:"] * (len(header) - 1))]
    for row in rows:
        ours = row.measured.get(OURS, {})
        cells = [
            row.case.name,
            _us(row.floor_us),
            "failed" if "failed" in ours else _us(row.ours_us),
            _percent(row.floor_share),
            "-" if row.tflops is None else f"{row.tflops:.0f}",
            *(_peer(row, name) for name in peers),
            f"{row.peers.scale:.2f}",
            _ratio(row),
            _goal(row, row.goals.now),
            "" if row.goals.hopper == row.goals.now else _goal(row, row.goals.hopper),
            f"{ours['error']:.1e}" if "error" in ours else "-",
        ]
        lines.append(_line(cells))
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _us(us: float | None) -> str:
    if us is None:
        return "-"
    return f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.0f} %"


def _peer(row: Row, name: str) -> str:
    found = row.measured.get(name)
    if found:
        return "failed" if "failed" in found else _us(found.get("us"))
    if name in row.peers.us:
        return f"*{_us(row.peers.us[name] / row.peers.scale)}*"
    return "-"


def _ratio(row: Row) -> str:
    return "-" if row.ratio is None else f"{row.ratio:.2f} {row.peers.best()}"


def _goal(row: Row, goal: Goal | None) -> str:
    if goal is None:
        return "-"
    excess = row.excess(goal)
    if excess is None:
        return _us(goal.us)
    return f"{_us(goal.us)} met" if excess <= 0 else f"{_us(goal.us)} **+{100 * excess:.0f} %**"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="JSON of the benchmarks")
    parser.add_argument("--folder", type=pathlib.Path, help="where to write the report")
    args = parser.parse_args()
    runs = [results.read(path) for path in args.results]
    for family, machine, rows in runs:
        if args.folder:
            (args.folder / f"{family}.md").write_text(page(family, machine, rows))
            results.write(args.folder / f"{family}.json", family, machine, rows)
        lines = missed(rows)
        print(f"{family}: {len(rows)} cases, {len(lines)} targets missed")
        print("\n".join(lines))
    if args.folder:
        from tools.bench import roofline  # printing must not need matplotlib

        roofline.write(args.folder / "roofline.svg", runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
