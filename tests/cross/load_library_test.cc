// The shipped library loads on its platform and answers what needs no GPU.

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "plugins/edge_llm_plugins.h"
#include "tools/testing/testing.h"

namespace {

// The library that the variable EDGE_LLM_LIBRARY names, loaded once.
void* library() {
  static void* const handle = [] {
    const char* path = std::getenv("EDGE_LLM_LIBRARY");
    void* loaded = dlopen(path ? path : "", RTLD_NOW | RTLD_LOCAL);
    if (!loaded) testing::fail(__FILE__, __LINE__, dlerror());
    return loaded;
  }();
  if (!handle) throw testing::TestEnded();
  return handle;
}

int platform_sm() {
  const char* sm = std::getenv("EDGE_LLM_SM");
  return sm ? std::atoi(sm) : 0;
}

template <typename Function>
Function* entry(Function* /*declaration*/, const char* name) {
  void* address = dlsym(library(), name);
  if (!address) {
    testing::fail(__FILE__, __LINE__, std::string("no symbol ") + name);
    throw testing::TestEnded();
  }
  return reinterpret_cast<Function*>(address);
}

#define ENTRY(name) entry(&name, #name)

TEST(LibraryLoadsAndNamesItsVersion) {
  EXPECT_EQ(std::string(ENTRY(edge_llm_plugins_version)()), std::string(EDGE_LLM_PLUGINS_VERSION));
  EXPECT_EQ(std::string(ENTRY(edge_llm_plugins_last_error)()), std::string());
}

TEST(CreatorsOfEveryTensorRtAreListed) {
  for (int major : {8, 10, 11}) {
    int count = -1;
    EXPECT_TRUE(ENTRY(edge_llm_plugins_creators)(major, &count) != nullptr);
    EXPECT_TRUE(count > 0);
  }
}

TEST(LayerIsPlanned) {
  char plan[256] = "";
  EXPECT_EQ(ENTRY(edge_llm_plugins_int4_gemm_variant)(1, 4096, 4096, platform_sm(), 16, plan,
                                                      sizeof(plan)),
            0);
  EXPECT_EQ(std::string(plan).rfind("int4_gem", 0), std::string::size_type{0});
}

TEST(ImpossibleShapeIsRefusedWithItsReason) {
  char plan[256] = "";
  EXPECT_NE(
      ENTRY(edge_llm_plugins_int4_gemm_variant)(1, 4096, 65, platform_sm(), 16, plan, sizeof(plan)),
      0);
  EXPECT_NE(std::string(ENTRY(edge_llm_plugins_last_error)()).find("65"), std::string::npos);
}

}  // namespace
