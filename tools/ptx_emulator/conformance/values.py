"""Operands of conformance cases: the edge values of each kind first, then seeded random ones.

A kind is a type of PTX (`f32`, `s16`, `pred`), or one narrowed to what matters for an operand
(`amount`: what a shift is given). Values are bit patterns.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ALL_ONES = (1 << 64) - 1


def f32(value: float) -> int:
    """The bits of a number as FP32."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def f16(value: float) -> int:
    """The bits of a number as FP16."""
    return struct.unpack("<H", struct.pack("<e", value))[0]


def number32(bits: int) -> float:
    """The number of FP32 bits."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


@dataclass(frozen=True)
class Kind:
    """What an operand is: its register and its values.

    Attributes:
      register: the type of the PTX register that holds it.
      edges: bit patterns that come first.
      draw: makes a random bit pattern.
    """

    register: str
    edges: tuple[int, ...]
    draw: Callable[[random.Random], int]


def _integer_edges(bits: int) -> tuple[int, ...]:
    top = 1 << (bits - 1)
    small = (0, 1, 2, 3, 7, 10, 100)
    values = {*small, *(-value for value in small), top, top - 1, top + 1, top // 2, 0x55555555}
    values |= {value for n in (8, 16, 32) if n < bits for value in ((1 << n) - 1, 1 << n)}
    return tuple(sorted({value & ((1 << bits) - 1) for value in values}))


def _draw_integer(bits: int) -> Callable[[random.Random], int]:
    # Of all lengths, so that quotients and carries differ.
    return lambda rng: rng.getrandbits(rng.randint(1, bits)) * rng.choice((1, -1)) % (1 << bits)


def _float_edges(mantissa: int, exponents: int) -> tuple[int, ...]:
    """Zeros, ones, the ends of the subnormals, of the normals, infinities and both kinds of NaN."""
    one = (1 << exponents - 1) - 1 << mantissa
    infinity = (1 << exponents) - 1 << mantissa
    positive = (0, one, one + 1, one - 1, one | 1 << mantissa - 1, one + (1 << mantissa))
    positive += (1, (1 << mantissa) - 1, 1 << mantissa, (1 << mantissa) + 1, infinity - 1, infinity)
    sign = 1 << mantissa + exponents
    signed = [bits | flip for bits in positive for flip in (0, sign)]
    return (*signed, infinity + 1, infinity | 1 << mantissa - 1, infinity | sign | 0x155)


def _draw_float(mantissa: int, exponents: int) -> Callable[[random.Random], int]:
    bias = (1 << exponents - 1) - 1

    def draw(rng: random.Random) -> int:
        if rng.random() < 0.3:
            return rng.getrandbits(1 + exponents + mantissa)
        exponent = bias + rng.randint(-3, 3)  # where sums cancel and products round
        return (rng.getrandbits(1) << exponents | exponent) << mantissa | rng.getrandbits(mantissa)

    return draw


def _between(low: float, high: float) -> Callable[[random.Random], int]:
    return lambda rng: f32(rng.uniform(low, high))


def _draw_around_f16(rng: random.Random) -> int:
    """FP32 at, just below and just above the middle of two neighbours in FP16."""
    low = rng.getrandbits(15) % 0x7BFF
    middle = (_number16(low) + _number16(low + 1)) / 2
    return f32(middle) + rng.randint(-1, 1) | rng.getrandbits(1) << 31


def _number16(bits: int) -> float:
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def _draw_around_integer(rng: random.Random) -> int:
    """FP32 at, just below and just above halves of integers of all lengths."""
    return f32((rng.getrandbits(rng.randint(1, 26)) + 0.5) * rng.choice((1, -1))) + rng.choice(
        (0, 0, 1, -1)
    )


_F16_EDGES = tuple(
    f32(sign * value) + step
    for value in (2.0**-24, 2.0**-25, 1023.5 * 2**-24, 65504.0, 65520.0, 65536.0)
    for step in (0, -1, 1)
    for sign in (1, -1)
)
_INTEGER_EDGES = tuple(
    f32(sign * value)
    for value in (
        0.5,
        1.5,
        2.5,
        0.49999997,
        127.5,
        255.5,
        32767.5,
        65535.5,
        2.0**31,
        2.0**32,
        2.0**63,
    )
    for sign in (1, -1)
)
_F32 = _float_edges(23, 8)
_EXPONENTS = (0.0, -0.0, 1.0, -1.0, 0.5, -126.0, -126.5, -149.0, -150.0, -151.0, 127.5, 128.0, 1e9)

KINDS: dict[str, Kind] = {
    **{
        f"{sign}{bits}": Kind(f"b{max(bits, 16)}", _integer_edges(bits), _draw_integer(bits))
        for bits in (16, 32, 64)
        for sign in "bsu"
    },
    # Conversions from 8 bits ignore the rest of the register, so that is not zero.
    **{
        f"{sign}8": Kind("b16", (0x5500, 0x557F, 0xAA80, 0xAAFF), lambda rng: rng.getrandbits(16))
        for sign in "su"
    },
    "f32": Kind("b32", _F32, _draw_float(23, 8)),
    "f16": Kind("b16", _float_edges(10, 5), _draw_float(10, 5)),
    "f16x2": Kind(
        "b32",
        tuple(low | 0x3C00 << 16 for low in _float_edges(10, 5)),
        lambda rng: _draw_float(10, 5)(rng) << 16 | _draw_float(10, 5)(rng),
    ),
    "pred": Kind("pred", (0, 1), lambda rng: rng.getrandbits(1)),
    "amount": Kind("b32", (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0xFFFFFFFF),
                   lambda rng: rng.randint(0, 70)),
    "lane": Kind("b32", (0, 1, 31, 32, 33), lambda rng: rng.randint(0, 31)),
    # What shfl takes as c: the clamp in bits 0 to 4, the mask of segments in bits 8 to 12.
    "segment": Kind("b32", (0x1F, 0x1F00, 0x181F), lambda rng: rng.getrandbits(13) & 0x1F1F),
    "few": Kind("b32", (0, 1, 2, 3), lambda rng: rng.randint(0, 3)),
    "around_f16": Kind("b32", _F32 + _F16_EDGES, _draw_around_f16),
    "around_integer": Kind("b32", _F32 + _INTEGER_EDGES, _draw_around_integer),
    "exponent": Kind("b32", _F32 + tuple(map(f32, _EXPONENTS)), _between(-152, 129)),
    "angle": Kind("b32", tuple(map(f32, (0.0, -0.0, 1.5707964, -3.1415927))),
                  _between(-6.28, 6.28)),
    "positive": Kind("b32", _F32, lambda rng: rng.randint(1, 0x7F7FFFFF)),
}  # fmt: skip


def operands(seed: str, kinds: Sequence[str], count: int) -> np.ndarray:
    """Operands of `count` threads as uint64 [count, len(kinds)].

    Half of them at most combine edge values; one operand alone meets all its edges.
    """
    rng = random.Random(seed)
    chosen = [KINDS[kind] for kind in kinds]
    edges = list(itertools.product(*(kind.edges for kind in chosen)))
    if len(edges) > count // 2 and len(kinds) > 1:
        edges = rng.sample(edges, count // 2)
    rows = edges + [tuple(kind.draw(rng) for kind in chosen) for _ in range(count - len(edges))]
    return np.array([[value & ALL_ONES for value in row] for row in rows[:count]], np.uint64)
