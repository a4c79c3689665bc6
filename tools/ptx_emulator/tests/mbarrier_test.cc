// mbarrier objects and setmaxnreg: a ring of stages between warps, and the faults of kernels that
// use them wrongly.
#include "tools/ptx_emulator/lexer.h"
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::contains;
using ptx_emulator::replaced;
using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::RunResult;
using ptx_emulator::wrap_body;

namespace {

RunResult run_body(const std::string& body, uint32_t threads, uint32_t seed = 0,
                   uint32_t checks = ptx_emulator::kCheckAll, const char* target = "sm_90a") {
  RunOptions options;
  options.threads = threads;
  options.seed = seed;
  options.checks = checks;
  return run_text(wrap_body(body, "", target), 4 * threads, {}, options);
}

constexpr uint32_t kThreads = 128;
constexpr uint32_t kTiles = 7;

// Warp 0 fills two stages of 32 words in turn, the other three warps read each of them. Every lane
// arrives.
const char* const kRing = R"(
.shared .align 8 .b8 barriers[32];  // full, full, empty, empty
.shared .align 16 .b8 stages[256];
mov.u32 %r0, %tid.x;
and.b32 %r1, %r0, 31;
shr.u32 %r2, %r0, 5;
setp.eq.u32 %p4, %r1, 0;
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
add.u32 %r8, %r7, %r8;  // the lane's word in it
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

// One lane of a warp arrives, or waits, for all: with a __syncwarp between, or without.
std::string ring_of_elected_lanes(bool synced_producer, bool synced_reader, bool synced_wait) {
  const std::string sync = "bar.warp.sync -1;\n";
  std::string text = kRing;
  for (const char* place : {"[barriers], 32", "[barriers+8], 32"}) {
    text = replaced(text, place, std::string(place).substr(0, std::string(place).size() - 2) + "1");
  }
  for (const char* place : {"[barriers+16], 96", "[barriers+24], 96"}) {
    text = replaced(text, place, std::string(place).substr(0, std::string(place).size() - 2) + "3");
  }
  text = replaced(text, "mbarrier.arrive.shared::cta.b64 _, [%r6];",
                  (synced_producer ? sync : "") + "@%p4 mbarrier.arrive.shared::cta.b64 _, [%r6];");
  text =
      replaced(text, "mbarrier.arrive.shared::cta.b64 _, [%r6+16];",
               (synced_reader ? sync : "") + "@%p4 mbarrier.arrive.shared::cta.b64 _, [%r6+16];");
  text = replaced(text, "wait_full:\n", "@!%p4 bra waited;\nwait_full:\n");
  text = replaced(text, "@!%p2 bra wait_full;\n",
                  "@!%p2 bra wait_full;\nwaited:\n" + (synced_wait ? sync : ""));
  return text;
}

void expect_ring(const RunResult& run) {
  EXPECT_EQ(run.faults(), "");
  for (uint32_t thread = 0; thread < kThreads; ++thread) {
    const uint32_t lane = thread % 32;
    const uint32_t sum = kTiles * (kTiles - 1) / 2 * 100 + kTiles * (lane ^ 1);
    EXPECT_EQ(run.at<uint32_t>(thread), thread < 32 ? 0u : sum);
  }
}

constexpr uint32_t kSeeds = 10;

// Expects a fault of the kernel under every schedule; an empty kind or message is any.
void expect_fault(const std::string& body, const std::string& kind, const std::string& message,
                  uint32_t threads = kThreads) {
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    const std::string faults = run_body(body, threads, seed).faults();
    const bool found = contains(faults, "\"kind\": \"" + kind) && contains(faults, message);
    EXPECT_EQ(found ? "" : "seed " + std::to_string(seed) + ": " + faults, "");
  }
}

void expect_no_fault(const std::string& body, uint32_t threads) {
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    EXPECT_EQ(run_body(body, threads, seed).faults(), "");
  }
}

// One thread with an mbarrier; more of them with `threads`.
std::string one_barrier(const std::string& body, const char* init_count = "1") {
  return ".shared .align 8 .b8 s[32];\n.reg .pred %q;\nmov.u32 %r0, %tid.x;\n"
         "setp.ne.u32 %p0, %r0, 0;\n@!%p0 mbarrier.init.shared.b64 [s], " +
         std::string(init_count) + ";\nbar.sync 0;\n" + body;
}

