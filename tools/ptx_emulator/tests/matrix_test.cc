// ldmatrix, mma.sync and cp.async. Matrices are asymmetric and their values all differ, so that a
// transposed or permuted fragment cannot pass.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::contains;
using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::wrap_body;

namespace {

uint16_t half(float value) {
  const _Float16 h = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &h, 2);
  return bits;
}
float from_half(uint16_t bits) {
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return static_cast<float>(h);
}
uint16_t bfloat(float value) {  // for values that bf16 holds exactly
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>(bits >> 16);
}

float a_value(int row, int k) { return static_cast<float>(row * 3 - k * 2 + 1) / 8; }
float b_value(int k, int column) { return static_cast<float>(k - column * 5 + 2) / 4; }
float c_value(int row, int column) { return static_cast<float>(row * 8 + column) - 60; }

void put(std::vector<uint8_t>& bytes, size_t index, uint32_t value) {
  std::memcpy(bytes.data() + 4 * index, &value, 4);
}

// Fragments as the PTX ISA lays them out, written from its tables: lane = 4 * group + thread.
// Twelve words per lane: A in 0 to 3, B in 4 and 5, C in 6 to 9.
std::vector<uint8_t> fragments(int depth, uint16_t (*encode)(float), bool half_accumulator) {
  std::vector<uint8_t> in(32 * 12 * 4);
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, thread = lane & 3;
    const auto pair = [&](float low, float high) {
      return static_cast<uint32_t>(encode(high)) << 16 | encode(low);
    };
    for (int i = 0; i < depth / 4; ++i) {
      const int row = i == 0 || i == 2 ? group : group + 8;
      const int k = thread * 2 + (i >= 2 ? 8 : 0);
      put(in, lane * 12 + i, pair(a_value(row, k), a_value(row, k + 1)));
    }
    for (int i = 0; i < depth / 8; ++i) {
      const int k = thread * 2 + i * 8;
      put(in, lane * 12 + 4 + i, pair(b_value(k, group), b_value(k + 1, group)));
    }
    for (int i = 0; i < 2; ++i) {
      const int row = group + 8 * i;
      const float low = c_value(row, thread * 2), high = c_value(row, thread * 2 + 1);
      if (half_accumulator) {
        put(in, lane * 12 + 6 + i, static_cast<uint32_t>(half(high)) << 16 | half(low));
        continue;
      }
      uint32_t bits[2];
      std::memcpy(&bits[0], &low, 4);
      std::memcpy(&bits[1], &high, 4);
      put(in, lane * 12 + 6 + 2 * i, bits[0]);
      put(in, lane * 12 + 7 + 2 * i, bits[1]);
    }
  }
  return in;
}

// A kernel with one mma, on 12 words of factors and addends for each lane, as fragments() has them.
std::string mma_kernel(const std::string& types, int depth, bool half_accumulator) {
  const std::string a = depth == 16 ? "{%r0, %r1, %r2, %r3}" : "{%r0, %r1}";
  const std::string b = depth == 16 ? "{%r4, %r5}" : "{%r4}";
  const std::string c = half_accumulator ? "{%r6, %r7}" : "{%r6, %r7, %r8, %r9}";
  const std::string d = half_accumulator ? "{%r10, %r11}" : "{%r10, %r11, %r12, %r13}";
  return wrap_body(R"(
mov.u32 %r60, %laneid;
mad.wide.u32 %in, %r60, 48, %in;
mad.wide.u32 %out, %r60, 16, %out;
ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%in];
ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%in+16];
ld.global.v2.u32 {%r8, %r9}, [%in+32];
mov.u32 %r12, 0; mov.u32 %r13, 0;
mma.sync.aligned.m16n8k)" +
                   std::to_string(depth) + ".row.col." + types + " " + d + ", " + a + ", " + b +
                   ", " + c + ";\nst.global.v4.u32 [%out], {%r10, %r11, %r12, %r13};");
}

void check_mma(const std::string& types, int depth, uint16_t (*encode)(float),
               bool half_accumulator) {
  const auto run = run_text(mma_kernel(types, depth, half_accumulator), 512,
                            fragments(depth, encode, half_accumulator));
  EXPECT_EQ(run.faults(), "");
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      double wanted = c_value(row, column);
      for (int k = 0; k < depth; ++k) wanted += double(a_value(row, k)) * b_value(k, column);
      const int lane = (row % 8) * 4 + column / 2;
      const float got = half_accumulator
                            ? from_half(run.at<uint16_t>(lane * 8 + (row / 8) * 2 + column % 2))
                            : run.at<float>(lane * 4 + (row / 8) * 2 + column % 2);
      EXPECT_EQ(got, half_accumulator ? from_half(half(static_cast<float>(wanted)))
                                      : static_cast<float>(wanted));
    }
  }
}

}  // namespace

