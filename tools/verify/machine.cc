#include "tools/verify/machine.h"

#include <cuda.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "tools/verify/golden.h"

namespace edge_llm::verify {
namespace {

constexpr char kDriverVariable[] = "EDGE_LLM_PLUGINS_CUDA_DRIVER";
constexpr const char* kTensorRtLibraries[] = {"libnvinfer.so.8", "libnvinfer.so.10",
                                              "libnvinfer.so.11", "libtensorrt_rtx.so.1"};

// 8601 is 8.6.1, 101601 is 10.16.1, and 10701 is TensorRT-RTX 1.7.1.
TensorRt tensorrt_of(const char* library, int version) {
  const int radix = version >= 10000 ? 100 : 10;
  return {library, version / (100 * radix), version / 100 % radix, version % 100};
}

}  // namespace

std::string TensorRt::text() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) + " (" +
         library + ")";
}

bool TensorRt::is_supported() const {
  const bool is_rtx = major == 1;
  return is_rtx || major > 8 || (major == 8 && minor >= 6);
}

std::vector<TensorRt> find_tensorrts() {
  std::vector<TensorRt> found;
  for (const char* name : kTensorRtLibraries) {
    void* library = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) continue;
    using GetInferLibVersion = int (*)();
    const auto version = reinterpret_cast<GetInferLibVersion>(dlsym(library, "getInferLibVersion"));
    if (version != nullptr) found.push_back(tensorrt_of(name, version()));
  }
  return found;
}

std::string driver_path() {
  const char* path = std::getenv(kDriverVariable);
  return path != nullptr && path[0] != '\0' ? path : "libcuda.so.1";
}

std::string CudaVersion::text() const {
  return std::to_string(major) + "." + std::to_string(minor);
}

CudaVersion cuda_version_of(const std::string& text) {
  CudaVersion version{};
  if (std::sscanf(text.c_str(), "%d.%d", &version.major, &version.minor) != 2) {
    throw VerifyError("'" + text + "' is no CUDA release, such as 12.6");
  }
  return version;
}

CudaVersion driver_version(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw VerifyError(std::string("no CUDA driver: ") + dlerror() +
                      "; install the NVIDIA driver, or name its library in " + kDriverVariable);
  }
  const auto get_version =
      reinterpret_cast<decltype(&cuDriverGetVersion)>(dlsym(library, "cuDriverGetVersion"));
  int version = 0;
  if (get_version == nullptr || get_version(&version) != CUDA_SUCCESS) {
    throw VerifyError(path + " is no CUDA driver: it does not tell its version");
  }
  return {version / 1000, version % 1000 / 10};
}

}  // namespace edge_llm::verify
