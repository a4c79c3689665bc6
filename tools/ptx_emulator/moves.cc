// mov: special registers, addresses of variables, and packing or unpacking of vectors.
#include <unordered_map>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

enum SpecialRegister : uint8_t {
  kThreadX,
  kThreadY,
  kThreadZ,
  kBlockX,
  kBlockY,
  kBlockZ,
  kBlockSizeX,
  kBlockSizeY,
  kBlockSizeZ,
  kGridX,
  kGridY,
  kGridZ,
  kLane,
  kWarp,
  kWarps,
  kLaneMaskEqual,
  kLaneMaskLess,
  kLaneMaskLessEqual,
  kLaneMaskGreater,
  kLaneMaskGreaterEqual,
  kDynamicShared,
  kTotalShared,
  kZero,
};

uint32_t special_value(const Warp& warp, SpecialRegister which, uint32_t lane) {
  const Block& block = *warp.block;
  const Launch& launch = *block.launch;
  const std::array<uint32_t, 3>& size = launch.block;
  const uint32_t thread = static_cast<uint32_t>(warp.id) * kLanes + lane;
  switch (which) {
    case kThreadX:
      return size[1] * size[2] == 1 ? thread : thread % size[0];
    case kThreadY:
      return thread / size[0] % size[1];
    case kThreadZ:
      return thread / size[0] / size[1];
    case kBlockX:
    case kBlockY:
    case kBlockZ:
      return block.index[which - kBlockX];
    case kBlockSizeX:
    case kBlockSizeY:
    case kBlockSizeZ:
      return size[which - kBlockSizeX];
    case kGridX:
    case kGridY:
    case kGridZ:
      return launch.grid[which - kGridX];
    case kLane:
      return lane;
    case kWarp:
      return static_cast<uint32_t>(warp.id);
    case kWarps:
      return static_cast<uint32_t>(block.warps.size());
    case kLaneMaskEqual:
      return 1u << lane;
    case kLaneMaskLess:
      return (1u << lane) - 1;
    case kLaneMaskLessEqual:
      return (2u << lane) - 1;
    case kLaneMaskGreater:
      return ~((2u << lane) - 1);
    case kLaneMaskGreaterEqual:
      return ~((1u << lane) - 1);
    case kDynamicShared:
      return launch.shared_bytes - launch.kernel->static_shared_bytes;
    case kTotalShared:
      return launch.shared_bytes;
    case kZero:
      return 0;
  }
  return 0;
}

template <class R>
void read_special(Warp& warp, const Instruction& instruction) {
  R* const destination = warp.lanes<R>(instruction.operand[0]);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    destination[lane] = special_value(warp, static_cast<SpecialRegister>(instruction.mode), lane);
  }
}

const SpecialRegister* find_special(std::string_view name) {
  static const auto* const names = new std::unordered_map<std::string_view, SpecialRegister>{
      {"%tid.x", kThreadX},
      {"%tid.y", kThreadY},
      {"%tid.z", kThreadZ},
      {"%ctaid.x", kBlockX},
      {"%ctaid.y", kBlockY},
      {"%ctaid.z", kBlockZ},
      {"%ntid.x", kBlockSizeX},
      {"%ntid.y", kBlockSizeY},
      {"%ntid.z", kBlockSizeZ},
      {"%nctaid.x", kGridX},
      {"%nctaid.y", kGridY},
      {"%nctaid.z", kGridZ},
      {"%laneid", kLane},
      {"%warpid", kWarp},
      {"%nwarpid", kWarps},
      {"%lanemask_eq", kLaneMaskEqual},
      {"%lanemask_lt", kLaneMaskLess},
      {"%lanemask_le", kLaneMaskLessEqual},
      {"%lanemask_gt", kLaneMaskGreater},
      {"%lanemask_ge", kLaneMaskGreaterEqual},
      {"%dynamic_smem_size", kDynamicShared},
      {"%total_smem_size", kTotalShared},
      // There is no clock: time reads as zero.
      {"%clock", kZero},
      {"%clock64", kZero},
      {"%globaltimer", kZero},
      {"%smid", kZero},
  };
  const auto found = names->find(name);
  return found == names->end() ? nullptr : &found->second;
}