void expect_misuse(const std::string& body, const std::string& kind, const std::string& message) {
  const std::string faults = run_body(body, 1).faults();
  const bool found = contains(faults, "\"kind\": \"" + kind + "\"") && contains(faults, message);
  EXPECT_EQ(found ? "" : body + ": " + faults, "");
}

}  // namespace

TEST(RingOfStages) {
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    expect_ring(run_body(kRing, kThreads, seed));
    expect_ring(run_body(kRing, kThreads, seed, /*checks=*/0));
    expect_ring(run_body(ring_of_elected_lanes(true, true, true), kThreads, seed));
  }
}

TEST(RingWithoutItsWaitsIsARace) {
  expect_fault(replaced(kRing, "@!%p2 bra wait_full;", ""), "race", "was written by warp 0 lane");
  expect_fault(replaced(kRing, "@!%p2 bra wait_empty;", ""), "race", "write after read: shared+");
  // The consumers arrive before they read.
  std::string early = replaced(kRing, "mbarrier.arrive.shared::cta.b64 _, [%r6+16];", "");
  early = replaced(early, "xor.b32 %r12, %r8, 4;",
                   "mbarrier.arrive.shared::cta.b64 _, [%r6+16];\nxor.b32 %r12, %r8, 4;");
  expect_fault(early, "race", "shared+");
}

TEST(ElectedLanesNeedASyncwarp) {
  expect_fault(ring_of_elected_lanes(false, true, true), "race",
               "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)");
  expect_fault(ring_of_elected_lanes(true, false, true), "race",
               "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)");
  expect_fault(ring_of_elected_lanes(true, true, false), "race",
               "(lanes 00000001 of this warp alone waited at an mbarrier: __syncwarp after it?)");
}

TEST(LanesPassOnWhatTheyDidThemselves) {
  // Lane 3 of warp 0 writes a word and arrives, lane 5 of warp 1 waits and reads it.
  const std::string own = R"(
.shared .align 8 .b8 word[8];
setp.eq.u32 %p1, %r0, 3;
setp.eq.u32 %p2, %r0, 37;
@%p1 st.shared.u32 [word], 7;
@%p1 mbarrier.arrive.shared.b64 _, [s];
@!%p2 bra waited;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
waited:
@%p2 ld.shared.u32 %r1, [word];
)";
  expect_no_fault(one_barrier(own), 64);
  expect_fault(one_barrier(replaced(own, "@%p2 ld", "@!%p2 ld")), "race", "read after write", 64);
  // Every lane of warp 0 has a barrier of its own, and so has its lane of warp 1.
  expect_no_fault(R"(
.shared .align 8 .b8 s[512];
.reg .pred %q;
mov.u32 %r0, %tid.x;
mov.u32 %r2, s;
and.b32 %r1, %r0, 31;
mad.lo.u32 %r1, %r1, 16, %r2;
setp.lt.u32 %p0, %r0, 32;
@%p0 mbarrier.init.shared.b64 [%r1], 1;
bar.sync 0;
@!%p0 bra again;
st.shared.u32 [%r1+8], %r0;
mbarrier.arrive.shared.b64 _, [%r1];
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %q, [%r1], 0;
@!%q bra again;
ld.shared.u32 %r3, [%r1+8];
done:
)",
                  64);
}

TEST(AWordThatSeveralLanesReadIsReleasedByAll) {
  // Warp 0 reads one word; its lane 0 arrives for it, and warp 1 overwrites the word.
  const std::string body = R"(
.shared .align 8 .b8 word[8];
@!%p0 st.shared.u32 [word], 1;
bar.sync 0;
setp.lt.u32 %p1, %r0, 32;
@!%p1 bra again;
ld.shared.u32 %r1, [word];
bar.warp.sync -1;
@!%p0 mbarrier.arrive.shared.b64 _, [s];
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
setp.eq.u32 %p2, %r0, 32;
@%p2 st.shared.u32 [word], 2;
done:
)";
  expect_no_fault(one_barrier(body), 64);
  expect_fault(replaced(one_barrier(body), "bar.warp.sync -1;", ""), "race",
               "write after read: shared+32 was read by warp 0 several lanes", 64);
}

TEST(APhaseHandsOverWhatItsOwnArrivalsPassedOn) {
  // The third arrival belongs to the second phase.
  const std::string body = R"(
.shared .align 8 .b8 word[8];
setp.eq.u32 %p1, %r0, 32;
@%p1 bra again;
@%p0 bra done;
mbarrier.arrive.shared.b64 _, [s], 2;
st.shared.u32 [word], 1;
mbarrier.arrive.shared.b64 _, [s];
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
ld.shared.u32 %r1, [word];
done:
)";
  expect_fault(one_barrier(body, "2"), "race", "shared+32", 64);
}

