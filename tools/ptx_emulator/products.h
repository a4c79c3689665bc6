// What a warp knows of its wgmma.mma_async, "products" for short.
//
// A product is evaluated when it is issued. What is kept is what it may still do on a GPU: it adds
// to its accumulators, and reads A and shared memory, until its warp has waited for its group.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx_emulator {

inline constexpr int kWarpgroup = 4;  // warps that execute a product together

struct WarpProducts {
  // A register that is an accumulator, or in A, of any product of the kernel. Group 0: of none yet.
  struct Register {
    uint32_t accumulator_group = 0;  // of the last product that adds to it
    uint32_t factor_group = 0;       // of the last product that has it in A
    int accumulator_pc = 0;          // of these products
    int factor_pc = 0;
    uint32_t written = 0;  // number of wgmma.fence that were executed before it was written
    int columns = 0;       // of the product that wrote it, 0: an ordinary instruction did
  };

  std::vector<Register> registers;
  uint32_t fences = 0;                   // wgmma.fence executed
  uint32_t group = 1;                    // the one that the next commit closes
  uint32_t waited = 0;                   // all groups up to this one are complete
  std::vector<uint32_t> wait_epochs{0};  // by group: when the warp had waited for it
  uint32_t last_group = 0;               // of the last product
  int last_pc = 0;
  size_t issued = 0;

  bool in_flight(uint32_t of_group) const { return of_group > waited; }
};

// The warps of a warpgroup execute the same products.
struct IssuedProduct {
  int pc = 0;
  uint64_t a = 0, b = 0;  // descriptors; that of A is 0 where A is in registers
  bool adds = false;      // to what is in D

  bool operator==(const IssuedProduct& other) const {
    return pc == other.pc && a == other.a && b == other.b && adds == other.adds;
  }
};

}  // namespace ptx_emulator
