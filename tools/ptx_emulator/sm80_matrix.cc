// ldmatrix and mma.sync for f16 and bf16.
//
// An f16 accumulator is added to as if it were FP32 and rounded at the end: never compared with a
// GPU.
#include <cstring>
#include <utility>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/mma_fragments.h"
#include "tools/ptx_emulator/tensor_core.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

// FP16 accumulators: register i holds the pair of row group + 8 * i.
struct HalfAccumulator {
  static constexpr int kRegisters = 2;
  static void read(Warp& warp, const uint16_t* slots, MmaColumns& columns) {
    for (int i = 0; i < kRegisters; ++i) {
      Halves halves[8];
      read_rows(warp, slots[i], halves);
      transpose(halves);
      for (int column = 0; column < kMmaColumns; ++column) {
        widen<HalfElement>(halves[column], &columns.c[column][8 * i]);
      }
    }
  }
  static void write(Warp& warp, const uint16_t* slots, const MmaColumns& columns) {
    for (int i = 0; i < kRegisters; ++i) {
      Halves rows[8];
      for (int column = 0; column < kMmaColumns; ++column) {
        for (int row = 0; row < 8; ++row) {
          rows[column][row] = float_to_half(columns.c[column][8 * i + row]);
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
  const uint16_t* const slots = instruction.operand;
  MmaRows a;
  read_a<Element, kDepth>(warp, slots + kC, a);
  describe_rows<Element::kLeastExponent, kDepth>(a);
  MmaColumns columns;
  read_b<Element, kDepth>(warp, slots + kC + kA, columns);
  Accumulator::read(warp, slots + kC + kA + kB, columns);
  add_products<Element::kLeastExponent, kDepth>(a, columns);
  Accumulator::write(warp, slots, columns);
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

}  // namespace

void decode_mma(Decoder& decoder) {
  constexpr std::string_view kPrefix = "mma.sync.aligned.";
  const std::string_view opcode = decoder.statement().opcode;
  if (opcode.substr(0, kPrefix.size()) != kPrefix) decoder.unsupported();
  for (const Shape& shape : kShapes) {
    if (opcode.substr(kPrefix.size()) != shape.name) continue;
    decoder.require_operands(4);
    decoder.instruction().handler = shape.handler;
    for (const Operand& d : decoder.vector(0, shape.c)) decoder.define(d, Width::k32);
    for (const Operand& a : decoder.vector(1, shape.a)) decoder.use(a, Width::k32);
    for (const Operand& b : decoder.vector(2, shape.b)) decoder.use(b, Width::k32);
    for (const Operand& c : decoder.vector(3, shape.c)) decoder.use(c, Width::k32);
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
  for (const Operand& d : decoder.vector(0, matrices)) decoder.define(d, Width::k32);
  decoder.use_address(decoder.operand(1), Space::kShared);
}

}  // namespace ptx_emulator
