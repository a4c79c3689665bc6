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
inline constexpr int kVectorRows = 8;

// One number of each of eight rows.
using Floats = float __attribute__((ext_vector_type(kVectorRows)));
using Doubles = double __attribute__((ext_vector_type(kVectorRows)));
using Ints = int32_t __attribute__((ext_vector_type(kVectorRows)));
using WideInts = int64_t __attribute__((ext_vector_type(kVectorRows)));
using Shorts = int16_t __attribute__((ext_vector_type(kVectorRows)));
using AllShorts = int16_t __attribute__((ext_vector_type(kMmaRows)));

// A, whose rows lie in vectors, in any order that it shares with C, and what all sums of its rows
// need to know of it.
struct MmaRows {
  alignas(64) float values[kMmaMaxDepth][kMmaRows];
  alignas(64) int16_t exponents[kMmaMaxDepth][kMmaRows];
  bool is_finite;
  bool is_zero[kMmaRows / kVectorRows];  // of eight rows
};

// Some columns of B and C.
struct MmaColumns {
  alignas(64) float b[kMmaColumns][kMmaMaxDepth];
  alignas(64) float c[kMmaColumns][kMmaRows];
};

template <class Vector, class Element>
inline Vector load_vector(const Element* values) {
  Vector loaded;
  std::memcpy(&loaded, values, sizeof(loaded));
  return loaded;
}

inline constexpr int kExponentOfZero = -1000;

// Exponents in a format whose subnormals have the exponent `least`; a zero's is below that of any
// product, whatever its other factor.
inline Ints exponents_in_format(Floats values, int least) {
  const Ints magnitude = bit_cast<Ints>(values) & 0x7fffffff;
  const Ints exponent =
      __builtin_elementwise_max((magnitude >> 23) - 127, static_cast<Ints>(least));
  return magnitude == 0 ? static_cast<Ints>(kExponentOfZero) : exponent;
}

inline bool any(Ints mask) { return __builtin_reduce_or(mask) != 0; }

inline constexpr int kGridBits = 25;
inline constexpr int kLeastOfFloat = -126;

// The column of B that is multiplied, with the exponents of its factors.
struct MmaColumn {
  const float* values;
  alignas(64) int16_t exponents[kMmaMaxDepth];
};

// The largest exponents of the products of a column, by row.
template <int kDepth>
inline void find_largest_exponents(const MmaRows& a, const MmaColumn& b, int16_t* by_row) {
  AllShorts largest = load_vector<AllShorts>(a.exponents[0]) + b.exponents[0];
#pragma clang loop unroll(full)
  for (int k = 1; k < kDepth; ++k) {
    const AllShorts product = load_vector<AllShorts>(a.exponents[k]) + b.exponents[k];
    largest = __builtin_elementwise_max(largest, product);
  }
  std::memcpy(by_row, &largest, sizeof(largest));
}

// The largest exponents of eight products and their addends.
inline Ints with_addend(const int16_t* exponents, Floats addend) {
  const Ints of_products = __builtin_convertvector(load_vector<Shorts>(exponents), Ints);
  return __builtin_elementwise_max(of_products, exponents_in_format(addend, kLeastOfFloat));
}

inline Doubles power_of_two(Ints exponents) {
  return bit_cast<Doubles>((__builtin_convertvector(exponents, WideInts) + 1023) << 52);
}

// Eight rows of a column, of any values: infinities and NaN go their way through the doubles.
template <int kDepth>
inline void add_any_products(const MmaRows& a, const MmaColumn& b, const int16_t* exponents,
                             int row, float* c) {
  const Floats addend = load_vector<Floats>(c);
  Ints largest = with_addend(exponents, addend);
  // Where all terms are zeros any grid will do.
  largest = __builtin_elementwise_max(largest, static_cast<Ints>(2 * kLeastOfFloat));
  const Doubles grid = power_of_two(kGridBits - largest);
  Doubles sum = __builtin_elementwise_trunc(__builtin_convertvector(addend, Doubles) * grid);
  for (int k = 0; k < kDepth; ++k) {
    const Doubles factor = __builtin_convertvector(load_vector<Floats>(&a.values[k][row]), Doubles);
    sum += __builtin_elementwise_trunc(factor * double{b.values[k]} * grid);
  }
  sum *= power_of_two(largest - kGridBits);
  for (int i = 0; i < kVectorRows; ++i) c[i] = double_to_float_zero(sum[i]);
}

// The same in half the time, for f16 factors and addends that are +0 or of kLeastOfFast to 2^128:
// then products, grid and result are normal floats, and terms below 2^27 on the grid.
inline constexpr int kLeastOfFast = -90;

inline Floats float_power_of_two(Ints exponents) {
  return bit_cast<Floats>((exponents + 127) << 23);
}

