// Integer and bit instructions against plain expressions, on values at the edges of the types.
#include <algorithm>
#include <cstdint>
#include <random>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::evaluate;
using Values = std::vector<uint64_t>;

namespace {

// Edges of 16, 32 and 64 bits, then seeded random numbers; one per lane.
Values edges(uint32_t seed) {
  Values values = {0,
                   1,
                   2,
                   3,
                   31,
                   32,
                   33,
                   63,
                   64,
                   0x7f,
                   0x80,
                   0xff,
                   0x7fff,
                   0x8000,
                   0xffff,
                   0x7fffffff,
                   0x80000000,
                   0xffffffff,
                   0x7fffffffffffffff,
                   0x8000000000000000,
                   0xffffffffffffffff};
  std::mt19937_64 random(seed);
  while (values.size() < 32) values.push_back(random());
  std::shuffle(values.begin(), values.end(), random);
  return values;
}

template <class T, class Expected>
void check2(const std::string& opcode, char kind, Expected expected) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    const Values a = edges(seed), b = edges(100 + seed);
    const std::string r = std::string(" %") + (kind == 'w' ? 'r' : kind);
    const Values got = evaluate(opcode + r + "9," + r + "0," + r + "1;", kind, {a, b});
    for (int lane = 0; lane < 32; ++lane) {
      const T wanted = expected(static_cast<T>(a[lane]), static_cast<T>(b[lane]));
      if (static_cast<T>(got[lane]) == wanted) continue;
      testing::fail(__FILE__, __LINE__,
                    opcode + " lane " + std::to_string(lane) + ": " + std::to_string(a[lane]) +
                        ", " + std::to_string(b[lane]) + " gives " + std::to_string(got[lane]));
    }
  }
}

uint64_t one(const std::string& body, char kind, std::vector<uint64_t> operands) {
  ptx_emulator::Operands all;
  for (uint64_t operand : operands) all.push_back({operand});
  return evaluate(body, kind, all)[5];
}

}  // namespace

TEST(AddSubtractMultiplyWrapInEveryWidth) {
  check2<uint16_t>("add.s16", 'h', [](uint16_t a, uint16_t b) { return uint16_t(a + b); });
  check2<uint32_t>("add.s32", 'w', [](uint32_t a, uint32_t b) { return a + b; });
  check2<uint64_t>("add.s64", 'd', [](uint64_t a, uint64_t b) { return a + b; });
  check2<uint32_t>("sub.u32", 'w', [](uint32_t a, uint32_t b) { return a - b; });
  check2<uint16_t>("mul.lo.s16", 'h',
                   [](uint16_t a, uint16_t b) { return uint16_t(uint32_t(a) * b); });
  check2<uint32_t>("mul.lo.s32", 'w', [](uint32_t a, uint32_t b) { return a * b; });
  check2<uint64_t>("mul.lo.s64", 'd', [](uint64_t a, uint64_t b) { return a * b; });
}

TEST(HighHalvesOfProducts) {
  check2<int32_t>("mul.hi.s32", 'w',
                  [](int32_t a, int32_t b) { return int32_t((int64_t(a) * b) >> 32); });
  check2<uint32_t>("mul.hi.u32", 'w',
                   [](uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); });
  check2<uint64_t>("mul.hi.u64", 'd', [](uint64_t a, uint64_t b) {
    return uint64_t((static_cast<unsigned __int128>(a) * b) >> 64);
  });
  check2<int64_t>("mul.hi.s64", 'd', [](int64_t a, int64_t b) {
    return int64_t((static_cast<__int128>(a) * b) >> 64);
  });
}

TEST(WideProductsAndSums) {
  EXPECT_EQ(one("mul.wide.s32 %d9, %r0, %r1;", 'd', {0xffffffff, 3}), uint64_t(-3));
  EXPECT_EQ(one("mul.wide.u32 %d9, %r0, %r1;", 'd', {0xffffffff, 3}), 0x2fffffffdull);
  EXPECT_EQ(one("mul.wide.s16 %r9, %h0, %h1;", 'w', {0x8000, 0x7fff}), 0xc0008000ull);
  EXPECT_EQ(one("mad.wide.s32 %d9, %r0, %r1, %d2;", 'd', {0x80000000, 2, 5}),
            uint64_t(-4294967291ll));
  EXPECT_EQ(one("mad.lo.s32 %r9, %r0, %r1, %r2;", 'w', {7, 0xfffffffe, 20}), 6ull);
  EXPECT_EQ(one("mad24.lo.s32 %r9, %r0, %r1, %r2;", 'w', {0xff800001, 2, 1}), 0xff000003ull);
  EXPECT_EQ(one("mul24.lo.u32 %r9, %r0, %r1;", 'w', {0xff000003, 5}), 15ull);
}

