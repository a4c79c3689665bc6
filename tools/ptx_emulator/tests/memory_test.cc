// Loads, stores and atomics of all spaces, and the faults of bad addresses.
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::contains;
using ptx_emulator::run_text;
using ptx_emulator::RunOptions;
using ptx_emulator::wrap_body;

namespace {

#define EXPECT_CONTAINS(text, part)                                                              \
  do {                                                                                           \
    if (!contains(text, part)) testing::fail(__FILE__, __LINE__, (text) + "\n lacks " + (part)); \
  } while (false)

}  // namespace

TEST(NarrowLoadsExtend) {
  const auto run = run_text(wrap_body(R"(
ld.global.nc.s8 %r1, [%in];                        st.global.u32 [%out], %r1;
ld.global.u8 %r1, [%in];                           st.global.u32 [%out+4], %r1;
ld.global.L1::no_allocate.s16 %r1, [%in];          st.global.u32 [%out+8], %r1;
ld.global.nc.L1::no_allocate.L2::128B.u16 %r1, [%in]; st.global.u32 [%out+12], %r1;
ld.relaxed.gpu.global.s32 %d1, [%in];              st.global.u64 [%out+16], %d1;
ld.volatile.global.b8 %h1, [%in];                  cvt.u32.u16 %r1, %h1; st.global.u32 [%out+24], %r1;
ld.global.s8 %h1, [%in];                           cvt.u32.u16 %r1, %h1; st.global.u32 [%out+28], %r1;
)"),
                            32, {0xf0, 0xff, 0xff, 0xff}, {1});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 0xfffffff0u);
  EXPECT_EQ(run.at<uint32_t>(1), 0xf0u);
  EXPECT_EQ(run.at<uint32_t>(2), 0xfffffff0u);
  EXPECT_EQ(run.at<uint32_t>(3), 0xfff0u);
  EXPECT_EQ(run.at<uint64_t>(2), 0xfffffffffffffff0ull);
  EXPECT_EQ(run.at<uint32_t>(6), 0xf0u);
  EXPECT_EQ(run.at<uint32_t>(7), 0xfff0u);
}

TEST(VectorsKeepTheirOrderInEverySpace) {
  const auto run = run_text(wrap_body(R"(
.local .align 16 .b8 frame[32];
.shared .align 16 .b8 tile[64];
ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%in];
mov.u64 %x, frame;
st.local.v4.u32 [%x+16], {%r4, %r3, %r2, %r1};
ld.local.v2.u32 {%r5, %r6}, [frame+16];
mov.u32 %r20, tile;
st.shared.v2.u32 [%r20+8], {%r5, %r6};
ld.shared.v2.b16 {%h1, %h2}, [tile+8];
cvta.shared.u64 %y, %x;
mov.u64 %y, tile;
cvta.shared.u64 %y, %y;
ld.u32 %r7, [%y+12];
cvta.local.u64 %x, %x;
ld.u32 %r8, [%x+28];
st.global.v2.u32 [%out], {%r7, %r8};
st.global.v2.u16 [%out+8], {%h2, %h1};
)"),
                            12, {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 5, 0}, {1});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 3u);
  EXPECT_EQ(run.at<uint32_t>(1), 1u);
  EXPECT_EQ(run.at<uint32_t>(2), 0x00040005u);
}

TEST(DynamicSharedMemoryBeginsBehindTheStaticPart) {
  const auto run = run_text(wrap_body(".shared .b8 fixed[20];\nmov.u32 %r1, fixed;\nmov.u32 %r2, "
                                      "dynamic;\nsub.u32 %r3, %r2, %r1;\n"
                                      "st.global.u32 [%out], %r3;\nst.shared.u32 [%r2+60], %r3;",
                                      ".extern .shared .align 64 .b8 dynamic[];"),
                            4, {}, {1, 1, 64});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 64u);
}

