#include "tools/verify/inputs.h"

#include <cmath>
#include <set>

#include "tools/testing/testing.h"

namespace edge_llm::verify {
namespace {

// python/edge_llm_plugins/verify/verify_test.py has the same numbers.
TEST(InputsAreThoseOfPython) {
  EXPECT_EQ(crc32(0, bytes_of(normals(7, 1, 1000))), 0x6d46404bu);
  EXPECT_EQ(crc32(0, bytes_of(scales(7, 2, 1000))), 0x358ad831u);
  EXPECT_EQ(crc32(0, bytes_of(int8s(7, 3, 1000))), 0x47b8e6f5u);
  EXPECT_EQ(crc32(0, bytes_of(rope_table(50, 64))), 0xdb092b98u);
  EXPECT_EQ(crc32(0, bytes_of(parents(7, 4, 100))), 0x22607ad5u);
}

TEST(CrcGoesOnFromTheBytesBefore) {
  EXPECT_EQ(crc32(0, "123456789"), 0xCBF43926u);  // the check value of CRC-32
  EXPECT_EQ(crc32(crc32(0, "1234"), "56789"), 0xCBF43926u);
}

TEST(NormalsAreAsWideAsTheySay) {
  double squares = 0;
  for (const uint16_t half : normals(1, 0, 100000)) {
    const double value = half_value(half);
    EXPECT_TRUE(std::abs(value) <= 4 && std::rint(value * 512) == value * 512);
    squares += value * value;
  }
  EXPECT_TRUE(std::abs(std::sqrt(squares / 100000) - 1.15) < 0.02);
}

TEST(HalvesHaveTheirValueAndSpacing) {
  EXPECT_EQ(half_value(0x3c00), 1.0);
  EXPECT_EQ(half_value(0xc400), -4.0);
  EXPECT_EQ(half_value(0x0001), std::ldexp(1.0, -24));
  EXPECT_EQ(half_value(0x7bff), 65504.0);
  EXPECT_TRUE(std::isinf(half_value(0x7c00)) && std::isnan(half_value(0x7e00)));
  EXPECT_EQ(half_spacing(0x3c00), std::ldexp(1.0, -10));
  EXPECT_EQ(half_spacing(0x0000), std::ldexp(1.0, -24));
  EXPECT_EQ(half_spacing(0x0400), std::ldexp(1.0, -24));
}

}  // namespace
}  // namespace edge_llm::verify
