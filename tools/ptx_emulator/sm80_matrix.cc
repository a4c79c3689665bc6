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

// Widens the 64 16-bit values of one register of the warp, in lane order.
template <class Element>
void widen_register(Warp& warp, uint16_t slot, float values[2 * kLanes]) {
  uint16_t bits[2 * kLanes];
  std::memcpy(bits, warp.lanes<const uint32_t>(slot), sizeof(bits));
  for (int i = 0; i < 2 * kLanes; ++i) values[i] = Element::widen(bits[i]);
}

template <class Element, int kDepth>
void read_a(Warp& warp, const uint16_t* slots, float a[kMmaRows][kMmaMaxDepth]) {
  for (int i = 0; i < kDepth / 4; ++i) {
    float values[2 * kLanes];  // eight rows of eight
    widen_register<Element>(warp, slots[i], values);
    for (int row = 0; row < 8; ++row) {
      std::memcpy(&a[row + 8 * (i % 2)][8 * (i / 2)], values + 8 * row, 8 * sizeof(float));
    }
  }
}

template <class Element, int kDepth>
void read_b(Warp& warp, const uint16_t* slots, float b[kMmaMaxDepth][kMmaColumns]) {
  for (int i = 0; i < kDepth / 8; ++i) {
    float values[2 * kLanes];  // eight columns of eight
    widen_register<Element>(warp, slots[i], values);
    for (int k = 0; k < 8; ++k) {
      for (int column = 0; column < kMmaColumns; ++column)
        b[8 * i + k][column] = values[8 * column + k];
    }
  }
}

// FP32 accumulators: registers 2 h and 2 h + 1 of a lane hold the pair of row group + 8 h.
struct FloatAccumulator {
  static constexpr int kRegisters = 4;
  static void read(Warp& warp, const uint16_t* slots, float c[kMmaRows][kMmaColumns]) {
    for (int half = 0; half < 2; ++half) {
      const float* const even = warp.lanes<const float>(slots[2 * half]);
      const float* const odd = warp.lanes<const float>(slots[2 * half + 1]);
      float* const rows = c[8 * half];
      for (int lane = 0; lane < kLanes; ++lane) {
        rows[2 * lane] = even[lane];
        rows[2 * lane + 1] = odd[lane];
      }
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const float d[kMmaRows][kMmaColumns]) {
    for (int half = 0; half < 2; ++half) {
      float* const even = warp.lanes<float>(slots[2 * half]);
      float* const odd = warp.lanes<float>(slots[2 * half + 1]);
      const float* const rows = d[8 * half];
      for (int lane = 0; lane < kLanes; ++lane) {
        even[lane] = rows[2 * lane];
        odd[lane] = rows[2 * lane + 1];
      }
    }
  }
};

// FP16 accumulators: register i holds the pair of row group + 8 * i.
struct HalfAccumulator {
  static constexpr int kRegisters = 2;
  static void read(Warp& warp, const uint16_t* slots, float c[kMmaRows][kMmaColumns]) {
    for (int i = 0; i < 2; ++i) {
      widen_register<HalfElement>(warp, slots[i], c[8 * i]);
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const float d[kMmaRows][kMmaColumns]) {
    for (int i = 0; i < 2; ++i) {
      uint32_t* const values = warp.lanes<uint32_t>(slots[i]);
      for (int lane = 0; lane < kLanes; ++lane) {
        const float* const pair = &d[lane / 4 + 8 * i][2 * (lane % 4)];
        values[lane] = static_cast<uint32_t>(float_to_half(pair[1])) << 16 | float_to_half(pair[0]);
      }
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
  alignas(64) float a[kMmaRows][kMmaMaxDepth];
  alignas(64) float b[kMmaMaxDepth][kMmaColumns];
  alignas(64) float c[kMmaRows][kMmaColumns];
  read_a<Element, kDepth>(warp, slots + kC, a);
  read_b<Element, kDepth>(warp, slots + kC + kA, b);
  Accumulator::read(warp, slots + kC + kA + kB, c);
  add_products<Element::kLeastExponent, kDepth>(a, b, c);
  Accumulator::write(warp, slots, c);
}

void load_matrix(Warp& warp, const Instruction& instruction) {
  require_lanes(warp, kAllLanes, "ldmatrix");
  constexpr int kRowBytes = 16;
  constexpr int kMatrixRows = 8;
  const int matrices = instruction.elements;
  const bool transposed = instruction.mode != 0;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[matrices], addresses);
  if (warp.block->counting()) {
    const uint32_t used = matrices == 4 ? kAllLanes : (1u << (kMatrixRows * matrices)) - 1;
    count_shared_access(warp, addresses, used, kRowBytes);
  }
  for (int matrix = 0; matrix < matrices; ++matrix) {
    uint16_t rows[kMatrixRows][kMatrixRows];
    for (int row = 0; row < kMatrixRows; ++row) {
      const int lane = matrix * kMatrixRows + row;  // the lane that gives the address of the row
      const uint8_t* const source = memory_pointer(
          warp, Space::kShared, addresses[lane] & 0xffffffffu, kRowBytes, lane, false);
      std::memcpy(rows[row], source, kRowBytes);
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