TEST(WhatSomeLanesPassedOnBeforeIsNoneOfTheNextArrival) {
  // Lane 0 arrives, and then lane 5, after lane 0 wrote once more.
  const std::string body = R"(
.shared .align 8 .b8 word[8];
@!%p0 mbarrier.init.shared.b64 [s+8], 1;
setp.eq.u32 %p1, %r0, 5;
setp.ge.u32 %p2, %r0, 32;
bar.sync 0;
@%p2 bra again;
@!%p0 mbarrier.arrive.shared.b64 _, [s];
bar.warp.sync -1;
@!%p0 st.shared.u32 [word], 1;
SYNC
@%p1 mbarrier.arrive.shared.b64 _, [s+8];
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
also:
mbarrier.try_wait.parity.shared.b64 %q, [s+8], 0;
@!%q bra also;
ld.shared.u32 %r1, [word];
done:
)";
  expect_no_fault(one_barrier(replaced(body, "SYNC", "bar.warp.sync -1;")), 64);
  expect_fault(one_barrier(replaced(body, "SYNC", "")), "race", "read after write: shared+32", 64);
}

TEST(LanesPassOnWhatTheyWaitedFor) {
  // From lane 0 of warp 0 to lane 0 of warp 1, and on to warp 2.
  const std::string body = R"(
.shared .align 8 .b8 word[8];
@!%p0 mbarrier.init.shared.b64 [s+8], 1;
setp.eq.u32 %p1, %r0, 32;
setp.eq.u32 %p2, %r0, 64;
bar.sync 0;
@!%p0 st.shared.u32 [word], 1;
@!%p0 mbarrier.arrive.shared.b64 _, [s];
@!%p1 bra passed;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
mbarrier.arrive.shared.b64 _, [s+8];
passed:
@!%p2 bra done;
also:
mbarrier.try_wait.parity.shared.b64 %q, [s+8], 0;
@!%q bra also;
ld.shared.u32 %r1, [word];
done:
)";
  expect_no_fault(one_barrier(body), 96);
}

TEST(EachBlockHasItsOwnObjects) {
  RunOptions options;
  options.blocks = 3;
  const std::string body = one_barrier("mbarrier.arrive.shared.b64 _, [s];", "33");
  EXPECT_EQ(run_text(wrap_body(body, "", "sm_90"), 4, {}, options).faults(), "");
}

TEST(WhatComesAfterAnArrivalIsNotPassedOn) {
  const std::string body = R"(
.shared .align 8 .b8 word[8];
setp.lt.u32 %p1, %r0, 32;
@!%p1 bra again;
mbarrier.arrive.shared.b64 _, [s];
setp.eq.u32 %p2, %r0, 0;
@%p2 st.shared.u32 [word], 7;
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
ld.shared.u32 %r1, [word];
done:
)";
  expect_fault(one_barrier(body, "32"), "race", "shared+", 64);
}

TEST(LanesOfAWarpAreNotOrderedByAnArrival) {
  expect_fault(one_barrier(R"(
.shared .align 4 .b8 words[128];
mov.u32 %r1, words;
shl.b32 %r2, %r0, 2;
add.u32 %r1, %r1, %r2;
st.shared.u32 [%r1], %r0;
mbarrier.arrive.shared.b64 _, [s];
xor.b32 %r1, %r1, 4;
ld.shared.u32 %r3, [%r1];
)",
                           "32"),
               "race", "within the warp", 32);
}

TEST(MissingArrivalsAreADeadlock) {
  const std::string body = replaced(kRing, "mbarrier.arrive.shared::cta.b64 _, [%r6+16];", "");
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    const std::string faults = run_body(body, kThreads, seed).faults();
    EXPECT_TRUE(contains(faults, "\"kind\": \"deadlock\""));
    EXPECT_TRUE(contains(faults,
                         "no warp can go on: warp 0 at the mbarrier at shared+16, whose phase 0 "
                         "needs 96 of 96 arrivals (PTX line 48), warp 1 at the mbarrier at "
                         "shared+0, whose phase 1 needs 32 of 32 arrivals (PTX line 56), warp 2"));
    EXPECT_TRUE(!contains(faults, "instruction_limit"));
  }
  // Other warps wait at another kind of barrier.
  expect_fault(one_barrier("setp.ge.u32 %p1, %r0, 32;\n@%p1 bra again;\nbar.sync 1, 64;\nagain:\n"
                           "mbarrier.try_wait.parity.shared.b64 %q, [s], 0;\n@!%q bra again;\n"
                           "bar.sync 1, 64;"),
               "deadlock", "warp 0 at barrier 1 (PTX line", 64);
  // A loop that would end is no way out.
  expect_fault(one_barrier("mov.u32 %r1, 0;\nagain:\nadd.u32 %r1, %r1, 1;\n"
                           "setp.gt.u32 %p1, %r1, 100000;\n@%p1 trap;\n"
                           "mbarrier.try_wait.parity.shared.b64 %q, [s], 0;\n@!%q bra again;"),
               "deadlock", "needs 1 of 1 arrivals", 1);
}

