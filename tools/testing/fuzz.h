// What a fuzzer of C++ is made of; cc_fuzz_test of fuzz.bzl builds and runs it.
//
// A crash, what a sanitizer reports, an exception that escapes, a failed require() and an input of
// more than 10 s are findings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace fuzzing {

// A fuzzer defines these two.
void fuzz(std::string_view input);
std::vector<std::string> seeds();  // inputs to begin with

// Ends the process, which is a finding, unless `holds`.
void require(bool holds, const std::string& what);

// Takes values off the front of an input; zeros follow its end.
class Choices {
 public:
  explicit Choices(std::string_view input) : rest_(input) {}

  template <typename T>
  T value() {
    T taken{};
    const std::string_view bytes = text(sizeof(T));
    if (!bytes.empty()) std::memcpy(&taken, bytes.data(), bytes.size());
    return taken;
  }
  size_t below(size_t end) { return value<uint16_t>() % end; }

  // Up to `size` bytes.
  std::string_view text(size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace fuzzing