TEST(BadAddressesAreReportedAndChangeNothing) {
  const auto overrun =
      run_text(wrap_body("st.global.u32 [%out], 1;\nst.global.u32 [%out+2], 2;"), 8, {}, {1});
  EXPECT_CONTAINS(overrun.faults(), "\"kind\": \"alignment\"");
  const auto outside =
      run_text(wrap_body("st.global.u32 [%out+8], 1;\nld.global.u32 %r1, [%out+-4];"), 8, {}, {1});
  EXPECT_CONTAINS(outside.faults(), "write of 4 bytes at 'out'+8, which has 8 bytes");
  EXPECT_CONTAINS(outside.faults(), "read of 4 bytes at 'out'-4");
  EXPECT_EQ(outside.launch.faults.size(), size_t{2});
  const auto hint =
      run_text(wrap_body("st.global.u32 [%out+4], 1;\n"
                         "prefetch.global.L2 [%out+7];\nprefetch.global.L2 [%out+8];"),
               8, {}, {1});
  EXPECT_CONTAINS(hint.faults(), "read of 1 bytes at 'out'+8, which has 8 bytes");
  EXPECT_EQ(hint.launch.faults.size(), size_t{1});
  const auto straddling = run_text(wrap_body("st.global.u64 [%out+8], 1;"), 12, {}, {1});
  EXPECT_CONTAINS(straddling.faults(), "write of 8 bytes at 'out'+8, which has 12 bytes");
  const auto wild = run_text(wrap_body("ld.global.u32 %r1, [64];"), 8, {}, {1});
  EXPECT_CONTAINS(wild.faults(), "0x40, where nothing is allocated");
  const auto shared =
      run_text(wrap_body(".shared .align 4 .b8 s[16];\nmov.u32 %r1, s;\nst.shared.u32 [%r1+16], "
                         "1;\nst.shared.u32 [%r1+2], 1;\nst.shared.u32 [0], 1;"),
               8, {}, {1});
  EXPECT_CONTAINS(shared.faults(), "shared+16; the block has 16 bytes");
  EXPECT_CONTAINS(shared.faults(), "\"kind\": \"alignment\"");
  EXPECT_CONTAINS(shared.faults(), "shared-1024");
  const auto local =
      run_text(wrap_body(".local .align 4 .b8 s[16];\nmov.u64 %x, s;\nst.local.u32 [%x+-4], 1;"), 8,
               {}, {1});
  EXPECT_CONTAINS(local.faults(), "a thread has 16 bytes");
}

TEST(BoundsAreCheckedWithoutAnyCheck) {
  RunOptions options;
  options.checks = 0;
  options.threads = 1;
  const auto run = run_text(wrap_body("st.global.u32 [%out+4000000], 1;"), 8, {}, options);
  EXPECT_CONTAINS(run.faults(), "\"kind\": \"bounds\"");
}

namespace {

// A warp of which each lane uses a word of `in` and one of `s`, both of 128 bytes, checks off.
ptx_emulator::RunResult run_warp(const std::string& body) {
  std::vector<uint8_t> in(127);  // and one byte more
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i);
  RunOptions options;
  options.checks = 0;
  return run_text(wrap_body(R"(
.shared .align 16 .b8 s[128];
mov.u32 %r0, %tid.x;
mad.wide.u32 %x, %r0, 4, %in;
mad.wide.u32 %y, %r0, 4, %out;
shl.b32 %r1, %r0, 2;
mov.u32 %r2, s;
add.u32 %r1, %r1, %r2;
sub.u32 %r3, 124, %r1;
add.u32 %r3, %r3, %r2;
add.u32 %r3, %r3, %r2;
ld.global.u32 %r4, [%x];
)" + body),
                  128, in, options);
}

}  // namespace

TEST(WarpsMoveWordsWithoutAnyCheck) {
  const auto run = run_warp(
      "ld.global.u32 %r5, [%x];\nst.shared.u32 [%r3], %r5;\nld.shared.u32 %r6, [%r1];\n"
      "st.global.u32 [%y], %r6;\n");
  EXPECT_EQ(run.faults(), "");
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(run.at<uint8_t>(4 * lane), 4 * (31 - lane));
  const auto same = run_warp(
      "st.shared.u32 [%r2], %r0;\nld.shared.u32 %r6, [%r2];\n"
      "st.global.u32 [%y], %r6;\n");
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(same.at<uint32_t>(lane), 31u);
}

TEST(WarpsAreHeldToBoundsAndAlignmentWithoutAnyCheck) {
  EXPECT_EQ(run_warp("ld.global.u32 %r5, [%x];\nst.shared.u32 [%r1], %r5;").faults(), "");
  EXPECT_CONTAINS(run_warp("ld.global.u32 %r5, [%x+4];").faults(),
                  "read of 4 bytes at 'in'+128, which has 128 bytes");
  EXPECT_CONTAINS(run_warp("ld.global.u32 %r5, [%x+-4];").faults(), "read of 4 bytes at 'in'-4");
  EXPECT_CONTAINS(run_warp("ld.global.u32 %r5, [%x+-2];").faults(), "'in'-2");
  EXPECT_CONTAINS(run_warp("ld.global.u16 %r5, [%x+1];").faults(), "no multiple of 2");
  EXPECT_CONTAINS(run_warp("st.shared.u32 [%r1+4], 1;").faults(),
                  "at shared+128; the block has 128");
  EXPECT_CONTAINS(run_warp("ld.shared.u32 %r5, [%r1+-4];").faults(), "shared-4");
  EXPECT_CONTAINS(run_warp("ld.shared.u16 %r5, [%r1+1];").faults(), "no multiple of 2");
  // Memory that is smaller than the access.
  const auto small =
      run_text(wrap_body("ld.global.u8 %r1, [%in];\nld.global.v4.u32 {%r1, %r2, %r3, "
                         "%r4}, [%in];"),
               8, {1, 2, 3}, {32, 1, 0, 0, 0});
  EXPECT_CONTAINS(small.faults(), "read of 16 bytes at 'in'+0, which has 4 bytes");
}

