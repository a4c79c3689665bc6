#include "tools/ptx_emulator/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

namespace ptx_emulator {
namespace {

// Alignment of cuMemAlloc.
constexpr uint64_t kAllocationAlignment = 256;

}  // namespace

Allocation::~Allocation() { std::free(data); }

void Allocation::mark_written(uint64_t offset, uint64_t size) {
  if (!written) return;
  if (offset == 0 && size == bytes) {
    written.reset();  // nothing is left to track, and later reads are faster
  } else {
    std::memset(written.get() + offset, 1, size);
  }
}

DeviceMemory::~DeviceMemory() {
  for (const auto& chunk : chunks_) {
    if (!chunk) continue;
    for (const Allocation* allocation : *chunk) delete allocation;
  }
}

uint64_t DeviceMemory::allocate(int device, uint64_t bytes, bool track_writes, std::string name) {
  if (bytes == 0 || bytes > kWindowBase) return 0;
  auto allocation = std::make_unique<Allocation>();
  const uint64_t padded =
      (bytes + kAllocationAlignment - 1) / kAllocationAlignment * kAllocationAlignment;
  allocation->data = static_cast<uint8_t*>(std::aligned_alloc(kAllocationAlignment, padded));
  if (allocation->data == nullptr) return 0;
  // Fresh memory reads as NaN, also where the check for uninitialised reads is off.
  std::memset(allocation->data, 0xff, padded);
  if (track_writes) {
    allocation->written.reset(new (std::nothrow) uint8_t[bytes]());
    if (!allocation->written) return 0;
  }
  allocation->bytes = bytes;
  allocation->device = device;
  allocation->name = std::move(name);

  const std::unique_lock<std::shared_mutex> lock(mutex_);
  if (next_id_ >= kChunks * kChunkSize) return 0;
  const uint32_t id = next_id_++;
  std::unique_ptr<Chunk>& chunk = chunks_[id >> kChunkBits];
  if (!chunk) chunk = std::make_unique<Chunk>(Chunk{});
  allocation->address = (static_cast<uint64_t>(id) << kWindowBits) + kWindowBase;
  if (allocation->name.empty()) allocation->name = "allocation " + std::to_string(id);
  const uint64_t address = allocation->address;
  (*chunk)[id & (kChunkSize - 1)] = allocation.release();
  return address;
}

bool DeviceMemory::free(uint64_t address) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  Allocation* const allocation = find(address);
  if (allocation == nullptr || allocation->address != address) return false;
  const uint64_t id = address >> kWindowBits;
  (*chunks_[id >> kChunkBits])[id & (kChunkSize - 1)] = nullptr;
  delete allocation;
  return true;
}

bool DeviceMemory::rename(uint64_t address, std::string name) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  Allocation* const allocation = find(address);
  if (allocation == nullptr || allocation->address != address) return false;
  allocation->name = std::move(name);
  return true;
}

size_t DeviceMemory::count() {
  const auto lock = lock_shared();
  size_t count = 0;
  for (const auto& chunk : chunks_) {
    if (chunk) count += kChunkSize - std::count(chunk->begin(), chunk->end(), nullptr);
  }
  return count;
}

Allocation* DeviceMemory::find(uint64_t address) const {
  const uint64_t id = address >> kWindowBits;
  if (id >= kChunks * kChunkSize) return nullptr;
  const std::unique_ptr<Chunk>& chunk = chunks_[id >> kChunkBits];
  return chunk ? (*chunk)[id & (kChunkSize - 1)] : nullptr;
}

}  // namespace ptx_emulator
