// mbarrier objects and setmaxnreg: a ring of stages between warps, and the faults of kernels that
// use them wrongly.
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::RunResult;
using ptx_emulator::wrap_body;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::invalid_argument("no '" + from + "' in the kernel");
  return text.replace(at, from.size(), to);
}

constexpr int kTiles = 7;
constexpr uint32_t kThreads = 128;

// Warp 0 fills two stages of 32 words in turn, the other three warps read each of them.
const char* const kRing = R"(
.shared .align 8 .b8 barriers[32];  // full, full, empty, empty
.shared .align 16 .b8 stages[256];
mov.u32 %r0, %tid.x;
and.b32 %r1, %r0, 31;
shr.u32 %r2, %r0, 5;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra initialised;
mbarrier.init.shared::cta.b64 [barriers], 32;
mbarrier.init.shared::cta.b64 [barriers+8], 32;
mbarrier.init.shared.b64 [barriers+16], 96;
mbarrier.init.shared.b64 [barriers+24], 96;
initialised:
bar.sync 0;
mov.u32 %r20, barriers;
mov.u32 %r21, stages;
mov.u32 %r3, 0;
mov.u32 %r4, 0;
next:
and.b32 %r5, %r3, 1;
shl.b32 %r6, %r5, 3;
add.u32 %r6, %r6, %r20;  // its barriers
shl.b32 %r7, %r5, 7;
add.u32 %r7, %r7, %r21;
shl.b32 %r8, %r1, 2;
add.u32 %r8, %r7, %r8;   // its word of the lane
shr.u32 %r9, %r3, 1;
and.b32 %r9, %r9, 1;
xor.b32 %r10, %r9, 1;
setp.ne.u32 %p1, %r2, 0;
@%p1 bra consumer;
wait_empty:
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r6+16], %r10;
@!%p2 bra wait_empty;
mad.lo.u32 %r11, %r3, 100, %r1;
st.shared.u32 [%r8], %r11;
mbarrier.arrive.shared::cta.b64 _, [%r6];
bra advance;
consumer:
wait_full:
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r6], %r9;
@!%p2 bra wait_full;
xor.b32 %r12, %r8, 4;
ld.shared.u32 %r13, [%r12];
add.u32 %r4, %r4, %r13;
mbarrier.arrive.shared::cta.b64 _, [%r6+16];
advance:
add.u32 %r3, %r3, 1;
setp.lt.u32 %p3, %r3, 7;
@%p3 bra next;
mad.wide.u32 %out, %r0, 4, %out;
st.global.u32 [%out], %r4;
)";

RunResult run_body(const std::string& body, uint32_t threads = kThreads, uint32_t seed = 0,
                   uint32_t checks = ptx_emulator::kCheckAll) {
  RunOptions options;
  options.threads = threads;
  options.seed = seed;
  options.checks = checks;
  return run_text(wrap_body(body, "", "sm_90"), 4 * threads, {}, options);
}

void expect_ring(const RunResult& run) {
  EXPECT_EQ(run.faults(), "");
  for (uint32_t thread = 0; thread < kThreads; ++thread) {
    const uint32_t lane = thread % 32;
    const uint32_t sum = kTiles * (kTiles - 1) / 2 * 100 + kTiles * (lane ^ 1);
    EXPECT_EQ(run.at<uint32_t>(thread), thread < 32 ? 0u : sum);
  }
}

}  // namespace

TEST(RingOfStages) {
  expect_ring(run_body(kRing));
  expect_ring(run_body(kRing, kThreads, 0, 0));
  for (uint32_t seed = 1; seed <= 20; ++seed) expect_ring(run_body(kRing, kThreads, seed));
}

TEST(FaultsOfARing) {
  for (uint32_t seed : {0u, 1u, 2u}) {
    const auto faults = [&](const char* from, const char* to) {
      return run_body(replaced(kRing, from, to), kThreads, seed).faults();
    };
    const std::string not_full = faults("@!%p2 bra wait_full;", "");
    EXPECT_TRUE(contains(not_full, "read after write: shared+"));
    const std::string overwritten = faults("@!%p2 bra wait_empty;", "");
    EXPECT_TRUE(contains(overwritten, "write after read: shared+"));
    const std::string missing = faults("mbarrier.arrive.shared::cta.b64 _, [%r6+16];", "");
    EXPECT_TRUE(contains(missing, "\"kind\": \"deadlock\""));
  }
}
