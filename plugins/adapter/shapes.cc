#include "plugins/adapter/shapes.h"

#include <algorithm>
#include <limits>

namespace edge_llm {
namespace {

// "[a, b]" from the texts that of(0) to of(count - 1) give.
template <typename TextOf>
std::string bracketed(int count, TextOf of) {
  std::string list;
  for (int i = 0; i < count; ++i) list += (i == 0 ? "" : ", ") + of(i);
  return "[" + list + "]";
}

}  // namespace

Extent::Extent(const char* letter, int64_t least)
    : letter_(letter), least_(least), most_(std::numeric_limits<int32_t>::max()) {}

std::string Extent::text() const {
  if (letter_ == nullptr) return std::to_string(least_);
  return least_ == 0 ? letter_ : letter_ + (" >= " + std::to_string(least_));
}

bool matches(const abi::v10::Dims& shape, ShapePattern pattern) {
  return shape.nbDims == static_cast<int32_t>(pattern.size()) &&
         std::equal(pattern.begin(), pattern.end(), shape.d,
                    [](const Extent& wanted, int64_t extent) { return wanted.admits(extent); });
}

std::string text(const abi::v10::Dims& shape) {
  return bracketed(std::clamp(shape.nbDims, 0, abi::kMaxDims),
                   [&](int i) { return std::to_string(shape.d[i]); });
}

std::string text(ShapePattern pattern) {
  return bracketed(static_cast<int>(pattern.size()),
                   [&](int i) { return pattern.begin()[i].text(); });
}

}  // namespace edge_llm
