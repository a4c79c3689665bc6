"""Malformed PTX gives an error with its line, or a module that runs to an end: never a crash.

Mutates real PTX texts with the seeds 0 to CASES, loads what comes out and launches it; a hang ends
in the test's time limit. To repeat one case alone, run with --test_env=FUZZ_CASE=<its number>.
"""

from __future__ import annotations

import os
import pathlib
import random
import re
import resource
import struct
import time

from tools.ptx_emulator.cuda_driver import CudaError, PtxEmulator

HERE = pathlib.Path(__file__).parent
IMAGES = sorted(HERE.glob("planted_images/*.ptx"))
TEXTS = [(int(path.stem.rpartition("_sm")[2]), path.read_bytes()) for path in IMAGES]  # by SM
CASES = 1500  # about 15 s
MOST_GROWTH_MIB = 512

TOKEN = re.compile(rb"[\w$%.]+|[^\s\w]")
NUMBER = re.compile(rb"(?<![\w%$.])\d+")
NUMBERS = [b"0", b"1", b"-1", b"7", b"255", b"4096", b"65536", b"2147483648", b"9" * 30]


def flip_bytes(rng: random.Random, text: bytearray) -> bytearray:
    for _ in range(rng.randint(1, 4)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return text


def truncate(rng: random.Random, text: bytearray) -> bytearray:
    return text[: rng.randrange(len(text))]


def delete_span(rng: random.Random, text: bytearray) -> bytearray:
    begin = rng.randrange(len(text))
    del text[begin : begin + rng.randint(1, 200)]
    return text


def repeat_span(rng: random.Random, text: bytearray) -> bytearray:
    begin = rng.randrange(len(text))
    text[begin:begin] = text[begin : begin + rng.randint(1, 400)]
    return text


def pick(rng: random.Random, pattern: re.Pattern[bytes], text: bytearray) -> re.Match[bytes]:
    """The first match behind a random place."""
    match = pattern.search(text, rng.randrange(len(text))) or pattern.search(text)
    assert match
    return match


def swap_tokens(rng: random.Random, text: bytearray) -> bytearray:
    first, second = sorted(
        (pick(rng, TOKEN, text), pick(rng, TOKEN, text)), key=lambda m: m.start()
    )
    if first.end() > second.start():
        return text
    head, between = text[: first.start()], text[first.end() : second.start()]
    return head + second[0] + between + first[0] + text[second.end() :]


def replace_token(rng: random.Random, text: bytearray) -> bytearray:
    old, new = pick(rng, TOKEN, text), pick(rng, TOKEN, text)
    return text[: old.start()] + new[0] + text[old.end() :]


def change_number(rng: random.Random, text: bytearray) -> bytearray:
    number = pick(rng, NUMBER, text)
    return text[: number.start()] + rng.choice(NUMBERS) + text[number.end() :]


def swap_lines(rng: random.Random, text: bytearray) -> bytearray:
    rows = text.split(b"\n")
    first, second = rng.randrange(len(rows)), rng.randrange(len(rows))
    rows[first], rows[second] = rows[second], rows[first]
    return bytearray(b"\n".join(rows))


# The finer a mutation, the further behind the parser it gets: those come more often.
MUTATIONS = [flip_bytes, truncate, delete_span, repeat_span, swap_lines]
MUTATIONS += 3 * [swap_tokens, replace_token, change_number]


def mutate(case: int) -> tuple[int, bytes]:
    """The SM of the text, and what became of it."""
    rng = random.Random(case)
    sm, original = rng.choice(TEXTS)
    text = bytearray(original)
    for _ in range(rng.randint(1, 3)):
        if len(text) > 1000:
            text = rng.choice(MUTATIONS)(rng, text)
    return sm, bytes(text).replace(b"\0", b" ")


def kernel_names(text: bytes) -> list[str]:
    return [name.decode("ascii") for name in re.findall(rb"\.entry\s+([A-Za-z_]\w*)", text)]


def run_case(driver: PtxEmulator, ordinals: dict[int, int], case: int) -> bool:
    """Returns whether the text loaded; anything but CudaError escapes.

    Args:
      driver: of the emulator.
      ordinals: of its devices, by SM.
      case: a number.
    """
    sm, text = mutate(case)
    with driver.context(ordinals[sm]) as ctx:
        try:
            library = ctx.load(text)
        except CudaError as error:
            assert "line " in str(error) or "image" in str(error), f"case {case}: {error}"
            return False
        buffer = ctx.empty(4096, name="buffer")
        for name in kernel_names(text):
            for parameters in (
                b"",
                *(
                    struct.pack("<QQii", *2 * [buffer.pointer], 3, 9)[:size]
                    for size in (8, 16, 20, 24)
                ),
                struct.pack("<QQQi", *3 * [buffer.pointer], 3),
            ):
                try:
                    library.kernel(name).launch((2,), (64,), 1024, parameters)
                    break
                except CudaError:
                    continue  # a fault, or another parameter size
    return True


def test_no_mutation_crashes_hangs_or_leaks():
    driver = PtxEmulator()
    driver.set_threads(1)
    driver.set_instruction_limit(20_000)
    only = os.environ.get("FUZZ_CASE")
    cases = [int(only)] if only else range(CASES)
    ordinals = {device.sm: device.ordinal for device in driver.devices()}
    loaded = 0
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases:
        begin = time.monotonic()
        loaded += run_case(driver, ordinals, case)
        slowest = max(slowest, time.monotonic() - begin)
        driver.take_faults()
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{len(cases)} cases, {loaded} loaded, slowest {slowest:.2f} s, {growth:.0f} MiB")
    if not only:
        assert CASES * 0.05 < loaded < CASES * 0.95, "mutations are too harsh or too mild"
    assert growth < MOST_GROWTH_MIB