TEST(WarpsMayWorkBetweenTwoWaits) {
  // Thread 0 arrives after more failed waits than a deadlock would have.
  const std::string late = R"(
mov.u32 %r1, 0;
again:
setp.eq.u32 %p1, %r1, 900;
@%p1 mbarrier.arrive.shared.b64 _, [s];
add.u32 %r1, %r1, 1;
mbarrier.test_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
)";
  expect_no_fault(one_barrier(late), 1);
  // Two warps hand a turn to and fro; each looks at a barrier in vain before that of its turn.
  const std::string turns = R"(
setp.eq.u32 %p1, %r0, 0;
@%p1 mbarrier.init.shared.b64 [s+8], 32;
@%p1 mbarrier.init.shared.b64 [s+16], 32;
bar.sync 0;
mov.u32 %r3, s;
shr.u32 %r2, %r0, 5;
shl.b32 %r4, %r2, 3;
add.u32 %r4, %r4, %r3;
xor.b32 %r5, %r2, 1;
shl.b32 %r5, %r5, 3;
add.u32 %r5, %r5, %r3;
mov.u32 %r6, 0;
again:
mbarrier.test_wait.parity.shared.b64 %q, [s], 0;
@%q trap;
and.b32 %r7, %r6, 1;
xor.b32 %r7, %r7, 1;
xor.b32 %r7, %r7, %r2;
mbarrier.test_wait.parity.shared.b64 %q, [%r4+8], %r7;
@!%q bra again;
mbarrier.arrive.shared.b64 _, [%r5+8];
add.u32 %r6, %r6, 1;
setp.lt.u32 %p2, %r6, 3000;
@%p2 bra again;
)";
  expect_no_fault(one_barrier(turns), 64);
}

TEST(WarpsThatPollAreNotStarvedByOneThatSpins) {
  const std::string body = R"(
.shared .align 4 .b8 flag[4];
setp.lt.u32 %p1, %r0, 32;
st.shared.u32 [flag], 0;
bar.sync 0;
@!%p1 bra spin;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@%q bra done;
st.volatile.shared.u32 [flag], 1;
bra again;
spin:
ld.volatile.shared.u32 %r1, [flag];
setp.eq.u32 %p2, %r1, 0;
@%p2 bra spin;
mbarrier.arrive.shared.b64 _, [s];
done:
)";
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    EXPECT_EQ(run_body(one_barrier(body, "32"), 64, seed, /*checks=*/0).faults(), "");
  }
}

TEST(PollingCostsNothing) {
  // 31 warps wait while one works.
  constexpr uint64_t kWork = 3 * 50000;
  const std::string body = R"(
setp.lt.u32 %p1, %r0, 32;
@!%p1 bra again;
mov.u32 %r1, 0;
work:
add.u32 %r1, %r1, 1;
setp.lt.u32 %p2, %r1, 50000;
@%p2 bra work;
mbarrier.arrive.shared.b64 _, [s];
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], 0;
@!%q bra again;
)";
  const auto run = run_body(one_barrier(body, "32"), 1024);
  EXPECT_EQ(run.faults(), "");
  EXPECT_TRUE(run.launch.counters.warp_instructions > kWork);
  EXPECT_TRUE(run.launch.counters.warp_instructions < kWork + kWork / 50);
}

TEST(PhasesAndCounts) {
  // Bits of the answers to parity 0 and 1 before and after each of three arrivals at a count of 2.
  const std::string test = R"(
mbarrier.test_wait.parity.shared.b64 %p1, [s], 0;
mbarrier.test_wait.parity.shared.b64 %p2, [s], 1;
selp.u32 %r2, 1, 0, %p1;
selp.u32 %r3, 2, 0, %p2;
shl.b32 %r1, %r1, 2;
add.u32 %r1, %r1, %r2;
add.u32 %r1, %r1, %r3;
)";
  const std::string arrive = "mbarrier.arrive.shared.b64 %d0, [s];\n";
  const std::string body = "mov.u32 %r1, 0;\n" + test + arrive + test + arrive + test + arrive +
                           test + "st.global.u32 [%out], %r1;\n";
  const auto run = run_body(one_barrier(body, "2"), 1);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 0b10100101u);
}

