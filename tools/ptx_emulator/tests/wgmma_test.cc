// wgmma: its results in every layout of shared memory, and the faults of kernels that use it
// wrongly.
#include <cstring>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::replaced;
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

// A matrix of rows along k in shared memory, as the PTX ISA draws it; `transposed`: of rows along
// the columns of B.
struct Layout {
  uint32_t width;    // bytes of a row of the pattern: 16 is no swizzle
  uint32_t mode;     // bits 62 and 63 of the descriptor
  uint32_t leading;  // bytes
  uint32_t stride;
  uint32_t k = 0;     // the first column, in the pattern
  uint32_t base = 0;  // in rows of 128 bytes
  bool transposed = false;

  uint32_t bytes(int rows) const {
    if (transposed) return offset(static_cast<uint32_t>(rows) - 1, 15) / 1024 * 1024 + 1024;
    return base * 128 + (static_cast<uint32_t>(rows) / 8 - 1) * stride +
           (mode == 0 ? leading + 128 : 8 * width);
  }
  uint32_t offset(uint32_t row, uint32_t column) const {
    if (transposed) return transposed_offset(column, row);
    const uint32_t chunk = (k + column) / 8, rest = 2 * (column % 8);
    const uint32_t pattern = row / 8 * stride + base * 128;
    if (mode == 0) return pattern + row % 8 * 16 + chunk * leading + rest;
    // Rows of 32 and 64 bytes change their place every 128 bytes.
    const uint32_t phase = row % 8 * width / 128 % (width / 16);
    return pattern + row % 8 * width + (chunk ^ phase) * 16 + rest;
  }
  uint32_t transposed_offset(uint32_t depth, uint32_t column) const {
    const uint32_t chunk = column / 8, rest = 2 * (column % 8), in_row = width / 16;
    if (mode == 0) return chunk * stride + depth / 8 * leading + depth % 8 * 16 + rest;
    const uint32_t phase = depth % 8 * width / 128 % in_row;
    return chunk / in_row * leading + depth / 8 * stride + depth % 8 * width +
           (chunk % in_row ^ phase) * 16 + rest;
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
      ", {%a0, %a1, %a2, %a3}, %d1, %p1, " + scales + (layout.transposed ? ", 1;" : ", 0;") +
      "\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
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
  for (uint32_t base : {1, 4, 7}) check_product(32, {128, 1, 16, 1024, 0, base});
  check_product(32, {64, 2, 16, 512, 0, 1});
}

TEST(WgmmaReadsEveryLayoutOfTransposedB) {
  for (const int columns : {16, 64, 128}) {
    check_product(columns, {16, 0, 128, 256, 0, 0, true});
    check_product(columns, {128, 1, 2048, 1024, 0, 0, true});
    check_product(columns, {128, 1, 1024, 2048, 0, 0, true});
    check_product(columns, {64, 2, 1024, 512, 0, 0, true});
    check_product(columns, {32, 3, 512, 256, 0, 0, true});
  }
}

TEST(WgmmaScales) {
  check_product(16, kWide, 1, /*adds=*/false);
  check_product(16, kWide, -1, true, "-1, 1");
  check_product(16, kWide, -1, true, "1, -1");
  check_product(16, kWide, 1, true, "-1, -1");
}

namespace {

constexpr int kColumns = 16;
const char* const kProduct = "wgmma.mma_async";
const char* const kCommit = "wgmma.commit_group.sync.aligned;\n";
const char* const kWait = "wgmma.wait_group.sync.aligned 0;\n";
const char* const kProxyFence = "fence.proxy.async;\n";
const char* const kBarrier = "bar.sync 0;\n";
const char* const kFence = "wgmma.fence.sync.aligned;\n";
const std::string kStore = "st.shared.v4.u32 [%r3], {%r4, %r5, %r6, %r7};\n";

std::string kernel() { return product_kernel(kColumns, kWide); }

std::string without(const std::string& text, const std::string& part) {
  return replaced(text, part, "");
}
std::string before(const std::string& text, const std::string& part, const std::string& added) {
  return replaced(text, part, added + part);
}
std::string after(const std::string& text, const std::string& part, const std::string& added) {
  return replaced(text, part, part + added);
}

// The faults of a kernel under several schedules, one text each.
std::vector<std::string> faults_of(const std::string& text, uint32_t threads = kThreads) {
  std::vector<std::string> found;
  for (const uint32_t seed : {0, 1, 2, 3}) {
    RunOptions options;
    options.threads = threads;
    options.seed = seed;
    found.push_back(
        run_text(text, 2 * kColumns * kThreads, operands(kColumns, kWide), options).faults());
  }
  return found;
}

void expect_fault(const std::string& text, const std::string& kind, const std::string& message,
                  uint32_t threads = kThreads) {
  for (const std::string& faults : faults_of(text, threads)) {
    EXPECT_TRUE(faults.find("\"kind\": \"" + kind + "\"") != std::string::npos);
    if (faults.find(message) == std::string::npos) EXPECT_EQ(faults, message);
  }
}

void expect_clean(const std::string& text) {
  for (const std::string& faults : faults_of(text)) EXPECT_EQ(faults, "");
}

}  // namespace

TEST(WgmmaNeedsItsFenceOfRegisters) {
  expect_fault(without(kernel(), kFence), "async", "written with no wgmma.fence since");
  for (const char* written : {"mov.b32 %a3, 0;\n", "mov.f32 %f7, 0f00000000;\n"}) {
    expect_fault(after(kernel(), kFence, written), "async", "written with no wgmma.fence since");
    expect_clean(before(kernel(), kFence, written));
  }
  expect_clean(after(kernel(), kFence, "mov.b32 %r4, %a3;\nmov.f32 %f20, %f7;\n"));
}

TEST(RegistersOfWgmmaAreBusyUntilItsWait) {
  for (const char* gone : {kWait, kCommit}) {
    expect_fault(without(kernel(), gone), "async", "read of an accumulator of the wgmma at PTX");
    expect_fault(without(kernel(), gone), "async", "still in flight at its exit");
  }
  expect_fault(replaced(kernel(), "aligned 0;", "aligned 1;"), "async", "read of an accumulator");
  expect_fault(before(kernel(), kWait, "mov.f32 %f7, 0f00000000;\n"), "async",
               "write of an accumulator");
  expect_fault(before(kernel(), kWait, "mov.b32 %a3, 0;\n"), "async", "write of A of the wgmma");
  expect_clean(after(kernel(), kWait, "mov.b32 %a3, 0;\n"));
  expect_clean(before(kernel(), kWait, "mov.b32 %r4, %a3;\n"));
}

namespace {

// A product like that of kernel(), on other registers.
std::string product(int columns, const std::string& d, const std::string& a) {
  return "wgmma.mma_async.sync.aligned.m64n" + std::to_string(columns) + "k16.f32.f16.f16 " + d +
         ", " + a + ", %d1, %p1, 1, 1, 0;\n";
}

const char* const kA = "{%a0, %a1, %a2, %a3}";

}  // namespace

TEST(WgmmaOfOneShapeMayFollowOneAnother) {
  const std::string same = product(kColumns, list("%f", 8), kA);
  expect_clean(before(kernel(), kCommit, same));
  expect_clean(before(kernel(), kWait, same + kCommit));
  expect_clean(after(kernel(), kWait, same + kCommit + kWait));
  const std::string written = "mov.f32 %f7, 0f00000000;\n";
  expect_fault(after(kernel(), kWait, written + same + kCommit + kWait), "async",
               "accumulators of this wgmma were written with no wgmma.fence");
  expect_clean(after(kernel(), kWait, written + kFence + same + kCommit + kWait));
  const std::string smaller = product(8, list("%f", 4), kA);
  expect_fault(before(kernel(), kCommit, smaller), "async", "use in another shape");
  expect_fault(after(kernel(), kWait, smaller + kCommit + kWait), "async",
               "accumulators of this wgmma were written with no wgmma.fence");
  expect_clean(after(kernel(), kWait, kFence + smaller + kCommit + kWait));
  expect_fault(before(kernel(), kCommit, product(8, "{%a0, %f9, %f10, %f11}", kA)), "async",
               "write of A of the wgmma");
  expect_fault(
      before(kernel(), kCommit, product(8, "{%f8, %f9, %f10, %f11}", "{%f0, %f1, %f2, %f3}")),
      "async", "use in A of an accumulator");
}

TEST(AWaitCompletesAllButTheNewestGroups) {
  const std::string other = product(8, "{%f20, %f21, %f22, %f23}", kA) + kCommit;
  const std::string text = before(kernel(), kWait, other);
  expect_clean(text);
  const std::string weak = replaced(text, kWait, "wgmma.wait_group.sync.aligned 1;\n");
  const std::string last = std::string(kWait) + "ret;";
  expect_clean(replaced(weak, "ret;", last));
  expect_fault(before(replaced(weak, "ret;", last), "mad.wide.u32 %out", "mov.f32 %f30, %f20;\n"),
               "async", "read of an accumulator");
}

TEST(SharedMemoryOfWgmmaIsBusyUntilItsWait) {
  const std::string in_flight = "while a wgmma of warp";
  expect_fault(before(kernel(), kWait, kStore), "async", in_flight);
  const std::string behind = after(kernel(), kWait, kStore);
  expect_fault(behind, "race", "was read by a wgmma of warp");
  expect_clean(after(kernel(), kWait, kBarrier + kStore));
  expect_fault(before(kernel(), kWait, kBarrier + kStore), "async", in_flight);
  // A copy is a write, too.
  const std::string copy = "cp.async.cg.shared.global [%r3], [%d0], 16;\n";
  const std::string arrive = "cp.async.wait_all;\n";
  expect_fault(before(kernel(), kWait, copy + arrive), "async", in_flight);
  expect_clean(after(kernel(), kWait, kBarrier + copy + arrive));
}

TEST(WgmmaReadsWhatABarrierAndAProxyFenceHandOver) {
  const std::string unseen = "wrote with no fence.proxy.async since";
  expect_fault(without(kernel(), kProxyFence), "async", unseen);
  expect_fault(without(kernel(), kBarrier), "race", "read after write");
  expect_fault(before(without(kernel(), kProxyFence), "mov.u32 %r2, tile;", kProxyFence), "async",
               unseen);
  // The fence may stand in whoever the barrier lets go on, but not in some lanes of the writers.
  expect_clean(after(without(kernel(), kProxyFence), kBarrier, kProxyFence));
  expect_fault(
      replaced(kernel(), kProxyFence, "setp.ne.u32 %p2, %r0, 5;\n@%p2 fence.proxy.async;\n"),
      "async", unseen);
  // What is written behind the fence needs another one.
  expect_fault(after(kernel(), kProxyFence, kStore), "async", unseen);
  expect_clean(after(kernel(), kProxyFence, kStore + kProxyFence));
  const std::string copy = "cp.async.cg.shared.global [%r3], [%d0+2048], 16;\n";
  expect_clean(before(kernel(), kProxyFence, copy + "cp.async.wait_all;\n"));
  expect_fault(before(kernel(), kBarrier, copy + "cp.async.wait_all;\n"), "async", unseen);
  expect_fault(before(kernel(), kBarrier, copy), "async", "while a cp.async to it is in flight");
}

TEST(AProxyFenceDoesNotOrderLanes) {
  const std::string neighbour = "xor.b32 %r5, %r3, 16;\n";
  const std::string read = "ld.shared.u32 %r4, [%r5];\n";
  expect_fault(after(kernel(), kProxyFence, neighbour + read), "race",
               "read after write within the warp");
  expect_clean(after(kernel(), kProxyFence, neighbour + "bar.warp.sync -1;\n" + read));
  const std::string write = "st.shared.u32 [%r3], %r4;\n";
  expect_fault(after(kernel(), kBarrier, neighbour + read + kProxyFence + write), "race",
               "write after read within the warp");
}

TEST(WgmmaReadsInitializedMemoryOfTheBlock) {
  expect_fault(replaced(kernel(), "@%p0 st.shared", "setp.ge.u32 %p0, %r0, 16;\n@%p0 st.shared"),
               "uninitialized", "which nobody wrote");
  expect_fault(
      replaced(kernel(), "add.u64 %d1, %d1, ", "add.u64 %d1, %d1, 64;\nadd.u64 %d1, %d1, "),
      "bounds", "wgmma reads 16 bytes at shared+2048 (row 8); the block has 2048 bytes");
}

TEST(WarpsOfAWarpgroupExecuteTheSameWgmma) {
  const std::string odd = "setp.gt.u32 %p2, %r0, 95;\n";
  expect_fault(replaced(kernel(), kProduct, odd + "@!%p2 " + kProduct), "warp_sync",
               "warp 3 exits after 0 of the 1 wgmma of its warpgroup");
  expect_fault(before(kernel(), kFence, odd + "@%p2 add.u64 %d1, %d1, 8;\n"), "warp_sync",
               "with other operands");
  expect_fault(before(kernel(), kFence, odd + "@%p2 setp.ne.u32 %p1, %r0, %r0;\n"), "warp_sync",
               "with other operands");
  const std::string twice = product(kColumns, list("%f", 8), kA);
  expect_fault(
      replaced(kernel(), kProduct, odd + "@%p2 bra other;\n" + twice + "other: " + kProduct),
      "warp_sync", "different wgmma");
  expect_fault(kernel(), "warp_sync", "wgmma needs whole warpgroups of 4 warps, the block has 3",
               96);
}

TEST(LanesOfAWarpExecuteTheSameWgmma) {
  const std::string odd = "setp.eq.u32 %p2, %r0, 5;\n";
  for (const char* opcode : {kProduct, kFence, kCommit, kWait}) {
    const std::string name = std::string(opcode).substr(0, std::string(opcode).find('.', 6));
    expect_fault(replaced(kernel(), opcode, odd + "@!%p2 " + opcode), "warp_sync",
                 name + " needs the lanes ffffffff");
  }
  expect_fault(before(kernel(), kFence, odd + "@%p2 add.u64 %d1, %d1, 8;\n"), "warp_sync",
               "wgmma needs one descriptor: lane 5");
  expect_fault(before(kernel(), kFence, odd + "@%p2 setp.ne.u32 %p1, %r0, %r0;\n"), "warp_sync",
               "wgmma needs one scale-d, that of the lanes is ffffffdf");
}

TEST(ChecksOfWgmmaCanBeSwitchedOff) {
  RunOptions options;
  options.threads = kThreads;
  options.checks = 0;
  std::string text = kernel();
  for (const char* gone : {kFence, kProxyFence, kWait}) text = without(text, gone);
  const auto in = operands(kColumns, kWide);
  EXPECT_EQ(run_text(text, 2 * kColumns * kThreads, in, options).faults(), "");
}

TEST(WhatIsNoWgmmaOfThisGpuIsRefused) {
  const auto refused = [](const std::string& text, const std::string& message) {
    ptx_emulator::Module module;
    EXPECT_THROWS_WITH(ptx_emulator::parse_text(text, module), message);
  };
  const std::string shape = "m64n16k16.f32.f16.f16";
  refused(replaced(kernel(), "sm_90a", "sm_90"), "needs sm_90a, the target is sm_90");
  refused(replaced(kernel(), "sm_90a", "sm_100a"), "needs sm_90a, the target is sm_100a");
  refused(replaced(kernel(), "sm_90a", "sm_89"), "fence.proxy.async needs sm_90 or higher");
  refused(replaced(kernel(), kProxyFence, "fence.proxy.async.global;\n"), "unsupported");
  for (const char* other :
       {"m64n12k16.f32.f16.f16", "m64n264k16.f32.f16.f16", "m64n0k16.f32.f16.f16",
        "m64n16k8.f32.f16.f16", "m64n16k16.f16.f16.f16", "m64n16k16.f32.bf16.bf16",
        "m64n016k16.f32.f16.f16", "m64n16k16.f32.f16.f16.sp"}) {
    refused(replaced(kernel(), shape, other), "unsupported instruction wgmma.mma_async");
  }
  refused(replaced(kernel(), shape, "m64n24k16.f32.f16.f16"), "has 8 registers, needs 12");
  refused(replaced(kernel(), ", 1, 1, 0;", ", 2, 1, 0;"), "imm-scale is 1 or -1, not 2");
  refused(replaced(kernel(), ", 1, 1, 0;", ", 1, 1, 2;"), "imm-trans is 0 or 1, not 2");
  refused(replaced(kernel(), ", 1, 1, 0;", ", 1, 1;"), "has 6 operands, needs 7 to 8");
}
