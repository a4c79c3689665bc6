// bar.warp.sync: lanes of a warp that come to it at different times, and from different places.
//
// The emulator runs the lanes at the lowest pc: code that is placed behind a barrier, and branches
// back to it, runs after the other lanes have come there.
#include <functional>

#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::contains;
using ptx_emulator::replaced;
using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::RunResult;
using ptx_emulator::wrap_body;

namespace {

constexpr uint32_t kSeeds = 4;

// Every thread has a word of shared memory at %r1, that of the next lane of its half warp at %r2
// and that of the lane 16 further at %r3; %r0 is its lane, %r5 its warp. There are an mbarrier and
// a flag, too.
RunResult run_body(const std::string& body, uint32_t threads = 32, uint32_t seed = 0) {
  RunOptions options;
  options.threads = threads;
  options.seed = seed;
  const std::string begin = R"(
.shared .align 8 .b8 words[256];
.shared .align 8 .b8 full[8];
.shared .align 4 .b8 flag[4];
mov.u32 %r60, %tid.x;
mad.wide.u32 %out, %r60, 4, %out;
and.b32 %r0, %r60, 31;
shr.u32 %r5, %r60, 5;
mov.u32 %r61, words;
mad.lo.u32 %r1, %r60, 4, %r61;
add.u32 %r2, %r60, 1;
and.b32 %r2, %r2, 15;
and.b32 %r62, %r60, 48;
or.b32 %r2, %r2, %r62;
mad.lo.u32 %r2, %r2, 4, %r61;
xor.b32 %r3, %r1, 64;
)";
  return run_text(wrap_body(begin + body, "", "sm_90"), 4 * threads, {}, options);
}

// Expects no fault, and this result of each thread.
void expect_results(const std::string& body, const std::function<uint32_t(uint32_t)>& result,
                    uint32_t threads = 32) {
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    const RunResult run = run_body(body, threads, seed);
    EXPECT_EQ(run.faults(), "");
    for (uint32_t i = 0; i < threads; ++i) {
      if (run.at<uint32_t>(i) == result(i)) continue;
      EXPECT_EQ(run.at<uint32_t>(i), result(i));
      break;
    }
  }
}

void expect_fault(const std::string& body, const std::string& kind, const std::string& message,
                  uint32_t threads = 32) {
  for (uint32_t seed = 0; seed <= kSeeds; ++seed) {
    const std::string faults = run_body(body, threads, seed).faults();
    const bool found = contains(faults, "\"kind\": \"" + kind + "\"") && contains(faults, message);
    EXPECT_EQ(found ? "" : "seed " + std::to_string(seed) + ": " + faults, "");
    EXPECT_TRUE(!contains(faults, "instruction_limit"));
  }
}

uint32_t next_in_half(uint32_t lane) { return lane / 16 * 16 + (lane + 1) % 16; }

// Lanes from 20 on write their words behind the barrier, and branch back to it.
const char* const kLateLanes = R"(
setp.ge.u32 %p1, %r0, 20;
@%p1 bra behind;
st.shared.u32 [%r1], %r0;
meet:
bar.warp.sync -1;
ld.shared.u32 %r4, [%r3];
shfl.sync.idx.b32 %r6, %r0, 0, 31, -1;
st.global.u32 [%out], %r4;
bra done;
behind:
st.shared.u32 [%r1], %r0;
bra meet;
done:
)";

}  // namespace

TEST(LanesWaitForThoseWhoseCodeIsPlacedBehind) {
  expect_results(kLateLanes, [](uint32_t lane) { return lane ^ 16; });
  expect_fault(replaced(kLateLanes, "bar.warp.sync -1;", ""), "race", "within the warp");
}

