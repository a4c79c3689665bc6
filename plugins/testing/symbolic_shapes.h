// Shapes whose extents are symbols: what a builder computes output shapes with.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plugins/abi/expressions.h"

namespace edge_llm::testing {

template <typename Abi>
class SymbolicShapes : public abi::ExprBuilderImpl<Abi> {
 public:
  using Expr = abi::DimensionExpr<Abi>;

  // Extent j of input i is the symbol "in<i>[<j>]".
  explicit SymbolicShapes(const std::vector<int>& ranks) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      abi::DimsExprs<Abi> dims{ranks[i], {}};
      for (int j = 0; j < ranks[i]; ++j) {
        dims.d[j] = named("in" + std::to_string(i) + "[" + std::to_string(j) + "]");
      }
      inputs_.push_back(dims);
    }
  }

  const abi::DimsExprs<Abi>* inputs() const { return inputs_.data(); }

  const Expr* constant(typename Abi::Extent value) override { return named(std::to_string(value)); }
  const Expr* operation(abi::DimensionOperation, const Expr&, const Expr&) override {
    throw std::logic_error("no operation on extents is expected");
  }

  // Symbols and constants, joined by blanks: "in0[0] in0[1] 8".
  std::string text(const abi::DimsExprs<Abi>& shape) const {
    std::string list;
    for (int i = 0; i < shape.nbDims; ++i) list += (i == 0 ? "" : " ") + name_of(shape.d[i]);
    return list;
  }

 private:
  const Expr* named(std::string name) {
    names_.emplace_back(std::make_unique<Expr>(nullptr), std::move(name));
    return names_.back().first.get();
  }
  std::string name_of(const Expr* expr) const {
    for (const auto& [known, name] : names_) {
      if (known.get() == expr) return name;
    }
    return "foreign";
  }

  std::vector<std::pair<std::unique_ptr<Expr>, std::string>> names_;
  std::vector<abi::DimsExprs<Abi>> inputs_;
};

}  // namespace edge_llm::testing
