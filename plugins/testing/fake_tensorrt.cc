// A TensorRT for tests, as far as the plugin library sees one: a version, and calls that come from
// its code.
#include <cstdint>

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

int version = 0;

}  // namespace

FAKE_EXPORT int getInferLibVersion() { return version; }

FAKE_EXPORT void fake_tensorrt_set_version(int new_version) { version = new_version; }

// Calls a plugin library's getCreators or getPluginCreators.
FAKE_EXPORT void* const* fake_tensorrt_creators(void* const* (*entry_point)(int32_t&),
                                                int32_t* count) {
  void* const* creators = entry_point(*count);
  asm volatile("" ::: "memory");  // no tail call: the caller must be this library
  return creators;
}

FAKE_EXPORT void fake_tensorrt_set_logger_finder(void (*entry_point)(void*), void* finder) {
  entry_point(finder);
  asm volatile("" ::: "memory");
}
