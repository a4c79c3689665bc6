// Calls of virtual functions by the number of their slot, as TensorRT's own compiled code does.
#pragma once

#include <stdexcept>
#include <string>

#include "plugins/abi/types.h"
#include "plugins/testing/plugin_driver.h"

namespace edge_llm::testing {

template <typename Result, typename... Arguments>
Result call(void* object, int slot, Arguments... arguments) {
  void** slots = *static_cast<void***>(object);
  return reinterpret_cast<Result (*)(void*, Arguments...)>(slots[slot])(object, arguments...);
}

// The creator of a plugin in the interfaces of one TensorRT major. Throws when there is none.
inline void* find_creator(const std::string& library, int major, const std::string& plugin,
                          const std::string& version) {
  int count = 0;
  const auto creators =
      symbol<void* const* (*)(int, int*)>(library, "edge_llm_plugins_creators")(major, &count);
  for (int i = 0; i < count; ++i) {
    int name_slot = 1;  // of major 8, whose creators do not say what they are
    if (major != 8) {
      const std::string kind = call<abi::InterfaceInfo>(creators[i], 1).kind;
      name_slot = kind == "PLUGIN CREATOR_V1" ? 4 : 6;
    }
    if (call<const char*>(creators[i], name_slot) == plugin &&
        call<const char*>(creators[i], name_slot + 1) == version) {
      return creators[i];
    }
  }
  throw std::runtime_error("the library has no creator of " + plugin + " version " + version);
}

}  // namespace edge_llm::testing
