"""edge-llm-plugins verify"""

from __future__ import annotations

from absl import flags

from edge_llm_plugins import host
from edge_llm_plugins.cli.command import Command, Refusal
from edge_llm_plugins.verify import coverage, verdicts

FLAGS = flags.FlagValues()

_DEVICE = flags.DEFINE_enum(
    "device",
    "auto",
    ["auto", "cuda", "emulator"],
    "Where to run; auto is the first GPU, or the emulator where there is none.",
    flag_values=FLAGS,
)
_SM = flags.DEFINE_integer(
    "sm", None, "The SM to emulate; by default the first of the build.", flag_values=FLAGS
)


def run() -> None:
    device = host.open_device(_DEVICE.value, _SM.value)
    if device.kind == "cuda" and device.sm not in host.SMS:
        print(f"SM {device.sm} is newer than this build: the PTX of its newest SM is used")
    print(f"{device.name}, SM {device.sm}, {device.sm_count} multiprocessors")
    print("error is the largest of both plugin versions, in percent of what is allowed\n")
    problems, unreached = coverage.problems(device)
    width = max(len(problem.label) for problem in problems)
    print(f"{'configuration':{width}}  error  verdict  kernels")
    failed = 0
    for verdict in verdicts.verify(device, problems):
        error = "    -" if verdict.error is None else f"{100 * verdict.error:4.0f}%"
        word = "works" if verdict.works else "WRONG"
        kernels = " ".join(verdict.kernels)
        print(f"{verdict.problem.label:{width}}  {error}  {word}    {kernels}", flush=True)
        if not verdict.works:
            failed += 1
            print(f"  {verdict.reason}")
    kernels = coverage.kernels_of(device.sm)
    print(f"\n{len(kernels) - len(unreached)} of {len(kernels)} kernels were run")
    if unreached:
        print(f"never chosen on this device: {' '.join(unreached)}")
    if failed:
        raise Refusal(f"{failed} of {len(problems)} configurations are WRONG on this machine")
    print(f"all {len(problems)} configurations work on this machine")


COMMAND = Command(
    "verify",
    (),
    """Runs every kernel of this device against NumPy, and says which configurations work.

Each line is one call of a plugin, in both of its versions: the table holds every mode of attention
for every head size, INT4 products around the edges of the tiles, and for each kernel that those do
not reach the cheapest call for which this device chooses it.

  edge-llm-plugins verify
  edge-llm-plugins verify --device=emulator --sm=87""",
    FLAGS,
    run,
)
