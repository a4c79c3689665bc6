#include "plugins/adapter/interned.h"

#include <mutex>
#include <set>
#include <string>

namespace edge_llm {

const char* interned(const char* text) {
  static std::mutex mutex;
  static auto* texts = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return texts->insert(text == nullptr ? "" : text).first->c_str();
}

}  // namespace edge_llm
