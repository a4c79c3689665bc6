// The decoded form of PTX: what the parser makes and the executor runs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace ptx_emulator {

struct Warp;
struct Instruction;

// Runs one instruction for the lanes of `warp.mask`; never called with an empty mask.
using Handler = void (*)(Warp& warp, const Instruction& instruction);

// Size class of a register. 8-bit and 16-bit values sit zero-extended in a 32-bit slot.
enum class Width : uint8_t { kPredicate, k16, k32, k64 };

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParameter };

// What the executor itself does, because it changes the flow of the warp.
enum class Control : uint8_t { kNone, kBranch, kExit, kBarrier, kWarpBarrier, kTrap };

// As many as a wgmma of 256 columns has: 128 accumulators, A, the descriptor of B, a predicate.
inline constexpr int kMaxOperands = 134;
inline constexpr uint16_t kNoRegister = 0xffff;

struct Instruction {
  Handler handler = nullptr;
  int64_t immediate = 0;      // address offset, or what the handler of the opcode says
  int32_t target = -1;        // of a branch: index into Kernel::code
  int32_t second_offset = 0;  // of the destination of cp.async
  int32_t ptx_line = 0;
  int32_t place = 0;     // index into Module::places
  uint32_t negated = 0;  // bit i: predicate operand i is read inverted
  uint16_t opcode = 0;   // index into Module::opcodes
  uint16_t guard = kNoRegister;
  bool guard_negated = false;
  Control control = Control::kNone;
  Space space = Space::kGeneric;
  bool wide_address = false;          // the address register has 64 bits
  uint8_t bytes = 0;                  // of one element of a memory access
  uint8_t elements = 1;               // of a vector access; matrices of ldmatrix
  uint8_t mode = 0;                   // meaning given by the handler
  const uint16_t* operand = nullptr;  // register slots in Kernel::slots_of_operands
};

// Where an instruction comes from; zero line: unknown. Files index Module::files.
struct SourcePlace {
  int32_t file = 0, line = 0;
  int32_t inlined_file = 0, inlined_line = 0;

  bool operator<(const SourcePlace& other) const {
    return std::tie(file, line, inlined_file, inlined_line) <
           std::tie(other.file, other.line, other.inlined_file, other.inlined_line);
  }
};

struct Parameter {
  uint32_t offset = 0, bytes = 0;
};

// A literal, or the address of a variable: a register slot that is filled once and never written.
struct Constant {
  uint16_t slot = 0;
  Width width = Width::k32;
  uint64_t value = 0;
};

// An access of a register that is an accumulator, or in A, of any wgmma of the kernel.
struct ProductRegister {
  uint32_t index = 0;  // among these registers
  bool written = false;
};

// What an instruction does to such registers. `handler` is that of the opcode where the instruction
// is no wgmma: its own one then checks these accesses first.
struct ProductAccesses {
  Handler handler = nullptr;
  std::vector<ProductRegister> registers;
};

struct Module;

struct Kernel {
  std::string name;
  const Module* module = nullptr;
  std::vector<Instruction> code;  // ends with an exit
  std::vector<uint16_t> slots_of_operands;
  std::vector<ProductAccesses> product_accesses;  // by pc; empty where the kernel has no wgmma
  uint32_t product_registers = 0;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  std::vector<Constant> constants;
  uint32_t slots = 0;       // 128 bytes each: 32 lanes of 32 bits
  uint32_t predicates = 0;  // one mask of 32 lanes each
  uint32_t static_shared_bytes = 0;
  uint32_t local_bytes = 0;  // per lane
  uint32_t max_threads = 1024;
};

struct Module {
  int sm = 0;                 // of .target
  char target_suffix = '\0';  // 'a' or 'f' where the target has one
  std::map<std::string, Kernel, std::less<>> kernels;
  std::vector<std::string> opcodes;
  std::vector<SourcePlace> places{SourcePlace{}};
  std::map<int, std::string> files;
  std::vector<uint64_t> variables;  // device addresses of the module's .global and .const variables
};

// "sm_90a"
std::string target_name(const Module& module);

// "file.cuh:12, inlined at file.cu:40", or "PTX line 99" where the place is unknown.
std::string describe_place(const Kernel& kernel, int pc);

}  // namespace ptx_emulator
