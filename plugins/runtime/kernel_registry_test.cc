#include "plugins/runtime/kernel_registry.h"

#include <dlfcn.h>

#include <thread>

#include "plugins/runtime/log.h"
#include "tools/testing/testing.h"

namespace {

const unsigned char kCode[] = "code";

constexpr char kFakeDriver[] = "plugins/testing/libfake_cuda_driver.so";

}  // namespace

// The table of this test's "library": cubins of SM 80 and 90, PTX of SM 90 and 120.
extern "C" {
extern const edge_llm::KernelImage edge_llm_kernel_images[] = {
    {"gemv_sm80", 80, edge_llm::kCubin, kCode, 4}, {"gemv_sm90", 90, edge_llm::kPtx, kCode, 4},
    {"gemv_sm90", 90, edge_llm::kCubin, kCode, 4}, {"gemv_sm120", 120, edge_llm::kPtx, kCode, 4},
    {"gemm_sm80", 80, edge_llm::kCubin, kCode, 4}, {nullptr, 0, 0, nullptr, 0},
};
}

namespace edge_llm {
namespace {

const KernelImage& selected(const char* name, int sm) {
  return select_image(edge_llm_kernel_images, name, sm);
}

int fake_calls(const char* function) {
  static const auto calls = reinterpret_cast<int (*)(const char*)>(
      dlsym(dlopen(kFakeDriver, RTLD_NOW), "fake_driver_calls"));
  return calls(function);
}

}  // namespace

TEST(CubinOfTheSameSmComesFirst) {
  EXPECT_EQ(selected("gemv", 90).sm, 90);
  EXPECT_EQ(selected("gemv", 90).format, kCubin);
}

TEST(PtxOfTheSameSmServesIt) { EXPECT_EQ(selected("gemv", 120).format, kPtx); }

TEST(NewerSmTakesTheNewestPtx) {
  EXPECT_EQ(selected("gemv", 121).sm, 120);
  EXPECT_EQ(selected("gemv", 121).format, kPtx);
}

TEST(SmBetweenTwoImagesIsRefusedWithTheListOfTheBuild) {
  EXPECT_THROWS_WITH(selected("gemv", 89), "SM89 is not supported by this build of gemv");
  EXPECT_THROWS_WITH(selected("gemv", 89), "it has SM 80, 90, 120;");
}

TEST(NewerSmWithoutPtxIsRefused) {
  EXPECT_THROWS_WITH(selected("gemm", 86),
                     "SM86 is not supported by this build of gemm: it has SM 80;");
}

TEST(UnknownKernelIsRefusedByName) {
  EXPECT_THROWS_WITH(selected("gem", 80), "carries no kernel gem");
}

TEST(EightThreadsLoadEachImageOnce) {
  set_cuda_driver(kFakeDriver);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      const KernelSet set = load_kernels(cuda_driver(), {{"gemv", 1024}, {"gemm", 2048}});
      EXPECT_TRUE(set.kernel("gemm") != nullptr);
      EXPECT_THROWS_WITH(set.kernel("combine"), "combine was not loaded");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fake_calls("cuLibraryLoadData"), 2);
  EXPECT_EQ(fake_calls("cuKernelSetAttribute"), 16);
}

TEST(MissingContextAndFailedLoadSayWhatFailed) {
  set_cuda_driver(kFakeDriver);
  const auto set_failure = reinterpret_cast<void (*)(const char*, CUresult)>(
      dlsym(dlopen(kFakeDriver, RTLD_NOW), "fake_driver_fail"));
  const auto set_sm =
      reinterpret_cast<void (*)(int)>(dlsym(dlopen(kFakeDriver, RTLD_NOW), "fake_driver_set_sm"));
  set_failure("cuCtxGetDevice", CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_THROWS_WITH(current_device_facts(cuda_driver()), "needs a current CUDA context");
  set_failure("cuCtxGetDevice", CUDA_SUCCESS);

  set_sm(120);  // an image that no other test loads
  set_failure("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
  EXPECT_THROWS_WITH(load_kernels(cuda_driver(), {{"gemv", 0}}), "the image of gemv_sm120");
  set_failure("cuLibraryLoadData", CUDA_SUCCESS);
  EXPECT_TRUE(load_kernels(cuda_driver(), {{"gemv", 0}}).kernel("gemv") != nullptr);
  set_sm(80);
}

}  // namespace edge_llm
