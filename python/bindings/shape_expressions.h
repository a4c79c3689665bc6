// TensorRT's side of symbolic shapes: hands a plugin expressions and evaluates what it builds.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_SHAPE_EXPRESSIONS_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_SHAPE_EXPRESSIONS_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <stdexcept>
#include <vector>

#include "plugins/abi/expressions.h"

namespace edge_llm::host {

// Owns the expressions of one call. An extent of an input is a symbol to the plugin (isConstant()
// is false, as for a dynamic dimension in TensorRT) while its value is known here, so that a plugin
// that reads values in place of building expressions is found out.
template <typename Abi>
class ShapeExpressions : private abi::ExprBuilderImpl<Abi> {
 public:
  using Extent = typename Abi::Extent;
  using Expr = abi::DimensionExpr<Abi>;

  ShapeExpressions() : builder_(this) {}

  abi::ExprBuilder<Abi>& builder() { return builder_; }

  abi::DimsExprs<Abi> symbols(const std::vector<int64_t>& shape) {
    if (shape.size() > abi::kMaxDims) throw std::invalid_argument("a shape has at most 8 extents");
    abi::DimsExprs<Abi> dims{static_cast<int32_t>(shape.size()), {}};
    for (size_t i = 0; i < shape.size(); ++i) {
      dims.d[i] = make(static_cast<Extent>(shape[i]), /*is_constant=*/false);
    }
    return dims;
  }

  std::vector<int64_t> evaluate(const abi::DimsExprs<Abi>& dims) const {
    std::vector<int64_t> shape;
    for (int32_t i = 0; i < dims.nbDims; ++i) {
      if (dims.d[i] == nullptr) throw std::runtime_error("an output extent has no expression");
      shape.push_back(value(*dims.d[i]));
    }
    return shape;
  }

 private:
  struct Node : abi::DimensionExprImpl<Abi> {
    Node(Extent node_value, bool constant) : value(node_value), is_constant(constant), expr(this) {}
    bool isConstant() const override { return is_constant; }
    Extent getConstantValue() const override {
      return is_constant ? value : std::numeric_limits<Extent>::min();
    }
    Extent value;
    bool is_constant;
    Expr expr;
  };

  const Expr* make(Extent value, bool is_constant) {
    return &nodes_.emplace_back(value, is_constant).expr;
  }

  const Node& node(const Expr& expr) const {
    for (const Node& candidate : nodes_) {
      if (&candidate.expr == &expr) return candidate;
    }
    throw std::runtime_error("an output extent uses an expression of another builder");
  }

  Extent value(const Expr& expr) const { return node(expr).value; }

  const Expr* constant(Extent value) override { return make(value, /*is_constant=*/true); }

  const Expr* operation(abi::DimensionOperation op, const Expr& first,
                        const Expr& second) override {
    const Extent a = value(first);
    const Extent b = value(second);
    const bool is_constant = first.isConstant() && second.isConstant();
    switch (op) {
      case abi::DimensionOperation::kSum:
        return make(a + b, is_constant);
      case abi::DimensionOperation::kProd:
        return make(a * b, is_constant);
      case abi::DimensionOperation::kMax:
        return make(std::max(a, b), is_constant);
      case abi::DimensionOperation::kMin:
        return make(std::min(a, b), is_constant);
      case abi::DimensionOperation::kSub:
        return make(a - b, is_constant);
      case abi::DimensionOperation::kEqual:
        return make(a == b, is_constant);
      case abi::DimensionOperation::kLess:
        return make(a < b, is_constant);
      case abi::DimensionOperation::kFloorDiv:
        return b > 0 ? make(a / b, is_constant) : nullptr;
      case abi::DimensionOperation::kCeilDiv:
        return b > 0 ? make((a + b - 1) / b, is_constant) : nullptr;
    }
    return nullptr;  // TensorRT's answer to an operation that it does not know
  }

  abi::ExprBuilder<Abi> builder_;
  std::deque<Node> nodes_;  // a deque, because plugins keep pointers to its elements
};

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_SHAPE_EXPRESSIONS_H_
