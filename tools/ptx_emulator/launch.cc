#include "tools/ptx_emulator/launch.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "tools/ptx_emulator/executor.h"

namespace ptx_emulator {
namespace {

void collect(const Block& block, LaunchResult* result) {
  const Kernel& kernel = *block.launch->kernel;
  for (const auto& [key, fault] : block.faults) result->faults.add(fault);
  result->counters.add(block.counters);
  for (size_t pc = 0; pc < kernel.code.size(); ++pc) {
    if (block.executions[pc] == 0) continue;
    const std::string& opcode = kernel.module->opcodes[kernel.code[pc].opcode];
    OpcodeCounters& counters = result->opcodes[opcode];
    counters.warp_instructions += block.executions[pc];
    counters.shared.phases += block.shared_counters[pc].phases;
    counters.shared.wavefronts += block.shared_counters[pc].wavefronts;
    result->counters.thread_instructions += block.lane_executions[pc];
  }
}

}  // namespace

void add_opcodes(const OpcodeTable& from, OpcodeTable* to) {
  for (const auto& [opcode, counters] : from) {
    OpcodeCounters& sum = (*to)[opcode];
    sum.warp_instructions += counters.warp_instructions;
    sum.shared.phases += counters.shared.phases;
    sum.shared.wavefronts += counters.shared.wavefronts;
  }
}

LaunchResult run_launch(const Launch& launch, int threads) {
  const uint64_t blocks = static_cast<uint64_t>(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  LaunchResult result;
  std::mutex mutex;
  std::atomic<uint64_t> next{0};
  std::atomic<bool> out_of_memory{false};
  const auto work = [&] {
    try {
      Executor executor(launch);
      for (uint64_t block; (block = next++) < blocks;) executor.run(block);
      const std::lock_guard<std::mutex> lock(mutex);
      collect(executor.block(), &result);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  };
  const uint64_t workers = std::min<uint64_t>(std::max(threads, 1), blocks);
  std::vector<std::thread> others;
  for (uint64_t i = 1; i < workers; ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  if (out_of_memory) throw std::bad_alloc();
  return result;
}

}  // namespace ptx_emulator
