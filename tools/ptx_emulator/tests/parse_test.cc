// Malformed and unusual PTX texts: what is accepted, and the message for what is not.
#include "tools/ptx_emulator/parser.h"
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/testing.h"

using ptx_emulator::Module;
using ptx_emulator::parse_text;
using ptx_emulator::run_text;
using ptx_emulator::wrap_body;

namespace {

void parse(const std::string& text) {
  Module module;
  parse_text(text, module);
}
void parse_body(const std::string& body) { parse(wrap_body(body)); }

// Line of the first statement of a body.
constexpr int kFirstLine = 15;
std::string at(int line) { return "line " + std::to_string(kFirstLine + line) + ": "; }

}  // namespace

TEST(MessagesNameTheLineAndTheCulprit) {
  EXPECT_THROWS_WITH(parse_body("\nadd.s32 %r1, %r2, %r99;"), at(1) + "unknown register %r99");
  EXPECT_THROWS_WITH(parse_body("frob.s32 %r1, %r2;"), at(0) + "unsupported instruction frob.s32");
  EXPECT_THROWS_WITH(parse_body("add.s32 %r1, %r2;"), at(0) + "add.s32 has 2 operands, needs 3");
  EXPECT_THROWS_WITH(parse_body("bra nowhere;"), at(0) + "unknown label nowhere");
  EXPECT_THROWS_WITH(parse_body("@%q bra x;"), at(0) + "unknown predicate %q");
  EXPECT_THROWS_WITH(parse_body("@%r1 ret;"), at(0) + "unknown predicate %r1");
  EXPECT_THROWS_WITH(parse_body("mov.u32 %r1, nothing;"), at(0) + "unknown name nothing");
  EXPECT_THROWS_WITH(parse_body("mov.u32 5, %r1;"), at(0) + "the destination must be a register");
  EXPECT_THROWS_WITH(parse_body("add.s32 %r1, %r2, 0x1g;"), at(0) + "bad number '0x1g'");
  EXPECT_THROWS_WITH(parse_body("x: x: ret;"), at(0) + "label x is declared twice");
  EXPECT_THROWS_WITH(parse_body(".reg .b32 %a, %a;"), at(0) + "register %a is declared twice");
  EXPECT_THROWS_WITH(parse_body("call foo;"), at(0) + "'call' is not supported");
  EXPECT_THROWS_WITH(parse_body("ld.param.u64 %d0, [out+8];"), at(0) + "the access is outside");
  EXPECT_THROWS_WITH(parse_body("/* no end"), "comment without an end");
  EXPECT_THROWS_WITH(parse("hello"), "line 1: expected a PTX directive, found 'hello'");
  EXPECT_THROWS_WITH(parse(""), "no .target");
  EXPECT_THROWS_WITH(parse(".target sm_xy"), "unknown target 'sm_xy'");
  EXPECT_THROWS_WITH(parse(".version 7.0\n.target sm_80\n.visible .func f() { ret; }"),
                     "line 3: functions are not supported");
}

TEST(WidthsMustFit) {
  EXPECT_THROWS_WITH(parse_body("add.s32 %r1, %r2, %d0;"),
                     "'%d0' of add.s32 has 64 bits, needs 32 bits");
  EXPECT_THROWS_WITH(parse_body("add.s64 %d1, %d2, %r0;"), "has 32 bits, needs 64 bits");
  EXPECT_THROWS_WITH(parse_body("add.s32 %p1, %r2, %r0;"), "has a predicate, needs 32 bits");
  EXPECT_THROWS_WITH(parse_body("ld.global.u64 %r0, [%d0];"), "too narrow for .u64");
  EXPECT_THROWS_WITH(parse_body("ld.global.v4.u32 {%r0, %r1}, [%d0];"), "has 2 elements, needs 4");
}

TEST(UnsupportedModifiersAreNamed) {
  EXPECT_THROWS_WITH(parse_body("ld.global.strange.u32 %r0, [%d0];"),
                     "unsupported instruction ld.global.strange.u32");
  EXPECT_THROWS_WITH(
      parse_body("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 %r0, %r1, %r2, %r3;"),
      "unsupported instruction mma.sync.aligned.m8n8k4");
  EXPECT_THROWS_WITH(parse_body("cp.async.cg.shared.global [%r0], [%d0], 8;"),
                     "cannot copy 8 bytes");
  EXPECT_THROWS_WITH(parse_body("tcgen05.wait::ld.sync.aligned;"),
                     "unsupported instruction tcgen05.wait");
  EXPECT_THROWS_WITH(parse_body("fence.proxy.alias;"), "unsupported instruction fence.proxy.alias");
}

