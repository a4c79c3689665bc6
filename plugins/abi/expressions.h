// Symbolic shapes: what a plugin computes output shapes with.
#pragma once

#include "plugins/abi/types.h"

namespace edge_llm::abi {

enum class DimensionOperation : int32_t {
  kSum = 0,
  kProd = 1,
  kMax = 2,
  kMin = 3,
  kSub = 4,
  kEqual = 5,
  kLess = 6,
  kFloorDiv = 7,
  kCeilDiv = 8,
};

// In TensorRT the methods of an expression and of the builder are inline calls through a pointer to
// an implementation object; only that object's virtual slots belong to the binary interface. The
// builder's extents are 32-bit in major 8 and 64-bit later.
template <typename Abi>
class DimensionExprImpl {
 public:
  virtual ~DimensionExprImpl() noexcept = default;
  virtual bool isConstant() const = 0;
  virtual typename Abi::Extent getConstantValue() const = 0;
};

template <typename Abi>
class DimensionExpr {
 public:
  explicit DimensionExpr(DimensionExprImpl<Abi>* impl) : impl_(impl) {}
  virtual ~DimensionExpr() noexcept = default;
  bool isConstant() const { return impl_->isConstant(); }
  typename Abi::Extent getConstantValue() const { return impl_->getConstantValue(); }

 private:
  DimensionExprImpl<Abi>* impl_;
};

// From major 10 on there is one more slot, declareSizeTensor, which nothing here calls.
template <typename Abi>
class ExprBuilderImpl {
 public:
  virtual ~ExprBuilderImpl() noexcept = default;
  virtual const DimensionExpr<Abi>* constant(typename Abi::Extent value) = 0;
  virtual const DimensionExpr<Abi>* operation(DimensionOperation op,
                                              const DimensionExpr<Abi>& first,
                                              const DimensionExpr<Abi>& second) = 0;
};

template <typename Abi>
class ExprBuilder {
 public:
  explicit ExprBuilder(ExprBuilderImpl<Abi>* impl) : impl_(impl) {}
  virtual ~ExprBuilder() noexcept = default;
  const DimensionExpr<Abi>* constant(typename Abi::Extent value) { return impl_->constant(value); }
  const DimensionExpr<Abi>* operation(DimensionOperation op, const DimensionExpr<Abi>& first,
                                      const DimensionExpr<Abi>& second) {
    return impl_->operation(op, first, second);
  }

 private:
  ExprBuilderImpl<Abi>* impl_;
};
static_assert(sizeof(DimensionExpr<v8>) == 16 && sizeof(ExprBuilder<v8>) == 16);

template <typename Abi>
struct DimsExprs {
  int32_t nbDims;
  const DimensionExpr<Abi>* d[kMaxDims];
};
static_assert(sizeof(DimsExprs<v8>) == 72 && offsetof(DimsExprs<v8>, d) == 8);

}  // namespace edge_llm::abi