TEST(MmaMatchesThePlainProduct) {
  check_mma("f32.f16.f16.f32", 16, half, false);
  check_mma("f32.f16.f16.f32", 8, half, false);
  check_mma("f16.f16.f16.f16", 16, half, true);
  check_mma("f16.f16.f16.f16", 8, half, true);
  check_mma("f32.bf16.bf16.f32", 16, bfloat, false);
  check_mma("f32.bf16.bf16.f32", 8, bfloat, false);
}

namespace {

// An f32, or an f16 product, as mantissa * 2^exponent; zeros have no mantissa.
struct Term {
  int64_t mantissa = 0;
  int exponent = 0;  // of the lowest bit
  int order = 0;     // the exponent that counts for the grid
};

Term term_of_float(uint32_t bits) {
  const int field = bits >> 23 & 255;
  const int64_t magnitude = (bits & 0x7fffff) | (field > 0 ? 0x800000 : 0);
  const int order = std::max(field, 1) - 127;
  return {bits >> 31 ? -magnitude : magnitude, order - 23, order};
}

Term term_of_half(uint16_t bits) {
  const int field = bits >> 10 & 31;
  const int64_t magnitude = (bits & 1023) | (field > 0 ? 1024 : 0);
  const int order = std::max(field, 1) - 15;
  return {bits >> 15 ? -magnitude : magnitude, order - 10, order};
}

// What tensor_core.h says, in integers.
uint32_t exact_sum(const std::vector<Term>& terms) {
  int largest = -1000;
  for (const Term& term : terms) {
    if (term.mantissa != 0) largest = std::max(largest, term.order);
  }
  int64_t sum = 0;
  for (const Term& term : terms) {
    const int shift = std::min(largest - 25 - term.exponent, 62);
    const int64_t magnitude = std::abs(term.mantissa);
    const int64_t cut = shift > 0 ? magnitude >> shift : magnitude << -std::max(shift, -36);
    sum += term.mantissa < 0 ? -cut : cut;
  }
  int64_t magnitude = std::abs(sum);
  int surplus = 0;
  while (magnitude >> surplus >= 1 << 24) ++surplus;
  magnitude = magnitude >> surplus << surplus;
  const float value = std::ldexp(static_cast<float>(magnitude), largest - 25);
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return sum < 0 ? bits | 1u << 31 : bits;
}

bool is_finite_half(uint16_t bits) { return (bits & 0x7c00) != 0x7c00; }

struct Matrices {
  uint16_t a[16][16], b[16][8];  // [row][k], [k][column]
  uint32_t c[16][8];
};

float value_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Runs one mma on f16 and f32 bits, and compares every element with exact_sum, or, where a term is
// no finite number, with what an IEEE sum gives.
void check_sums(const Matrices& matrices, int depth, const char* what) {
  std::vector<uint8_t> in(32 * 12 * 4);
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, pair = 2 * (lane & 3);
    for (int i = 0; i < depth / 4; ++i) {
      const uint16_t* const a = &matrices.a[group + 8 * (i % 2)][pair + 8 * (i / 2)];
      put(in, lane * 12 + i, static_cast<uint32_t>(a[1]) << 16 | a[0]);
    }
    for (int i = 0; i < depth / 8; ++i) {
      const int k = pair + 8 * i;
      put(in, lane * 12 + 4 + i,
          static_cast<uint32_t>(matrices.b[k + 1][group]) << 16 | matrices.b[k][group]);
    }
    for (int i = 0; i < 4; ++i) {
      put(in, lane * 12 + 6 + i, matrices.c[group + 8 * (i / 2)][pair + i % 2]);
    }
  }
  const auto run = run_text(mma_kernel("f32.f16.f16.f32", depth, false), 512, in);
  EXPECT_EQ(run.faults(), "");
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      std::vector<Term> terms{term_of_float(matrices.c[row][column])};
      bool finite = (matrices.c[row][column] & 0x7f800000u) != 0x7f800000u;
      float sum = value_of(matrices.c[row][column]);
      for (int k = 0; k < depth; ++k) {
        const uint16_t left = matrices.a[row][k], right = matrices.b[k][column];
        finite &= is_finite_half(left) && is_finite_half(right);
        sum += from_half(left) * from_half(right);
        const Term a = term_of_half(left), b = term_of_half(right);
        terms.push_back({a.mantissa * b.mantissa, a.exponent + b.exponent, a.order + b.order});
      }
      const int lane = (row % 8) * 4 + column / 2;
      const uint32_t got = run.at<uint32_t>(lane * 4 + (row / 8) * 2 + column % 2);
      uint32_t wanted = 0x7fffffff;  // the canonical NaN
      if (finite) {
        wanted = exact_sum(terms);
      } else if (sum == sum) {
        std::memcpy(&wanted, &sum, 4);
      }
      // The sign of a zero is left to the golden answers too.
      if ((got | wanted) << 1 != 0 && got != wanted) {
        testing::fail(__FILE__, __LINE__,
                      std::string(what) + ", row " + std::to_string(row) + ", column " +
                          std::to_string(column) + ": " + std::to_string(got) + ", exactly " +
                          std::to_string(wanted));
        return;
      }
    }
  }
}

