// What the launchers of all operations share.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/variant_facts.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_registry.h"

namespace edge_llm {

// CTAs of a split grid, whatever the device: this bounds the workspace for engines that are built
// on one GPU and run on another. Twice the multiprocessors of the largest SM of the table is 376.
constexpr int64_t kMaxSplitCtas = 512;

// What the driver keeps of the shared memory for each resident CTA.
constexpr int64_t kReservedSharedBytes = 1024;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The row of an SM in the table. One that is newer than the table runs the newest PTX: the least of
// the table is safe for it.
SmFacts sm_facts(int sm);

// CTAs of one multiprocessor that the registers of a variant allow on an SM, where they allow
// ctas_per_sm on others.
int64_t register_ctas(const char* variant, int ctas_per_sm, int sm);

// CTAs of a variant that one multiprocessor runs at the same time, by registers and shared memory.
template <typename Variant>
int64_t resident_ctas_per_sm(const Variant& variant, int sm) {
  const int64_t by_shared =
      sm_facts(sm).shared_per_sm / (variant.shared_bytes + kReservedSharedBytes);
  const int64_t by_registers = register_ctas(variant.name, variant.ctas_per_sm, sm);
  return by_shared < by_registers ? by_shared : by_registers;
}

// Dynamic shared memory to ask for, of at least `shared_bytes`, so that no multiprocessor takes
// more than its share of the CTAs. Where a kernel follows another closely, multiprocessors that are
// done with that one would else take all they can hold: 128 CTAs on 132 multiprocessors, two of
// which fit on one, took 29 us instead of 18 (H200, 2026-11-27).
int64_t spread_shared_bytes(int64_t shared_bytes, int64_t ctas, const DeviceFacts& device);

// The least with which that holds; it leaves the rest of a multiprocessor to the kernels in front
// and behind.
// Where three CTAs fit and two are the share, 256 of them took 85 us instead of 66 (H200,
// 2026-11-29).
int64_t least_spread_shared_bytes(int64_t shared_bytes, int64_t ctas, const DeviceFacts& device);

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
  int64_t z = 1;
};

// How a kernel follows the one before it in the stream, whosever that is.
enum class LaunchOrder {
  kAfterPrevious,  // it starts when that one has ended
  kWaitsItself,    // it may start earlier, and waits until then itself (griddepcontrol.wait)
};

// That of our kernels on an SM.
LaunchOrder launch_order(int sm);

// Launches a variant of a kernel table (kernels/variant_facts.h) with its one parameter, a struct.
// The grid is within the limits of CUDA; shared_bytes is at least the variant's.
template <typename Variant, typename Params>
void launch_variant(const CudaDriver& driver, const KernelSet& kernels, const Variant& variant,
                    const Grid& grid, int64_t shared_bytes, Params& params, LaunchOrder order,
                    CUstream stream) {
  void* arguments[] = {&params};
  CUlaunchAttribute overlap{};
  overlap.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  overlap.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config{};
  config.gridDimX = static_cast<unsigned>(grid.x);
  config.gridDimY = static_cast<unsigned>(grid.y);
  config.gridDimZ = static_cast<unsigned>(grid.z);
  config.blockDimX = static_cast<unsigned>(variant.threads);
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = static_cast<unsigned>(shared_bytes);
  config.hStream = stream;
  config.attrs = &overlap;
  config.numAttrs = order == LaunchOrder::kWaitsItself ? 1 : 0;
  // The driver takes a kernel of a library where it takes a function, for the current context.
  const auto function = reinterpret_cast<CUfunction>(kernels.kernel(variant.name));
  check_cuda(driver, driver.cuLaunchKernelEx(&config, function, arguments, nullptr),
             concat("launching ", variant.name));
}

}  // namespace edge_llm
