// Instructions across the lanes of a warp, divergence and barriers.
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::contains;
using ptx_emulator::evaluate;
using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::wrap_body;

namespace {

std::vector<uint64_t> lanes() {
  std::vector<uint64_t> values;
  for (uint64_t lane = 0; lane < 32; ++lane) values.push_back(lane);
  return values;
}

// The value and predicate of a shuffle of 100 + lane.
void expect_shuffle(const std::string& mode, uint64_t b, uint64_t c,
                    const std::function<int(int)>& source) {
  const std::string body = "add.u32 %r1, %r0, 100;\nshfl.sync." + mode + ".b32 %r9|%p9, %r1, " +
                           std::to_string(b) + ", " + std::to_string(c) + ", -1;";
  const auto values = evaluate(body, 'w', {lanes()});
  const auto valid = evaluate(body, 'p', {lanes()});
  for (int lane = 0; lane < 32; ++lane) {
    const int from = source(lane);
    EXPECT_EQ(values[lane], 100ull + (from < 0 ? lane : from));
    EXPECT_EQ(valid[lane], from < 0 ? 0ull : 1ull);
  }
}

}  // namespace

TEST(ShufflesOfTheWholeWarp) {
  expect_shuffle("up", 3, 0, [](int l) { return l >= 3 ? l - 3 : -1; });
  expect_shuffle("down", 5, 31, [](int l) { return l + 5 < 32 ? l + 5 : -1; });
  expect_shuffle("bfly", 17, 31, [](int l) { return l ^ 17; });
  expect_shuffle("idx", 9, 31, [](int) { return 9; });
}

TEST(ShufflesOfSegmentsOfEight) {
  const uint64_t segment = 0x1800;  // width 8: ~(8 - 1) & 31 in bits 8 to 12
  expect_shuffle("down", 2, segment | 31, [](int l) { return l % 8 + 2 < 8 ? l + 2 : -1; });
  expect_shuffle("up", 2, segment, [](int l) { return l % 8 >= 2 ? l - 2 : -1; });
  expect_shuffle("idx", 11, segment | 31, [](int l) { return l / 8 * 8 + 3; });
  expect_shuffle("bfly", 4, segment | 31, [](int l) { return l ^ 4; });
}

TEST(ShuffleOntoItsOwnSource) {
  const auto got =
      evaluate("mov.u32 %r9, %r0;\nshfl.sync.bfly.b32 %r9, %r9, 1, 31, -1;", 'w', {lanes()});
  for (uint64_t lane = 0; lane < 32; ++lane) EXPECT_EQ(got[lane], lane ^ 1);
}

TEST(VotesAndBallots) {
  const std::string low = "setp.lt.u32 %p1, %r0, 5;\n";
  EXPECT_EQ(evaluate(low + "vote.sync.ballot.b32 %r9, %p1, -1;", 'w', {lanes()})[3], 31ull);
  EXPECT_EQ(evaluate(low + "vote.sync.ballot.b32 %r9, !%p1, -1;", 'w', {lanes()})[3],
            0xffffffe0ull);
  EXPECT_EQ(evaluate(low + "vote.sync.any.pred %p9, %p1, -1;", 'p', {lanes()})[20], 1ull);
  EXPECT_EQ(evaluate(low + "vote.sync.all.pred %p9, %p1, -1;", 'p', {lanes()})[2], 0ull);
  EXPECT_EQ(evaluate(low + "vote.sync.uni.pred %p9, %p1, -1;", 'p', {lanes()})[2], 0ull);
  EXPECT_EQ(evaluate("and.b32 %r1, %r0, 3;\nmatch.any.sync.b32 %r9, %r1, -1;", 'w', {lanes()})[6],
            0x44444444ull);
  EXPECT_EQ(evaluate("match.all.sync.b32 %r9|%p9, %r0, -1;", 'p', {{4}})[6], 1ull);
}

TEST(Reductions) {
  EXPECT_EQ(evaluate("redux.sync.add.s32 %r9, %r0, -1;", 'w', {lanes()})[30], 496ull);
  EXPECT_EQ(evaluate("sub.s32 %r1, %r0, 7;\nredux.sync.min.s32 %r9, %r1, -1;", 'w', {lanes()})[0],
            uint64_t(uint32_t(-7)));
  EXPECT_EQ(evaluate("sub.s32 %r1, %r0, 7;\nredux.sync.max.u32 %r9, %r1, -1;", 'w', {lanes()})[0],
            0xffffffffull);
  EXPECT_EQ(evaluate("redux.sync.xor.b32 %r9, %r0, -1;", 'w', {lanes()})[0], 0ull);
}