// Bits of random sign and mantissa, the exponent field from `least` to `largest`.
uint16_t random_half(std::mt19937& random, int least, int largest) {
  const uint32_t field = least + random() % (largest - least + 1);
  return static_cast<uint16_t>((random() & 0x83ff) | field << 10);
}
uint32_t random_float(std::mt19937& random, int least, int largest) {
  const uint32_t field = least + random() % (largest - least + 1);
  return (random() & 0x807fffff) | field << 23;
}

Matrices random_matrices(std::mt19937& random, int least_half, int largest_half, int least_float,
                         int largest_float) {
  Matrices matrices;
  for (auto& row : matrices.a) {
    for (uint16_t& value : row) value = random_half(random, least_half, largest_half);
  }
  for (auto& row : matrices.b) {
    for (uint16_t& value : row) value = random_half(random, least_half, largest_half);
  }
  for (auto& row : matrices.c) {
    for (uint32_t& value : row) value = random_float(random, least_float, largest_float);
  }
  return matrices;
}

}  // namespace

TEST(MmaSumsAreCutOffOnTheGridOfTheLargestTerm) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    for (const int depth : {16, 8}) {
      check_sums(random_matrices(random, 13, 17, 110, 135), depth, "usual numbers");
      check_sums(random_matrices(random, 0, 30, 60, 180), depth, "all exponents");
      check_sums(random_matrices(random, 0, 3, 80, 110), depth, "subnormal factors");
      check_sums(random_matrices(random, 0, 30, 0, 254), depth, "any addend");
      Matrices matrices = random_matrices(random, 0, 1, 0, 60);
      check_sums(matrices, depth, "tiny addends");
      for (auto& row : matrices.b) std::fill(std::begin(row), std::end(row), 0);
      check_sums(matrices, depth, "tiny addends alone");
      matrices = random_matrices(random, 14, 14, 100, 127);
      for (int k = 0; k < 4; ++k) {
        for (uint16_t& value : matrices.b[k]) value = random_half(random, 4, 14);
      }
      for (auto& row : matrices.a) {
        for (uint16_t& value : row) value &= 0x7fff;
      }
      for (auto& row : matrices.b) {
        for (uint16_t& value : row) value &= 0x7fff;
      }
      check_sums(matrices, depth, "terms of one sign");
    }
  }
}

TEST(MmaSumsOfLargestTermsDoNotOverflow) {
  Matrices matrices;
  for (const uint16_t sign : {0, 0x8000}) {
    for (auto& row : matrices.a) std::fill(std::begin(row), std::end(row), 0x7bff);
    for (auto& row : matrices.b) std::fill(std::begin(row), std::end(row), sign | 0x7bff);
    for (auto& row : matrices.c) {
      std::fill(std::begin(row), std::end(row), sign << 16 | 0x4effffff);  // below 2^31
    }
    check_sums(matrices, 16, "the largest terms");
    matrices.b[3][2] = 0x0001;
    matrices.b[5][4] = sign ^ 0xfbff;
    check_sums(matrices, 16, "the largest terms but for one");
  }
}

TEST(MmaColumnsThatRepeatDifferWhereTheirAddendsDo) {
  std::mt19937 random(2);
  for (int round = 0; round < 10; ++round) {
    Matrices matrices = random_matrices(random, 10, 20, 110, 140);
    for (auto& row : matrices.b) std::fill(std::begin(row) + 1, std::end(row), row[0]);
    for (auto& row : matrices.c) std::fill(std::begin(row) + 1, std::end(row), row[0]);
    check_sums(matrices, 16, "equal columns");
    matrices.c[random() % 16][3] ^= 0x00400000;
    matrices.b[random() % 16][5] ^= 0x0200;
    check_sums(matrices, 16, "equal columns but for an addend and a factor");
    for (auto& row : matrices.b) std::fill(std::begin(row), std::end(row), 0);
    check_sums(matrices, 16, "a zero B");
  }
}

