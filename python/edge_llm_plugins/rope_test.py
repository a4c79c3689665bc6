"""RoPE tables, against scalar code written from the papers and numbers computed by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from edge_llm_plugins import rope

ULP = 2.0**-24  # relative error of one rounding to float32


def frequencies(rotary_size: int, **arguments: object) -> list[float]:
    """The frequencies that a table was made of: the angles at position 1, all below pi."""
    table = rope.cos_sin([[1]], rotary_size, **arguments)[0, 0].astype(np.float64)
    half = rotary_size // 2
    return [math.atan2(table[half + i], table[i]) for i in range(half)]


def test_table_of_the_first_positions() -> None:
    table = rope.cos_sin(3, 4)
    assert table.dtype == np.float32
    expected = [
        [math.cos(p * 1.0), math.cos(p * 0.01), math.sin(p * 1.0), math.sin(p * 0.01)]
        for p in range(3)
    ]
    np.testing.assert_allclose(table, [expected], rtol=ULP, atol=0)


def test_numbers_computed_by_hand() -> None:
    # R = 4, base 10000: frequencies 1 and 1/100. cos 1, cos 0.01, sin 1, sin 0.01.
    expected = [0.5403023058681398, 0.9999500004166653, 0.8414709848078965, 0.009999833334166664]
    np.testing.assert_allclose(rope.cos_sin(2, 4)[0, 1], expected, rtol=ULP)
    # Llama 3's lowest frequency of 64 pairs: 500000^(-126/128).
    assert frequencies(128, base=500000.0)[63] == pytest.approx(2.45514079e-06, rel=1e-7)


def test_far_positions_are_not_rounded_on_the_way() -> None:
    """In FP32 the angle of position 131071 would be wrong by up to 2^-8."""
    table = rope.cos_sin([[131071]], 8, base=500000.0)[0, 0]
    for i in range(4):
        angle = 131071 * 500000.0 ** (-2 * i / 8)
        assert table[i] == pytest.approx(math.cos(angle), rel=2 * ULP, abs=1e-9)
        assert table[4 + i] == pytest.approx(math.sin(angle), rel=2 * ULP, abs=1e-9)


def test_positions_of_each_row() -> None:
    positions = np.array([[5, 0, 7], [2, 2, 1]])
    table = rope.cos_sin(positions, 6)
    assert table.shape == (2, 3, 6)
    all_positions = rope.cos_sin(8, 6)[0]
    for (b, p), position in np.ndenumerate(positions):
        np.testing.assert_array_equal(table[b, p], all_positions[position])


def test_linear_divides_positions() -> None:
    np.testing.assert_array_equal(
        rope.cos_sin([[8]], 16, scaling=rope.Linear(4.0)), rope.cos_sin([[2]], 16)
    )


def test_ntk_keeps_the_first_frequency_and_divides_the_last() -> None:
    plain = frequencies(16)
    scaled = frequencies(16, scaling=rope.Ntk(8.0))
    assert scaled[0] == pytest.approx(plain[0])
    assert scaled[7] == pytest.approx(plain[7] / 8)
    for i, frequency in enumerate(scaled):
        base = 10000 * 8 ** (16 / 14)
        assert frequency == pytest.approx(1 / base ** (2 * i / 16), rel=1e-6)


@pytest.mark.parametrize(
    ("length", "alpha"), [(0, 1), (2048, 1), (4096, 3.0), (8192, 7.0), (3072, 2.0)]
)
def test_dynamic_ntk_by_the_length(length: int, alpha: float) -> None:
    """alpha = factor * length / max - (factor - 1), for factor 2 and max 2048."""
    scaled = frequencies(16, scaling=rope.DynamicNtk(2.0, 2048, length))
    expected = frequencies(16, scaling=rope.Ntk(max(alpha, 1)))
    assert 2.0 * max(length, 2048) / 2048 - 1.0 == alpha
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def llama3(plain: float, factor: float, low: float, high: float, context: int) -> float:
    """The cases of Llama 3.1's own description, by wavelength."""
    wavelength = 2 * math.pi / plain
    if wavelength < context / high:
        return plain
    if wavelength > context / low:
        return plain / factor
    smooth = (context / wavelength - low) / (high - low)
    return (1 - smooth) * plain / factor + smooth * plain


