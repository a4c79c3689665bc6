"""Cases of ldmatrix and mma.sync.

What the ISA leaves open about mma (the order of the sum, its internal precision, its rounding) is
what these operands ask: sums that cancel, terms just below the last bit of the largest one, values
of very different magnitude, subnormals, infinities and NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tools.ptx_emulator.conformance import values
from tools.ptx_emulator.conformance.case import Case


class Shape(NamedTuple):
    """Of a product: A [m, k], B [k, n], C [m, n]."""

    m: int
    n: int
    k: int


Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]  # A, B and C, all f32


def _pairs(bits: np.ndarray) -> np.ndarray:
    """Packs neighbours of the last axis into 32-bit words."""
    return bits[..., 0::2].astype(np.uint64) | bits[..., 1::2].astype(np.uint64) << np.uint64(16)


def fragments(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The registers of A, B and C lane by lane: uint64 [32, k / 4 + k / 8 + 4].

    Args:
      a: bits of the 16-bit elements, uint16 [16, k].
      b: the same, [k, 8].
      c: bits, uint32 [16, 8].
    """
    lanes = np.arange(32)
    group, pair = lanes // 4, lanes % 4
    a_words, b_words = _pairs(a), _pairs(b.T)
    registers = [a_words[group + 8 * (i % 2), pair + 4 * (i // 2)] for i in range(a.shape[1] // 4)]
    registers += [b_words[group, pair + 4 * i] for i in range(a.shape[1] // 8)]
    registers += [c[group + 8 * (i // 2), 2 * pair + i % 2].astype(np.uint64) for i in range(4)]
    return np.stack(registers, axis=1)


def _normal(rng: np.random.RandomState, shape: Shape, c_scale: float = 0.0) -> Matrices:
    m, n, k = shape
    c = c_scale * rng.standard_normal((m, n))
    return rng.standard_normal((m, k)), rng.standard_normal((k, n)), c


def _spread(rng: np.random.RandomState, shape: tuple[int, int], low: int, high: int) -> np.ndarray:
    """Numbers of all magnitudes between two powers of two."""
    return np.ldexp(rng.uniform(-2, 2, shape), rng.randint(low, high, shape))


def _wide(rng: np.random.RandomState, shape: Shape, c_low: int, c_high: int) -> Matrices:
    m, n, k = shape
    a, b = _spread(rng, (m, k), -14, 15), _spread(rng, (k, n), -14, 15)
    return a, b, _spread(rng, (m, n), c_low, c_high)


def _cancelling(rng: np.random.RandomState, shape: Shape) -> Matrices:
    """The large products cancel in pairs, near and far; what stays is small."""
    a, b, c = _normal(rng, shape, 2.0**-6)
    k = shape.k
    large = 256 * rng.standard_normal((shape.m, k // 4))
    partner = rng.permutation(k)
    for i in range(k // 4):
        a[:, partner[i]] = large[:, i]
        a[:, partner[-1 - i]] = -large[:, i].astype(np.float16).astype(np.float64)
        b[partner[-1 - i]] = b[partner[i]]
    return a, b, c


def _last_bits(rng: np.random.RandomState, shape: Shape, of_c: bool) -> Matrices:
    """One term of about 1 (C, or a product) and one to six of +-2^-19 to 2^-30 of it."""
    m, n, k = shape
    a, c = np.zeros((m, k)), np.zeros((m, n))
    for row in range(m):
        places = rng.permutation(k)
        small = places[1 : 2 + row % 6]
        exponent = rng.randint(-14, -9, len(small) if row % 2 else 1)
        a[row, small] = np.ldexp(rng.choice([-1.0, 1.0, 1.0, 1.5], len(small)), exponent)
        if not of_c:
            a[row, places[0]] = 2.0**12  # so that the others are 2^-21 to 2^-26 of it
    b = np.ldexp(1.0, -rng.randint(9, 17, (1, n))) * np.ones((k, 1))
    if of_c:
        c[:] = rng.choice([1.0, -1.0, 1.0 + 2.0**-23, 1.999999], (m, n))
    return a, b, c


def _subnormal(rng: np.random.RandomState, shape: Shape) -> Matrices:
    m, n, k = shape
    a = np.ldexp(rng.randint(-1023, 1024, (m, k)).astype(np.float64), -24)
    b = np.ldexp(rng.randint(-1023, 1024, (k, n)).astype(np.float64), -24)
    return a, b, _spread(rng, (m, n), -60, -30)


def _only_c(rng: np.random.RandomState, shape: Shape) -> Matrices:
    """Products of zero: C goes through, subnormals and the sign of zero as well."""
    m, n, k = shape
    c = _spread(rng, (m, n), -149, 127)
    c[0, :8] = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-127, 3.4028234e38, -3.4028234e38, 1.0]
    a = rng.choice([0.0, -0.0], (m, k))
    return a, rng.choice([1.0, -1.0, 0.0, -0.0], (k, n)), c


def _special(rng: np.random.RandomState, shape: Shape) -> Matrices:
    a, b, c = _normal(rng, shape, 1.0)
    a[1, 3] = b[5, 2] = c[2, 1] = np.inf
    a[4, 7] = b[0, 4] = c[6, 6] = -np.inf
    a[9, 2] = b[7, 7] = c[12, 0] = np.nan
    b[3, 1] = 0.0
    return a, b, c


_KINDS: tuple[Callable[[np.random.RandomState, Shape], Matrices], ...] = (
    _normal,
    lambda rng, shape: _normal(rng, shape, 4.0),
    lambda rng, shape: _normal(rng, shape, 2.0**12),
    lambda rng, shape: _wide(rng, shape, -30, 31),
    lambda rng, shape: _wide(rng, shape, 10, 40),
    _cancelling,
    lambda rng, shape: _last_bits(rng, shape, of_c=True),
    lambda rng, shape: _last_bits(rng, shape, of_c=False),
    _subnormal,
    _only_c,
    _special,
)


def matrices(name: str, shape: Shape, element: str, repeats: int = 1) -> Iterator[Matrices]:
    """The bits of matrices of every kind: A and B uint16, C uint32.

    Args:
      name: seeds them.
      shape: of the products.
      element: type of A and B.
      repeats: how many of each kind.
    """
    rng = np.random.RandomState(int.from_bytes(name.encode()[-4:], "little"))
    for kind in _KINDS * repeats:
        with np.errstate(over="ignore"):
            a, b, c = (matrix.astype(np.float32) for matrix in kind(rng, shape))
            yield _narrow(a, element), _narrow(b, element), c.view(np.uint32)


def _mma_operands(name: str, k: int, element: str, repeats: int) -> np.ndarray:
    drawn = matrices(name, Shape(16, 8, k), element, repeats)
    return np.concatenate([fragments(*three) for three in drawn])


def _narrow(matrix: np.ndarray, element: str) -> np.ndarray:
    if element == "f16":
        return matrix.astype(np.float16).view(np.uint16)
    return (matrix.view(np.uint32) >> np.uint32(16)).astype(np.uint16)  # bf16, cut off


def mma() -> list[Case]:
    cases = []
    for k, element, repeats in ((16, "f16", 5), (16, "bf16", 2), (8, "f16", 2), (8, "bf16", 1)):
        opcode = f"mma.sync.aligned.m16n8k{k}.row.col.f32.{element}.{element}.f32"
        name = f"mma_m16n8k{k}_{element}"
        a, b, c = (
            ", ".join(f"%a{i}" for i in range(begin, end))
            for begin, end in ((0, k // 4), (k // 4, 3 * k // 8), (3 * k // 8, 3 * k // 8 + 4))
        )
        cases.append(
            Case(
                name=name,
                body=f"{opcode} {{%d0, %d1, %d2, %d3}}, {{{a}}}, {{{b}}}, {{{c}}};",
                results=("f32",) * 4,
                kinds=("b32",) * (3 * k // 8 + 4),
                covers=(opcode,),
                make=lambda name=name, k=k, e=element, n=repeats: _mma_operands(name, k, e, n),
            )
        )
    return cases


def ldmatrix() -> list[Case]:
    """Every lane stores 16 bytes; a permutation says whose bytes are which row."""

    def rows(name: str) -> np.ndarray:
        operands = values.operands(name, ("b64", "b64", "b32"), 128)
        rng = np.random.RandomState(7)
        operands[:, :2] = rng.randint(0, 1 << 32, (128, 2)).astype(np.uint64) * np.uint64(
            0x9E3779B9
        )
        for warp in range(4):
            operands[32 * warp : 32 * warp + 32, 2] = rng.permutation(32)
        return operands

    cases = []
    for matrices in (1, 2, 4):
        for transposed in ("", ".trans"):
            opcode = f"ldmatrix.sync.aligned.m8n8.x{matrices}{transposed}.shared.b16"
            name = f"ldmatrix_x{matrices}{transposed.replace('.', '_')}"
            registers = ", ".join(f"%d{i}" for i in range(matrices))
            body = f"""
mov.u32 %r0, scratch;
mad.lo.u32 %r1, %thread, 16, %r0;
st.shared.v2.b64 [%r1], {{%a0, %a1}};
bar.sync 0;
mad.lo.u32 %r2, %a2, 16, %r0;
{opcode} {{{registers}}}, [%r2];"""
            cases.append(
                Case(
                    name=name,
                    body=body,
                    results=("b32",) * matrices,
                    kinds=("b64", "b64", "b32"),
                    covers=(opcode,),
                    make=lambda name=name: rows(name),
                    shared_bytes=512,
                )
            )
    return cases
