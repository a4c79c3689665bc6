// wgmma: its results in every layout of shared memory, and the faults of kernels that use it
// wrongly.
#include <cstring>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::RunResult;

namespace {

constexpr int kThreads = 128;

uint16_t half(float value) {
  const _Float16 h = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &h, 2);
  return bits;
}

// Asymmetric, all different within a row, and exact in every sum.
float a_value(int row, int k) { return static_cast<float>(row * 3 - k * 2 + 1) / 8; }
float b_value(int k, int column) { return static_cast<float>(k - column * 5 + 2) / 4; }
float c_value(int thread, int i) { return static_cast<float>(thread - 2 * i); }

// A matrix of rows along k in shared memory, as the PTX ISA draws it.
struct Layout {
  uint32_t width;    // bytes of a row of the pattern: 16 is no swizzle
  uint32_t mode;     // bits 62 and 63 of the descriptor
  uint32_t leading;  // bytes
  uint32_t stride;
  uint32_t k = 0;     // the first column, in the pattern
  uint32_t base = 0;  // in rows of 128 bytes

  uint32_t bytes(int rows) const {
    return base * 128 + (static_cast<uint32_t>(rows) / 8 - 1) * stride +
           (mode == 0 ? leading + 128 : 8 * width);
  }
  uint32_t offset(uint32_t row, uint32_t column) const {
    const uint32_t chunk = (k + column) / 8, rest = 2 * (column % 8);
    const uint32_t pattern = row / 8 * stride + base * 128;
    if (mode == 0) return pattern + row % 8 * 16 + chunk * leading + rest;
    // Rows of 32 and 64 bytes change their place every 128 bytes.
    const uint32_t phase = row % 8 * width / 128 % (width / 16);
    return pattern + row % 8 * width + (chunk ^ phase) * 16 + rest;
  }
  // Relative to the address of the variable.
  uint64_t descriptor() const {
    return (base * 128 + k * 2) >> 4 | static_cast<uint64_t>(leading >> 4) << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(base) << 49 |
           static_cast<uint64_t>(mode) << 62;
  }
};

constexpr Layout kPlain{16, 0, 128, 256};
constexpr Layout kWide{128, 1, 16, 1024};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::invalid_argument("no '" + from + "' in the kernel");
  return text.replace(at, from.size(), to);
}

std::string list(const char* prefix, int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + (prefix + std::to_string(i));
  return text + "}";
}

// One product of a block of 128 threads: B from `in`, behind the fragments of A.
std::string product_kernel(int columns, const Layout& layout, const std::string& scales = "1, 1") {
  const uint32_t bytes = layout.bytes(columns);
  std::string text = R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry test(.param .u64 out, .param .u64 in)
{
.reg .pred %p<4>;
.reg .b32 %r<8>;
.reg .b32 %a<8>;
.reg .f32 %f<128>;
.reg .b64 %d<8>;
.reg .b64 %out, %in;
.shared .align 1024 .b8 tile[)" +
                     std::to_string(bytes) + R"(];
ld.param.u64 %out, [out];
ld.param.u64 %in, [in];
mov.u32 %r0, %tid.x;
mul.lo.u32 %r1, %r0, 16;
cvt.u64.u32 %d0, %r1;
add.u64 %d0, %d0, %in;
ld.global.v4.u32 {%a0, %a1, %a2, %a3}, [%d0];
mov.u32 %r2, tile;
add.u32 %r3, %r2, %r1;
)";
  for (uint32_t from = 0; from < bytes; from += 16 * kThreads) {
    text += "setp.lt.u32 %p0, %r1, " + std::to_string(bytes - from) + ";\n@%p0 ld.global.v4.u32 " +
            "{%r4, %r5, %r6, %r7}, [%d0+" + std::to_string(16 * kThreads + from) +
            "];\n@%p0 st.shared.v4.u32 [%r3+" + std::to_string(from) + "], {%r4, %r5, %r6, %r7};\n";
  }
  for (int i = 0; i < columns / 2; ++i) {
    text += "sub.s32 %r4, %r0, " + std::to_string(2 * i) + ";\ncvt.rn.f32.s32 %f" +
            std::to_string(i) + ", %r4;\n";
  }
  text +=
      "fence.proxy.async;\nbar.sync 0;\nshr.u32 %r5, %r2, 4;\ncvt.u64.u32 %d1, %r5;\nadd.u64 "
      "%d1, %d1, " +
      std::to_string(layout.descriptor()) +
      ";\nsetp.eq.u32 %p1, %r2, %r2;\nwgmma.fence.sync.aligned;\n"
      "wgmma.mma_async.sync.aligned.m64n" +
      std::to_string(columns) + "k16.f32.f16.f16 " + list("%f", columns / 2) +
      ", {%a0, %a1, %a2, %a3}, %d1, %p1, " + scales +
      ", 0;\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
  text += "mad.wide.u32 %out, %r0, " + std::to_string(2 * columns) + ", %out;\n";
  for (int i = 0; i < columns / 2; ++i) {
    text += "st.global.f32 [%out+" + std::to_string(4 * i) + "], %f" + std::to_string(i) + ";\n";
  }
  return text + "ret;\n}\n";
}