// mov.b64 d, {low, high}
void pack_words(Warp& warp, const Instruction& instruction) {
  uint64_t* const destination = warp.lanes<uint64_t>(instruction.operand[0]);
  const uint32_t* const low = warp.lanes<const uint32_t>(instruction.operand[1]);
  const uint32_t* const high = warp.lanes<const uint32_t>(instruction.operand[2]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (warp.mask >> lane & 1)
      destination[lane] = static_cast<uint64_t>(high[lane]) << 32 | low[lane];
  }
}
void unpack_words(Warp& warp, const Instruction& instruction) {
  uint32_t* const low = warp.lanes<uint32_t>(instruction.operand[0]);
  uint32_t* const high = warp.lanes<uint32_t>(instruction.operand[1]);
  const uint64_t* const source = warp.lanes<const uint64_t>(instruction.operand[2]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    low[lane] = static_cast<uint32_t>(source[lane]);
    high[lane] = static_cast<uint32_t>(source[lane] >> 32);
  }
}
// mov.b32 d, {low, high}
void pack_halves(Warp& warp, const Instruction& instruction) {
  uint32_t* const destination = warp.lanes<uint32_t>(instruction.operand[0]);
  const uint32_t* const low = warp.lanes<const uint32_t>(instruction.operand[1]);
  const uint32_t* const high = warp.lanes<const uint32_t>(instruction.operand[2]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (warp.mask >> lane & 1) destination[lane] = high[lane] << 16 | low[lane];
  }
}
void unpack_halves(Warp& warp, const Instruction& instruction) {
  uint32_t* const low = warp.lanes<uint32_t>(instruction.operand[0]);
  uint32_t* const high = warp.lanes<uint32_t>(instruction.operand[1]);
  const uint32_t* const source = warp.lanes<const uint32_t>(instruction.operand[2]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    const uint32_t value = source[lane];
    low[lane] = value & 0xffff;
    high[lane] = value >> 16;
  }
}
// mov.b64 d, {a, b, c, e} of 16 bits
void pack_quarters(Warp& warp, const Instruction& instruction) {
  uint64_t* const destination = warp.lanes<uint64_t>(instruction.operand[0]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    uint64_t value = 0;
    for (int i = 3; i >= 0; --i) {
      value = value << 16 | warp.lanes<const uint32_t>(instruction.operand[1 + i])[lane];
    }
    destination[lane] = value;
  }
}
void unpack_quarters(Warp& warp, const Instruction& instruction) {
  const uint64_t* const source = warp.lanes<const uint64_t>(instruction.operand[4]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    for (int i = 0; i < 4; ++i) {
      warp.lanes<uint32_t>(instruction.operand[i])[lane] = source[lane] >> (16 * i) & 0xffff;
    }
  }
}

void decode_vector_move(Decoder& decoder) {
  const bool pack = decoder.operand(1).kind == Operand::Kind::kVector;
  const Operand& vector = decoder.operand(pack ? 1 : 0);
  const Operand& scalar = decoder.operand(pack ? 0 : 1);
  const size_t count = vector.elements.size();
  const uint32_t bytes = type_bytes(decoder.statement().type());
  Handler handler = nullptr;
  Width element = Width::k16;
  Width whole = Width::k32;
  if (bytes == 8 && count == 2) {
    handler = pack ? pack_words : unpack_words;
    element = Width::k32;
    whole = Width::k64;
  } else if (bytes == 8 && count == 4) {
    handler = pack ? pack_quarters : unpack_quarters;
    whole = Width::k64;
  } else if (bytes == 4 && count == 2) {
    handler = pack ? pack_halves : unpack_halves;
  } else {
    decoder.unsupported();
  }
  if (scalar.kind == Operand::Kind::kVector) decoder.unsupported();
  decoder.instruction().handler = handler;
  if (pack) {
    decoder.define(scalar, whole);
    for (const Operand& part : vector.elements) decoder.use(part, element);
  } else {
    for (const Operand& part : vector.elements) decoder.define(part, element);
    decoder.use(scalar, whole);
  }
}

}  // namespace

void decode_move(Decoder& decoder) {
  decoder.require_operands(2);
  const Operand& source = decoder.operand(1);
  if (source.kind == Operand::Kind::kVector || decoder.operand(0).kind == Operand::Kind::kVector) {
    decode_vector_move(decoder);
    return;
  }
  if (source.kind == Operand::Kind::kName && decoder.builder().find_register(source.name) < 0) {
    if (const SpecialRegister* special = find_special(source.name)) {
      const Width width = decoder.register_width(decoder.operand(0));
      if (width != Width::k32 && width != Width::k64) decoder.unsupported();
      decoder.instruction().handler =
          width == Width::k64 ? read_special<uint64_t> : read_special<uint32_t>;
      decoder.instruction().mode = *special;
      decoder.define(decoder.operand(0), width);
      return;
    }
  }
  const OpSpec* const spec = OpTable::instance().find(decoder.statement().opcode);
  if (spec == nullptr) decoder.unsupported();
  decoder.instruction().handler = spec->handler;
  const Width width =
      spec->signature[0] == 'p' ? Width::kPredicate : width_of_type(decoder.statement().type());
  decoder.define(decoder.operand(0), width);
  decoder.use(source, width);
}

}  // namespace ptx_emulator
