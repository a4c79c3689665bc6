// What tests of a plugin's conduct share: the library on a fake driver, and its last error.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "plugins/testing/plugin_driver.h"
#include "tools/testing/testing.h"

namespace edge_llm::testing {

inline constexpr char kLibrary[] = "plugins/libedge_llm_plugins_ptx.so";
inline constexpr char kFakeDriver[] = "plugins/testing/libfake_cuda_driver.so";

inline std::string last_error() {
  return symbol<const char* (*)()>(kLibrary, "edge_llm_plugins_last_error")();
}

// Calls of a driver function so far.
inline int driver_calls(const char* function) {
  return symbol<int (*)(const char*)>(kFakeDriver, "fake_driver_calls")(function);
}

// The driver calls of this thread since it last asked, in their order, one line each:
// "cuLaunchKernelEx on stream 7".
inline std::string take_driver_calls() {
  return symbol<const char* (*)()>(kFakeDriver, "fake_driver_take_list")();
}

inline std::string driver_calls_of_enqueue(Plugin& plugin, const Tensors& tensors,
                                           Pointers pointers, uintptr_t stream) {
  pointers.stream = reinterpret_cast<void*>(stream);
  take_driver_calls();
  EXPECT_EQ(plugin.enqueue(tensors, pointers), 0);
  return take_driver_calls();
}

inline void set_sm(int sm) { symbol<void (*)(int)>(kFakeDriver, "fake_driver_set_sm")(sm); }

inline void use_fake_driver() {
  const auto set = symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver");
  ASSERT_EQ(set(kFakeDriver), 0);
}

// Empty when the last error contains `part`; so a failure shows the message that came instead.
inline std::string unlike_last_error(const std::string& part) {
  const std::string error = last_error();
  return error.find(part) != std::string::npos ? "" : "'" + error + "' lacks '" + part + "'";
}

#define EXPECT_LAST_ERROR(part) EXPECT_EQ(unlike_last_error(part), "")

inline std::unique_ptr<Plugin> created(const Interface& layout, const Fields& fields) {
  auto plugin = layout.create(fields);
  if (plugin == nullptr) throw std::runtime_error(layout.name + ": " + last_error());
  return plugin;
}

inline std::unique_ptr<Plugin> attached(const Interface& layout, const Fields& fields) {
  use_fake_driver();
  auto plugin = created(layout, fields);
  if (!plugin->attach()) throw std::runtime_error(layout.name + ": " + last_error());
  return plugin;
}

// Empty when the call succeeds, else the library's message.
inline std::string refusal(Plugin& plugin, const Tensors& tensors, const Pointers& pointers) {
  return plugin.enqueue(tensors, pointers) == 0 ? "" : "refused: " + last_error();
}

}  // namespace edge_llm::testing
