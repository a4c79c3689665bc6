// cp.async: copies from global to shared memory that become visible at a wait.
//
// The source is read when the copy is issued; the destination is filled with NaN until the issuing
// lane waits for the group of the copy, so that a wait that is too weak also shows in the results.
// Where copies are not checked they arrive at once.
#include <algorithm>
#include <cstring>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

// Instruction::mode of a copy: what operand 2 means.
enum SourceSize : uint8_t { kWhole, kFromRegister, kIgnoreIfPredicate };

// Operands: destination (shared), source (global), [source size or ignore-src predicate].
// `immediate` is the offset of the source, `second_offset` that of the destination.
void copy_async(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  const uint32_t bytes = instruction.bytes;
  uint64_t sources[kLanes];
  uint64_t destinations[kLanes];
  uint32_t sizes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    sources[lane] = warp.lanes<const uint64_t>(instruction.operand[1])[lane] +
                    static_cast<uint64_t>(instruction.immediate);
    destinations[lane] =
        (instruction.wide_address
             ? static_cast<uint32_t>(warp.lanes<const uint64_t>(instruction.operand[0])[lane])
             : warp.lanes<const uint32_t>(instruction.operand[0])[lane]) +
        static_cast<uint32_t>(instruction.second_offset);
    sizes[lane] = bytes;
    if (instruction.mode == kFromRegister) {
      sizes[lane] = std::min(bytes, warp.lanes<const uint32_t>(instruction.operand[2])[lane]);
    } else if (instruction.mode == kIgnoreIfPredicate) {
      sizes[lane] = warp.predicate(instruction, 2) >> lane & 1 ? 0 : bytes;
    }
  }
  if (block.counting()) {
    uint32_t reading = warp.mask;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (sizes[lane] == 0) reading &= ~(1u << lane);
    }
    if (reading != 0) count_global_access(warp, sources, reading, bytes);
    count_shared_access(warp, destinations, warp.mask, bytes);
  }
  const bool checked = block.launch->checks_any(kCheckAsync);
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const uint32_t address = static_cast<uint32_t>(destinations[lane]);
    const uint32_t offset = address - kSharedBase;
    const uint32_t limit = block.launch->shared_bytes;
    AsyncCopy copy;
    if (sizes[lane] != 0) {
      const uint8_t* const source = global_pointer(warp, sources[lane], bytes, lane, false);
      std::memcpy(copy.data.data(), source, sizes[lane]);
    }
    // Reports a destination that is out of bounds or misaligned.
    const bool valid = offset < limit && limit - offset >= bytes && address % bytes == 0;
    if (!valid) {
      shared_pointer(warp, address, bytes, lane, true);
      continue;
    }
    if (!checked) {
      std::memcpy(block.shared.data() + offset, copy.data.data(), bytes);
      continue;
    }
    if (block.use_shadow) block.shadow.begin_copy(warp, lane, offset, bytes);
    std::memset(block.shared.data() + offset, 0xff, bytes);
    copy.lane = lane;
    copy.group = warp.copy_group[lane];
    copy.offset = offset;
    copy.bytes = bytes;
    copy.pc = warp.pc;
    warp.copies.push_back(copy);
  }
}

void commit_group(Warp& warp, const Instruction&) {
  for (int lane = 0; lane < kLanes; ++lane) warp.copy_group[lane] += warp.mask >> lane & 1;
}

// Lands the copies of the lanes that wait, except those of the newest `immediate` groups; -1: all.
void wait_group(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  const int64_t newest = instruction.immediate;
  const auto done = [&](const AsyncCopy& copy) {
    if (!(warp.mask >> copy.lane & 1)) return false;
    if (newest < 0) return true;
    return static_cast<int64_t>(copy.group) + newest <
           static_cast<int64_t>(warp.copy_group[copy.lane]);
  };
  size_t kept = 0;
  for (const AsyncCopy& copy : warp.copies) {
    if (done(copy)) {
      std::memcpy(block.shared.data() + copy.offset, copy.data.data(), copy.bytes);
      if (block.use_shadow) block.shadow.end_copy(warp, copy.lane, copy.offset, copy.bytes);
    } else {
      warp.copies[kept++] = copy;
    }
  }
  warp.copies.resize(kept);
}

}  // namespace

void decode_async_copy(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  Instruction& instruction = decoder.instruction();
  if (statement.has("commit_group")) {
    decoder.require_operands(0);
    instruction.handler = commit_group;
    return;
  }
  if (statement.has("wait_all")) {
    decoder.require_operands(0);
    instruction.handler = wait_group;
    instruction.immediate = -1;
    return;
  }
  if (statement.has("wait_group")) {
    decoder.require_operands(1);
    instruction.handler = wait_group;
    instruction.immediate = static_cast<int64_t>(decoder.number(decoder.operand(0)) & 0x7fffffff);
    return;
  }
  // cp.async.{ca,cg}.shared.global[.L2::128B] [dst], [src], bytes[, src-size | ignore-src]
  const bool shared = statement.has("shared") || statement.has("shared::cta");
  if (!shared || !statement.has("global") || !(statement.has("ca") || statement.has("cg"))) {
    decoder.unsupported();
  }
  decoder.require_operands(3, 4);
  const uint64_t bytes = decoder.number(decoder.operand(2));
  const bool allowed = bytes == 16 || (statement.has("ca") && (bytes == 4 || bytes == 8));
  if (!allowed) decoder.fail("cp.async cannot copy " + std::to_string(bytes) + " bytes this way");
  instruction.handler = copy_async;
  instruction.bytes = static_cast<uint8_t>(bytes);
  decoder.use_address(decoder.operand(0), Space::kShared);
  const bool wide_destination = instruction.wide_address;
  const int64_t destination_offset = instruction.immediate;
  decoder.use_address(decoder.operand(1), Space::kGlobal);
  if (!instruction.wide_address) decoder.fail("the source address needs 64 bits");
  instruction.wide_address = wide_destination;
  instruction.second_offset = static_cast<int32_t>(destination_offset);
  if (statement.operands.size() < 4) return;
  const Operand& size = decoder.operand(3);
  const int reg =
      size.kind == Operand::Kind::kName ? decoder.builder().find_register(size.name) : -1;
  const bool predicate = reg >= 0 && decoder.builder().width(reg) == Width::kPredicate;
  instruction.mode = predicate ? kIgnoreIfPredicate : kFromRegister;
  decoder.use(size, predicate ? Width::kPredicate : Width::k32);
}

}  // namespace ptx_emulator
