// A small test framework: TEST bodies, EXPECT_ (goes on) and ASSERT_ (ends the test) macros, one
// main().
//
//   TEST(PlanOfZeroRowsIsEmpty) { EXPECT_EQ(plan(0).grid, 0); }
//
// A failure prints the place, the expression and both values. `--filter=TEXT` runs the tests whose
// names contain TEXT (so does Bazel's --test_filter). The JUnit XML that Bazel asks for lists every
// test.
#pragma once

#include <cmath>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <type_traits>

namespace testing {

// Ends the running test; thrown by ASSERT_ macros after the failure is recorded.
struct TestEnded {};

struct Registrar {
  Registrar(const char* name, void (*body)());
};

// Records a failure of the running test.
void fail(const char* file, int line, const std::string& message);

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, unsigned char> || std::is_same_v<T, signed char>) {
    out << static_cast<int>(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    out << "null";
  } else {
    out.precision(std::is_floating_point_v<T> ? 17 : 6);
    out << value;
  }
  return out.str();
}

template <typename A, typename B, typename Compare>
bool compare(const char* file, int line, const char* expression, const A& a, const B& b,
             Compare holds) {
  if (holds(a, b)) return true;
  fail(file, line, std::string(expression) + "\n    left:  " + show(a) + "\n    right: " + show(b));
  return false;
}

// The message of the std::exception that `call` throws; empty (and a failure) when it throws none.
bool throws_with(const char* file, int line, const char* expression,
                 const std::function<void()>& call, const std::string& part);

}  // namespace testing

#define TEST(name)                                                        \
  static void test_##name();                                              \
  static const ::testing::Registrar registrar_##name(#name, test_##name); \
  static void test_##name()

#define TESTING_COMPARE_(a, b, op)                                \
  ::testing::compare(__FILE__, __LINE__, #a " " #op " " #b, a, b, \
                     [](const auto& x, const auto& y) { return x op y; })
#define TESTING_TRUE_(x) ((x) ? true : (::testing::fail(__FILE__, __LINE__, #x " is false"), false))
#define TESTING_OR_END_(passed)                  \
  do {                                           \
    if (!(passed)) throw ::testing::TestEnded(); \
  } while (false)

#define EXPECT_TRUE(x) (void)TESTING_TRUE_(x)
#define EXPECT_FALSE(x) (void)TESTING_TRUE_(!(x))
#define EXPECT_EQ(a, b) (void)TESTING_COMPARE_(a, b, ==)
#define EXPECT_NE(a, b) (void)TESTING_COMPARE_(a, b, !=)
#define EXPECT_LT(a, b) (void)TESTING_COMPARE_(a, b, <)
#define EXPECT_LE(a, b) (void)TESTING_COMPARE_(a, b, <=)
#define EXPECT_GT(a, b) (void)TESTING_COMPARE_(a, b, >)
#define EXPECT_GE(a, b) (void)TESTING_COMPARE_(a, b, >=)
#define EXPECT_NEAR(a, b, tolerance)                                    \
  (void)::testing::compare(__FILE__, __LINE__, #a " is near " #b, a, b, \
                           [&](double x, double y) { return std::fabs(x - y) <= (tolerance); })
#define EXPECT_THROWS_WITH(expression, part) \
  (void)::testing::throws_with(__FILE__, __LINE__, #expression, [&] { (void)(expression); }, part)

#define ASSERT_TRUE(x) TESTING_OR_END_(TESTING_TRUE_(x))
#define ASSERT_FALSE(x) TESTING_OR_END_(TESTING_TRUE_(!(x)))
#define ASSERT_EQ(a, b) TESTING_OR_END_(TESTING_COMPARE_(a, b, ==))
#define ASSERT_NE(a, b) TESTING_OR_END_(TESTING_COMPARE_(a, b, !=))