TEST(ReadsOfUnwrittenBytesAreFoundByTheByte) {
  const std::string half = "st.global.u16 [%out], 1;\n";
  for (const uint32_t threads : {1, 32}) {
    const auto bad = run_text(wrap_body(half + "ld.global.u32 %r1, [%out];"), 8, {}, {threads});
    EXPECT_CONTAINS(bad.faults(), "read of 4 bytes at 'out'+0, which nobody wrote");
    const auto good = run_text(wrap_body(half + "ld.global.u16 %h1, [%out];"), 8, {}, {threads});
    EXPECT_EQ(good.faults(), "");
    const auto shared = run_text(
        wrap_body(".shared .align 4 .b8 s[8];\nst.shared.u16 [s], 1;\nld.shared.u32 %r1, [s];"), 8,
        {}, {threads});
    EXPECT_CONTAINS(shared.faults(), "\"kind\": \"uninitialized\"");
  }
  RunOptions off;
  off.threads = 1;
  off.checks = 0;
  EXPECT_EQ(run_text(wrap_body(half + "ld.global.u32 %r1, [%out];"), 8, {}, off).faults(), "");
}

TEST(AtomicsAddAcrossBlocksAndReturnTheOldValue) {
  RunOptions options;
  options.threads = 64;
  options.blocks = 50;
  options.host_threads = 2;
  const auto run = run_text(wrap_body(R"(
red.global.add.u32 [%in], 1;
mov.u32 %r5, %tid.x;
atom.global.max.s32 %r2, [%in+4], %r5;
red.global.add.f32 [%in+8], 0f3F800000;
red.relaxed.gpu.global.add.noftz.f16x2 [%in+12], 0x3C003C00;
bar.sync 0;
ld.global.u32 %r1, [%in];      st.global.u32 [%out], %r1;
ld.global.u32 %r1, [%in+4];    st.global.u32 [%out+4], %r1;
ld.global.u32 %r1, [%in+8];    st.global.u32 [%out+8], %r1;
ld.global.u32 %r1, [%in+12];   st.global.u32 [%out+12], %r1;
)"),
                            16, std::vector<uint8_t>(16, 0), options);
  EXPECT_EQ(run.faults(), "");
  // Each block reads at its own time; the last one sees all, and nobody sees more.
  EXPECT_LE(run.at<uint32_t>(0), 3200u);
  EXPECT_GE(run.at<uint32_t>(0), 64u);
  EXPECT_EQ(run.at<uint32_t>(1), 63u);
  EXPECT_LE(run.at<float>(2), 3200.0f);
}

TEST(AtomicsOfOneBlockAreExact) {
  const auto run = run_text(wrap_body(R"(
.shared .align 8 .b8 s[32];
mov.u32 %r5, %tid.x;
setp.eq.u32 %p1, %r5, 0;
@%p1 st.shared.v4.u32 [s], {0, 100, 0, 0};
bar.sync 0;
red.shared.add.u32 [s], 2;
atom.shared.min.u32 %r1, [s+4], %r5;
atom.shared.inc.u32 %r2, [s+8], 10;
atom.shared.cas.b32 %r3, [s+12], 0, 77;
bar.sync 0;
@%p1 ld.shared.v4.u32 {%r1, %r2, %r3, %r4}, [s];
@%p1 st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4};
)"),
                            16, {}, {64});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 128u);
  EXPECT_EQ(run.at<uint32_t>(1), 0u);
  EXPECT_EQ(run.at<uint32_t>(2), 64u % 11);
  EXPECT_EQ(run.at<uint32_t>(3), 77u);
}

TEST(ExchangeReturnsWhatWasThere) {
  const auto run =
      run_text(wrap_body("atom.global.exch.b64 %d1, [%in], 5;\nst.global.u64 [%out], %d1;\n"
                         "ld.global.u64 %d1, [%in];\nst.global.u64 [%out+8], %d1;"),
               16, {9, 0, 0, 0, 0, 0, 0, 0}, {1});
  EXPECT_EQ(run.at<uint64_t>(0), 9ull);
  EXPECT_EQ(run.at<uint64_t>(1), 5ull);
}