TEST(StatesAndCountsOfArrivals) {
  const std::string body = R"(
mbarrier.arrive.shared::cta.b64 %d0, [s], 4;
mbarrier.test_wait.shared.b64 %p1, [s], %d0;
mbarrier.arrive.release.cta.shared::cta.b64 %d1, [s];
mbarrier.try_wait.acquire.cta.shared::cta.b64 %p2, [s], %d0;
mbarrier.try_wait.shared::cta.b64 %p3, [s], %d1, 1000;
mbarrier.arrive.shared.b64 %d2, [s];
mbarrier.test_wait.shared.b64 %p4, [s], %d2;
selp.u32 %r1, 1, 0, %p1;
selp.u32 %r2, 2, 0, %p2;
selp.u32 %r3, 4, 0, %p3;
selp.u32 %r4, 8, 0, %p4;
add.u32 %r1, %r1, %r2;
add.u32 %r3, %r3, %r4;
add.u32 %r1, %r1, %r3;
st.global.u32 [%out], %r1;
)";
  const auto run = run_body(one_barrier(body, "5"), 1);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 6u);
}

TEST(AnInvalidatedObjectIsMemoryAgain) {
  const std::string body = R"(
mbarrier.inval.shared.b64 [s];
st.shared.u64 [s], 5;
mbarrier.init.shared.b64 [s+8], 3;
mbarrier.inval.shared::cta.b64 [s+8];
mbarrier.init.shared.b64 [s+8], 1;
mbarrier.arrive.shared.b64 _, [s+8];
ld.shared.u32 %r1, [s];
st.global.u32 [%out], %r1;
)";
  const auto run = run_body(one_barrier(body), 1);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 5u);
  expect_misuse(one_barrier("mbarrier.inval.shared.b64 [s];\nld.shared.u32 %r1, [s];"),
                "uninitialized", "read of shared+0, which nobody wrote");
  // Another warp may still use it.
  const std::string used =
      "setp.eq.u32 %p1, %r0, 32;\n@%p1 mbarrier.arrive.shared.b64 _, [s];\nSYNC\n"
      "@!%p0 mbarrier.inval.shared.b64 [s];";
  expect_no_fault(one_barrier(replaced(used, "SYNC", "bar.sync 0;")), 64);
  EXPECT_TRUE(contains(run_body(one_barrier(replaced(used, "SYNC", "")), 64).faults(),
                       "write after read: shared+0 was read by warp 1 lane 0"));
}