TEST(DivisionByZeroAndOverflowAreDefined) {
  EXPECT_EQ(one("div.s32 %r9, %r0, %r1;", 'w', {0x80000000, 0xffffffff}), 0x80000000ull);
  EXPECT_EQ(one("div.u32 %r9, %r0, %r1;", 'w', {5, 0}), 0xffffffffull);
  EXPECT_EQ(one("div.s32 %r9, %r0, %r1;", 'w', {uint32_t(-7), 2}), uint32_t(-3));
  EXPECT_EQ(one("rem.s32 %r9, %r0, %r1;", 'w', {uint32_t(-7), 2}), uint32_t(-1));
  EXPECT_EQ(one("rem.s64 %d9, %d0, %d1;", 'd', {1ull << 63, uint64_t(-1)}), 0ull);
  EXPECT_EQ(one("rem.u32 %r9, %r0, %r1;", 'w', {17, 5}), 2ull);
  EXPECT_EQ(one("rem.s32 %r9, %r0, %r1;", 'w', {17, 0}), 0xffffffffull);
}

TEST(MinMaxAbsNeg) {
  check2<int32_t>("min.s32", 'w', [](int32_t a, int32_t b) { return a < b ? a : b; });
  check2<uint32_t>("min.u32", 'w', [](uint32_t a, uint32_t b) { return a < b ? a : b; });
  check2<uint32_t>("max.u32", 'w', [](uint32_t a, uint32_t b) { return a > b ? a : b; });
  check2<int16_t>("max.s16", 'h', [](int16_t a, int16_t b) { return a > b ? a : b; });
  EXPECT_EQ(one("abs.s32 %r9, %r0;", 'w', {uint32_t(-5)}), 5ull);
  EXPECT_EQ(one("neg.s16 %h9, %h0;", 'h', {1}), 0xffffull);
}

TEST(ShiftsClampTheirAmounts) {
  EXPECT_EQ(one("shl.b32 %r9, %r0, %r1;", 'w', {1, 32}), 0ull);
  EXPECT_EQ(one("shl.b32 %r9, %r0, %r1;", 'w', {1, 31}), 0x80000000ull);
  EXPECT_EQ(one("shr.s32 %r9, %r0, %r1;", 'w', {0x80000000, 100}), 0xffffffffull);
  EXPECT_EQ(one("shr.u32 %r9, %r0, %r1;", 'w', {0x80000000, 32}), 0ull);
  EXPECT_EQ(one("shl.b64 %d9, %d0, %r1;", 'd', {3, 63}), 1ull << 63);
  EXPECT_EQ(one("shr.s16 %h9, %h0, %r1;", 'h', {0x8000, 3}), 0xf000ull);
  EXPECT_EQ(one("shf.l.wrap.b32 %r9, %r0, %r1, %r2;", 'w', {0x80000001, 0x2, 33}), 5ull);
  EXPECT_EQ(one("shf.r.wrap.b32 %r9, %r0, %r1, %r2;", 'w', {0x80000001, 0x3, 1}), 0xc0000000ull);
  EXPECT_EQ(one("shf.r.clamp.b32 %r9, %r0, %r1, %r2;", 'w', {1, 7, 40}), 7ull);
}

TEST(Lop3TakesTheTruthTableOfAConstant) {
  const uint64_t a = 0xf0f0a5a5, b = 0xccccff00, c = 0xaaaa1234;
  EXPECT_EQ(one("lop3.b32 %r9, %r0, %r1, %r2, 0xEA;", 'w', {a, b, c}), ((a & b) | c));
  EXPECT_EQ(one("lop3.b32 %r9, %r0, %r1, %r2, 0x96;", 'w', {a, b, c}), (a ^ b ^ c));
  EXPECT_EQ(one("lop3.b32 %r9, %r0, %r1, %r2, 0x6A;", 'w', {a, b, c}), ((a & b) ^ c));
  EXPECT_EQ(one("lop3.b32 %r9, %r0, %r1, %r2, 0xF0;", 'w', {a, b, c}), a);
}

TEST(ConversionsReadTheLowBitsOfWideRegisters) {
  const uint64_t wide = 0x1234567880009abc;
  EXPECT_EQ(one("cvt.s64.s32 %d9, %d0;", 'd', {wide}), 0xffffffff80009abcull);
  EXPECT_EQ(one("cvt.u32.u16 %r9, %d0;", 'w', {wide}), 0x9abcull);
  EXPECT_EQ(one("cvt.s32.s8 %r9, %d0;", 'w', {wide}), 0xffffffbcull);
}

