#include "plugins/runtime/status.h"

#include <cstdio>

#include "plugins/runtime/log.h"

namespace edge_llm {
namespace {

// A plain array: nothing to construct or destroy, so it works in any thread at any time.
thread_local char last_error_text[1024] = "";

}  // namespace

const char* last_error() noexcept { return last_error_text; }

void report_failure(const Where& where, const char* what) noexcept {
  const bool has_plugin = where.plugin != nullptr;
  std::snprintf(last_error_text, sizeof(last_error_text), "%s%s%s: %s",
                has_plugin ? where.plugin : "", has_plugin ? " " : "", where.function, what);
  log(LogLevel::kError, last_error_text);
}

}  // namespace edge_llm
