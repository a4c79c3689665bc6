// ldmatrix and mma.sync for f16 and bf16.
//
// Fragment layouts follow the PTX ISA, "Matrix Fragments for mma.m16n8k16": with group = lane / 4
// and pair = lane % 4, register i of A holds A[group + 8 * (i % 2)][2 * pair + {0, 1} + 8 * (i /
// 2)], register i of B holds B[2 * pair + {0, 1} + 8 * i][group], and C and D hold C[group + 8 * (i
// / 2)][2 * pair + i % 2] in element i.
//
// An f16 accumulator is added to as if it were FP32 and rounded at the end: never compared with a
// GPU.
#include <cstring>
#include <utility>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/tensor_core.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

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
constexpr int kRowOrder[kVectorRows] = {0, 2, 4, 6, 1, 3, 5, 7};

// Eight rows of eight values to eight columns. Each of three rounds interleaves the halves.
void transpose(Halves rows[8]) {
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
void transpose_quarters(Floats rows[4]) {
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
void read_rows(Warp& warp, uint16_t slot, Halves rows[8]) {
  const auto* const bits = warp.lanes<const Halves>(slot);
  for (int row = 0; row < 8; ++row) rows[row] = bits[kRowOrder[row]];
}

template <class Element, int kDepth>
void read_a(Warp& warp, const uint16_t* slots, MmaOperands& operands) {
  for (int i = 0; i < kDepth / 4; ++i) {
    Halves columns[8];
    read_rows(warp, slots[i], columns);
    transpose(columns);
    for (int k = 0; k < 8; ++k) {
      widen<Element>(columns[k], &operands.a[k + 8 * (i / 2)][8 * (i % 2)]);
    }
  }
}

template <class Element, int kDepth>
void read_b(Warp& warp, const uint16_t* slots, MmaOperands& operands) {
  for (int i = 0; i < kDepth / 8; ++i) {
    const auto* const columns = warp.lanes<const Halves>(slots[i]);
    for (int column = 0; column < kMmaColumns; ++column) {
      widen<Element>(columns[column], &operands.b[column][8 * i]);
    }
  }
}

// FP32 accumulators: registers 2 h and 2 h + 1 of a lane hold the pair of row group + 8 h.
struct FloatAccumulator {
  static constexpr int kRegisters = 4;
  static void read(Warp& warp, const uint16_t* slots, MmaOperands& operands) {
    for (int i = 0; i < kRegisters; ++i) {
      Floats columns[4];
      std::memcpy(columns, warp.lanes<const float>(slots[i]), sizeof(columns));
      transpose_quarters(columns);
      for (int pair = 0; pair < 4; ++pair) {
        std::memcpy(&operands.c[2 * pair + i % 2][8 * (i / 2)], &columns[pair], sizeof(Floats));
      }
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const MmaOperands& operands) {
    for (int i = 0; i < kRegisters; ++i) {
      Floats rows[4];
      for (int pair = 0; pair < 4; ++pair) {
        std::memcpy(&rows[pair], &operands.c[2 * pair + i % 2][8 * (i / 2)], sizeof(Floats));
      }
      transpose_quarters(rows);
      std::memcpy(warp.lanes<float>(slots[i]), rows, sizeof(rows));
    }
  }
};

// FP16 accumulators: register i holds the pair of row group + 8 * i.
struct HalfAccumulator {
  static constexpr int kRegisters = 2;
  static void read(Warp& warp, const uint16_t* slots, MmaOperands& operands) {
    for (int i = 0; i < kRegisters; ++i) {
      Halves columns[8];
      read_rows(warp, slots[i], columns);
      transpose(columns);
      for (int column = 0; column < kMmaColumns; ++column) {
        widen<HalfElement>(columns[column], &operands.c[column][8 * i]);
      }
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const MmaOperands& operands) {
    for (int i = 0; i < kRegisters; ++i) {
      Halves rows[8];
      for (int column = 0; column < kMmaColumns; ++column) {
        for (int row = 0; row < 8; ++row) {
          rows[column][row] = float_to_half(operands.c[column][8 * i + row]);
        }
      }
      transpose(rows);
      auto* const bits = warp.lanes<Halves>(slots[i]);
      for (int row = 0; row < 8; ++row) bits[kRowOrder[row]] = rows[row];
    }
  }
};

template <class Element, class Accumulator, int kDepth>
void mma(Warp& warp, const Instruction& instruction) {
  require_lanes(warp, kAllLanes, "mma.sync");
  ++warp.block->counters.mma;
  constexpr int kC = Accumulator::kRegisters;
  constexpr int kA = kDepth / 4;
  constexpr int kB = kDepth / 8;
  const uint16_t* const slots = instruction.operand.data();
  MmaOperands operands;
  read_a<Element, kDepth>(warp, slots + kC, operands);
  read_b<Element, kDepth>(warp, slots + kC + kA, operands);
  Accumulator::read(warp, slots + kC + kA + kB, operands);
  add_products<Element::kLeastExponent, kDepth>(operands);
  Accumulator::write(warp, slots, operands);
}

void load_matrix(Warp& warp, const Instruction& instruction) {
  require_lanes(warp, kAllLanes, "ldmatrix");
  constexpr int kRowBytes = 16;
  constexpr int kMatrixRows = 8;
  const int matrices = instruction.elements;
  const bool transposed = instruction.mode != 0;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[matrices], addresses);
  // A lane gives the address of a row; the last ones give none where there are fewer matrices.
  const uint32_t used = matrices == 4 ? kAllLanes : (1u << (kMatrixRows * matrices)) - 1;
  if (warp.block->counting()) count_shared_access(warp, addresses, used, kRowBytes);
  for (uint64_t& address : addresses) address &= 0xffffffffu;
  const uint32_t mask = std::exchange(warp.mask, used);
  uint8_t* pointers[kLanes];
  memory_pointers(warp, Space::kShared, addresses, kRowBytes, /*write=*/false, pointers);
  warp.mask = mask;
  for (int matrix = 0; matrix < matrices; ++matrix) {
    uint16_t rows[kMatrixRows][kMatrixRows];
    for (int row = 0; row < kMatrixRows; ++row) {
      std::memcpy(rows[row], pointers[matrix * kMatrixRows + row], kRowBytes);
    }
    uint32_t* const destination = warp.lanes<uint32_t>(instruction.operand[matrix]);
    if (!transposed) {
      std::memcpy(destination, rows, sizeof(rows));  // the rows one after the other: lane order
      continue;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const int column = lane / 4;
      const int pair = 2 * (lane % 4);
      destination[lane] = static_cast<uint32_t>(rows[pair + 1][column]) << 16 | rows[pair][column];
    }
  }
}

struct Shape {
  std::string_view name;
  Handler handler;
  int a, b, c;  // registers of each
};

// Everything behind "mma.sync.aligned.".
constexpr Shape kShapes[] = {
    {"m16n8k16.row.col.f32.f16.f16.f32", mma<HalfElement, FloatAccumulator, 16>, 4, 2, 4},
    {"m16n8k16.row.col.f32.bf16.bf16.f32", mma<BFloatElement, FloatAccumulator, 16>, 4, 2, 4},
    {"m16n8k16.row.col.f16.f16.f16.f16", mma<HalfElement, HalfAccumulator, 16>, 4, 2, 2},
    {"m16n8k8.row.col.f32.f16.f16.f32", mma<HalfElement, FloatAccumulator, 8>, 2, 1, 4},
    {"m16n8k8.row.col.f32.bf16.bf16.f32", mma<BFloatElement, FloatAccumulator, 8>, 2, 1, 4},
    {"m16n8k8.row.col.f16.f16.f16.f16", mma<HalfElement, HalfAccumulator, 8>, 2, 1, 2},
};

std::vector<Operand> registers(Decoder& decoder, size_t index, int count) {
  std::vector<Operand> elements = decoder.elements(decoder.operand(index));
  if (static_cast<int>(elements.size()) != count) {
    decoder.fail("operand " + std::to_string(index) + " has " + std::to_string(elements.size()) +
                 " registers, needs " + std::to_string(count));
  }
  return elements;
}

}  // namespace

void decode_mma(Decoder& decoder) {
  constexpr std::string_view kPrefix = "mma.sync.aligned.";
  const std::string_view opcode = decoder.statement().opcode;
  if (opcode.substr(0, kPrefix.size()) != kPrefix) decoder.unsupported();
  for (const Shape& shape : kShapes) {
    if (opcode.substr(kPrefix.size()) != shape.name) continue;
    decoder.require_operands(4);
    decoder.instruction().handler = shape.handler;
    for (const Operand& d : registers(decoder, 0, shape.c)) decoder.define(d, Width::k32);
    for (const Operand& a : registers(decoder, 1, shape.a)) decoder.use(a, Width::k32);
    for (const Operand& b : registers(decoder, 2, shape.b)) decoder.use(b, Width::k32);
    for (const Operand& c : registers(decoder, 3, shape.c)) decoder.use(c, Width::k32);
    return;
  }
  decoder.unsupported();
}

// ldmatrix.sync.aligned.m8n8.x{1,2,4}[.trans].shared.b16 {d...}, [address]
void decode_ldmatrix(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  const bool shared = statement.has("shared") || statement.has("shared::cta");
  const int matrices = statement.has("x4")   ? 4
                       : statement.has("x2") ? 2
                       : statement.has("x1") ? 1
                                             : 0;
  if (!shared || !statement.has("m8n8") || matrices == 0 || statement.type() != "b16") {
    decoder.unsupported();
  }
  decoder.require_operands(2);
  Instruction& instruction = decoder.instruction();
  instruction.handler = load_matrix;
  instruction.elements = static_cast<uint8_t>(matrices);
  instruction.mode = statement.has("trans") ? 1 : 0;
  for (const Operand& d : registers(decoder, 0, matrices)) decoder.define(d, Width::k32);
  decoder.use_address(decoder.operand(1), Space::kShared);
}

}  // namespace ptx_emulator
