// setmaxnreg: registers move between the warpgroups of a block. How many a warp has means nothing
// here; what is checked is that the instruction stands where a GPU takes it.
#include <algorithm>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/executor.h"

namespace ptx_emulator {
namespace {

constexpr uint64_t kLeast = 24, kMost = 256, kStep = 8;  // PTX ISA, setmaxnreg

void set_max_registers(Warp& warp, const Instruction&) {
  require_lanes(warp, kAllLanes, "setmaxnreg");
  warp.register_changes.push_back(warp.pc);
}

}  // namespace

void check_register_changes(Block& block) {
  const size_t warps = block.warps.size();
  for (size_t first = 0; first < warps; first += kWarpgroup) {
    const std::vector<int>& changes = block.warps[first].register_changes;
    const size_t end = std::min(first + kWarpgroup, warps);
    for (size_t i = first; i < end; ++i) {
      Warp& warp = block.warps[i];
      const std::vector<int>& mine = warp.register_changes;
      if (!mine.empty() && end - first != kWarpgroup) {
        report_at(warp, FaultKind::kWarpSync, mine[0], 0, [&] {
          return format("setmaxnreg needs whole warpgroups of %d warps, the block has %zu warps",
                        kWarpgroup, warps);
        });
      }
      if (mine == changes) continue;
      const size_t common = std::min(mine.size(), changes.size());
      const auto differ = std::mismatch(mine.begin(), mine.begin() + common, changes.begin());
      const int pc = differ.first != mine.end() ? *differ.first : *differ.second;
      report_at(warp, FaultKind::kWarpSync, pc, 0, [&] {
        return format("warps %zu and %zu of one warpgroup execute different setmaxnreg", first, i);
      });
    }
  }
}

// setmaxnreg.{inc,dec}.sync.aligned.u32 count
void decode_set_max_registers(Decoder& decoder) {
  const std::string_view opcode = decoder.statement().opcode;
  if (opcode != "setmaxnreg.inc.sync.aligned.u32" && opcode != "setmaxnreg.dec.sync.aligned.u32") {
    decoder.unsupported();
  }
  decoder.require_suffixed_sm(90);  // PTX ISA, setmaxnreg: Target ISA Notes
  decoder.require_operands(1);
  const uint64_t count = decoder.number(decoder.operand(0));
  if (count < kLeast || count > kMost || count % kStep != 0) {
    decoder.fail("setmaxnreg sets 24 to 256 registers in steps of 8, not " + std::to_string(count));
  }
  decoder.instruction().handler = set_max_registers;
}

}  // namespace ptx_emulator
