#include "plugins/runtime/cuda_driver.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <mutex>

namespace edge_llm {
namespace {

constexpr char kDriverVariable[] = "EDGE_LLM_PLUGINS_CUDA_DRIVER";

struct State {
  std::mutex mutex;
  std::string chosen_path;                   // "" unless set_cuda_driver() was called
  std::unique_ptr<const CudaDriver> driver;  // set once
};

// Never destroyed: another thread may launch while the process exits.
State& state() {
  static auto* state = new State;
  return *state;
}

std::string path_from_environment() {
  const char* variable = std::getenv(kDriverVariable);
  return variable != nullptr && variable[0] != '\0' ? variable : "libcuda.so.1";
}

// dlopen may load a library that is no driver: it is closed again when the table stays incomplete.
struct LibraryCloser {
  void operator()(void* library) const { dlclose(library); }
};
using Library = std::unique_ptr<void, LibraryCloser>;

Library open_library(const std::string& path) {
  Library library(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!library) {
    fail("no CUDA driver: ", dlerror(), "; install the NVIDIA driver, or name its library in ",
         kDriverVariable);
  }
  return library;
}

template <typename Function>
void resolve(void* library, const std::string& path, const char* symbol, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (*function == nullptr) {
    fail(path, " has no function ", symbol,
         ": it is no CUDA driver, or one too old; CUDA 12.0 or newer is needed");
  }
}

std::unique_ptr<const CudaDriver> open_driver(const std::string& path) {
  Library library = open_library(path);
  auto table = std::make_unique<CudaDriver>();
  table->path = path;
#define EDGE_LLM_NAME(function) #function
#define EDGE_LLM_RESOLVE(function) \
  resolve(library.get(), path, EDGE_LLM_NAME(function), &table->function);
  EDGE_LLM_CUDA_DRIVER_FUNCTIONS(EDGE_LLM_RESOLVE)
#undef EDGE_LLM_RESOLVE
#undef EDGE_LLM_NAME
  check_cuda(*table, table->cuInit(0), path + ": cuInit");
  library.release();
  return table;
}

}  // namespace

const CudaDriver& cuda_driver() {
  State& shared = state();
  std::lock_guard<std::mutex> lock(shared.mutex);
  if (!shared.driver) {
    const std::string& chosen = shared.chosen_path;
    shared.driver = open_driver(chosen.empty() ? path_from_environment() : chosen);
  }
  return *shared.driver;
}

void set_cuda_driver(const std::string& path) {
  State& shared = state();
  std::lock_guard<std::mutex> lock(shared.mutex);
  if (shared.driver && shared.driver->path != path) {
    fail("cannot use the CUDA driver ", path, ": ", shared.driver->path,
         " is already in use; set it before the first plugin is initialised");
  }
  shared.chosen_path = path;
}

void check_cuda(const CudaDriver& driver, CUresult result, const std::string& action) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  driver.cuGetErrorName(result, &name);
  fail(action, ": ", name != nullptr ? name : "unknown CUDA error", " (", static_cast<int>(result),
       ")");
}

}  // namespace edge_llm
