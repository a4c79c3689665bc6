// CUDA driver entry points: device memory, copies and fills. Streams are in order by construction:
// everything runs at once, in the calling thread.
#include <cuda.h>

#include <cstring>

#include "tools/ptx_emulator/driver.h"
#include "tools/ptx_emulator/export.h"

using ptx_emulator::Allocation;
using ptx_emulator::Driver;
using ptx_emulator::fail;
using ptx_emulator::guarded;

namespace {

// The bytes of a range that lies within one allocation, or null. The caller holds the shared lock.
uint8_t* find_range(CUdeviceptr address, size_t bytes, Allocation** owner) {
  Allocation* const allocation = Driver::instance().memory.find(address);
  if (allocation == nullptr) return nullptr;
  const uint64_t offset = address - allocation->address;
  if (offset > allocation->bytes || allocation->bytes - offset < bytes) return nullptr;
  *owner = allocation;
  return allocation->data + offset;
}

CUresult outside(CUdeviceptr address, size_t bytes) {
  const Allocation* const allocation = Driver::instance().memory.find(address);
  std::string message = std::to_string(bytes) + " bytes at ";
  if (allocation == nullptr) {
    message += "an address where nothing is allocated";
  } else {
    message +=
        "'" + allocation->name + "'" +
        ptx_emulator::format("%+lld", static_cast<long long>(address - allocation->address)) +
        ", which has " + std::to_string(allocation->bytes) + " bytes";
  }
  return fail(CUDA_ERROR_INVALID_VALUE, message);
}

CUresult copy_to_device(CUdeviceptr destination, const void* source, size_t bytes) {
  return guarded([&] {
    int device = 0;
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    if (bytes == 0) return CUDA_SUCCESS;
    if (source == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    const auto lock = Driver::instance().memory.lock_shared();
    Allocation* owner = nullptr;
    uint8_t* const place = find_range(destination, bytes, &owner);
    if (place == nullptr) return outside(destination, bytes);
    std::memcpy(place, source, bytes);
    owner->mark_written(destination - owner->address, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult copy_to_host(void* destination, CUdeviceptr source, size_t bytes) {
  return guarded([&] {
    int device = 0;
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    if (bytes == 0) return CUDA_SUCCESS;
    if (destination == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    const auto lock = Driver::instance().memory.lock_shared();
    Allocation* owner = nullptr;
    const uint8_t* const place = find_range(source, bytes, &owner);
    if (place == nullptr) return outside(source, bytes);
    std::memcpy(destination, place, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult copy_on_device(CUdeviceptr destination, CUdeviceptr source, size_t bytes) {
  return guarded([&] {
    int device = 0;
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    if (bytes == 0) return CUDA_SUCCESS;
    const auto lock = Driver::instance().memory.lock_shared();
    Allocation* from_owner = nullptr;
    Allocation* to_owner = nullptr;
    const uint8_t* const from = find_range(source, bytes, &from_owner);
    if (from == nullptr) return outside(source, bytes);
    uint8_t* const to = find_range(destination, bytes, &to_owner);
    if (to == nullptr) return outside(destination, bytes);
    std::memmove(to, from, bytes);
    // What was unwritten at the source stays so at the destination.
    const uint64_t offset = destination - to_owner->address;
    if (!from_owner->written) {
      to_owner->mark_written(offset, bytes);
    } else if (to_owner->written) {
      std::memmove(to_owner->written.get() + offset,
                   from_owner->written.get() + (source - from_owner->address), bytes);
    }
    return CUDA_SUCCESS;
  });
}

template <class Value>
CUresult fill(CUdeviceptr destination, Value value, size_t count) {
  return guarded([&] {
    int device = 0;
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    if (destination % sizeof(Value) != 0) {
      return fail(CUDA_ERROR_INVALID_VALUE, "the address is misaligned for this fill");
    }
    if (count == 0) return CUDA_SUCCESS;
    if (count > SIZE_MAX / sizeof(Value))
      return fail(CUDA_ERROR_INVALID_VALUE, "too many elements");
    const size_t bytes = count * sizeof(Value);
    const auto lock = Driver::instance().memory.lock_shared();
    Allocation* owner = nullptr;
    uint8_t* const place = find_range(destination, bytes, &owner);
    if (place == nullptr) return outside(destination, bytes);
    for (size_t i = 0; i < count; ++i)
      std::memcpy(place + i * sizeof(Value), &value, sizeof(Value));
    owner->mark_written(destination - owner->address, bytes);
    return CUDA_SUCCESS;
  });
}

template <class Operation>
CUresult in_stream(CUstream stream, Operation&& operation) {
  if (const CUresult result = ptx_emulator::require_stream(stream)) return result;
  return operation();
}

}  // namespace

extern "C" {

PTX_EMULATOR_EXPORT CUresult cuMemAlloc(CUdeviceptr* pointer, size_t bytes) {
  return guarded([&] {
    int device = 0;
    if (pointer == nullptr || bytes == 0) {
      return fail(CUDA_ERROR_INVALID_VALUE, "null pointer, or no bytes");
    }
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    Driver& driver = Driver::instance();
    const bool track = (driver.settings.checks & ptx_emulator::kCheckInit) != 0;
    const uint64_t address = driver.memory.allocate(device, bytes, track, "");
    if (address == 0) return fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for the allocation");
    *pointer = address;
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuMemFree(CUdeviceptr pointer) {
  return guarded([&] {
    if (pointer == 0 || Driver::instance().memory.free(pointer)) return CUDA_SUCCESS;
    return fail(CUDA_ERROR_INVALID_VALUE, "no allocation begins at this address");
  });
}

PTX_EMULATOR_EXPORT CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  return copy_to_device(to, from, bytes);
}
PTX_EMULATOR_EXPORT CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  return copy_to_host(to, from, bytes);
}
PTX_EMULATOR_EXPORT CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy_on_device(to, from, bytes);
}
PTX_EMULATOR_EXPORT CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes,
                                               CUstream stream) {
  return in_stream(stream, [&] { return copy_to_device(to, from, bytes); });
}
PTX_EMULATOR_EXPORT CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes,
                                               CUstream stream) {
  return in_stream(stream, [&] { return copy_to_host(to, from, bytes); });
}
PTX_EMULATOR_EXPORT CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                               CUstream stream) {
  return in_stream(stream, [&] { return copy_on_device(to, from, bytes); });
}
PTX_EMULATOR_EXPORT CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  return fill(to, value, count);
}
PTX_EMULATOR_EXPORT CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) {
  return fill(to, value, count);
}
PTX_EMULATOR_EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                                             CUstream stream) {
  return in_stream(stream, [&] { return fill(to, value, count); });
}
PTX_EMULATOR_EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count,
                                              CUstream stream) {
  return in_stream(stream, [&] { return fill(to, value, count); });
}

}  // extern "C"