TEST(LanesWaitAtABarrierUnderAGuard) {
  // The last lanes skip the barrier first, and meet the others at it when they come back.
  const std::string body = R"(
setp.lt.u32 %p1, %r0, 20;
st.shared.u32 [%r1], %r0;
meet:
@%p1 bar.warp.sync -1;
@!%p1 bra behind;
ld.shared.u32 %r4, [%r3];
st.global.u32 [%out], %r4;
bra done;
behind:
setp.eq.u32 %p1, %r0, %r0;
bra meet;
done:
)";
  expect_results(body, [](uint32_t lane) { return lane ^ 16; });
}

TEST(LanesMeetAtDifferentInstructions) {
  const std::string body = R"(
st.shared.u32 [%r1], %r0;
setp.ge.u32 %p1, %r0, 20;
@%p1 bra others;
bar.warp.sync -1;
ld.shared.u32 %r4, [%r3];
bra met;
others:
bar.warp.sync -1;
ld.shared.u32 %r4, [%r3];
met:
shfl.sync.idx.b32 %r6, %r0, 0, 31, -1;
st.global.u32 [%out], %r4;
)";
  expect_results(body, [](uint32_t lane) { return lane ^ 16; });
  // Lanes that come to the first barrier meet nobody but themselves.
  expect_fault(replaced(body, "bar.warp.sync -1;", "bar.warp.sync 0xfffff;"), "race",
               "within the warp");
}

TEST(OtherLanesAreLateInEachRoundOfALoop) {
  // Each round adds the word of the other half, which its lane has just written.
  const std::string body = R"(
mov.u32 %r10, 0;
mov.u32 %r4, 0;
round:
add.u32 %r11, %r0, %r10;
rem.u32 %r12, %r11, 3;
setp.eq.u32 %p1, %r12, 0;
@%p1 bra late_to_write;
st.shared.u32 [%r1], %r11;
written:
bar.warp.sync -1;
setp.eq.u32 %p1, %r12, 1;
@%p1 bra late_to_read;
ld.shared.u32 %r13, [%r3];
read:
bar.warp.sync -1;
add.u32 %r4, %r4, %r13;
add.u32 %r10, %r10, 1;
setp.lt.u32 %p2, %r10, 5;
@%p2 bra round;
shfl.sync.idx.b32 %r6, %r0, 0, 31, -1;
st.global.u32 [%out], %r4;
bra done;
late_to_write:
st.shared.u32 [%r1], %r11;
bra written;
late_to_read:
ld.shared.u32 %r13, [%r3];
bra read;
done:
)";
  expect_results(body, [](uint32_t lane) { return 5 * (lane ^ 16) + 10; });
  expect_fault(replaced(body, "written:\nbar.warp.sync -1;", "written:"), "race",
               "read after write within the warp");
  expect_fault(replaced(body, "read:\nbar.warp.sync -1;", "read:"), "race",
               "write after read within the warp");
}

TEST(WhatLanesDoAfterTheyMetIsNotOrdered) {
  expect_fault(
      replaced(kLateLanes, "bar.warp.sync -1;", "bar.warp.sync -1;\nst.shared.u32 [%r1], %r0;"),
      "race", "read after write within the warp");
}

TEST(LanesThatExitAreNotWaitedFor) {
  const std::string exits = replaced(replaced(kLateLanes, "bra meet;", "exit;"),
                                     "shfl.sync.idx.b32 %r6, %r0, 0, 31, -1;", "");
  const auto own = [](uint32_t lane) { return lane < 20 ? lane : 0xffffffffu; };
  const RunResult run = run_body(replaced(exits, "[%r3]", "[%r1]"));
  EXPECT_EQ(run.faults(), "");
  for (uint32_t lane = 0; lane < 20; ++lane) EXPECT_EQ(run.at<uint32_t>(lane), own(lane));
  // One after the other; the last lane goes on for a while.
  const std::string one_by_one = R"(
setp.ge.u32 %p1, %r0, 20;
@%p1 bra behind;
meet:
bar.warp.sync -1;
st.global.u32 [%out], %r0;
bra done;
behind:
mov.u32 %r4, 20;
again:
setp.eq.u32 %p2, %r0, %r4;
@%p2 st.global.u32 [%out], %r4;
@%p2 exit;
add.u32 %r4, %r4, 1;
bra again;
done:
)";
  expect_results(one_by_one, [](uint32_t lane) { return lane; });
}