TEST(ShuffleWithoutAllItsLanesIsReported) {
  const auto run = run_text(wrap_body("mov.u32 %r0, %laneid;\nsetp.lt.u32 %p1, %r0, 16;\n@%p1 "
                                      "shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;"),
                            8, {});
  EXPECT_TRUE(
      contains(run.faults(), "shfl.sync needs the lanes ffffffff, but only 0000ffff execute it"));
}

TEST(LoopsOfDifferentLengthReconverge) {
  // Each lane adds its number lane times; the sum over the warp needs all lanes again.
  const auto got = evaluate(R"(
mov.u32 %r1, 0; mov.u32 %r2, 0;
loop:
setp.ge.u32 %p1, %r1, %r0;
@%p1 bra done;
add.u32 %r2, %r2, %r0;
add.u32 %r1, %r1, 1;
bra loop;
done:
redux.sync.add.s32 %r9, %r2, -1;)",
                            'w', {lanes()});
  EXPECT_EQ(got[0], 31ull * 32 * 63 / 6);
}

TEST(LanesThatExitEarlyLeaveTheRestRunning) {
  const auto run = run_text(wrap_body(R"(
mov.u32 %r0, %tid.x;
mad.wide.u32 %out, %r0, 4, %out;
st.global.u32 [%out], 1;
setp.lt.u32 %p1, %r0, 7;
@%p1 exit;
st.global.u32 [%out], 2;)"),
                            160, {}, {40});
  EXPECT_EQ(run.faults(), "");
  for (uint32_t i = 0; i < 40; ++i) EXPECT_EQ(run.at<uint32_t>(i), i < 7 ? 1u : 2u);
}

TEST(ThreadIndicesOfThreeDimensions) {
  const auto run = run_text(wrap_body(R"(
mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;
mad.lo.u32 %r3, %r0, %r1, %r2;
mad.wide.u32 %out, %r3, 4, %out;
mov.u32 %r4, %nctaid.x; mov.u32 %r5, %warpid;
mad.lo.u32 %r4, %r4, 100, %r5;
st.global.u32 [%out], %r4;)"),
                            3 * 64 * 4, {}, {64, 3});
  EXPECT_EQ(run.at<uint32_t>(2 * 64 + 40), 301u);
}

namespace {

// Warp 0 passes a value to warp 1 through shared memory.
const char* const kHandOver = R"(
.shared .align 4 .b8 s[4];
mov.u32 %r0, %tid.x;
setp.eq.u32 %p1, %r0, 0;
@%p1 st.shared.u32 [s], 42;
SYNC
setp.eq.u32 %p2, %r0, 32;
@%p2 ld.shared.u32 %r1, [s];
@%p2 st.global.u32 [%out], %r1;)";

std::string hand_over(const std::string& sync) {
  std::string body = kHandOver;
  return wrap_body(body.replace(body.find("SYNC"), 4, sync));
}

}  // namespace

TEST(BarriersOrderAndTheirAbsenceIsARace) {
  RunOptions two_warps;
  two_warps.threads = 64;
  for (const char* sync :
       {"bar.sync 0;", "barrier.sync 3;", "bar.sync 1, 64;", "bar.red.popc.u32 %r2, 0, %p1;"}) {
    const auto run = run_text(hand_over(sync), 4, {}, two_warps);
    EXPECT_EQ(run.faults(), "");
    EXPECT_EQ(run.at<uint32_t>(0), 42u);
  }
  const auto race = run_text(hand_over(""), 4, {}, two_warps);
  EXPECT_TRUE(contains(race.faults(), "\"kind\": \"race\""));
  EXPECT_TRUE(contains(race.faults(), "read after write: shared+0 was written by warp 0 lane 0"));
}

TEST(ArriveAndSyncOrderInOneDirectionOnly) {
  // Warp 0 arrives, warp 1 waits for it: its write is ordered, a later one is not.
  const std::string body = R"(
.shared .align 4 .b8 s[8];
mov.u32 %r0, %tid.x;
setp.ge.u32 %p1, %r0, 32;
@%p1 bra consumer;
st.shared.u32 [s], 1;
bar.arrive 1, 64;
LATE
bra done;
consumer:
bar.sync 1, 64;
ld.shared.u32 %r1, [s];
done:
)";
  const auto with = [&](const std::string& late) {
    std::string text = body;
    RunOptions options;
    options.threads = 64;
    return run_text(
        wrap_body(".reg .pred %q;\nmov.u32 %r5, %laneid;\nsetp.ne.u32 %q, %r5, 0;\n@%q exit;\n" +
                  text.replace(text.find("LATE"), 4, late)),
        4, {}, options);
  };
  EXPECT_EQ(with("").faults(), "");
  EXPECT_TRUE(contains(with("st.shared.u32 [s], 2;").faults(), "\"kind\": \"race\""));
}

