// f32, f16 and bf16 arithmetic and conversions. 16-bit results are compared with exact fixed point
// arithmetic that is rounded by integer operations, so nothing is shared with the emulator.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::evaluate;
using Values = std::vector<uint64_t>;

namespace {

using Fixed = __int128;  // a number times 2^48

constexpr int kFixedBits = 48;

bool half_is_finite(uint16_t h) { return (h & 0x7c00) != 0x7c00; }

// f16 times 2^24 is an integer.
int64_t half_to_fixed24(uint16_t h) {
  const int exponent = h >> 10 & 31;
  const int64_t mantissa = exponent == 0 ? h & 1023 : (h & 1023) | 1024;
  const int64_t magnitude = mantissa << (exponent == 0 ? 0 : exponent - 1);
  return h & 0x8000 ? -magnitude : magnitude;
}

Fixed exact_product(uint16_t a, uint16_t b) {
  return static_cast<Fixed>(half_to_fixed24(a)) * half_to_fixed24(b);
}
Fixed exact(uint16_t a) { return static_cast<Fixed>(half_to_fixed24(a)) << 24; }

// Nearest f16, ties to even; `negative_zero` is the sign of an exact zero.
uint16_t round_fixed(Fixed value, bool negative_zero) {
  const bool negative = value < 0 || (value == 0 && negative_zero);
  unsigned __int128 magnitude = static_cast<unsigned __int128>(value < 0 ? -value : value);
  int top = -1;
  for (unsigned __int128 rest = magnitude; rest != 0; rest >>= 1) ++top;
  const int quantum = std::max(kFixedBits - 24, top - 10);  // bit position of the last place
  unsigned __int128 quotient = magnitude >> quantum;
  const unsigned __int128 rest = magnitude - (quotient << quantum);
  const unsigned __int128 half = static_cast<unsigned __int128>(1) << (quantum - 1);
  if (rest > half || (rest == half && (quotient & 1))) ++quotient;
  const uint16_t sign = negative ? 0x8000 : 0;
  // The encoding is continuous: a carry out of the mantissa raises the exponent.
  const int exponent = quantum - (kFixedBits - 24);
  const uint64_t bits = (static_cast<uint64_t>(exponent) << 10) + static_cast<uint64_t>(quotient);
  return sign | static_cast<uint16_t>(bits >= 0x7c00 ? 0x7c00 : bits);
}

// Random bit patterns, a third of them subnormal or tiny, a third near one another in exponent.
uint16_t random_half(std::mt19937& random) {
  while (true) {
    uint16_t h = static_cast<uint16_t>(random());
    switch (random() % 3) {
      case 0:
        h &= 0x87ff;
        break;
      case 1:
        h = static_cast<uint16_t>((h & 0x83ff) | (14 + random() % 3) << 10);
        break;
    }
    if (half_is_finite(h)) return h;
  }
}

Values random_halves(std::mt19937& random) {
  Values values;
  for (int i = 0; i < 32; ++i) values.push_back(random_half(random));
  return values;
}

uint64_t bits(float value) {
  uint32_t u;
  std::memcpy(&u, &value, 4);
  return u;
}
float number(uint64_t value) {
  const uint32_t u = static_cast<uint32_t>(value);
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
uint64_t one(const std::string& body, char kind, std::vector<uint64_t> operands) {
  ptx_emulator::Operands all;
  for (uint64_t operand : operands) all.push_back({operand});
  return evaluate(body, kind, all)[7];
}

bool is_half_nan(uint64_t h) { return (h & 0x7fff) > 0x7c00; }

constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace

TEST(HalfAddMultiplyAndFmaRoundOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Values a = random_halves(random), b = random_halves(random), c = random_halves(random);
    const Values sum = evaluate("add.f16 %h9, %h0, %h1;", 'h', {a, b});
    const Values product = evaluate("mul.f16 %h9, %h0, %h1;", 'h', {a, b});
    const Values fused = evaluate("fma.rn.f16 %h9, %h0, %h1, %h2;", 'h', {a, b, c});
    for (int i = 0; i < 32; ++i) {
      const uint16_t x = a[i], y = b[i], z = c[i];
      const bool both = (x & 0x8000) && (y & 0x8000);
      const bool product_negative = ((x ^ y) & 0x8000) != 0;
      EXPECT_EQ(sum[i], round_fixed(exact(x) + exact(y), both));
      EXPECT_EQ(product[i], round_fixed(exact_product(x, y), product_negative));
      EXPECT_EQ(fused[i],
                round_fixed(exact_product(x, y) + exact(z), product_negative && (z & 0x8000) != 0));
    }
  }
}

TEST(FmaKeepsTheBitThatTwoRoundingsLose) {
  const std::string fma = "fma.rn.f16 %h9, %h0, %h1, %h2;";
  // 1141 * 1838 = 2^21 + 6: the sum is 1 + 2^-11 + 6 * 2^-32, which a float cuts to a tie.
  EXPECT_EQ(one(fma, 'h', {0x3c75, 0x0f2e, 0x3c00}), 0x3c01ull);
  EXPECT_EQ(one(fma, 'h', {0xbc75, 0x0f2e, 0xbc00}), 0xbc01ull);
  // 1025 * 2046 = 2^21 - 2: just below the tie above 1 + 2^-10.
  EXPECT_EQ(one(fma, 'h', {0x3c01, 0x0ffe, 0x3c01}), 0x3c01ull);
  // Infinities, made of finite numbers too, and NaN.
  EXPECT_EQ(one(fma, 'h', {0x7c00, 0x3c00, 0xfbff}), 0x7c00ull);
  EXPECT_EQ(one(fma, 'h', {0x3c00, 0x7bff, 0xfc00}), 0xfc00ull);
  EXPECT_EQ(one(fma, 'h', {0x7bff, 0x7bff, 0xfbff}), 0x7c00ull);
  EXPECT_EQ(one(fma, 'h', {0xfbff, 0x7bff, 0x7bff}), 0xfc00ull);
  EXPECT_EQ(one(fma, 'h', {0x7c00, 0x3c00, 0xfc00}), 0x7fffull);
  EXPECT_EQ(one(fma, 'h', {0x7c00, 0, 0x3c00}), 0x7fffull);
  EXPECT_EQ(one("fma.rn.f16x2 %r9, %r0, %r1, %r2;", 'w', {0x3c013c75, 0x0ffe0f2e, 0x3c013c00}),
            0x3c013c01ull);
}

TEST(PackedHalvesDoNotMix) {
  // {1, 2} + {3, -4} and products, low half first.
  EXPECT_EQ(one("add.f16x2 %r9, %r0, %r1;", 'w', {0x40003c00, 0xc4004200}), 0xc0004400ull);
  EXPECT_EQ(one("mul.f16x2 %r9, %r0, %r1;", 'w', {0x40003c00, 0xc4004200}), 0xc8004200ull);
  EXPECT_EQ(one("fma.rn.f16x2 %r9, %r0, %r1, %r2;", 'w', {0x40003c00, 0xc4004200, 0x3c003c00}),
            0xc7004400ull);
  EXPECT_EQ(one("neg.f16x2 %r9, %r0;", 'w', {0x80003c00}), 0x0000bc00ull);
}

TEST(HalfSpecials) {
  EXPECT_EQ(one("add.f16 %h9, %h0, %h1;", 'h', {0x7bff, 0x7bff}), 0x7c00ull);  // overflow
  EXPECT_TRUE(is_half_nan(one("add.f16 %h9, %h0, %h1;", 'h', {0x7c00, 0xfc00})));
  EXPECT_TRUE(is_half_nan(one("mul.f16 %h9, %h0, %h1;", 'h', {0x7c00, 0})));
  EXPECT_EQ(one("min.f16 %h9, %h0, %h1;", 'h', {0x7e00, 0x3c00}), 0x3c00ull);
  EXPECT_TRUE(is_half_nan(one("min.NaN.f16 %h9, %h0, %h1;", 'h', {0x7e00, 0x3c00})));
  EXPECT_EQ(one("max.f16 %h9, %h0, %h1;", 'h', {0x8000, 0x0000}), 0ull);
  EXPECT_EQ(one("min.f16 %h9, %h0, %h1;", 'h', {0xbc00, 0xc000}), 0xc000ull);
  EXPECT_EQ(one("fma.rn.relu.f16 %h9, %h0, %h1, %h2;", 'h', {0x3c00, 0xbc00, 0}), 0ull);
  EXPECT_EQ(one("fma.rn.sat.f16 %h9, %h0, %h1, %h2;", 'h', {0x4000, 0x4000, 0}), 0x3c00ull);
}

TEST(BFloatRoundsOnce) {
  // 1 + 2^-8 is a tie of bf16 and goes to even; a little more goes up.
  EXPECT_EQ(one("cvt.rn.bf16.f32 %h9, %r0;", 'h', {bits(1.0f + 0x1p-8f)}), 0x3f80ull);
  EXPECT_EQ(one("cvt.rn.bf16.f32 %h9, %r0;", 'h', {bits(1.0f + 0x1p-8f + 0x1p-20f)}), 0x3f81ull);
  EXPECT_EQ(one("fma.rn.bf16 %h9, %h0, %h1, %h2;", 'h', {0x3f80, 0x3b80, 0x3f80}), 0x3f80ull);
  EXPECT_EQ(one("fma.rn.bf16 %h9, %h0, %h1, %h2;", 'h', {0x3f81, 0x3b80, 0x3f80}), 0x3f81ull);
  EXPECT_EQ(one("cvt.f32.bf16 %r9, %h0;", 'w', {0x4049}), bits(3.140625f));
}

TEST(FloatConversionsToHalfAtEveryEdge) {
  const auto convert = [](float value) {
    return one("cvt.rn.f16.f32 %h9, %r0;", 'h', {bits(value)});
  };
  EXPECT_EQ(convert(65519.0f), 0x7bffull);
  EXPECT_EQ(convert(65520.0f), 0x7c00ull);
  EXPECT_EQ(convert(0x1p-25f), 0x0000ull);          // a tie with zero
  EXPECT_EQ(convert(0x1.000002p-25f), 0x0001ull);   // just above it
  EXPECT_EQ(convert(0x1.8p-24f), 0x0002ull);        // a tie of subnormals, to even
  EXPECT_EQ(convert(0x1.ffep-15f), 0x03ffull + 1);  // rounds up to the smallest normal
  EXPECT_EQ(convert(-0.0f), 0x8000ull);
  EXPECT_EQ(convert(kInf), 0x7c00ull);
  EXPECT_TRUE(is_half_nan(convert(std::nanf(""))));
  EXPECT_EQ(one("cvt.rz.f16.f32 %h9, %r0;", 'h', {bits(65535.0f)}), 0x7bffull);
  EXPECT_EQ(one("cvt.rn.f16x2.f32 %r9, %r0, %r1;", 'w', {bits(1.0f), bits(-2.0f)}), 0x3c00c000ull);
}

TEST(EveryHalfSurvivesTheWayToFloatAndBack) {
  for (uint64_t base = 0; base < 65536; base += 32) {
    Values halves;
    for (uint64_t i = 0; i < 32; ++i) halves.push_back(base + i);
    const Values back = evaluate("cvt.f32.f16 %f1, %h0;\ncvt.rn.f16.f32 %h9, %f1;", 'h', {halves});
    for (uint64_t i = 0; i < 32; ++i) {
      if (is_half_nan(halves[i])) {
        EXPECT_TRUE(is_half_nan(back[i]));
      } else {
        EXPECT_EQ(back[i], halves[i]);
      }
    }
  }
}

TEST(FloatsToIntegersClamp) {
  EXPECT_EQ(one("cvt.rzi.s32.f32 %r9, %r0;", 'w', {bits(-1.9f)}), uint32_t(-1));
  EXPECT_EQ(one("cvt.rni.s32.f32 %r9, %r0;", 'w', {bits(2.5f)}), 2ull);
  EXPECT_EQ(one("cvt.rni.s32.f32 %r9, %r0;", 'w', {bits(3.5f)}), 4ull);
  EXPECT_EQ(one("cvt.rmi.s32.f32 %r9, %r0;", 'w', {bits(-1.1f)}), uint32_t(-2));
  EXPECT_EQ(one("cvt.rpi.s32.f32 %r9, %r0;", 'w', {bits(1.1f)}), 2ull);
  EXPECT_EQ(one("cvt.rzi.s32.f32 %r9, %r0;", 'w', {bits(3e9f)}), 0x7fffffffull);
  EXPECT_EQ(one("cvt.rzi.s32.f32 %r9, %r0;", 'w', {bits(-kInf)}), 0x80000000ull);
  EXPECT_EQ(one("cvt.rzi.u32.f32 %r9, %r0;", 'w', {bits(-5.0f)}), 0ull);
  EXPECT_EQ(one("cvt.rzi.u32.f32 %r9, %r0;", 'w', {bits(kInf)}), 0xffffffffull);
  EXPECT_EQ(one("cvt.rzi.s32.f32 %r9, %r0;", 'w', {bits(std::nanf(""))}), 0ull);
  EXPECT_EQ(one("cvt.rzi.s64.f32 %d9, %r0;", 'd', {bits(std::nanf(""))}), 1ull << 63);
  EXPECT_EQ(one("cvt.rzi.s8.f32 %r9, %r0;", 'w', {bits(-300.0f)}), 0xffffff80ull);
  EXPECT_EQ(one("cvt.rzi.s64.f32 %d9, %r0;", 'd', {bits(1e30f)}), 0x7fffffffffffffffull);
  EXPECT_EQ(one("cvt.rni.s32.f16 %r9, %h0;", 'w', {0xc100}), uint32_t(-2));  // -2.5
}

TEST(IntegersToFloats) {
  EXPECT_EQ(one("cvt.rn.f32.s32 %r9, %r0;", 'w', {16777217}), bits(16777216.0f));
  EXPECT_EQ(one("cvt.rn.f32.s32 %r9, %r0;", 'w', {0x80000000}), bits(-2147483648.0f));
  EXPECT_EQ(one("cvt.rn.f32.u32 %r9, %r0;", 'w', {0xffffffff}), bits(4294967296.0f));
  EXPECT_EQ(one("cvt.rn.f16.s32 %h9, %r0;", 'h', {2049}), 0x6800ull);
  EXPECT_EQ(one("cvt.rn.f16.s32 %h9, %r0;", 'h', {uint32_t(-70000)}), 0xfc00ull);
  EXPECT_EQ(one("cvt.rn.f32.u8 %r9, %r0;", 'w', {0x1ff}), bits(255.0f));
  EXPECT_EQ(one("cvt.rn.f32.s8 %r9, %r0;", 'w', {0x1ff}), bits(-1.0f));
}

TEST(IntegersExtendAndTruncate) {
  EXPECT_EQ(one("cvt.s32.s16 %r9, %h0;", 'w', {0x8000}), 0xffff8000ull);
  EXPECT_EQ(one("cvt.u32.u16 %r9, %h0;", 'w', {0x8000}), 0x8000ull);
  EXPECT_EQ(one("cvt.s32.s8 %r9, %r0;", 'w', {0x1234ff}), 0xffffffffull);
  EXPECT_EQ(one("cvt.s16.s8 %h9, %h0;", 'h', {0x80}), 0xff80ull);
  EXPECT_EQ(one("cvt.u16.u8 %h9, %h0;", 'h', {0x1ff}), 0xffull);
  EXPECT_EQ(one("cvt.s64.s32 %d9, %r0;", 'd', {0x80000000}), 0xffffffff80000000ull);
  EXPECT_EQ(one("cvt.u64.u32 %d9, %r0;", 'd', {0x80000000}), 0x80000000ull);
  EXPECT_EQ(one("cvt.u16.u32 %h9, %r0;", 'h', {0x12345678}), 0x5678ull);
  EXPECT_EQ(one("cvt.sat.s8.s32 %r9, %r0;", 'w', {1000}), 127ull);
  EXPECT_EQ(one("cvt.sat.u8.s32 %r9, %r0;", 'w', {uint32_t(-3)}), 0ull);
}

TEST(FloatArithmeticAndFlushing) {
  const uint64_t tiny = bits(0x1p-130f);
  EXPECT_EQ(one("add.f32 %r9, %r0, %r1;", 'w', {tiny, tiny}), bits(0x1p-129f));
  EXPECT_EQ(one("add.ftz.f32 %r9, %r0, %r1;", 'w', {tiny, tiny}), bits(0.0f));
  EXPECT_EQ(one("mul.ftz.f32 %r9, %r0, %r1;", 'w', {bits(-0x1p-100f), bits(0x1p-30f)}),
            bits(-0.0f));
  EXPECT_EQ(one("fma.rn.f32 %r9, %r0, %r1, %r2;", 'w',
                {bits(1.0f + 0x1p-23f), bits(1.0f - 0x1p-23f), bits(-1.0f)}),
            bits(-0x1p-46f));  // zero with two roundings
  EXPECT_EQ(
      one("mul.f32 %r1, %r0, %r0;\nadd.f32 %r9, %r1, 0fBF800000;", 'w', {bits(1.0f + 0x1p-12f)}),
      bits((1.0f + 0x1p-11f) - 1.0f));  // mul and add are not fused
  EXPECT_EQ(one("max.f32 %r9, %r0, %r1;", 'w', {bits(std::nanf("")), bits(-3.0f)}), bits(-3.0f));
  EXPECT_TRUE(std::isnan(
      number(one("max.NaN.f32 %r9, %r0, %r1;", 'w', {bits(std::nanf("")), bits(1.0f)}))));
  EXPECT_EQ(one("add.sat.f32 %r9, %r0, %r1;", 'w', {bits(0.75f), bits(0.5f)}), bits(1.0f));
  EXPECT_EQ(one("div.rn.f32 %r9, %r0, %r1;", 'w', {bits(1.0f), bits(3.0f)}), bits(1.0f / 3.0f));
  EXPECT_EQ(one("neg.f32 %r9, %r0;", 'w', {bits(0.0f)}), bits(-0.0f));
}

TEST(ApproximationsAreCloseAndTheirEdgesExact) {
  for (const float x : {-3.25f, -0.5f, 0.0f, 0.3f, 7.0f, 20.125f}) {
    EXPECT_NEAR(number(one("ex2.approx.ftz.f32 %r9, %r0;", 'w', {bits(x)})), std::exp2(double(x)),
                2e-7 * std::exp2(double(x)));
  }
  EXPECT_EQ(one("ex2.approx.ftz.f32 %r9, %r0;", 'w', {bits(-kInf)}), bits(0.0f));
  EXPECT_EQ(one("ex2.approx.f32 %r9, %r0;", 'w', {bits(-140.0f)}), bits(0x1p-140f));
  EXPECT_EQ(one("ex2.approx.ftz.f32 %r9, %r0;", 'w', {bits(-140.0f)}), bits(0.0f));
  EXPECT_EQ(one("rcp.approx.ftz.f32 %r9, %r0;", 'w', {bits(0.0f)}), bits(kInf));
  EXPECT_NEAR(number(one("rsqrt.approx.f32 %r9, %r0;", 'w', {bits(16.0f)})), 0.25, 1e-7);
  EXPECT_NEAR(number(one("lg2.approx.f32 %r9, %r0;", 'w', {bits(10.0f)})), std::log2(10.0), 1e-6);
  EXPECT_NEAR(number(one("sin.approx.f32 %r9, %r0;", 'w', {bits(1.0f)})), std::sin(1.0), 1e-6);
  EXPECT_NEAR(number(one("cos.approx.f32 %r9, %r0;", 'w', {bits(1.0f)})), std::cos(1.0), 1e-6);
}

TEST(UnorderedComparisons) {
  const uint64_t nan = bits(std::nanf("")), two = bits(2.0f);
  EXPECT_EQ(one("setp.lt.f32 %p9, %r0, %r1;", 'p', {nan, two}), 0ull);
  EXPECT_EQ(one("setp.ltu.f32 %p9, %r0, %r1;", 'p', {nan, two}), 1ull);
  EXPECT_EQ(one("setp.ne.f32 %p9, %r0, %r1;", 'p', {nan, two}), 0ull);
  EXPECT_EQ(one("setp.neu.f32 %p9, %r0, %r1;", 'p', {nan, two}), 1ull);
  EXPECT_EQ(one("setp.nan.f32 %p9, %r0, %r1;", 'p', {two, nan}), 1ull);
  EXPECT_EQ(one("setp.num.f32 %p9, %r0, %r1;", 'p', {two, two}), 1ull);
  EXPECT_EQ(one("setp.eq.f32 %p9, %r0, %r1;", 'p', {bits(0.0f), bits(-0.0f)}), 1ull);
  EXPECT_EQ(one("setp.gt.f16 %p9, %h0, %h1;", 'p', {0x3c00, 0xbc00}), 1ull);
}