TEST(MisuseIsReported) {
  const std::string arrive = "mbarrier.arrive.shared.b64 _, ";
  expect_misuse(one_barrier(arrive + "[s+8];"), "barrier",
                "shared+8 is no mbarrier: nobody initialised it, or it was invalidated");
  expect_misuse(one_barrier("mbarrier.try_wait.parity.shared.b64 %q, [s+16], 0;"), "barrier",
                "shared+16 is no mbarrier");
  expect_misuse(one_barrier("mbarrier.inval.shared.b64 [s];\n" + arrive + "[s];"), "barrier",
                "shared+0 is no mbarrier");
  expect_misuse(one_barrier("mbarrier.inval.shared.b64 [s+8];"), "barrier",
                "shared+8 is no mbarrier");
  expect_misuse(one_barrier("mbarrier.init.shared.b64 [s], 2;"), "barrier",
                "shared+0 is a live mbarrier already: mbarrier.inval has to end it first");
  expect_misuse(one_barrier("mbarrier.init.shared.b64 [s+8], 0;"), "barrier",
                "a count of 0: allowed are 1 to 1048575");
  expect_misuse(one_barrier("mbarrier.init.shared.b64 [s+8], 1048576;"), "barrier",
                "a count of 1048576: allowed");
  expect_misuse(one_barrier("mbarrier.arrive.shared.b64 %d0, [s], 0;"), "barrier", "a count of 0");
  expect_misuse(one_barrier(arrive + "[s];\nmbarrier.arrive.shared.b64 %d0, [s], 3;", "3"),
                "barrier",
                "3 arrivals are too many for the mbarrier at shared+0, whose phase 0 needs 2 of 3 "
                "arrivals");
  expect_misuse(one_barrier("mbarrier.test_wait.parity.shared.b64 %q, [s], 3;"), "barrier",
                "a wait for parity 3: it is 0 or 1");
  expect_misuse(one_barrier("mov.u64 %d0, 2;\nmbarrier.test_wait.shared.b64 %q, [s], %d0;"),
                "barrier", "a wait for phase 2 of the mbarrier at shared+0, whose phase 0");
  const std::string round = "mbarrier.arrive.shared.b64 %d0, [s];\n";
  expect_misuse(one_barrier("mbarrier.arrive.shared.b64 %d1, [s];\n" + round +
                            "mbarrier.test_wait.shared.b64 %q, [s], %d1;"),
                "barrier", "a wait for phase 0 of the mbarrier at shared+0, whose phase 2");
  expect_misuse(one_barrier(arrive + "[s+4];"), "alignment",
                "at shared+4, which is no multiple of 8");
  expect_misuse(one_barrier("mbarrier.init.shared.b64 [s+32], 1;"), "bounds",
                "at shared+32; the block has 32 bytes");
  for (const char* access :
       {"st.shared.u32 [s], 1;", "st.shared.u8 [s+7], 1;", "st.shared.v4.u32 [s], {1, 1, 1, 1};",
        "atom.shared.add.u32 %r1, [s], 1;", "cp.async.ca.shared.global [s], [%in], 8;"}) {
    expect_misuse(one_barrier(access), "barrier", "which is part of a live mbarrier");
  }
  expect_misuse(one_barrier("ld.shared.u64 %d0, [s];"), "barrier",
                "read of shared+0, which is part of a live mbarrier");
  EXPECT_EQ(run_body(one_barrier("st.shared.u32 [s+8], 1;\nld.shared.u32 %r1, [s+8];"), 1).faults(),
            "");
}

TEST(ChecksThatAreOffReportNothing) {
  for (const char* body :
       {"mbarrier.arrive.shared.b64 _, [s+8];", "mbarrier.init.shared.b64 [s], 2;",
        "again:\nmbarrier.try_wait.parity.shared.b64 %q, [s+8], 0;\n@!%q bra again;",
        "mbarrier.arrive.shared.b64 %d0, [s], 9;", "st.shared.u32 [s], 1;"}) {
    const uint32_t others = ptx_emulator::kCheckAll & ~ptx_emulator::kCheckBarriers;
    EXPECT_EQ(run_body(one_barrier(body), 1, 0, others).faults(), "");
    EXPECT_TRUE(run_body(one_barrier(body), 1).faults() != "");
  }
}

TEST(InitialisationNeedsABarrier) {
  const std::string body = one_barrier("mbarrier.arrive.shared.b64 _, [s];", "64");
  expect_no_fault(body, 64);
  const std::string early = replaced(body, "bar.sync 0;", "bar.warp.sync -1;");
  EXPECT_TRUE(
      contains(run_body(early, 64).faults(),
               "the mbarrier at shared+0 was initialised by warp 0 lane 0 with no barrier since"));
  expect_fault(early, "", "mbarrier", 64);  // other schedules: it is none yet
  expect_fault(
      replaced(one_barrier("mbarrier.arrive.shared.b64 _, [s];", "32"), "bar.sync 0;", ""), "race",
      "the mbarrier at shared+0 was initialised by warp 0 lane 0 with no __syncwarp since", 32);
}

TEST(OtherFormsAreRefused) {
  const auto refusal = [](const std::string& body, const char* target) -> std::string {
    try {
      run_body(one_barrier(body), 1, 0, ptx_emulator::kCheckAll, target);
    } catch (const ptx_emulator::PtxError& error) {
      return error.what();
    }
    return "";
  };
  const std::string arrive = "mbarrier.arrive.shared.b64 ", wait = "mbarrier.try_wait";
  EXPECT_EQ(refusal(arrive + "_, [s];\nmbarrier.test_wait.parity.shared.b64 %q, [s], 0;", "sm_80"),
            "");
  EXPECT_TRUE(contains(refusal(arrive + "_, [s], 2;", "sm_89"), "needs sm_90 or higher"));
  EXPECT_TRUE(contains(refusal(wait + ".parity.shared.b64 %q, [s], 0;", "sm_89"),
                       "needs sm_90 or higher, the target is sm_89"));
  for (const char* form :
       {"mbarrier.arrive.expect_tx.shared.b64 _, [s], 16;", "mbarrier.arrive.b64 _, [s];",
        "mbarrier.arrive.noComplete.shared.b64 %d0, [s], 1;",
        "mbarrier.arrive.relaxed.cta.shared.b64 _, [s];", "mbarrier.arrive_drop.shared.b64 _, [s];",
        "mbarrier.pending_count.b64 %r1, %d0;", "mbarrier.init.shared.b32 [s], 1;", "mbarrier;",
        "mbarrier.test_wait.relaxed.cta.shared.b64 %q, [s], %d0;"}) {
    EXPECT_TRUE(contains(refusal(form, "sm_90a"), "unsupported instruction mbarrier"));
  }
}

