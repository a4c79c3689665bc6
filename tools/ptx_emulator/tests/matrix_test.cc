// ldmatrix, mma.sync and cp.async. Matrices are asymmetric and their values all differ, so that a
// transposed or permuted fragment cannot pass.
#include <cmath>
#include <cstring>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

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

void check_mma(const std::string& types, int depth, uint16_t (*encode)(float),
               bool half_accumulator) {
  const std::string a = depth == 16 ? "{%r0, %r1, %r2, %r3}" : "{%r0, %r1}";
  const std::string b = depth == 16 ? "{%r4, %r5}" : "{%r4}";
  const std::string c = half_accumulator ? "{%r6, %r7}" : "{%r6, %r7, %r8, %r9}";
  const std::string d = half_accumulator ? "{%r10, %r11}" : "{%r10, %r11, %r12, %r13}";
  const std::string body = R"(
mov.u32 %r60, %laneid;
mad.wide.u32 %in, %r60, 48, %in;
mad.wide.u32 %out, %r60, 16, %out;
ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%in];
ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%in+16];
ld.global.v2.u32 {%r8, %r9}, [%in+32];
mov.u32 %r12, 0; mov.u32 %r13, 0;
mma.sync.aligned.m16n8k)" + std::to_string(depth) +
                           ".row.col." + types + " " + d + ", " + a + ", " + b + ", " + c +
                           ";\nst.global.v4.u32 [%out], {%r10, %r11, %r12, %r13};";
  const auto run = run_text(wrap_body(body), 512, fragments(depth, encode, half_accumulator));
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

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
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