std::vector<uint8_t> operands(int columns, const Layout& layout) {
  std::vector<uint8_t> in(16 * kThreads + (layout.bytes(columns) + 15) / 16 * 16, 0xff);
  for (int thread = 0; thread < kThreads; ++thread) {
    const int group = thread % 32 / 4, pair = 2 * (thread % 4);
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * (thread / 32) + group + 8 * (i % 2), k = pair + 8 * (i / 2);
      const uint16_t values[2] = {half(a_value(row, k)), half(a_value(row, k + 1))};
      std::memcpy(in.data() + 16 * thread + 4 * i, values, 4);
    }
  }
  for (int column = 0; column < columns; ++column) {
    for (int k = 0; k < 16; ++k) {
      const uint16_t value = half(b_value(k, column));
      std::memcpy(in.data() + 16 * kThreads + layout.offset(column, k), &value, 2);
    }
  }
  return in;
}

RunResult run_kernel(const std::string& text, int columns, const Layout& layout,
                     uint32_t threads = kThreads) {
  RunOptions options;
  options.threads = threads;
  return run_text(text, static_cast<size_t>(2 * columns * kThreads), operands(columns, layout),
                  options);
}

void check_product(int columns, const Layout& layout, float sign = 1, bool adds = true,
                   const std::string& scales = "1, 1") {
  std::string text = product_kernel(columns, layout, scales);
  if (!adds) text = replaced(text, "setp.eq.u32 %p1", "setp.ne.u32 %p1");
  const RunResult run = run_kernel(text, columns, layout);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.launch.counters.mma, static_cast<uint64_t>(columns / 2));
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < columns / 2; ++i) {
      const int row = 16 * (thread / 32) + thread % 32 / 4 + i / 2 % 2 * 8;
      const int column = i / 4 * 8 + 2 * (thread % 4) + i % 2;
      float wanted = adds ? c_value(thread, i) : 0;
      for (int k = 0; k < 16; ++k) wanted += sign * a_value(row, k) * b_value(k, column);
      ASSERT_EQ(run.at<float>(static_cast<size_t>(thread * columns / 2 + i)), wanted);
    }
  }
}

}  // namespace

TEST(WgmmaMatchesThePlainProduct) {
  for (const int columns : {8, 16, 24, 64, 128, 256}) check_product(columns, kPlain);
}

TEST(WgmmaReadsEveryLayoutOfB) {
  check_product(32, {16, 0, 1024, 128});
  for (uint32_t k = 0; k < 64; k += 16) check_product(32, {128, 1, 16, 1024, k});
  for (uint32_t k = 0; k < 32; k += 16) check_product(32, {64, 2, 16, 512, k});
  check_product(32, {32, 3, 16, 256});
  check_product(16, {128, 1, 0, 2048});
}

TEST(WgmmaScales) {
  check_product(16, kWide, 1, /*adds=*/false);
  check_product(16, kWide, -1, true, "-1, 1");
  check_product(16, kWide, -1, true, "1, -1");
  check_product(16, kWide, 1, true, "-1, -1");
}
