// setmaxnreg: registers move between the warpgroups of a block. Registers are no matter here: what
// is checked is that the instruction stands where a GPU takes it.
#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {
namespace {

constexpr uint64_t kLeast = 24, kMost = 256, kStep = 8;  // PTX ISA, setmaxnreg

void set_max_registers(Warp& warp, const Instruction&) {
  require_lanes(warp, kAllLanes, "setmaxnreg");
}

}  // namespace

// setmaxnreg.{inc,dec}.sync.aligned.u32 count
void decode_set_max_registers(Decoder& decoder) {
  const std::string_view opcode = decoder.statement().opcode;
  if (opcode != "setmaxnreg.inc.sync.aligned.u32" && opcode != "setmaxnreg.dec.sync.aligned.u32") {
    decoder.unsupported();
  }
  decoder.require_operands(1);
  const uint64_t count = decoder.number(decoder.operand(0));
  if (count < kLeast || count > kMost || count % kStep != 0) {
    decoder.fail("setmaxnreg sets 24 to 256 registers in steps of 8, not " + std::to_string(count));
  }
  decoder.instruction().handler = set_max_registers;
}

}  // namespace ptx_emulator