TEST(AnExitLetsOthersGoOnWhileThereAreActiveLanes) {
  // Lanes 0 to 3 wait for lane 4, which exits before lane 5 sees the flag that they set.
  const std::string body = R"(
setp.eq.u32 %p1, %r0, 4;
setp.ge.u32 %p2, %r0, 4;
setp.eq.u32 %p3, %r0, 0;
@%p3 st.shared.u32 [flag], 0;
bar.warp.sync -1;
st.global.u32 [%out], %r0;
@%p2 bra behind;
bar.warp.sync 31;
@%p3 atom.shared.exch.b32 %r4, [flag], 1;
bra done;
behind:
@%p1 exit;
again:
atom.shared.or.b32 %r4, [flag], 0;
setp.eq.u32 %p2, %r4, 0;
@%p2 bra again;
done:
)";
  expect_results(body, [](uint32_t lane) { return lane; });
}

TEST(HalvesMeetOfTheirOwn) {
  // Every fourth lane is late, and each half waits for its own.
  const std::string halves = R"(
and.b32 %r4, %r0, 3;
setp.eq.u32 %p1, %r4, 0;
setp.lt.u32 %p2, %r0, 16;
selp.b32 %r7, 0xffff, 0xffff0000, %p2;
@%p1 bra behind;
st.shared.u32 [%r1], %r0;
meet:
bar.warp.sync %r7;
ld.shared.u32 %r4, [%r2];
st.global.u32 [%out], %r4;
bra done;
behind:
st.shared.u32 [%r1], %r0;
bra meet;
done:
)";
  expect_results(halves, next_in_half);
  expect_fault(replaced(halves, "bar.warp.sync %r7;", ""), "race", "within the warp");
  // The upper half comes to its barrier when the lower one has passed its own.
  const std::string in_turn = R"(
setp.eq.u32 %p3, %r0, 0;
@%p3 st.shared.u32 [flag], 0;
setp.lt.u32 %p2, %r0, 16;
bar.warp.sync -1;
st.shared.u32 [%r1], %r0;
@!%p2 bra upper;
bar.warp.sync 0xffff;
ld.shared.u32 %r4, [%r2];
@%p3 atom.shared.exch.b32 %r5, [flag], 1;
bra done;
upper:
atom.shared.or.b32 %r4, [flag], 0;
setp.eq.u32 %p4, %r4, 0;
@%p4 bra upper;
bar.warp.sync 0xffff0000;
ld.shared.u32 %r4, [%r2];
done:
st.global.u32 [%out], %r4;
)";
  expect_results(in_turn, next_in_half);
}

TEST(LanesThatDidNotMeetAreNotOrdered) {
  // Each half has met when it reads what the other one wrote.
  const std::string halves = R"(
setp.lt.u32 %p1, %r0, 16;
selp.b32 %r7, 0xffff, 0xffff0000, %p1;
st.shared.u32 [%r1], %r0;
bar.warp.sync %r7;
ld.shared.u32 %r4, [%r3];
st.global.u32 [%out], %r4;
)";
  expect_fault(halves, "race", "read after write within the warp");
  expect_results(replaced(halves, "%r7;\nld", "%r7;\nbar.warp.sync -1;\nld"),
                 [](uint32_t lane) { return lane ^ 16; });
  // A lane writes what its half has read, or the other half.
  const std::string overwritten = R"(