TEST(MmaRowsOfZerosKeepTheirAddends) {
  std::mt19937 random(4);
  for (const int first : {0, 8}) {
    for (const uint16_t zero : {0, 0x8000}) {
      Matrices matrices = random_matrices(random, 10, 20, 110, 140);
      for (int row = first; row < first + 8; ++row) {
        std::fill(std::begin(matrices.a[row]), std::end(matrices.a[row]), zero);
      }
      check_sums(matrices, 16, "eight rows of zeros");
      const uint16_t factor = std::exchange(matrices.b[3][2], 0x7c00);
      check_sums(matrices, 16, "zeros times infinity");
      matrices.b[3][2] = factor;
      matrices.a[first + 5][3] = 0x0001;
      check_sums(matrices, 16, "eight rows of zeros but for the least subnormal");
    }
  }
}

TEST(MmaElementsDoNotFeelTheInfinitiesOfOthers) {
  std::mt19937 random(3);
  for (const uint16_t bad : {0x7c00, 0xfc00, 0x7e00}) {
    Matrices matrices = random_matrices(random, 10, 20, 110, 140);
    matrices.a[3][5] = bad;
    check_sums(matrices, 16, "one row of A");
    matrices.a[3][5] = 0x3c00;
    matrices.b[2][6] = bad;
    check_sums(matrices, 16, "one column of B");
    matrices.b[2][6] = 0x3c00;
    matrices.c[9][1] = static_cast<uint32_t>(bad) << 16 | 0x00800000;
    check_sums(matrices, 16, "one element of C");
  }
}

TEST(LdmatrixGivesEachLaneItsFragment) {
  // Four 8x8 matrices, rows of 16 bytes; element (m, row, column) is 1000 m + 10 row + column. The
  // rows lie in falling order, so that the address of each lane matters.
  std::vector<uint8_t> in(512);
  for (int m = 0; m < 4; ++m) {
    for (int row = 0; row < 8; ++row) {
      for (int column = 0; column < 8; ++column) {
        const uint16_t value = static_cast<uint16_t>(1000 * m + 10 * row + column);
        std::memcpy(in.data() + (31 - (m * 8 + row)) * 16 + column * 2, &value, 2);
      }
    }
  }
  for (const int matrices : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      const std::string registers = matrices == 1   ? "{%r1}"
                                    : matrices == 2 ? "{%r1, %r2}"
                                                    : "{%r1, %r2, %r3, %r4}";
      const std::string body = R"(
.shared .align 16 .b8 s[512];
mov.u32 %r60, %laneid;
shl.b32 %r50, %r60, 4;
cvt.u64.u32 %x, %r50;
add.u64 %x, %x, %in;
ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%x];
mov.u32 %r51, s;
add.u32 %r52, %r51, %r50;
st.shared.v4.u32 [%r52], {%r1, %r2, %r3, %r4};
bar.sync 0;
sub.u32 %r53, 496, %r50;
add.u32 %r53, %r53, %r51;
ldmatrix.sync.aligned.m8n8.x)" +
                               std::to_string(matrices) + (transposed ? ".trans" : "") +
                               ".shared.b16 " + registers +
                               R"(, [%r53];
mad.wide.u32 %out, %r60, 16, %out;
st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4};)";
      const auto run = run_text(wrap_body(body), 512, in);
      EXPECT_EQ(run.faults(), "");
      for (int m = 0; m < matrices; ++m) {
        for (int lane = 0; lane < 32; ++lane) {
          for (int e = 0; e < 2; ++e) {
            const int row = transposed ? 2 * (lane % 4) + e : lane / 4;
            const int column = transposed ? lane / 4 : 2 * (lane % 4) + e;
            EXPECT_EQ(run.at<uint16_t>(lane * 8 + m * 2 + e), 1000 * m + 10 * row + column);
          }
        }
      }
    }
  }
}

TEST(CollectivesNeedTheWholeWarp) {
  const std::string half_warp = "mov.u32 %r60, %laneid;\nsetp.lt.u32 %p1, %r60, 16;\n";
  const auto run =
      run_text(wrap_body(half_warp + "@%p1 mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                                     "{%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7}, {%r1,%r2,%r3,%r4};"),
               8, {});
  EXPECT_TRUE(contains(run.faults(), "mma.sync needs the lanes ffffffff"));
}

namespace {

// 16 bytes from `in` to shared memory by one thread, `wait` before they are read back.
ptx_emulator::RunResult copy(const std::string& copies, const std::string& wait,
                             const std::string& declarations = "") {
  std::vector<uint8_t> in(64);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i + 1);
  const std::string body = ".shared .align 16 .b8 s[64];\nmov.u32 %r1, s;\n" + declarations +
                           copies + wait +
                           "\nld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];\n"
                           "st.global.v4.u32 [%out], {%r2, %r3, %r4, %r5};";
  RunOptions options;
  options.threads = 1;
  return run_text(wrap_body(body), 16, in, options);
}

const char* const kCopy16 = "cp.async.cg.shared.global.L2::128B [%r1], [%in+16], 16;\n";

}  // namespace

