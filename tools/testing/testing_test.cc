#include "tools/testing/testing.h"

#include <stdexcept>

TEST(ComparisonsOfEqualValuesPass) {
  EXPECT_EQ(1, 1);
  EXPECT_NE(std::string("a"), "b");
  EXPECT_LE(1.0, 1.0);
  EXPECT_NEAR(1.0, 1.1, 0.2);
}

TEST(CompareReportsWhetherItHolds) {
  const auto equal = [](int a, int b) { return a == b; };
  EXPECT_TRUE(testing::compare(__FILE__, __LINE__, "1 == 1", 1, 1, equal));
}

TEST(ThrowsWithFindsThePart) {
  EXPECT_THROWS_WITH(throw std::runtime_error("value 3 is not in 1, 2"), "value 3");
}