@pytest.mark.parametrize(("rotary_size", "factor"), [(128, 8.0), (64, 32.0)])
def test_llama3_by_wavelength(rotary_size: int, factor: float) -> None:
    scaling = rope.Llama3(factor, 1.0, 4.0, 8192)
    scaled = frequencies(rotary_size, base=500000.0, scaling=scaling)
    plain = [500000.0 ** (-2 * i / rotary_size) for i in range(rotary_size // 2)]
    expected = [llama3(f, factor, 1.0, 4.0, 8192) for f in plain]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    kinds = [e == p for e, p in zip(expected, plain, strict=True)]
    assert kinds[0] and not kinds[-1] and expected[-1] == plain[-1] / factor
    mixed = [p / factor < e < p for e, p in zip(expected, plain, strict=True)]
    assert any(mixed)
    assert scaling.amplitude() == 1.0


def yarn(rotary_size: int, base: float, factor: float, context: int) -> list[float]:
    """YaRN as its authors' code has it: a correction range, and a ramp over the pairs."""

    def dimension(rotations: float) -> float:
        numerator = rotary_size * math.log(context / (rotations * 2 * math.pi))
        return numerator / (2 * math.log(base))

    low, high = math.floor(dimension(32)), math.ceil(dimension(1))
    result = []
    for i in range(rotary_size // 2):
        frequency = base ** (-2 * i / rotary_size)
        ramp = min(max((i - low) / (high - low), 0.0), 1.0)
        result.append(frequency / factor * ramp + frequency * (1 - ramp))
    return result


@pytest.mark.parametrize("rotary_size", [64, 128])
def test_yarn_frequencies(rotary_size: int) -> None:
    """Qwen2.5's long-context setting: factor 4 over 32768, base 10^6."""
    scaled = frequencies(rotary_size, base=1e6, scaling=rope.Yarn(4.0, 32768))
    expected = yarn(rotary_size, 1e6, 4.0, 32768)
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    plain = [1e6 ** (-2 * i / rotary_size) for i in range(rotary_size // 2)]
    assert expected[0] == plain[0]
    assert expected[-1] == pytest.approx(plain[-1] / 4)


def test_yarn_range_computed_by_hand() -> None:
    # R = 128, base 10000, context 2048: 128 ln(2048 / (32 * 2 pi)) / (2 ln 10000) = 16.13 -> 16,
    # 128 ln(2048 / (2 pi)) / (2 ln 10000) = 40.2 -> 41. Half-way, pair 28.5; pair 26 is 10/25.
    scaled = frequencies(128, scaling=rope.Yarn(2.0, 2048))
    plain = frequencies(128)
    assert scaled[16] == pytest.approx(plain[16])
    assert scaled[17] < 0.999 * plain[17]
    assert scaled[26] == pytest.approx(plain[26] * (0.6 + 0.4 / 2), rel=1e-6)
    assert scaled[40] > 1.001 * plain[40] / 2
    assert scaled[41] == pytest.approx(plain[41] / 2, rel=1e-6)


def test_yarn_range_ends_at_the_bounds_of_the_head() -> None:
    """Computed by hand: the range is cut at pair 0 and at R - 1, though there are R/2 pairs."""
    # 8 ln(64 / (32 * 2 pi)) / (2 ln 10000) = -0.50 -> 0, 8 ln(64 / (2 pi)) / (2 ln 10000) -> 2.
    below = frequencies(8, scaling=rope.Yarn(2.0, 64))
    expected = [1.0, 0.1 * 0.75, 0.01 / 2, 0.001 / 2]
    np.testing.assert_allclose(below, expected, rtol=1e-6)
    # 10^4 turns of 10^4 * 2 pi tokens -> 0; one turn: 4 ln(10^4) / (2 ln 10) = 8 -> 3.
    above = frequencies(4, base=10.0, scaling=rope.Yarn(2.0, 62832, beta_fast=1e4))
    np.testing.assert_allclose(above, [1.0, 10**-0.5 * (2 / 3 + 1 / 6)], rtol=1e-6)


def test_yarn_range_that_is_one_pair_or_beyond_the_head() -> None:
    # Context 4: no pair turns once, so all are slowed down. 10^12 tokens: all turn often.
    slowed = frequencies(8, scaling=rope.Yarn(2.0, 4, beta_fast=1.0))
    np.testing.assert_allclose(slowed[1:], np.array(frequencies(8))[1:] / 2, rtol=1e-6)
    kept = frequencies(8, scaling=rope.Yarn(2.0, 10**12))
    np.testing.assert_allclose(kept, frequencies(8), rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "amplitude"),
    [
        (rope.LongRope([1.0] * 16, [2.0] * 16, 4, 8, 9), 1.224744871391589),  # sqrt(1 + 1/2)
        (rope.Yarn(4.0, 32768), 1.138629436111989),  # 0.1 ln 4 + 1
        (rope.Yarn(1.0, 32768), 1.0),
        (rope.Yarn(4.0, 32768, attention_factor=0.75), 0.75),
    ],
)
def test_attention_factor_multiplies_cosines_and_sines(
    scaling: rope.Scaling, amplitude: float
) -> None:
    table = rope.cos_sin(50, 32, scaling=scaling)[0].astype(np.float64)
    lengths = np.hypot(table[:, :16], table[:, 16:])
    np.testing.assert_allclose(lengths, amplitude, rtol=1e-6)


# Phi-3-mini-128k in small: R = 8; context 4096, stretched to 131072.
PHI3 = {
    "short_factor": [1.0, 1.05, 1.1, 2.0],
    "long_factor": [1.5, 4.0, 16.0, 64.0],
    "original_max_position_embeddings": 4096,
    "max_position_embeddings": 131072,
}


@pytest.mark.parametrize(
    ("length", "factors"),
    [(0, PHI3["short_factor"]), (4096, PHI3["short_factor"]), (4097, PHI3["long_factor"])],
)
def test_longrope_divides_each_frequency_by_a_factor_of_its_length(
    length: int, factors: list[float]
) -> None:
    scaled = frequencies(8, scaling=rope.LongRope(**PHI3, length=length))
    # Base 10000 and R = 8: the plain frequencies are powers of ten.
    expected = [1.0 / factors[0], 0.1 / factors[1], 0.01 / factors[2], 0.001 / factors[3]]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_longrope_attention_factor_computed_by_hand() -> None:
    # sqrt(1 + ln 32 / ln 4096) = sqrt(1 + 5/12) for the powers of two 2^5 and 2^12.
    assert rope.LongRope(**PHI3, length=1).amplitude() == pytest.approx(math.sqrt(17 / 12))
    shorter = PHI3 | {"max_position_embeddings": 2048}
    assert rope.LongRope(**shorter, length=1).amplitude() == 1.0
    assert rope.LongRope(**PHI3, length=1, attention_factor=1.25).amplitude() == 1.25


def test_scalings_by_factor_1_change_nothing() -> None:
    plain = rope.cos_sin(100, 16)
    for scaling in (
        rope.Linear(1.0),
        rope.Ntk(1.0),
        rope.DynamicNtk(1.0, 10, 10),
        rope.Llama3(1.0, 1.0, 4.0, 64),
        rope.Yarn(1.0, 64),
        rope.LongRope([1.0] * 8, [1.0] * 8, 64, 64, 100),
    ):
        np.testing.assert_allclose(rope.cos_sin(100, 16, scaling=scaling), plain, atol=1e-6)


def test_partial_rotary_has_the_frequencies_of_its_own_size() -> None:
    """Phi-2 turns 32 of 80 dimensions: a table of a head of 32."""
    assert rope.cos_sin(4, 32).shape == (1, 4, 32)
    assert frequencies(32)[1] == pytest.approx(10000 ** (-2 / 32), rel=1e-6)


def test_mrope_sections_pick_the_axis_of_each_pair() -> None:
    """Qwen2-VL: the first 16 pairs turn by time, 24 by height, 24 by width."""
    rng = np.random.default_rng(1)
    positions = rng.integers(0, 100, (3, 2, 5))
    table = rope.cos_sin(positions, 128, base=1e6, mrope_section=[16, 24, 24])
    assert (table.dtype, table.shape) == (np.float32, (2, 5, 128))
    for b, p in np.ndindex(2, 5):
        for i in range(64):
            axis = 0 if i < 16 else 1 if i < 40 else 2
            angle = int(positions[axis, b, p]) * 1e6 ** (-2 * i / 128)
            assert table[b, p, i] == pytest.approx(math.cos(angle), rel=2 * ULP, abs=1e-9)
            assert table[b, p, 64 + i] == pytest.approx(math.sin(angle), rel=2 * ULP, abs=1e-9)


def test_mrope_of_text_is_plain_rope() -> None:
    positions = np.tile(np.arange(6), (3, 1, 1))
    np.testing.assert_array_equal(
        rope.cos_sin(positions, 16, mrope_section=[2, 3, 3]), rope.cos_sin(6, 16)
    )


def test_interleaved_mrope_takes_the_axes_in_turn() -> None:
    """Qwen3-VL, sections 24, 20, 20: THW twenty times, and time alone from pair 60 on."""
    rng = np.random.default_rng(1)
    positions = rng.integers(0, 100, (3, 2, 5))
    table = rope.cos_sin(
        positions, 128, base=5e6, mrope_section=[24, 20, 20], mrope_interleaved=True
    )
    for b, p in np.ndindex(2, 5):
        for i, axis in enumerate("THW" * 20 + "TTTT"):
            angle = int(positions["THW".index(axis), b, p]) * 5e6 ** (-2 * i / 128)
            assert table[b, p, i] == pytest.approx(math.cos(angle), rel=2 * ULP, abs=1e-9)
            assert table[b, p, 64 + i] == pytest.approx(math.sin(angle), rel=2 * ULP, abs=1e-9)


def test_interleaved_mrope_of_sections_that_end_apart() -> None:
    """Computed by hand: R = 16, height has two pairs and width one."""
    positions = np.array([[[1]], [[0]], [[0]]])  # turns what is temporal, and nothing else
    table = rope.cos_sin(positions, 16, mrope_section=[5, 2, 1], mrope_interleaved=True)
    assert (table[0, 0, 8:] > 0).tolist() == [c == "T" for c in "THWTHTTT"]


def test_scalings_take_the_keys_of_a_checkpoint() -> None:
    config = {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    }
    assert rope.Llama3(**config) == rope.Llama3(32.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rope.cos_sin(4, 3), ValueError, "rotary_size is 3: an even number"),
        (lambda: rope.cos_sin(4, 0), ValueError, "rotary_size is 0: an even number of at least 2"),
        (lambda: rope.cos_sin(4, 8, base=1.0), ValueError, "base is 1.0: a finite number above 1"),
        (lambda: rope.cos_sin(4, 8, base=math.nan), ValueError, "base is nan"),
        (lambda: rope.cos_sin(4.0, 8), TypeError, "positions have dtype float64: an integer"),
        (lambda: rope.cos_sin([[0, -1]], 8), ValueError, "positions hold -1: numbers >= 0"),
        (lambda: rope.cos_sin(-1, 8), ValueError, "positions hold -1: numbers >= 0"),
        (lambda: rope.cos_sin([1, 2], 8), ValueError, "positions have shape [2]: one number or"),
        (
            lambda: rope.cos_sin([[1, 2]], 8, mrope_section=[1, 1, 2]),
            ValueError,
            "positions have shape [1, 2]: [3, B, P] is allowed with mrope_section",
        ),
        (
            lambda: rope.cos_sin(np.zeros((3, 1, 1), int), 8, mrope_section=[1, 1, 1]),
            ValueError,
            "mrope_section is [1, 1, 1]: three numbers >= 0 whose sum is R/2 = 4",
        ),
        (
            lambda: rope.cos_sin(np.zeros((3, 1, 1), int), 8, mrope_section=[-1, 1, 4]),
            ValueError,
            "mrope_section is [-1, 1, 4]",
        ),
        (
            lambda: rope.cos_sin(
                np.zeros((3, 1, 1), int), 8, mrope_section=[1, 2, 1], mrope_interleaved=True
            ),
            ValueError,
            "mrope_section is [1, 2, 1]: height and width have at most a third of the R/2 = 4",
        ),
        (
            lambda: rope.cos_sin(4, 6, scaling=rope.LongRope([1.0] * 4, [1.0] * 3, 8, 8, 8)),
            ValueError,
            "short_factor is [1.0, 1.0, 1.0, 1.0]: R/2 = 3 finite numbers above 0",
        ),
        (
            lambda: rope.cos_sin(4, 4, scaling=rope.LongRope([1.0] * 2, [1.0, 0.0], 8, 8, 9)),
            ValueError,
            "long_factor is [1.0, 0.0]: R/2 = 2 finite numbers above 0",
        ),
        (
            lambda: rope.LongRope([1.0], [1.0], 1, 8, 9),
            ValueError,
            "original_max_position_embeddings is 1: a number from 2 to 1e+12",
        ),
        (lambda: rope.Linear(0.5), ValueError, "factor is 0.5: a number from 1 to 1e+12"),
        (lambda: rope.Ntk(math.inf), ValueError, "factor is inf"),
        (lambda: rope.Linear("2"), ValueError, "factor is '2': a number from 1"),
        (
            lambda: rope.Yarn(4.0, 32768, beta_fast=1e308),
            ValueError,
            "beta_fast is 1e+308: a number from 0 to 1e+12",
        ),
        (
            lambda: rope.cos_sin(4, 2, scaling=rope.Ntk(2.0)),
            ValueError,
            "rotary_size is 2: an even number of at least 4",
        ),
        (lambda: rope.DynamicNtk(2.0, 0, 1), ValueError, "max_position_embeddings is 0"),
        (lambda: rope.DynamicNtk(2.0, 1, -1), ValueError, "length is -1"),
        (
            lambda: rope.Llama3(8.0, 4.0, 4.0, 8192),
            ValueError,
            "high_freq_factor is 4.0: more than low_freq_factor = 4.0",
        ),
        (
            lambda: rope.Llama3(8.0, 1.0, 4.0, 0),
            ValueError,
            "original_max_position_embeddings is 0",
        ),
        (
            lambda: rope.Yarn(4.0, 32768, beta_fast=1.0, beta_slow=2.0),
            ValueError,
            "beta_slow is 2.0: more than 0 and at most beta_fast = 1.0",
        ),
        (
            lambda: rope.Yarn(4.0, 32768, attention_factor=-1.0),
            ValueError,
            "attention_factor is -1.0",
        ),
    ],
)
def test_refusals(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        make()
    assert "\n" not in str(raised.value)
