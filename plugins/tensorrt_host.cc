#include "plugins/tensorrt_host.h"

#include <dlfcn.h>
#include <link.h>

#include <cstring>
#include <string>
#include <vector>

namespace edge_llm {
namespace {

// 8601 is 8.6.1, 101601 is 10.16.1; TensorRT-RTX 1.7.1 says 10701, which is of no known major.
int major_of(int version) { return version >= 10000 ? version / 10000 : version / 1000; }

TensorRtHost host_in(const char* path) {
  void* library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return {};
  using GetInferLibVersion = int (*)();
  const auto version = reinterpret_cast<GetInferLibVersion>(dlsym(library, "getInferLibVersion"));
  if (version != nullptr) return {major_of(version()), library};
  dlclose(library);
  return {};
}

int collect_nvinfer(dl_phdr_info* info, size_t, void* paths) {
  const char* slash = std::strrchr(info->dlpi_name, '/');
  const char* name = slash == nullptr ? info->dlpi_name : slash + 1;
  if (std::strncmp(name, "libnvinfer", std::strlen("libnvinfer")) == 0) {
    static_cast<std::vector<std::string>*>(paths)->push_back(info->dlpi_name);
  }
  return 0;
}

}  // namespace

TensorRtHost tensorrt_at(const void* return_address) {
  Dl_info info;
  if (dladdr(return_address, &info) == 0 || info.dli_fname == nullptr) return {};
  return host_in(info.dli_fname);
}

TensorRtHost loaded_tensorrt() {
  std::vector<std::string> paths;
  dl_iterate_phdr(collect_nvinfer, &paths);
  for (const std::string& path : paths) {
    const TensorRtHost host = host_in(path.c_str());
    if (host.major != 0) return host;
  }
  return {};
}

}  // namespace edge_llm
