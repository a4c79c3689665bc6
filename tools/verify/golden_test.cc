#include "tools/verify/golden.h"

#include <cstdio>
#include <fstream>

#include "tools/testing/testing.h"

namespace edge_llm::verify {
namespace {

constexpr char kHead[] =
    "edge_llm_plugins verify 1\n"
    "limits int4_relative_rms=0.0005 attention=0.002 key=1e-06\n"
    "kernel gemv\n"
    "kernel gemm 86 120\n";

// What is read from a file of these bytes.
Golden read(const std::string& bytes) {
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/verify.golden";
  std::ofstream(path, std::ios::binary) << bytes;
  return read_golden(path);
}

std::string bytes_of(float value) { return {reinterpret_cast<const char*>(&value), 4}; }

TEST(ProblemsKeepTheirOrderLabelsAndResults) {
  const Golden golden =
      read(std::string(kHead) + "int4_gemm m=1 seed=4294967295 outputs=2|a, b|c\n" +
           bytes_of(1.5f) + bytes_of(10.f) +  // holds a byte that ends lines
           "attention mode=3 outputs=1 keys=1|tree\n" + bytes_of(-2) + "\x01\x3c");
  EXPECT_EQ(golden.limits.attention, 0.002);
  EXPECT_EQ(golden.limits.key, 1e-6);
  ASSERT_EQ(golden.kernels.size(), 2u);
  EXPECT_EQ(golden.kernels[1].name, "gemm");
  EXPECT_TRUE(golden.kernels[0].without.empty());
  EXPECT_TRUE((golden.kernels[1].without == std::vector<int>{86, 120}));
  ASSERT_EQ(golden.problems.size(), 2u);
  EXPECT_EQ(golden.problems[0].label, "a, b|c");
  EXPECT_EQ(golden.problems[0].fact("seed"), 4294967295);
  EXPECT_TRUE((golden.problems[0].outputs == std::vector<float>{1.5f, 10.f}));
  EXPECT_EQ(golden.problems[1].outputs[0], -2.f);
  EXPECT_TRUE((golden.problems[1].keys == std::vector<uint16_t>{0x3c01}));
  EXPECT_THROWS_WITH(golden.problems[1].fact("past"), "'tree' lacks past");
}

TEST(FilesThatAreNotWholeAreRefusedInOneLine) {
  const std::string head = kHead;
  const std::string problem = "int4_gemm m=1 outputs=2|label\n";
  EXPECT_THROWS_WITH(read_golden("missing"), "missing: No such file");
  EXPECT_THROWS_WITH(read(""), "does not begin with 'edge_llm_plugins verify 1'");
  EXPECT_THROWS_WITH(read("edge_llm_plugins verify 2\n"), "does not begin with");
  EXPECT_THROWS_WITH(read(head), "has no problems");
  EXPECT_THROWS_WITH(read(head + problem + bytes_of(1)), "is cut off: unpack the release anew");
  EXPECT_THROWS_WITH(read(head + "int4_gemm m=1|label\n"), "'label' lacks outputs");
  EXPECT_THROWS_WITH(read(head + "int4_gemm m outputs=1|label\n"), "has 'm' where name=value");
  EXPECT_THROWS_WITH(read(head + "int4_gemm outputs=-1|label\n"), "has a wrong count");
  EXPECT_THROWS_WITH(read(head + "conv m=1\n"), "begins with neither");
}

}  // namespace
}  // namespace edge_llm::verify