TEST(PermuteAndBitFields) {
  EXPECT_EQ(one("prmt.b32 %r9, %r0, %r1, 0x7531;", 'w', {0x33221100, 0x77665544}), 0x77553311ull);
  EXPECT_EQ(one("prmt.b32 %r9, %r0, %r1, 0x00C8;", 'w', {0x00000080, 0x0000007f}), 0x808000ffull);
  EXPECT_EQ(one("bfe.u32 %r9, %r0, 4, 8;", 'w', {0xabcdef12}), 0xf1ull);
  EXPECT_EQ(one("bfe.s32 %r9, %r0, 4, 8;", 'w', {0xabcdef12}), 0xfffffff1ull);
  EXPECT_EQ(one("bfe.s32 %r9, %r0, 28, 16;", 'w', {0x80000000}), 0xfffffff8ull);
  EXPECT_EQ(one("bfe.u32 %r9, %r0, 0, 32;", 'w', {0x80000001}), 0x80000001ull);
  EXPECT_EQ(one("bfi.b32 %r9, %r0, %r1, 8, 4;", 'w', {0xff, 0}), 0xf00ull);
  EXPECT_EQ(one("bfi.b32 %r9, %r0, %r1, 40, 4;", 'w', {0xff, 9}), 9ull);
  EXPECT_EQ(one("bfe.u32 %r9, %r0, 260, 8;", 'w', {0xabcdef12}), 0xf1ull);
  EXPECT_EQ(one("bfe.u64 %d9, %d0, 256, 8;", 'd', {0xabcdef12}), 0ull);
}

TEST(CountsAndReversals) {
  EXPECT_EQ(one("popc.b32 %r9, %r0;", 'w', {0xf0f00001}), 9ull);
  EXPECT_EQ(one("popc.b64 %r9, %d0;", 'w', {~0ull}), 64ull);
  EXPECT_EQ(one("clz.b32 %r9, %r0;", 'w', {0}), 32ull);
  EXPECT_EQ(one("clz.b64 %r9, %d0;", 'w', {1}), 63ull);
  EXPECT_EQ(one("brev.b32 %r9, %r0;", 'w', {1}), 0x80000000ull);
  EXPECT_EQ(one("bfind.u32 %r9, %r0;", 'w', {0}), 0xffffffffull);
  EXPECT_EQ(one("bfind.s32 %r9, %r0;", 'w', {0xfffffffe}), 0ull);
  EXPECT_EQ(one("bfind.shiftamt.u32 %r9, %r0;", 'w', {0x10}), 27ull);
}

TEST(ComparisonsOfSignedAndUnsignedDiffer) {
  EXPECT_EQ(one("setp.lt.s32 %p9, %r0, %r1;", 'p', {0xffffffff, 0}), 1ull);
  EXPECT_EQ(one("setp.lt.u32 %p9, %r0, %r1;", 'p', {0xffffffff, 0}), 0ull);
  EXPECT_EQ(one("setp.hi.u32 %p9, %r0, %r1;", 'p', {0xffffffff, 0}), 1ull);
  EXPECT_EQ(one("setp.ge.s64 %p9, %d0, %d1;", 'p', {~0ull, 0}), 0ull);
  EXPECT_EQ(one("setp.ne.s16 %p9, %h0, %h1;", 'p', {0x1ffff, 0xffff}), 0ull);
}

TEST(SetpCombinesAndGivesTheInverse) {
  const std::string third = "setp.ne.s32 %p1, %r2, 0;\n";
  EXPECT_EQ(one(third + "setp.lt.and.s32 %p9, %r0, %r1, %p1;", 'p', {1, 2, 0}), 0ull);
  EXPECT_EQ(one(third + "setp.lt.and.s32 %p9, %r0, %r1, !%p1;", 'p', {1, 2, 0}), 1ull);
  EXPECT_EQ(one(third + "setp.lt.or.s32 %p9, %r0, %r1, %p1;", 'p', {3, 2, 1}), 1ull);
  EXPECT_EQ(one(third + "setp.lt.xor.s32 %p9, %r0, %r1, %p1;", 'p', {1, 2, 1}), 0ull);
  EXPECT_EQ(one(third + "setp.lt.and.s32 %p2|%p9, %r0, %r1, %p1;", 'p', {3, 2, 1}), 1ull);
  EXPECT_EQ(one(third + "selp.b32 %r9, 7, 8, %p1;", 'w', {0, 0, 1}), 7ull);
  EXPECT_EQ(one(third + "not.pred %p9, %p1;", 'p', {0, 0, 1}), 0ull);
}

TEST(GuardsLeaveOtherLanesAlone) {
  ptx_emulator::Operands lanes = {{}, {5}};
  for (uint64_t lane = 0; lane < 32; ++lane) lanes[0].push_back(lane);
  const auto got =
      evaluate("mov.u32 %r9, 1;\nsetp.lt.u32 %p1, %r0, %r1;\n@!%p1 mov.u32 %r9, 2;", 'w', lanes);
  for (uint64_t lane = 0; lane < 32; ++lane) EXPECT_EQ(got[lane], lane < 5 ? 1ull : 2ull);
}