TEST(SetMaxRegisters) {
  const std::string split = R"(
mov.u32 %r0, %tid.x;
setp.lt.u32 %p1, %r0, 128;
@%p1 bra less;
setmaxnreg.inc.sync.aligned.u32 240;
bra done;
less:
setmaxnreg.dec.sync.aligned.u32 24;
done:
)";
  for (const char* target : {"sm_90a", "sm_100a", "sm_100f"}) {
    EXPECT_EQ(run_body(split, 256, 0, ptx_emulator::kCheckAll, target).faults(), "");
  }
  expect_fault(replaced(split, "128", "64"), "warp_sync",
               "warps 0 and 2 of one warpgroup execute different setmaxnreg", 256);
  expect_fault(replaced(split, "setmaxnreg.inc.sync.aligned.u32 240;",
                        "setp.lt.u32 %p2, %r0, 224;\n@%p2 setmaxnreg.inc.sync.aligned.u32 240;"),
               "warp_sync", "warps 4 and 7 of one warpgroup execute different setmaxnreg", 256);
  expect_fault(split, "warp_sync", "setmaxnreg needs whole warpgroups of 4 warps", 160);
  expect_fault(replaced(split, "128", "7"), "warp_sync",
               "setmaxnreg needs the lanes ffffffff, but only", 128);
  for (const char* count : {"16", "264", "100", "0"}) {
    EXPECT_THROWS_WITH(
        run_body(replaced(split, "24;", std::string(count) + ";"), 256),
        "setmaxnreg sets 24 to 256 registers in steps of 8, not " + std::string(count));
  }
  for (const char* target : {"sm_90", "sm_100", "sm_89"}) {
    EXPECT_THROWS_WITH(
        run_body(split, 256, 0, ptx_emulator::kCheckAll, target),
        std::string("needs sm_90a, or a higher target with such a suffix; the target is ") +
            target);
  }
}

namespace {

// Warps 4 to 7 write B and the four warps before multiply by it, for three rounds. One lane of each
// of these arrives after its wait for the product.
const char* const kProducts = R"(
.shared .align 1024 .b8 tile[256];
.shared .align 8 .b8 s[16];  // full, empty
.reg .pred %q;
.reg .f32 %sum<4>;
mov.u32 %r0, %tid.x;
setp.ne.u32 %p0, %r0, 0;
@!%p0 mbarrier.init.shared.b64 [s], 128;
@!%p0 mbarrier.init.shared.b64 [s+8], 4;
bar.sync 0;
and.b32 %r1, %r0, 31;
setp.eq.u32 %p1, %r1, 0;
setp.lt.u32 %p2, %r0, 128;
mov.u32 %r2, tile;
mov.u32 %r3, 0;
next:
and.b32 %r4, %r3, 1;
xor.b32 %r5, %r4, 1;
@%p2 bra again;
written:
mbarrier.try_wait.parity.shared.b64 %q, [s+8], %r5;
@!%q bra written;
sub.u32 %r6, %r0, 128;
shl.b32 %r6, %r6, 1;
add.u32 %r6, %r6, %r2;
cvt.u16.u32 %h0, %r3;
st.shared.u16 [%r6], %h0;
fence.proxy.async;
mbarrier.arrive.shared.b64 _, [s];
bra advance;
again:
mbarrier.try_wait.parity.shared.b64 %q, [s], %r4;
@!%q bra again;
shr.u32 %r7, %r2, 4;
cvt.u64.u32 %x, %r7;
add.u64 %x, %x, 0x1000080000;
mov.b32 %r10, 0;
mov.b32 %r11, 0;
mov.b32 %r12, 0;
mov.b32 %r13, 0;
setp.ne.u32 %p3, %r0, %r0;
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%sum0, %sum1, %sum2, %sum3},
    {%r10, %r11, %r12, %r13}, %x, %p3, 1, 1, 0;
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
@%p1 mbarrier.arrive.shared.b64 _, [s+8];
advance:
add.u32 %r3, %r3, 1;
setp.lt.u32 %p4, %r3, 3;
@%p4 bra next;
)";

