// What the checks of a launch found, grouped by kind and place.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace ptx_emulator {

enum class FaultKind : uint8_t {
  kRace,              // two accesses of shared memory with no barrier between them
  kBounds,            // outside an allocation, or of memory that is not the device's
  kAlignment,         // address is no multiple of the access size
  kUninitialized,     // read of bytes that nobody wrote
  kAsync,             // cp.async or wgmma: used before its wait, or still in flight at exit
  kBarrier,           // a barrier that not all threads reach, or reach at different places
  kDeadlock,          // every warp that is left waits
  kWarpSync,          // a warp-wide instruction without all the lanes it names
  kTrap,              // the kernel executed trap
  kInstructionLimit,  // a block ran longer than the limit of the launch
};

const char* fault_kind_name(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kBounds;
  std::string message;
  std::string kernel;
  std::array<uint32_t, 3> block{};
  uint64_t block_index = 0;
  int warp = 0;
  int lane = 0;
  int ptx_line = 0;
  std::string source;      // file:line, empty without line information
  std::string inlined_at;  // file:line of the call where `source` was inlined
  std::string opcode;
  uint64_t count = 1;
};

// Distinct faults by kind, kernel and place. The example that is kept is that of the first block,
// so that reports do not depend on the number of threads.
class FaultLog {
 public:
  void add(const Fault& fault);
  void merge(const FaultLog& other);
  bool empty() const { return faults_.empty(); }
  size_t size() const { return faults_.size(); }
  void clear() { faults_.clear(); }
  std::string to_json_lines() const;

 private:
  using Key = std::tuple<FaultKind, std::string, std::string, std::string, int>;
  std::map<Key, Fault> faults_;
};

std::string json_quote(const std::string& text);

}  // namespace ptx_emulator
