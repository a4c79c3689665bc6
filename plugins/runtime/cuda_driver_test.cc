#include "plugins/runtime/cuda_driver.h"

#include <dlfcn.h>

#include <cstdlib>

#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

constexpr char kFakeDriver[] = "plugins/testing/libfake_cuda_driver.so";

}  // namespace

// One test: the driver of a process is chosen once, so the order of these steps is the point.
TEST(FailuresLeaveNothingBehindAndSuccessStays) {
  setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  EXPECT_THROWS_WITH(cuda_driver(), "/nowhere/libcuda.so.1");
  EXPECT_THROWS_WITH(cuda_driver(), "EDGE_LLM_PLUGINS_CUDA_DRIVER");

  // A library that is no driver.
  setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "libm.so.6", 1);
  EXPECT_THROWS_WITH(cuda_driver(), "libm.so.6 has no function cuInit");
  EXPECT_THROWS_WITH(cuda_driver(), "CUDA 12.0 or newer is needed");

  // A driver that does not start, chosen ahead of the variable.
  void* library = dlopen(kFakeDriver, RTLD_NOW);
  ASSERT_TRUE(library != nullptr);
  const auto set_failure =
      reinterpret_cast<void (*)(const char*, CUresult)>(dlsym(library, "fake_driver_fail"));
  set_cuda_driver(kFakeDriver);
  set_failure("cuInit", CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_THROWS_WITH(cuda_driver(), "cuInit: CUDA_ERROR_INVALID_CONTEXT (201)");
  set_failure("cuInit", CUDA_SUCCESS);

  const CudaDriver& driver = cuda_driver();
  EXPECT_EQ(driver.path, kFakeDriver);
  EXPECT_EQ(&cuda_driver(), &driver);
  set_cuda_driver(kFakeDriver);
  EXPECT_THROWS_WITH(set_cuda_driver("libcuda.so.1"), "already in use");
}

}  // namespace edge_llm
