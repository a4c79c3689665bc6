// What decode and the handlers of setp agree on. Operands: p, q, a, b and, unless kNone, predicate
// c.
#pragma once

#include <cstdint>

namespace ptx_emulator {

// Instruction::mode of setp: how the comparison is combined with c.
enum class Combine : uint8_t { kNone, kAnd, kOr, kXor };

}  // namespace ptx_emulator