setp.lt.u32 %p1, %r0, 16;
selp.b32 %r7, 0xffff, 0xffff0000, %p1;
setp.eq.u32 %p2, %r0, 3;
@%p2 st.shared.u32 [words], %r0;
bar.warp.sync -1;
@%p1 ld.shared.u32 %r4, [words];
bar.warp.sync %r7;
@%p2 st.shared.u32 [words], %r0;
st.global.u32 [%out], %r0;
)";
  expect_results(overwritten, [](uint32_t lane) { return lane; });
  expect_fault(replaced(overwritten, "%r0, 3;", "%r0, 20;"), "race",
               "write after read within the warp: shared+0 was read by several lanes");
  expect_fault(replaced(overwritten, "bar.warp.sync %r7;", ""), "race",
               "write after read within the warp: shared+0 was read by several lanes");
}

TEST(LanesKnowWhatThoseThatTheyMeetKnow) {
  // Lane 0 meets lane 1, and lane 1 meets lane 2, which reads the word of lane 0.
  const std::string chain = R"(
setp.lt.u32 %p1, %r0, 2;
setp.eq.u32 %p2, %r0, 1;
setp.eq.u32 %p3, %r0, 2;
st.shared.u32 [%r1], %r0;
@%p1 bar.warp.sync 3;
@%p2 bra meet;
@!%p3 bra done;
meet:
bar.warp.sync 6;
@%p3 ld.shared.u32 %r0, [words];
done:
st.global.u32 [%out], %r0;
)";
  expect_results(chain, [](uint32_t lane) { return lane == 2 ? 0 : lane; });
  expect_fault(
      replaced(chain, "@%p3 ld.shared.u32 %r0, [words];", "ld.shared.u32 %r0, [words+12];"), "race",
      "shared+12 was written by lane 3 with no __syncwarp since");
}

TEST(LanesOverwriteWhatThoseThatTheyMetHadRead) {
  // Lane 1 meets lane 0 after its read; it reads the word itself, and overwrites it.
  const std::string body = R"(
setp.lt.u32 %p1, %r0, 2;
setp.eq.u32 %p2, %r0, 0;
setp.eq.u32 %p3, %r0, 1;
@%p2 st.shared.u32 [words], 1;
bar.warp.sync -1;
@%p2 ld.shared.u32 %r4, [words];
@%p1 bar.warp.sync 3;
@%p3 ld.shared.u32 %r4, [words];
@%p3 st.shared.u32 [words], 2;
st.global.u32 [%out], %r0;
)";
  expect_results(body, [](uint32_t lane) { return lane; });
  expect_fault(replaced(body, "@%p1 bar.warp.sync 3;", ""), "race",
               "shared+0 was read by several lanes with no __syncwarp since");
}

TEST(WhomLanesMetBeforeAllDidIsForgotten) {
  // Lanes 0 and 2 meet, but lane 1 only before, with them and then with all.
  const std::string body = R"(
setp.lt.u32 %p1, %r0, 3;
setp.eq.u32 %p2, %r0, 0;
setp.eq.u32 %p3, %r0, 2;
or.pred %p4, %p2, %p3;
@%p1 bar.warp.sync 7;
bar.warp.sync -1;
st.shared.u32 [%r1], %r0;
@%p4 bar.warp.sync 5;
@%p2 ld.shared.u32 %r4, [words+8];
)";
  expect_results(body + "st.global.u32 [%out], %r0;\n", [](uint32_t lane) { return lane; });
  expect_fault(replaced(body, "[words+8]", "[words+4]"), "race",
               "shared+4 was written by lane 1 with no __syncwarp since");
}

