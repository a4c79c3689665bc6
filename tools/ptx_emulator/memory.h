// Device memory: allocations whose id sits in the high bits of their addresses.
//
// Each allocation owns a window of 2^38 bytes and begins in the middle of it, so that an address
// computed past either end still names its allocation: bounds checks and names cost O(1).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <string>

namespace ptx_emulator {

inline constexpr int kWindowBits = 38;
inline constexpr uint64_t kWindowBase = uint64_t{1} << (kWindowBits - 1);
// Generic addresses of the other spaces, far above every allocation.
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 62;
inline constexpr uint64_t kLocalWindow = uint64_t{1} << 61;
inline constexpr uint64_t kParameterWindow = uint64_t{1} << 60;
// Shared memory begins here, so that a null pointer is out of bounds.
inline constexpr uint32_t kSharedBase = 1024;

struct Allocation {
  uint64_t address = 0;
  uint64_t bytes = 0;
  int device = -1;  // -1: a variable of a module, seen by every device
  std::string name;
  uint8_t* data = nullptr;
  // One byte per byte of data, 1 where it was written; null where that is not tracked.
  std::unique_ptr<uint8_t[]> written;

  Allocation() = default;
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;
  ~Allocation();
  void mark_written(uint64_t offset, uint64_t size);
};

// Thread-safe. Whoever uses the pointer of an allocation holds `lock_shared()` meanwhile.
class DeviceMemory {
 public:
  ~DeviceMemory();

  // Returns the address, or 0 where the host has no memory left for it.
  uint64_t allocate(int device, uint64_t bytes, bool track_writes, std::string name);
  bool free(uint64_t address);
  bool rename(uint64_t address, std::string name);
  // Allocations of all devices.
  size_t count();

  std::shared_lock<std::shared_mutex> lock_shared() {
    return std::shared_lock<std::shared_mutex>(mutex_);
  }
  // The allocation whose window holds the address, or null. Needs the shared lock.
  Allocation* find(uint64_t address) const;

 private:
  static constexpr int kChunkBits = 12;
  static constexpr uint32_t kChunkSize = 1u << kChunkBits;
  static constexpr uint32_t kChunks = 1u << 10;
  using Chunk = std::array<Allocation*, kChunkSize>;

  std::shared_mutex mutex_;
  std::array<std::unique_ptr<Chunk>, kChunks> chunks_;
  uint32_t next_id_ = 1;  // ids are not used again, so that a use after free is found
};

}  // namespace ptx_emulator
