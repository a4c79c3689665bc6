#include "plugins/runtime/kernel_registry.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "plugins/runtime/log.h"
#include "tools/testing/testing.h"

namespace {

const unsigned char kCode[] = "code";

constexpr char kFakeDriver[] = "plugins/testing/libfake_cuda_driver.so";

}  // namespace

// The table of this test's "library".
extern "C" {
// clang-format off: one image per line
extern const edge_llm::KernelImage edge_llm_kernel_images[] = {
    {"gemv_sm80", 80, edge_llm::kCubin, kCode, 4},
    {"gemv_sm90", 90, edge_llm::kPtx, kCode, 4},
    {"gemv_sm90", 90, edge_llm::kCubin, kCode, 4},
    {"gemv_sm120", 120, edge_llm::kPtx, kCode, 4},
    {"gemm_sm80", 80, edge_llm::kCubin, kCode, 4},
    {"tail_sm120", 120, edge_llm::kPtx, kCode, 4},
    {nullptr, 0, 0, nullptr, 0},
};
// clang-format on
}

namespace edge_llm {
namespace {

const KernelImage& selected(const char* name, int sm) {
  return select_image(edge_llm_kernel_images, name, sm);
}

template <typename Function>
Function fake(const char* name) {
  return reinterpret_cast<Function>(dlsym(dlopen(kFakeDriver, RTLD_NOW), name));
}

int fake_calls(const char* function) {
  return fake<int (*)(const char*)>("fake_driver_calls")(function);
}

void set_failure(const char* function, CUresult result) {
  fake<void (*)(const char*, CUresult)>("fake_driver_fail")(function, result);
}

void set_sm(int sm) { fake<void (*)(int)>("fake_driver_set_sm")(sm); }

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
  const int loads = fake_calls("cuLibraryLoadData");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      const KernelSet set = load_kernels(cuda_driver(), {{"gemv", 1024}, {"gemm", 2048}});
      EXPECT_TRUE(set.kernel("gemm") != nullptr);
      EXPECT_THROWS_WITH(set.kernel("combine"), "combine was not loaded");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fake_calls("cuLibraryLoadData") - loads, 2);
}

TEST(PtxForANewerSmIsAnnouncedOnce) {
  set_cuda_driver(kFakeDriver);
  setenv("EDGE_LLM_PLUGINS_LOG", "info", 1);
  static std::vector<std::string> messages;
  set_log_sink(
      [](void*, LogLevel, const char* message) {
        messages.push_back(message);
        return true;
      },
      nullptr);
  set_sm(130);
  load_kernels(cuda_driver(), {{"tail", 0}});
  load_kernels(cuda_driver(), {{"tail", 0}});
  set_sm(80);
  set_log_sink(nullptr, nullptr);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0],
            "SM130 is newer than this build: the driver compiles tail_sm120 from its PTX");
}

TEST(MissingContextAndFailedLoadSayWhatFailed) {
  set_cuda_driver(kFakeDriver);
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