TEST(AMeetingOfLanesIsPassedOnAndHandedOn) {
  // The lower half of warp 0 meets, and its lane 0 arrives for it; lane 0 of warp 1 waits, and
  // meets the lower half of its warp, which reads.
  const std::string body = R"(
setp.eq.u32 %p1, %r60, 0;
@%p1 mbarrier.init.shared.b64 [full], 1;
setp.eq.u32 %p1, %r0, 0;
setp.lt.u32 %p3, %r0, 16;
mov.u32 %r4, %r0;
bar.sync 0;
@!%p3 bra done;
setp.eq.u32 %p4, %r5, 0;
@!%p4 bra reader;
st.shared.u32 [%r1], %r0;
bar.warp.sync 0xffff;
@%p1 mbarrier.arrive.shared.b64 _, [full];
bra done;
reader:
@!%p1 bra meet;
again:
mbarrier.try_wait.parity.shared.b64 %p2, [full], 0;
@!%p2 bra again;
meet:
bar.warp.sync 0xffff;
xor.b32 %r6, %r1, 128;
ld.shared.u32 %r4, [%r6];
done:
st.global.u32 [%out], %r4;
)";
  expect_results(body, [](uint32_t thread) { return thread % 32; }, 64);
  expect_fault(replaced(body, "bar.warp.sync 0xffff;\n@%p1", "@%p1"), "race",
               "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)", 64);
  expect_fault(replaced(body, "bar.warp.sync 0xffff;\n@%p1",
                        "bar.warp.sync 0xffff;\nst.shared.u32 [%r1], %r0;\n@%p1"),
               "race", "(its lanes 00000001 alone arrived at an mbarrier: __syncwarp before it?)",
               64);
  expect_fault(replaced(body, "meet:\nbar.warp.sync 0xffff;", "meet:\n"), "race",
               "(lanes 00000001 of this warp alone waited at an mbarrier: __syncwarp after it?)",
               64);
  // The upper half of the reader's warp meets, too, but nobody of it has waited.
  std::string upper = replaced(body, "@!%p3 bra done;", "@!%p3 bra upper;");
  upper = replaced(upper, "done:\n", R"(bra done;
upper:
bar.warp.sync 0xffff0000;
xor.b32 %r6, %r3, 128;
setp.eq.u32 %p4, %r5, 1;
@%p4 ld.shared.u32 %r4, [%r6];
done:
)");
  expect_fault(upper, "race",
               "(lanes 0000ffff of this warp alone waited at an mbarrier: __syncwarp after it?)",
               64);
}

TEST(LanesOfHalvesWaitForAllOfThemAfterwards) {
  // The lower half waits with another mask than the upper one, but not for ever.
  const std::string body = R"(
setp.lt.u32 %p2, %r0, 16;
st.shared.u32 [%r1], %r0;
@!%p2 bra upper;
bar.warp.sync -1;
ld.shared.u32 %r4, [%r3];
bra done;
upper:
bar.warp.sync 0xffff0000;
bar.warp.sync -1;
ld.shared.u32 %r4, [%r3];
done:
st.global.u32 [%out], %r4;
)";
  expect_results(body, [](uint32_t lane) { return lane ^ 16; });
}

TEST(ALaneThatItsMaskLeavesOutIsReported) {
  expect_fault("bar.warp.sync 0xfffffffb;", "warp_sync",
               "bar.warp.sync with membermask fffffffb, which leaves out the lane itself");
  // It does not count among those who wait.
  expect_fault(replaced(kLateLanes, "bar.warp.sync -1;", "bar.warp.sync 0xfffff;"), "warp_sync",
               "bar.warp.sync with membermask 000fffff, which leaves out the lane itself");
}

TEST(LanesThatWaitForOneAnotherAreADeadlock) {
  // With different masks.
  const std::string masks = R"(
setp.lt.u32 %p2, %r0, 16;
selp.b32 %r7, -1, 0xfffffffe, %p2;
bar.warp.sync %r7;
)";
  expect_fault(masks, "deadlock",
               "no warp can go on: lanes 0000ffff of warp 0 at bar.warp.sync with membermask "
               "ffffffff (PTX line 34), lanes ffff0000 of warp 0 at bar.warp.sync with membermask "
               "fffffffe (PTX line 34)");
  // At different places.
  expect_fault("setp.eq.u32 %p1, %r0, 3;\n@%p1 bar.warp.sync -1;\n" + masks, "deadlock",
               "no warp can go on: lanes 0000fff7 of warp 0 at bar.warp.sync with membermask "
               "ffffffff (PTX line 36), lanes 00000008 of warp 0 at bar.warp.sync with membermask "
               "ffffffff (PTX line 32), lanes ffff0000 of warp 0 at bar.warp.sync with membermask "
               "fffffffe (PTX line 36)");
  // While other warps wait for this one.
  expect_fault(
      "setp.eq.u32 %p1, %r5, 1;\n@%p1 bra all;\n" + std::string(masks) + "all:\nbar.sync 0;",
      "deadlock",
      "lanes ffff0000 of warp 0 at bar.warp.sync with membermask fffffffe (PTX line 36), "
      "warp 1 at barrier 0 (PTX line 38)",
      64);
  // Or after they have exited.
  expect_fault("setp.eq.u32 %p1, %r5, 1;\n@%p1 exit;\n" + std::string(masks), "deadlock",
               "lanes 0000ffff of warp 0 at bar.warp.sync", 64);
}

