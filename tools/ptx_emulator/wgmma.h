// What the rest of the emulator calls of wgmma.
#pragma once

#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {

// Stands in for the handler of every other instruction that accesses registers of products: they
// may not be in flight.
void check_product_registers(Warp& warp, const Instruction& instruction);

// At the end of a block: products that nobody waited for, or that not all warps of a warpgroup
// executed.
void check_last_products(Block& block);

}  // namespace ptx_emulator
