// Errors inside the library, and the boundary that keeps them inside.
//
// Code below a boundary throws Error. Every function that TensorRT or a C caller can reach runs its
// body under guarded(), which turns any exception into a return value, one log line and the text
// that edge_llm_plugins_last_error() gives.
#pragma once

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>

namespace edge_llm {

// One line: the offending value, the allowed set, what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

// The latest failure on this thread; never null, "" before the first one. The pointer stays valid
// until the thread ends, its text until the thread's next failure.
const char* last_error() noexcept;

// A boundary, by name: "function" or "plugin function".
struct Where {
  Where(const char* function) : plugin(nullptr), function(function) {}
  Where(const char* plugin, const char* function) : plugin(plugin), function(function) {}

  const char* plugin;  // null for a function of the library itself
  const char* function;
};

// Logs "where: what" and makes it the thread's last error. Allocates nothing.
void report_failure(const Where& where, const char* what) noexcept;

// Runs body() and returns its result; on any exception reports it and returns `failure`.
template <typename Result, typename Body>
Result guarded(const Where& where, Result failure, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    report_failure(where, error.what());
  } catch (...) {
    report_failure(where, "unknown exception");
  }
  return failure;
}

// The same for a body that returns nothing.
template <typename Body>
void guarded(const Where& where, Body&& body) noexcept {
  guarded(where, 0, [&] {
    body();
    return 0;
  });
}

}  // namespace edge_llm