// Warp 4 writes B alone, and its lane 0 arrives.
std::string products_of_one_writer(bool synced) {
  std::string text = replaced(kProducts, "[s], 128;", "[s], 1;");
  text = replaced(text, "mov.u32 %r3, 0;",
                  "mov.u32 %r3, 0;\nsetp.ge.u32 %p6, %r0, 160;\n@%p6 bra done;");
  text = replaced(text, "shl.b32 %r6, %r6, 1;", "shl.b32 %r6, %r6, 3;");
  text = replaced(text, "cvt.u16.u32 %h0, %r3;\nst.shared.u16 [%r6], %h0;",
                  "st.shared.v2.u32 [%r6], {%r3, %r3};");
  return replaced(text, "mbarrier.arrive.shared.b64 _, [s];",
                  std::string(synced ? "bar.warp.sync -1;\n" : "") +
                      "@%p1 mbarrier.arrive.shared.b64 _, [s];") +
         "done:\n";
}

}  // namespace

TEST(ProductsOfARing) {
  expect_no_fault(kProducts, 256);
  expect_fault(replaced(kProducts, "fence.proxy.async;", ""), "async",
               "with no fence.proxy.async since", 256);
  const std::string overwritten = replaced(kProducts, "@!%q bra written;", "");
  EXPECT_TRUE(contains(run_body(overwritten, 256).faults(), "was read by a wgmma of warp"));
  expect_fault(overwritten, "", "", 256);  // other schedules: the warps behind miss a phase
  expect_fault(replaced(kProducts, "@!%q bra again;", ""), "race", "was written by warp", 256);
  std::string early = replaced(kProducts, "@%p1 mbarrier.arrive.shared.b64 _, [s+8];", "");
  early = replaced(early, "wgmma.commit_group",
                   "@%p1 mbarrier.arrive.shared.b64 _, [s+8];\nwgmma.commit_group");
  expect_fault(early, "race", "was read by a wgmma of warp", 256);
}

TEST(ProductsReadWhatSomeLanesPassedOn) {
  // Sixteen lanes of a warp write, and one of them arrives.
  std::string synced = kProducts;
  synced = replaced(synced, "[s], 128;", "[s], 4;");
  synced = replaced(synced, R"(sub.u32 %r6, %r0, 128;
shl.b32 %r6, %r6, 1;
add.u32 %r6, %r6, %r2;
cvt.u16.u32 %h0, %r3;
st.shared.u16 [%r6], %h0;
fence.proxy.async;
mbarrier.arrive.shared.b64 _, [s];
)",
                    R"(sub.u32 %r6, %r0, 128;
shr.u32 %r6, %r6, 5;
shl.b32 %r6, %r6, 6;
shl.b32 %r8, %r1, 2;
add.u32 %r6, %r6, %r8;
add.u32 %r6, %r6, %r2;
setp.lt.u32 %p5, %r1, 16;
@%p5 st.shared.u32 [%r6], %r3;
fence.proxy.async;
bar.warp.sync -1;
@%p1 mbarrier.arrive.shared.b64 _, [s];
)");
  expect_no_fault(synced, 256);
  expect_fault(replaced(synced, "bar.warp.sync -1;", ""), "race",
               "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)", 256);
  expect_no_fault(products_of_one_writer(true), 256);
  expect_fault(products_of_one_writer(false), "race",
               "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)", 256);
  // One lane writes all, and those who read show it to the async proxy.
  std::string alone = replaced(synced, "@%p5 st.shared.u32 [%r6], %r3;\nfence.proxy.async;\n", "");
  alone = replaced(alone, "bar.warp.sync -1;\n",
                   "@%p1 st.shared.v4.u32 [%r6], {%r3, %r3, %r3, %r3};\n"
                   "@%p1 st.shared.v4.u32 [%r6+16], {%r3, %r3, %r3, %r3};\n"
                   "@%p1 st.shared.v4.u32 [%r6+32], {%r3, %r3, %r3, %r3};\n"
                   "@%p1 st.shared.v4.u32 [%r6+48], {%r3, %r3, %r3, %r3};\n");
  expect_fault(alone, "async", "with no fence.proxy.async since", 256);
  expect_no_fault(replaced(alone, "wgmma.fence", "fence.proxy.async;\nwgmma.fence"), 256);
}