TEST(BarrierReductions) {
  RunOptions options;
  options.threads = 96;
  const auto run = run_text(wrap_body(R"(
mov.u32 %r0, %tid.x;
setp.lt.u32 %p1, %r0, 50;
bar.red.popc.u32 %r1, 0, %p1;
bar.red.and.pred %p2, 0, %p1;
bar.red.or.pred %p3, 0, !%p1;
selp.u32 %r2, 1, 0, %p2;
selp.u32 %r3, 1, 0, %p3;
setp.eq.u32 %p4, %r0, 95;
@%p4 st.global.v2.u32 [%out], {%r1, %r2};
@%p4 st.global.u32 [%out+8], %r3;)"),
                            12, {}, options);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 50u);
  EXPECT_EQ(run.at<uint32_t>(1), 0u);
  EXPECT_EQ(run.at<uint32_t>(2), 1u);
}

TEST(SkippedAndDivergentBarriersAreReported) {
  RunOptions options;
  options.threads = 64;
  const std::string warp =
      "mov.u32 %r0, %tid.x;\nsetp.ge.u32 %p1, %r0, 32;\nsetp.lt.u32 %p2, %r0, 7;\n";
  EXPECT_TRUE(contains(
      run_text(wrap_body(warp + "@%p1 bra skip;\nbar.sync 0;\nskip:"), 4, {}, options).faults(),
      "exits without this barrier"));
  EXPECT_TRUE(contains(
      run_text(wrap_body(warp + "@%p1 bra skip;\nbar.sync 0;\nskip:\nbar.sync 0;"), 4, {}, options)
          .faults(),
      "meet at different barriers"));
  EXPECT_TRUE(contains(run_text(wrap_body(warp + "@%p2 bar.sync 0;"), 4, {}, options).faults(),
                       "divergent barrier"));
  const std::string deadlock =
      run_text(
          wrap_body(warp +
                    "@%p1 bra other;\nbar.sync 1, 64;\nbra end;\nother:\nbar.sync 2, 64;\nend:"),
          4, {}, options)
          .faults();
  EXPECT_TRUE(contains(deadlock, "\"kind\": \"deadlock\""));
  EXPECT_TRUE(contains(deadlock, "warp 0 at barrier 1"));
  EXPECT_TRUE(contains(deadlock, "warp 1 at barrier 2"));
}

TEST(EndlessLoopsAndTrapsEnd) {
  EXPECT_TRUE(contains(run_text(wrap_body("again: bra again;"), 4, {}).faults(),
                       "\"kind\": \"instruction_limit\""));
  EXPECT_TRUE(contains(run_text(wrap_body("trap;"), 4, {}).faults(), "\"kind\": \"trap\""));
}

TEST(WarpsMayPollSharedMemory) {
  RunOptions options;
  options.threads = 64;
  options.checks = 0;
  const auto run = run_text(wrap_body(R"(
.shared .align 4 .b8 s[4];
mov.u32 %r0, %tid.x;
st.shared.u32 [s], 0;
setp.ge.u32 %p1, %r0, 32;
@%p1 bra producer;
wait:
ld.volatile.shared.u32 %r1, [s];
setp.eq.u32 %p2, %r1, 0;
@%p2 bra wait;
st.global.u32 [%out], %r1;
bra done;
producer:
st.volatile.shared.u32 [s], 9;
done:)"),
                            4, {}, options);
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 9u);
}

TEST(ResultsDoNotDependOnScheduleOrHostThreads) {
  for (const uint32_t seed : {0u, 1u, 2u, 99u}) {
    for (const int host_threads : {1, 3}) {
      RunOptions options;
      options.threads = 128;
      options.blocks = 4;
      options.seed = seed;
      options.host_threads = host_threads;
      const auto run = run_text(wrap_body(R"(
.shared .align 4 .b8 s[512];
mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x;
shl.b32 %r2, %r0, 2; mov.u32 %r3, s; add.u32 %r2, %r2, %r3;
st.shared.u32 [%r2], %r0;
bar.sync 0;
xor.b32 %r4, %r0, 127; shl.b32 %r4, %r4, 2; add.u32 %r4, %r4, %r3;
ld.shared.u32 %r5, [%r4];
mad.lo.u32 %r6, %r1, 128, %r0;
mad.wide.u32 %out, %r6, 4, %out;
st.global.u32 [%out], %r5;)"),
                                4 * 128 * 4, {}, options);
      EXPECT_EQ(run.faults(), "");
      for (uint32_t i = 0; i < 512; ++i) EXPECT_EQ(run.at<uint32_t>(i), 127 - i % 128);
    }
  }
}
