// The three entry points of TensorRT, called from a library that claims to be one version of it.
#include <cstdlib>
#include <string>
#include <vector>

#include "plugins/testing/plugin_driver.h"
#include "plugins/testing/tensorrt_logger.h"
#include "tools/testing/testing.h"

namespace edge_llm::testing {
namespace {

constexpr char kLibrary[] = "plugins/libedge_llm_plugins.so";

// What a caller of this version gets from one entry point.
std::vector<void*> creators_for(int version, const char* entry_point) {
  set_tensorrt_version(version);
  int32_t count = -1;
  const auto call =
      symbol<void* const* (*)(void*, int32_t*)>(kFakeTensorRt, "fake_tensorrt_creators");
  void* const* creators = call(find_symbol(kLibrary, entry_point), &count);
  return {creators, creators + count};
}

std::vector<void*> creators_of_major(int major) {
  int count = -1;
  void* const* creators =
      symbol<void* const* (*)(int, int*)>(kLibrary, "edge_llm_plugins_creators")(major, &count);
  return {creators, creators + count};
}

void cause_an_error() {
  symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver")("");
}

// A versioned interface is abstract without its description.
struct VersionedLogger : CollectingLogger<abi::v11> {
  abi::InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILogger", 1, 0}; }
};
struct VersionedFinder : Finder<abi::v11> {
  using Finder::Finder;
  abi::InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILoggerFinder", 1, 0}; }
};

template <typename Logger, typename LoggerFinder>
void expect_the_logger_hears_of_errors(int version) {
  Logger logger;
  LoggerFinder finder(&logger);
  set_logger_finder(kLibrary, version, &finder);
  cause_an_error();
  set_logger_finder(kLibrary, version, nullptr);
  cause_an_error();
  ASSERT_EQ(logger.messages.size(), 1u);
  EXPECT_EQ(logger.messages[0], "1 edge_llm_plugins_set_cuda_driver: the path is empty");
}

}  // namespace

TEST(EachMajorGetsItsOwnCreators) {
  EXPECT_TRUE(creators_for(8601, "getPluginCreators") == creators_of_major(8));
  EXPECT_TRUE(creators_for(100300, "getCreators") == creators_of_major(10));
  EXPECT_TRUE(creators_for(101601, "getCreators") == creators_of_major(10));
  EXPECT_TRUE(creators_for(110400, "getCreators") == creators_of_major(11));
  EXPECT_EQ(creators_of_major(8).size(), 2u);   // one per plugin
  EXPECT_EQ(creators_of_major(10).size(), 4u);  // and one per version
  EXPECT_TRUE(creators_of_major(10)[0] != creators_of_major(11)[0]);
}

TEST(TensorRtRtxAndMajorsToComeGetV3Creators) {
  EXPECT_TRUE(creators_for(10701, "getCreators") == creators_of_major(1));
  EXPECT_TRUE(creators_for(120000, "getCreators") == creators_of_major(12));
  EXPECT_EQ(creators_of_major(1).size(), 4u);
}

TEST(OldEntryPointGivesOthersNothing) {
  EXPECT_TRUE(creators_for(101601, "getPluginCreators").empty());
  EXPECT_TRUE(creators_for(10701, "getPluginCreators").empty());
}

TEST(CallerWithoutAVersionGetsV3Creators) {
  int32_t count = -1;
  void* const* creators = symbol<void* const* (*)(int32_t&)>(kLibrary, "getCreators")(count);
  EXPECT_TRUE(std::vector<void*>(creators, creators + count) == creators_of_major(0));
}

TEST(LoggerOfEachMajorHearsOfErrors) {
  expect_the_logger_hears_of_errors<CollectingLogger<abi::v8>, Finder<abi::v8>>(8600);
  expect_the_logger_hears_of_errors<CollectingLogger<abi::v10>, Finder<abi::v10>>(101601);
  expect_the_logger_hears_of_errors<VersionedLogger, VersionedFinder>(110400);
}

TEST(LoggerOfAnUnknownMajorIsNeverCalled) {
  CollectingLogger<abi::v10> logger;
  Finder<abi::v10> finder(&logger);
  set_logger_finder(kLibrary, 10701, &finder);
  cause_an_error();
  EXPECT_TRUE(logger.messages.empty());
}

TEST(FinderWithoutALoggerFallsBackToStderr) {
  Finder<abi::v10> finder(nullptr);
  set_logger_finder(kLibrary, 101601, &finder);
  cause_an_error();
  set_logger_finder(kLibrary, 101601, nullptr);
}

}  // namespace edge_llm::testing
