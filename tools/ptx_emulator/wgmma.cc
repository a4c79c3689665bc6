// wgmma: D += A B by the four warps of a warpgroup, B (and A, if it is not in registers) from
// shared memory; and fence.proxy.async, which shows the tensor cores what ordinary instructions
// wrote.
//
// Each warp has 16 of the 64 rows of A and D, in registers as mma.m16n8k16 has them, with four
// registers of D for every eight columns (PTX ISA, "Register Fragments for wgmma.mma_async").
#include "tools/ptx_emulator/wgmma.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/mma_fragments.h"
#include "tools/ptx_emulator/tensor_core.h"

namespace ptx_emulator {
namespace {

constexpr int kDepth = 16;  // k of every shape here
constexpr int kRegistersOfA = 4;
constexpr int kMaxColumns = 256;
constexpr int kChunkBytes = 16;  // eight factors of a row
constexpr int kChunks = kDepth / 8;

// Instruction::mode of a product.
enum ProductMode : uint8_t { kAInShared = 1, kNegative = 2, kTransposedB = 4 };

// How a matrix lies in shared memory: rows of A or columns of B along k, or where B is transposed,
// rows of B along its columns (PTX ISA, "Matrix Descriptor Format").
class SharedMatrix {
 public:
  explicit SharedMatrix(uint64_t descriptor)
      : start_(field(descriptor, 0)),
        leading_(field(descriptor, 16)),
        stride_(field(descriptor, 32)),
        base_(static_cast<uint32_t>(descriptor >> 49 & 7)) {
    const int mode = static_cast<int>(descriptor >> 62);  // 0: none, then 128, 64, 32 bytes
    swizzled_bits_ = mode == 0 ? 0 : 4 - mode;
  }

  // The address of eight factors.
  uint32_t chunk(int row, int index) const {
    const uint32_t of_eight = start_ + static_cast<uint32_t>(row / 8) * stride_;
    const uint32_t within = static_cast<uint32_t>(row % 8);
    if (swizzled_bits_ == 0) {
      return (of_eight + within * kChunkBytes + static_cast<uint32_t>(index) * leading_) & kMask;
    }
    const uint32_t width = static_cast<uint32_t>(kChunkBytes) << swizzled_bits_;
    const uint32_t address = of_eight + within * width + static_cast<uint32_t>(index) * kChunkBytes;
    const uint32_t pattern = ((address >> 7) - base_) & ((1u << swizzled_bits_) - 1);
    return (address ^ pattern << 4) & kMask;
  }

  // The address of eight columns of B, transposed, at one k.
  uint32_t transposed_chunk(int k, int eight) const {
    const uint32_t of_eight = static_cast<uint32_t>(k / 8);
    const uint32_t within = static_cast<uint32_t>(k % 8);
    const uint32_t columns = static_cast<uint32_t>(eight);
    if (swizzled_bits_ == 0) {
      return (start_ + columns * stride_ + of_eight * leading_ + within * kChunkBytes) & kMask;
    }
    const uint32_t width = static_cast<uint32_t>(kChunkBytes) << swizzled_bits_;
    const uint32_t address = start_ + (columns >> swizzled_bits_) * leading_ + of_eight * stride_ +
                             within * width + columns % (1u << swizzled_bits_) * kChunkBytes;
    const uint32_t pattern = ((address >> 7) - base_) & ((1u << swizzled_bits_) - 1);
    return (address ^ pattern << 4) & kMask;
  }

 private:
  static constexpr uint32_t kMask = 0x3ffff;
  static uint32_t field(uint64_t descriptor, int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4;
  }

