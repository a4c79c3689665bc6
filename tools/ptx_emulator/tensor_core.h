// The sum of a tensor core, bit by bit as an H200 makes it (conformance/golden).
//
// An element of D = A B + C is one sum of its products and C. Products are exact. The largest
// exponent, that of a product being the sum of its factors', sets a grid 2^25 times finer; every
// term is cut off to the grid, they are added exactly, and the sum is cut off to FP32. Zeros set no
// grid. Other generations have other grids, or add eight products at a time: their last bits
// differ.
#pragma once

#include <cstdint>
#include <cstring>

#include "tools/ptx_emulator/float16.h"

// Everything here is inlined, so that no vector is passed by the ABI.
#pragma clang diagnostic ignored "-Wpsabi"

namespace ptx_emulator {

inline constexpr int kMmaRows = 16;      // m of every shape here
inline constexpr int kMmaColumns = 8;    // n
inline constexpr int kMmaMaxDepth = 16;  // k

// One number of every column.
using Floats = float __attribute__((ext_vector_type(kMmaColumns)));
using Doubles = double __attribute__((ext_vector_type(kMmaColumns)));
using Exponents = int32_t __attribute__((ext_vector_type(kMmaColumns)));
using WideExponents = int64_t __attribute__((ext_vector_type(kMmaColumns)));

inline Floats load(const float* values) {
  Floats loaded;
  std::memcpy(&loaded, values, sizeof(loaded));
  return loaded;
}

// Exponents in a format whose subnormals have the exponent `least`; a zero's is below that of any
// product, whatever its other factor.
inline Exponents exponents_in_format(Floats values, int least) {
  constexpr int kOfZero = -1000;
  const Exponents magnitude = bit_cast<Exponents>(values) & 0x7fffffff;
  const Exponents exponent =
      __builtin_elementwise_max((magnitude >> 23) - 127, static_cast<Exponents>(least));
  return magnitude == 0 ? static_cast<Exponents>(kOfZero) : exponent;
}

inline Doubles power_of_two(Exponents exponents) {
  return bit_cast<Doubles>((__builtin_convertvector(exponents, WideExponents) + 1023) << 52);
}

// c[row][column] += the sum over k of a[row][k] * b[k][column], for elements of a 16-bit format
// whose least exponent is `kLeast`. Infinities and NaN go their way through the doubles.
template <int kLeast, int kDepth>
inline void add_products(const float a[kMmaRows][kMmaMaxDepth],
                         const float b[kMmaMaxDepth][kMmaColumns], float c[kMmaRows][kMmaColumns]) {
  constexpr int kGridBits = 25;
  constexpr int kLeastOfFloat = -126;
  alignas(64) int32_t a_exponents[kMmaRows][kMmaMaxDepth];
  for (int row = 0; row < kMmaRows; ++row) {
    for (int k = 0; k < kDepth; k += kMmaColumns) {
      const Exponents exponents = exponents_in_format(load(&a[row][k]), kLeast);
      std::memcpy(&a_exponents[row][k], &exponents, sizeof(exponents));
    }
  }
  Exponents b_exponents[kDepth];
  Doubles b_values[kDepth];
  for (int k = 0; k < kDepth; ++k) {
    b_exponents[k] = exponents_in_format(load(b[k]), kLeast);
    b_values[k] = __builtin_convertvector(load(b[k]), Doubles);
  }
  for (int row = 0; row < kMmaRows; ++row) {
    const Floats addend = load(c[row]);
    Exponents largest = exponents_in_format(addend, kLeastOfFloat);
    for (int k = 0; k < kDepth; ++k) {
      largest = __builtin_elementwise_max(largest, b_exponents[k] + a_exponents[row][k]);
    }
    // Where all terms are zeros any grid will do.
    largest = __builtin_elementwise_max(largest, static_cast<Exponents>(2 * kLeastOfFloat));
    const Doubles grid = power_of_two(kGridBits - largest);
    Doubles sum = __builtin_elementwise_trunc(__builtin_convertvector(addend, Doubles) * grid);
    for (int k = 0; k < kDepth; ++k) {
      sum += __builtin_elementwise_trunc(b_values[k] * double{a[row][k]} * grid);
    }
    sum *= power_of_two(largest - kGridBits);
    for (int column = 0; column < kMmaColumns; ++column) {
      c[row][column] = double_to_float_zero(sum[column]);
    }
  }
}

}  // namespace ptx_emulator
