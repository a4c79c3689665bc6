// Text that lives as long as the process.
#pragma once

namespace edge_llm {

// A pointer to this text that stays valid: creators hand out their namespace as a bare pointer.
// Null becomes "". Thread-safe.
const char* interned(const char* text);

}  // namespace edge_llm