TEST(LanesOfTheNextBlockDoNotWait) {
  // Those of block 0 are stuck; one worker runs both.
  RunOptions options;
  options.blocks = 2;
  const RunResult run = run_text(wrap_body(R"(
mov.u32 %r0, %laneid;
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 0;
setp.lt.u32 %p2, %r0, 16;
selp.b32 %r2, -1, 0xfffffffe, %p2;
@%p1 bar.warp.sync %r2;
@%p2 bra half;
add.u32 %r0, %r0, 100;
half:
mov.u32 %r3, %laneid;
mad.wide.u32 %out, %r3, 4, %out;
st.global.u32 [%out], %r0;)"),
                                 128, {}, options);
  EXPECT_TRUE(contains(run.faults(), "\"kind\": \"deadlock\""));
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(run.at<uint32_t>(lane), lane < 16 ? lane : lane + 100);
  }
}

TEST(LanesThatWaitForOneThatPollsInVainAreADeadlock) {
  const std::string body = R"(
setp.eq.u32 %p1, %r0, 0;
@%p1 mbarrier.init.shared.b64 [full], 1;
bar.warp.sync -1;
@%p1 bra again;
bar.warp.sync -1;
bra done;
again:
mbarrier.try_wait.parity.shared.b64 %p2, [full], 0;
@!%p2 bra again;
bar.warp.sync -1;
done:
)";
  expect_fault(
      body, "deadlock",
      "no warp can go on: warp 0 at the mbarrier at shared+256, whose phase 0 needs 1 of 1 "
      "arrivals (PTX line 39), lanes fffffffe of warp 0 at bar.warp.sync with membermask "
      "ffffffff (PTX line 36)");
}

TEST(LanesThatWaitForThoseAtABarrierOfTheBlockAreReported) {
  const std::string body = R"(
setp.eq.u32 %p1, %r0, 0;
@%p1 bra other;
bar.warp.sync -1;
bra done;
other:
bar.sync 0;
done:
)";
  expect_fault(body, "barrier", "divergent barrier: lanes 00000001 of ffffffff execute it");
}

TEST(WhatOneLaneWaitedForIsHandedToThoseThatWaitForIt) {
  // Lane 0 of warp 1 waits for warp 0, behind the barrier at which the others wait.
  const std::string body = R"(
setp.eq.u32 %p1, %r60, 0;
@%p1 mbarrier.init.shared.b64 [full], 32;
bar.sync 0;
setp.eq.u32 %p1, %r5, 0;
@!%p1 bra reader;
st.shared.u32 [%r1], %r0;
mbarrier.arrive.shared.b64 _, [full];
mov.u32 %r4, %r0;
bra done;
reader:
setp.eq.u32 %p1, %r0, 0;
@%p1 bra behind;
meet:
bar.warp.sync -1;
xor.b32 %r6, %r1, 128;
ld.shared.u32 %r4, [%r6];
bra done;
behind:
mbarrier.try_wait.parity.shared.b64 %p2, [full], 0;
@!%p2 bra behind;
bra meet;
done:
st.global.u32 [%out], %r4;
)";
  expect_results(body, [](uint32_t thread) { return thread % 32; }, 64);
}