// Cut off to the 24 bits of a float; the least integer is not among the values. Shifted by 24, the
// highest bit of more than 24 is on that of half a unit: without it, to nearest rounds down.
inline Floats to_float_zero(Ints values) {
  const Ints magnitude = __builtin_elementwise_abs(values);
  const Floats cut = __builtin_convertvector(magnitude & ~(magnitude >> 24), Floats);
  return bit_cast<Floats>(bit_cast<Ints>(cut) | (values & INT32_MIN));
}

// False where the sum does not fit 32 bits; nothing is written then.
template <int kDepth>
inline bool add_finite_products(const MmaRows& a, const MmaColumn& b, const int16_t* exponents,
                                int row, float* c) {
  const Floats addend = load_vector<Floats>(c);
  Ints largest = with_addend(exponents, addend);
  largest = __builtin_elementwise_max(largest, static_cast<Ints>(kLeastOfFast));
  const Floats grid = float_power_of_two(kGridBits - largest);
  const auto term = [&](int k) {
    const Floats product = load_vector<Floats>(&a.values[k][row]) * b.values[k];
    return __builtin_convertvector(product * grid, Ints);
  };
  // Nine terms below 2^27 fit, and so do eight.
  Ints sum = __builtin_convertvector(addend * grid, Ints);
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; ++k) sum += term(k);
  if (kDepth > 8) {
    Ints others = {};
#pragma clang loop unroll(full)
    for (int k = 8; k < kDepth; ++k) others += term(k);
    const Ints both = sum + others;
    if (any(((sum ^ both) & (others ^ both)) < 0)) return false;
    sum = both;
  }
  const Floats result = to_float_zero(sum) * float_power_of_two(largest - kGridBits);
  std::memcpy(c, &result, sizeof(result));
  return true;
}

// Whether add_finite_products serves the addends of a column.
inline bool are_fast_addends(const float* c) {
  Ints slow = {};
  for (int row = 0; row < kMmaRows; row += kVectorRows) {
    const Ints bits = load_vector<Ints>(c + row);
    const Ints exponent = (bits >> 23 & 0xff) - 127;
    slow |= (bits != 0) & ((exponent < kLeastOfFast) | (exponent > 127));
  }
  return !any(slow);
}

inline constexpr int kLargestOfHalf = 15;

// Everything of A but its values, for elements of a 16-bit format whose least exponent is `kLeast`.
template <int kLeast, int kDepth>
inline void describe_rows(MmaRows& a) {
  a.is_finite = true;
  for (int row = 0; row < kMmaRows; row += kVectorRows) {
    Ints largest = static_cast<Ints>(kExponentOfZero);
    for (int k = 0; k < kDepth; ++k) {
      const Ints exponents = exponents_in_format(load_vector<Floats>(&a.values[k][row]), kLeast);
      const Shorts narrow = __builtin_convertvector(exponents, Shorts);
      std::memcpy(&a.exponents[k][row], &narrow, sizeof(narrow));
      largest = __builtin_elementwise_max(largest, exponents);
    }
    a.is_finite &= !any(largest > kLargestOfHalf);
    a.is_zero[row / kVectorRows] = !any(largest >= kLeast);
  }
}

// c += a b, for elements of such a format; `a` has been described.
template <int kLeast, int kDepth>
inline void add_products(const MmaRows& a, MmaColumns& columns) {
  constexpr bool kIsHalf = kLeast == -14;
  alignas(64) float addends[kMmaRows];
  for (int column = 0; column < kMmaColumns; ++column) {
    float* const c = columns.c[column];
    // Tiles repeat a row of their matrix behind its end: equal columns have equal sums.
    if (column > 0 && std::memcmp(addends, c, sizeof(addends)) == 0 &&
        std::memcmp(columns.b[column], columns.b[column - 1], kDepth * sizeof(float)) == 0) {
      std::memcpy(c, columns.c[column - 1], sizeof(addends));
      continue;
    }
    std::memcpy(addends, c, sizeof(addends));
    MmaColumn b;
    b.values = columns.b[column];
    Ints largest = static_cast<Ints>(kExponentOfZero);
    for (int k = 0; k < kDepth; k += kVectorRows) {
      const Ints exponents = exponents_in_format(load_vector<Floats>(&b.values[k]), kLeast);
      const Shorts narrow = __builtin_convertvector(exponents, Shorts);
      std::memcpy(&b.exponents[k], &narrow, sizeof(narrow));
      largest = __builtin_elementwise_max(largest, exponents);
    }
    const bool fast =
        kIsHalf && a.is_finite && !any(largest > kLargestOfHalf) && are_fast_addends(c);
    alignas(64) int16_t exponents[kMmaRows];
    find_largest_exponents<kDepth>(a, b, exponents);
    for (int row = 0; row < kMmaRows; row += kVectorRows) {
      // Rows behind the end of a matrix are often zeros, and add nothing.
      if (fast && a.is_zero[row / kVectorRows]) continue;
      if (fast && add_finite_products<kDepth>(a, b, exponents + row, row, c + row)) continue;
      add_any_products<kDepth>(a, b, exponents + row, row, c + row);
    }
  }
}

}  // namespace ptx_emulator
