// Shapes, and patterns that they must match.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "plugins/abi/types.h"

namespace edge_llm {

// What one extent of a tensor must be.
class Extent {
 public:
  Extent(int64_t value) : least_(value), most_(value) {}  // this number
  Extent(const char* letter, int64_t least);              // from `least` on, as far as an int32

  bool admits(int64_t extent) const { return extent >= least_ && extent <= most_; }
  std::string text() const;  // "8", "B", "Cap >= 1"

 private:
  const char* letter_ = nullptr;
  int64_t least_;
  int64_t most_;
};
using ShapePattern = std::initializer_list<Extent>;

bool matches(const abi::v10::Dims& shape, ShapePattern pattern);

// "[2, 3, 192]", "[B, 2, Cap >= 1]"
std::string text(const abi::v10::Dims& shape);
std::string text(ShapePattern pattern);

}  // namespace edge_llm