TEST(CopiesArriveAtTheirWait) {
  for (const char* wait :
       {"cp.async.commit_group;\ncp.async.wait_group 0;", "cp.async.wait_all;"}) {
    const auto run = copy(kCopy16, wait);
    EXPECT_EQ(run.faults(), "");
    for (int i = 0; i < 16; ++i) EXPECT_EQ(run.at<uint8_t>(i), i + 17);
  }
}

TEST(CopiesFillWithZerosBehindTheirSourceSize) {
  const std::string wait = "cp.async.wait_all;";
  const auto part =
      copy("mov.u32 %r9, 5;\ncp.async.ca.shared.global [%r1], [%in], 16, %r9;\n", wait);
  EXPECT_EQ(part.faults(), "");
  for (int i = 0; i < 16; ++i) EXPECT_EQ(part.at<uint8_t>(i), i < 5 ? i + 1 : 0);
  const auto none = copy("cp.async.cg.shared.global [%r1], [0], 16, 0;\n", wait);
  EXPECT_EQ(none.faults(), "");
  EXPECT_EQ(none.at<uint64_t>(0), 0ull);
  const auto ignored =
      copy("setp.eq.u32 %p1, 0, 0;\ncp.async.cg.shared.global [%r1], [%in], 16, %p1;\n", wait);
  EXPECT_EQ(ignored.at<uint64_t>(1), 0ull);
  const auto small = copy(
      "cp.async.ca.shared.global [%r1+8], [%in], 8;\ncp.async.ca.shared.global [%r1+4], [%in+4], "
      "4;\ncp.async.ca.shared.global [%r1], [%in], 4;\n",
      wait);
  EXPECT_EQ(small.faults(), "");
  EXPECT_EQ(small.at<uint64_t>(0), small.at<uint64_t>(1));
}

TEST(WaitsThatAreTooWeakAreReported) {
  const std::string commit = "cp.async.commit_group;\n";
  const std::string second = "cp.async.cg.shared.global [%r1+16], [%in], 16;\n" + commit;
  EXPECT_EQ(copy(kCopy16 + commit + second,
                 "cp.async.wait_group 1;\nld.shared.u32 %r20, [%r1];\ncp.async.wait_group 0;")
                .faults(),
            "");
  for (const char* wait : {"", "cp.async.wait_group 2;"}) {
    const auto run = copy(kCopy16 + commit + second, wait);
    EXPECT_TRUE(contains(run.faults(), "\"kind\": \"async\""));
    EXPECT_EQ(run.at<uint32_t>(0), ~0u);  // poisoned
  }
  EXPECT_TRUE(contains(copy(kCopy16 + commit, "cp.async.wait_group 1;").faults(), "in flight"));
  EXPECT_TRUE(contains(copy(second, "st.shared.v4.u32 [%r1], {1, 1, 1, 1};").faults(),
                       "still in flight at its exit"));
}

TEST(CopiesRaceWithReadersThatNoBarrierHolds) {
  // Warp 1 reads the tile while warp 0 already issues the next copy into it.
  const std::string body = R"(
.shared .align 16 .b8 s[16];
mov.u32 %r0, %tid.x; mov.u32 %r1, s;
setp.eq.u32 %p1, %r0, 0;
setp.eq.u32 %p2, %r0, 32;
@%p1 cp.async.cg.shared.global [%r1], [%in], 16;
cp.async.wait_all;
bar.sync 0;
@%p2 ld.shared.u32 %r2, [%r1];
SYNC
@%p1 cp.async.cg.shared.global [%r1], [%in], 16;
bar.sync 0;
cp.async.wait_all;)";
  const auto with = [&](const std::string& sync) {
    std::string text = body;
    RunOptions options;
    options.threads = 64;
    options.seed = 5;
    return run_text(wrap_body(text.replace(text.find("SYNC"), 4, sync)), 4,
                    std::vector<uint8_t>(16, 1), options)
        .faults();
  };
  EXPECT_EQ(with("bar.sync 0;"), "");
  EXPECT_NE(with(""), "");
}
