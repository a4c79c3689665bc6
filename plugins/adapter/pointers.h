// Checks of the addresses that a host hands over.
#pragma once

#include <cstdint>

#include "plugins/runtime/status.h"

namespace edge_llm {

// Returns the pointer; throws, with the tensor's name, for null and for an address that is no
// multiple of `alignment` bytes.
template <typename T>
T* checked_pointer(const char* name, T* pointer, uintptr_t alignment) {
  if (pointer == nullptr) fail(name, " is a null pointer");
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
    fail(name, " is at ", static_cast<const void*>(pointer), "; a multiple of ", alignment,
         " bytes is required");
  }
  return pointer;
}

}  // namespace edge_llm