TEST(AsmScopesHideRegistersWithoutPercentAndRepeatLabels) {
  const std::string asm_block = R"(
{ .reg .b32 t; .reg .pred p;
mov.u32 t, 0;
again:
add.u32 t, t, 1;
setp.lt.u32 p, t, 5;
@p bra again;
add.u32 %r1, %r1, t; }
)";
  const auto run = run_text(
      wrap_body("mov.u32 %r1, 0;" + asm_block + asm_block + "st.global.u32 [%out], %r1;"), 4, {});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 10u);
  EXPECT_THROWS_WITH(parse_body(asm_block + "mov.u32 %r1, t;"), "unknown name t");
  EXPECT_THROWS_WITH(parse_body(asm_block + "bra again;"), "unknown label again");
}

TEST(LiteralsOfEveryKind) {
  const auto run = run_text(wrap_body(R"(
mov.u32 %r1, -5;            st.global.u32 [%out], %r1;
mov.u32 %r1, 0x1F;          st.global.u32 [%out+4], %r1;
mov.f32 %f1, 0f3F800000;    st.global.f32 [%out+8], %f1;
mov.f32 %f1, 1.5;           st.global.f32 [%out+12], %f1;
mov.b64 %d1, 0d3FF0000000000000; st.global.u64 [%out+16], %d1;
st.global.u32 [%out+24], 017;
add.s32 %r1, 0b101, 3U;     st.global.u32 [%out+28], %r1;
mov.b16 %h1, -1;            cvt.u32.u16 %r1, %h1; st.global.u32 [%out+32], %r1;
)"),
                            36, {}, {1});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<int32_t>(0), -5);
  EXPECT_EQ(run.at<uint32_t>(1), 0x1fu);
  EXPECT_EQ(run.at<float>(2), 1.0f);
  EXPECT_EQ(run.at<float>(3), 1.5f);
  EXPECT_EQ(run.at<double>(2), 1.0);
  EXPECT_EQ(run.at<uint32_t>(6), 15u);
  EXPECT_EQ(run.at<uint32_t>(7), 8u);
  EXPECT_EQ(run.at<uint32_t>(8), 0xffffu);
}

TEST(HugeDeclarationsAreRefusedOrCostNothing) {
  parse_body(".reg .b32 %huge<4000000000>; mov.u32 %huge3999999999, 1;");
  EXPECT_THROWS_WITH(parse_body("mov.u32 %r64, 1;"), "unknown register %r64");
  EXPECT_THROWS_WITH(parse_body(".shared .b8 s[99999999999];"), "too large");
  EXPECT_THROWS_WITH(parse_body(".local .b8 s[4294967296][4294967296];"), "too large");
  EXPECT_THROWS_WITH(parse_body(".shared .align 3 .b8 s[4];"), "bad alignment");
  std::string braces;
  for (int i = 0; i < 100; ++i) braces += "{";
  EXPECT_THROWS_WITH(parse_body(braces), "too many braces");
}

TEST(RegistersOf64BitsNeverOverlapDyingOnesOf32) {
  // %d1 is defined where %r1 and %r2 die; a wrong slot would spoil the second lane's source.
  const auto got = ptx_emulator::evaluate(
      "add.u32 %r10, %r0, 1;\nadd.u32 %r11, %r0, 2;\nmul.wide.u32 %d1, %r10, %r11;\nmov.b64 %d9, "
      "%d1;",
      'd', {{3, 1000}});
  EXPECT_EQ(got[0], 20ull);
  EXPECT_EQ(got[1], 1001ull * 1002);
}

TEST(GuardedDefinitionsInLoopsKeepTheValueOfEarlierRounds) {
  // %r30 is set in the first round only; were it dead at the loop's end, %r31 would take its slot.
  const auto got = ptx_emulator::evaluate(R"(
mov.u32 %r1, 0;
mov.u32 %r2, 0;
again:
setp.eq.u32 %p1, %r1, 0;
@%p1 mov.u32 %r30, 7;
add.u32 %r2, %r2, %r30;
add.u32 %r31, %r1, 1001;
sub.u32 %r1, %r31, 1000;
setp.lt.u32 %p2, %r1, 3;
@%p2 bra again;
cvt.u64.u32 %d9, %r2;)",
                                          'd', {});
  EXPECT_EQ(got[0], 21ull);
}

TEST(ModuleVariablesKeepTheirInitialValues) {
  const std::string text = wrap_body(
      "mov.u64 %x, table;\nld.global.u32 %r1, [%x+4];\nst.global.u32 [%out], %r1;\n"
      "ld.const.u16 %h1, [small+2];\nst.global.u16 [%out+4], %h1;\nst.global.u16 [%out+6], 0;",
      ".global .align 4 .u32 table[3] = {7, 0x2A, 9};\n.const .align 2 .b16 small[2] = {1, "
      "513};\n");
  const auto run = run_text(text, 8, {}, {1});
  EXPECT_EQ(run.faults(), "");
  EXPECT_EQ(run.at<uint32_t>(0), 42u);
  EXPECT_EQ(run.at<uint32_t>(1), 513u);
}
