// The registers of a warp that hold parts of matrices, for mma and wgmma.
//
// Fragment layouts follow the PTX ISA, "Matrix Fragments for mma.m16n8k16": with group = lane / 4
// and pair = lane % 4, register i of A holds A[group + 8 * (i % 2)][2 * pair + {0, 1} + 8 * (i /
// 2)], register i of B holds B[2 * pair + {0, 1} + 8 * i][group], and C and D hold C[group + 8 * (i
// / 2)][2 * pair + i % 2] in element i.
#pragma once

#include <cstdint>
#include <cstring>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/tensor_core.h"

namespace ptx_emulator {

struct HalfElement {
  static constexpr int kLeastExponent = -14;
  static float widen(uint16_t bits) { return half_to_float(bits); }
};
struct BFloatElement {
  static constexpr int kLeastExponent = -126;
  static float widen(uint16_t bits) { return bfloat_to_float(bits); }
};

using Halves = uint16_t __attribute__((ext_vector_type(8)));

// Rows lie in vectors in this order, in which FP32 accumulators are transposed within half vectors.
inline constexpr int kRowOrder[kVectorRows] = {0, 2, 4, 6, 1, 3, 5, 7};

// Eight rows of eight values to eight columns. Each of three rounds interleaves the halves.
inline void transpose(Halves rows[8]) {
  for (int round = 0; round < 3; ++round) {
    Halves mixed[8];
    for (int i = 0; i < 4; ++i) {
      const Halves first = rows[i], second = rows[i + 4];
      mixed[2 * i] = __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
      mixed[2 * i + 1] = __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
    }
    std::memcpy(rows, mixed, sizeof(mixed));
  }
}

// Four rows of four values in the low halves of the vectors to four columns, and likewise above.
inline void transpose_quarters(Floats rows[4]) {
  const auto interleave = [](Floats first, Floats second, Floats* low, Floats* high) {
    *low = __builtin_shufflevector(first, second, 0, 8, 1, 9, 4, 12, 5, 13);
    *high = __builtin_shufflevector(first, second, 2, 10, 3, 11, 6, 14, 7, 15);
  };
  Floats mixed[4];
  interleave(rows[0], rows[2], &mixed[0], &mixed[1]);
  interleave(rows[1], rows[3], &mixed[2], &mixed[3]);
  interleave(mixed[0], mixed[2], &rows[0], &rows[1]);
  interleave(mixed[1], mixed[3], &rows[2], &rows[3]);
}

template <class Element>
void widen(const Halves& bits, float values[8]) {
  for (int i = 0; i < 8; ++i) values[i] = Element::widen(bits[i]);
}

// One register of the warp holds eight rows of eight 16-bit values, in lane order.
inline void read_rows(Warp& warp, uint16_t slot, Halves rows[8]) {
  const auto* const bits = warp.lanes<const Halves>(slot);
  for (int row = 0; row < 8; ++row) rows[row] = bits[kRowOrder[row]];
}

template <class Element, int kDepth>
void read_a(Warp& warp, const uint16_t* slots, MmaRows& a) {
  for (int i = 0; i < kDepth / 4; ++i) {
    Halves columns[8];
    read_rows(warp, slots[i], columns);
    transpose(columns);
    for (int k = 0; k < 8; ++k) {
      widen<Element>(columns[k], &a.values[k + 8 * (i / 2)][8 * (i % 2)]);
    }
  }
}

template <class Element, int kDepth>
void read_b(Warp& warp, const uint16_t* slots, MmaColumns& columns) {
  for (int i = 0; i < kDepth / 8; ++i) {
    const auto* const bits = warp.lanes<const Halves>(slots[i]);
    for (int column = 0; column < kMmaColumns; ++column) {
      widen<Element>(bits[column], &columns.b[column][8 * i]);
    }
  }
}

// FP32 accumulators: registers 2 h and 2 h + 1 of a lane hold the pair of row group + 8 h.
struct FloatAccumulator {
  static constexpr int kRegisters = 4;
  static void read(Warp& warp, const uint16_t* slots, MmaColumns& columns) {
    for (int i = 0; i < kRegisters; ++i) {
      Floats pairs[4];
      std::memcpy(pairs, warp.lanes<const float>(slots[i]), sizeof(pairs));
      transpose_quarters(pairs);
      for (int pair = 0; pair < 4; ++pair) {
        std::memcpy(&columns.c[2 * pair + i % 2][8 * (i / 2)], &pairs[pair], sizeof(Floats));
      }
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const MmaColumns& columns) {
    for (int i = 0; i < kRegisters; ++i) {
      Floats rows[4];
      for (int pair = 0; pair < 4; ++pair) {
        std::memcpy(&rows[pair], &columns.c[2 * pair + i % 2][8 * (i / 2)], sizeof(Floats));
      }
      transpose_quarters(rows);
      std::memcpy(warp.lanes<float>(slots[i]), rows, sizeof(rows));
    }
  }
};

}  // namespace ptx_emulator