  uint32_t start_, leading_, stride_, base_;
  int swizzled_bits_;
};

std::string place_of(const Warp& warp, int pc) {
  return describe_place(*warp.block->launch->kernel, pc);
}

uint64_t uniform_descriptor(Warp& warp, uint16_t slot) {
  const uint64_t* const lanes = warp.lanes<const uint64_t>(slot);
  const uint64_t* const other =
      std::find_if(lanes, lanes + kLanes, [&](uint64_t value) { return value != lanes[0]; });
  if (other != lanes + kLanes) {
    const int lane = static_cast<int>(other - lanes);
    report(warp, FaultKind::kWarpSync, lane, [&] {
      return format("wgmma needs one descriptor: lane %d has 0x%llx, lane 0 has 0x%llx", lane,
                    static_cast<unsigned long long>(*other),
                    static_cast<unsigned long long>(lanes[0]));
    });
  }
  return lanes[0];
}

bool uniform_predicate(Warp& warp, const Instruction& instruction, int operand) {
  const uint32_t value = warp.predicate(instruction, operand);
  if (value != 0 && value != kAllLanes) {
    report(warp, FaultKind::kWarpSync, 0,
           [&] { return format("wgmma needs one scale-d, that of the lanes is %08x", value); });
  }
  return (value & 1) != 0;
}

// Compares the product with that of the other warps of the warpgroup.
void join_warpgroup(Warp& warp, const IssuedProduct& product) {
  Block& block = *warp.block;
  const size_t warpgroup = static_cast<size_t>(warp.id) / kWarpgroup;
  if ((warpgroup + 1) * kWarpgroup > block.warps.size()) {
    report(warp, FaultKind::kWarpSync, 0, [&] {
      return format("wgmma needs whole warpgroups of %d warps, the block has %zu warps", kWarpgroup,
                    block.warps.size());
    });
    return;
  }
  std::vector<IssuedProduct>& issued = block.products[warpgroup];
  const size_t index = warp.products.issued++;
  if (index == issued.size()) {
    issued.push_back(product);
    return;
  }
  if (issued[index] == product) return;
  report(warp, FaultKind::kWarpSync, 0, [&] {
    const char* const what = issued[index].pc == product.pc ? ", with other operands" : "";
    return format("the warps of the warpgroup execute different wgmma: another one is at %s%s",
                  place_of(warp, issued[index].pc).c_str(), what);
  });
}

const ProductAccesses& accesses_at(const Warp& warp) {
  return warp.block->launch->kernel->product_accesses[warp.pc];
}

void report_missing_fence(Warp& warp, const char* what) {
  report(warp, FaultKind::kAsync, 0,
         [&] { return format("%s of this wgmma were written with no wgmma.fence since", what); });
}

void report_in_flight(Warp& warp, const char* access, const char* what, int pc) {
  report(warp, FaultKind::kAsync, 0, [&] {
    return format("%s of %s of the wgmma at %s, which is in flight: wait for its group", access,
                  what, place_of(warp, pc).c_str());
  });
}

// Accumulators come first, then A.
void take_registers(Warp& warp, int columns) {
  WarpProducts& products = warp.products;
  for (const ProductRegister& access : accesses_at(warp).registers) {
    WarpProducts::Register& reg = products.registers[access.index];
    const bool fenced = reg.written < products.fences;
    if (access.written) {
      if (products.in_flight(reg.factor_group)) {
        report_in_flight(warp, "write", "A", reg.factor_pc);
      }
      // Products of one shape are executed in order.
      if (reg.columns != columns) {
        if (products.in_flight(reg.accumulator_group)) {
          report_in_flight(warp, "use in another shape", "an accumulator", reg.accumulator_pc);
        } else if (!fenced) {
          report_missing_fence(warp, "accumulators");
        }
      }
      reg.accumulator_group = products.group;
      reg.accumulator_pc = warp.pc;
      reg.written = products.fences;
      reg.columns = columns;
    } else {
      if (products.in_flight(reg.accumulator_group)) {
        report_in_flight(warp, "use in A", "an accumulator", reg.accumulator_pc);
      } else if (!fenced) {
        report_missing_fence(warp, "registers of A");
      }
      reg.factor_group = products.group;
      reg.factor_pc = warp.pc;
    }
  }
}

// Chunks of a matrix by row, of a transposed one by eight columns: offsets in the block's shared
// memory.
struct Chunks {
  uint32_t offsets[kMaxColumns * kChunks];
  int count = 0;
};

// Takes the chunk at an address; false after a report where it is out of bounds.
bool take_chunk(Warp& warp, uint32_t address, int row, Chunks& chunks) {
  const uint32_t size = warp.block->launch->shared_bytes;
  const uint32_t offset = address - kSharedBase;
  if (offset >= size || size - offset < kChunkBytes) {
    report(warp, FaultKind::kBounds, 0, [&] {
      return format("wgmma reads %d bytes at shared+%d (row %d); the block has %u bytes",
                    kChunkBytes, static_cast<int32_t>(offset), row, size);
    });
    return false;
  }
  chunks.offsets[chunks.count++] = offset;
  return true;
}

void shadow_read(Warp& warp, const Chunks& chunks) {
  if (!warp.block->use_shadow) return;
  warp.block->shadow.read_product(warp, chunks.offsets, chunks.count);
}

// False after a report of a chunk that is out of bounds.
bool find_chunks(Warp& warp, const SharedMatrix& matrix, int first_row, int rows, Chunks& chunks) {
  for (int row = first_row; row < first_row + rows; ++row) {
    for (int index = 0; index < kChunks; ++index) {
      if (!take_chunk(warp, matrix.chunk(row, index), row, chunks)) return false;
    }
  }
  shadow_read(warp, chunks);
  return true;
}

bool find_transposed_chunks(Warp& warp, const SharedMatrix& matrix, int eights, Chunks& chunks) {
  for (int eight = 0; eight < eights; ++eight) {
    for (int k = 0; k < kDepth; ++k) {
      if (!take_chunk(warp, matrix.transposed_chunk(k, eight), k, chunks)) return false;
    }
  }
  shadow_read(warp, chunks);
  return true;
}

void widen_chunk(const Block& block, uint32_t offset, float values[8]) {
  Halves bits;
  std::memcpy(&bits, block.shared.data() + offset, sizeof(bits));
  widen<HalfElement>(bits, values);
}

// The 16 rows of the warp, in the order of fragments.
bool read_shared_a(Warp& warp, uint64_t descriptor, MmaRows& a) {
  Chunks chunks;
  const int first = warp.id % kWarpgroup * kMmaRows;
  if (!find_chunks(warp, SharedMatrix(descriptor), first, kMmaRows, chunks)) return false;
  for (int place = 0; place < kMmaRows; ++place) {
    const int row = place / kVectorRows * kVectorRows + kRowOrder[place % kVectorRows];
    float values[kDepth];
    for (int index = 0; index < kChunks; ++index) {
      widen_chunk(*warp.block, chunks.offsets[kChunks * row + index], values + 8 * index);
    }
    for (int k = 0; k < kDepth; ++k) a.values[k][place] = values[k];
  }
  return true;
}

// Operands: D, A (registers or a descriptor), the descriptor of B, scale-d. `elements` is a number
// of eights of columns.
void multiply(Warp& warp, const Instruction& instruction) {
  require_lanes(warp, kAllLanes, "wgmma.mma_async");
  Block& block = *warp.block;
  const int eights = instruction.elements;
  const bool a_in_shared = (instruction.mode & kAInShared) != 0;
  const uint16_t* const d = instruction.operand;
  const uint16_t* const a_slots = d + FloatAccumulator::kRegisters * eights;
  const uint16_t* const b_slot = a_slots + (a_in_shared ? 1 : kRegistersOfA);

  IssuedProduct product;
  product.pc = warp.pc;
  product.a = a_in_shared ? uniform_descriptor(warp, *a_slots) : 0;
  product.b = uniform_descriptor(warp, *b_slot);
  product.adds = uniform_predicate(warp, instruction, static_cast<int>(b_slot + 1 - d));
  join_warpgroup(warp, product);
  if (block.launch->checks_any(kCheckAsync)) take_registers(warp, kMmaColumns * eights);
  warp.products.last_group = warp.products.group;
  warp.products.last_pc = warp.pc;
  block.counters.mma += static_cast<uint64_t>(eights);

  MmaRows a;
  Chunks b;
  if (a_in_shared) {
    if (!read_shared_a(warp, product.a, a)) return;
  } else {
    read_a<HalfElement, kDepth>(warp, a_slots, a);
  }
  const bool transposed = (instruction.mode & kTransposedB) != 0;
  const SharedMatrix matrix(product.b);
  if (transposed ? !find_transposed_chunks(warp, matrix, eights, b)
                 : !find_chunks(warp, matrix, 0, kMmaColumns * eights, b)) {
    return;
  }
  if (instruction.mode & kNegative) {
    for (auto& row : a.values) {
      for (float& value : row) value = -value;
    }
  }
  describe_rows<HalfElement::kLeastExponent, kDepth>(a);
  const uint32_t* chunk = b.offsets;
  for (int eight = 0; eight < eights; ++eight) {
    MmaColumns columns;
    if (transposed) {
      for (int k = 0; k < kDepth; ++k) {
        float values[kMmaColumns];
        widen_chunk(block, *chunk++, values);
        for (int column = 0; column < kMmaColumns; ++column) columns.b[column][k] = values[column];
      }
    } else {
      for (auto& column : columns.b) {
        for (int k = 0; k < kDepth; k += 8) widen_chunk(block, *chunk++, column + k);
      }
    }
    const uint16_t* const slots = d + FloatAccumulator::kRegisters * eight;
    if (product.adds) {
      FloatAccumulator::read(warp, slots, columns);
    } else {
      std::memset(columns.c, 0, sizeof(columns.c));
    }
    add_products<HalfElement::kLeastExponent, kDepth>(a, columns);
    FloatAccumulator::write(warp, slots, columns);
  }
}

void fence_registers(Warp& warp, const Instruction&) {
  require_lanes(warp, kAllLanes, "wgmma.fence");
  ++warp.products.fences;
}

void commit_group(Warp& warp, const Instruction&) {
  require_lanes(warp, kAllLanes, "wgmma.commit_group");
  ++warp.products.group;
}

// Completes all groups but the newest `immediate`.
void wait_group(Warp& warp, const Instruction& instruction) {
  require_lanes(warp, kAllLanes, "wgmma.wait_group");
  WarpProducts& products = warp.products;
  while (static_cast<int64_t>(products.waited) + instruction.immediate + 1 < products.group) {
    ++products.waited;
    products.wait_epochs.push_back(warp.epoch());
  }
}

void fence_proxy(Warp& warp, const Instruction&) {
  if (warp.block->use_shadow) warp.block->shadow.fence_proxy(warp);
}

// "m64n128k16" -> 128; 0 where it is no such shape.
int columns_of_shape(std::string_view shape) {
  constexpr std::string_view kPrefix = "m64n", kSuffix = "k16";
  if (shape.substr(0, kPrefix.size()) != kPrefix) return 0;
  int columns = 0;
  const char* const end = shape.data() + shape.size();
  const auto [stop, error] = std::from_chars(shape.data() + kPrefix.size(), end, columns);
  const std::string_view rest(stop, static_cast<size_t>(end - stop));
  const bool known = error == std::errc() && rest == kSuffix && columns % kMmaColumns == 0;
  return known && columns > 0 && columns <= kMaxColumns ? columns : 0;
}

// An immediate of 1 or -1: whether it is -1.
bool is_negative(Decoder& decoder, size_t index) {
  const int64_t value = static_cast<int64_t>(decoder.number(decoder.operand(index)));
  if (value != 1 && value != -1) {
    decoder.fail("imm-scale is 1 or -1, not " + std::to_string(value));
  }
  return value == -1;
}

// An immediate of 0 or 1: whether it is 1.
bool is_transposed(Decoder& decoder, size_t index) {
  const int64_t value = static_cast<int64_t>(decoder.number(decoder.operand(index)));
  if (value != 0 && value != 1) {
    decoder.fail("imm-trans is 0 or 1, not " + std::to_string(value));
  }
  return value == 1;
}

// D, A, B, scale-d, imm-scale-a, imm-scale-b[, imm-trans-a], imm-trans-b
void decode_product(Decoder& decoder) {
  const std::vector<std::string_view>& parts = decoder.statement().parts;
  constexpr size_t kShape = 4;
  const int columns = parts.size() > kShape ? columns_of_shape(parts[kShape]) : 0;
  const std::string opcode =
      "wgmma.mma_async.sync.aligned.m64n" + std::to_string(columns) + "k16.f32.f16.f16";
  if (columns == 0 || decoder.statement().opcode != opcode) decoder.unsupported();
  decoder.require_operands(7, 8);
  Instruction& instruction = decoder.instruction();
  instruction.handler = multiply;
  instruction.elements = static_cast<uint8_t>(columns / kMmaColumns);
  for (const Operand& d : decoder.vector(0, columns / 2)) decoder.update(d, Width::k32);
  const size_t count = decoder.statement().operands.size();
  if (count == 8) {
    instruction.mode = kAInShared;
    decoder.use(decoder.operand(1), Width::k64);
  } else {
    for (const Operand& a : decoder.vector(1, kRegistersOfA)) decoder.use(a, Width::k32);
  }
  decoder.draft().product_registers = columns / 2 + (count == 8 ? 0 : kRegistersOfA);
  decoder.use(decoder.operand(2), Width::k64);
  decoder.use(decoder.operand(3), Width::kPredicate);
  if (is_negative(decoder, 4) != is_negative(decoder, 5)) instruction.mode |= kNegative;
  if (is_transposed(decoder, count - 1)) instruction.mode |= kTransposedB;
  if (count == 8 && is_transposed(decoder, 6)) {
    decoder.fail("a transposed A of wgmma is not supported");
  }
}

}  // namespace

void check_product_registers(Warp& warp, const Instruction& instruction) {
  const ProductAccesses& accesses = accesses_at(warp);
  if (warp.block->launch->checks_any(kCheckAsync)) {
    WarpProducts& products = warp.products;
    for (const ProductRegister& access : accesses.registers) {
      WarpProducts::Register& reg = products.registers[access.index];
      const char* const what = access.written ? "write" : "read";
      if (products.in_flight(reg.accumulator_group)) {
        report_in_flight(warp, what, "an accumulator", reg.accumulator_pc);
      } else if (access.written && products.in_flight(reg.factor_group)) {
        report_in_flight(warp, what, "A", reg.factor_pc);
      }
      if (access.written) {
        reg.written = products.fences;
        reg.columns = 0;
      }
    }
  }
  accesses.handler(warp, instruction);
}

void check_last_products(Block& block) {
  for (Warp& warp : block.warps) {
    const WarpProducts& products = warp.products;
    if (products.in_flight(products.last_group) && block.launch->checks_any(kCheckAsync)) {
      report_at(warp, FaultKind::kAsync, products.last_pc, 0,
                [] { return std::string("a wgmma of the warp is still in flight at its exit"); });
    }
    const std::vector<IssuedProduct>& issued =
        block.products[static_cast<size_t>(warp.id) / kWarpgroup];
    if (products.issued < issued.size()) {
      report_at(warp, FaultKind::kWarpSync, issued[products.issued].pc, 0, [&] {
        return format("warp %d exits after %zu of the %zu wgmma of its warpgroup", warp.id,
                      products.issued, issued.size());
      });
    }
  }
}

// wgmma.{fence,commit_group,wait_group,mma_async}.sync.aligned...
void decode_wgmma(Decoder& decoder) {
  const std::string_view opcode = decoder.statement().opcode;
  decoder.require_only_sm(90);  // PTX ISA, wgmma: Target ISA Notes
  Instruction& instruction = decoder.instruction();
  if (opcode == "wgmma.fence.sync.aligned") {
    decoder.require_operands(0);
    instruction.handler = fence_registers;
  } else if (opcode == "wgmma.commit_group.sync.aligned") {
    decoder.require_operands(0);
    instruction.handler = commit_group;
  } else if (opcode == "wgmma.wait_group.sync.aligned") {
    decoder.require_operands(1);
    instruction.handler = wait_group;
    instruction.immediate = static_cast<int64_t>(decoder.number(decoder.operand(0)) & 0x7fffffff);
  } else {
    decode_product(decoder);
  }
}

// fence.proxy.async[.shared::cta]
void decode_proxy_fence(Decoder& decoder) {
  const std::string_view opcode = decoder.statement().opcode;
  if (opcode != "fence.proxy.async" && opcode != "fence.proxy.async.shared::cta") {
    decoder.unsupported();
  }
  decoder.require_sm(90);  // PTX ISA, membar / fence: Target ISA Notes
  decoder.require_operands(0);
  decoder.instruction().handler = fence_proxy;
}

}  // namespace ptx_emulator
