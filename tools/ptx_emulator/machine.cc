#include "tools/ptx_emulator/machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

namespace ptx_emulator {
namespace {

constexpr uint32_t kScratchBytes = 64;

// What an access reads or writes after it was refused.
uint8_t* scratch() {
  alignas(16) thread_local uint8_t bytes[kScratchBytes];
  std::memset(bytes, 0xff, sizeof(bytes));
  return bytes;
}

const char* verb(bool write) { return write ? "write" : "read"; }

void report_misaligned(Warp& warp, int lane, uint32_t bytes, bool write, const std::string& place) {
  report(warp, FaultKind::kAlignment, lane, [&] {
    return format("%s of %u bytes at %s, which is no multiple of %u", verb(write), bytes,
                  place.c_str(), bytes);
  });
}

uint8_t* misaligned(Warp& warp, int lane, uint32_t bytes, bool write, const std::string& place) {
  report_misaligned(warp, lane, bytes, write, place);
  return scratch();
}

bool all_written(const uint8_t* written, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; ++i) {
    if (written[i] == 0) return false;
  }
  return true;
}

std::string source_name(const Module& module, int file, int line) {
  const auto found = module.files.find(file);
  const std::string path = found == module.files.end() ? "?" : found->second;
  const size_t slash = path.rfind('/');
  return (slash == std::string::npos ? path : path.substr(slash + 1)) + ":" + std::to_string(line);
}

uint8_t* local_pointer(Warp& warp, uint64_t address, uint32_t bytes, int lane, bool write) {
  const uint64_t size = warp.block->launch->kernel->local_bytes;
  if (address >= size || size - address < bytes) {
    report(warp, FaultKind::kBounds, lane, [&] {
      return format("%s of %u bytes at local+%lld; a thread has %llu bytes", verb(write), bytes,
                    static_cast<long long>(address), static_cast<unsigned long long>(size));
    });
    return scratch();
  }
  if (address % bytes != 0) {
    return misaligned(warp, lane, bytes, write, format("local+%u", static_cast<unsigned>(address)));
  }
  return warp.local + lane * size + address;
}

uint8_t* parameter_pointer(Warp& warp, uint64_t address, uint32_t bytes, int lane, bool write) {
  const std::vector<uint8_t>& parameters = warp.block->launch->parameters;
  if (write || address >= parameters.size() || parameters.size() - address < bytes) {
    report(warp, FaultKind::kBounds, lane, [&] {
      return format("%s of %u bytes at parameter+%lld; the kernel has %zu bytes, to be read only",
                    verb(write), bytes, static_cast<long long>(address), parameters.size());
    });
    return scratch();
  }
  return const_cast<uint8_t*>(parameters.data()) + address;  // only read: see above
}

// All lanes at once, where they are in one piece of memory of which no access is recorded. False
// where they are not, or where one has to be reported.
bool find_pointers(const Warp& warp, Space space, const uint64_t addresses[kLanes], uint32_t bytes,
                   uint8_t* pointers[kLanes]) {
  Block& block = *warp.block;
  uint64_t first = 0, size = 0;
  uint8_t* data = nullptr;
  if (space == Space::kShared && !block.use_shadow) {
    first = kSharedBase;
    size = block.launch->shared_bytes;
    data = block.shared.data();
  } else if (space == Space::kGlobal && warp.allocation != nullptr && !warp.allocation->written) {
    first = warp.allocation->address;
    size = warp.allocation->bytes;
    data = warp.allocation->data;
  }
  if (size < bytes) return false;
  uint64_t refused = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t offset = addresses[lane] - first;
    refused |= (offset > size - bytes) | (addresses[lane] & (bytes - 1));
    pointers[lane] = data + offset;
  }
  return refused == 0;
}

}  // namespace

void Warp::order_lanes() {
  if (ahead != 0) order.join(order_of_ahead);
  ahead = 0;
  met.fill(Order::SomeLanes{});
  lane_epoch = ++order.clock[id];
}

void Warp::order_lanes(uint32_t lanes) {
  if (lanes == live) return order_lanes();
  if ((lanes & ahead) != 0) ahead |= lanes;
  Order::SomeLanes known{lanes, epoch()};
  for_each_lane(lanes, [&](int lane) { known.lanes |= met[lane].lanes; });
  for_each_lane(lanes, [&](int lane) { met[lane] = known; });
  end_epoch();
}

void Warp::join(const Order& passed_on, uint32_t lanes) {
  if (lanes == live) {
    order.join(passed_on);
  } else {
    if (ahead == 0) {
      order_of_ahead = order;
      order_of_ahead.clock[id] = 0;  // of the warp itself, lane_epoch tells what happened before
    }
    ahead |= lanes;
  }
  if (ahead != 0) order_of_ahead.join(passed_on);
}

void Warp::pass_on(uint32_t lanes, Order& to) {
  if ((lanes & ahead) != 0) to.join(order_of_ahead);
  if (lanes == live) {
    to.join(order);
    return;
  }
  // Of what the warp did since its lanes were last ordered, only these lanes pass on their part. If
  // they met some since, it passes for what all did until then: that may miss a race.
  uint32_t ordered = lane_epoch - 1;
  for_each_lane(lanes, [&](int lane) { ordered = std::max(ordered, met[lane].epoch); });
  const uint32_t now = std::exchange(order.clock[id], ordered);
  order.some[id] = Order::SomeLanes{lanes, now};
  to.join(order);
  order.clock[id] = now;
  order.some[id] = Order::SomeLanes{};
}

std::string format(const char* pattern, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof(text), pattern, arguments);
  va_end(arguments);
  return text;
}

std::string describe_place(const Kernel& kernel, int pc) {
  const Module& module = *kernel.module;
  const SourcePlace& place = module.places[kernel.code[pc].place];
  if (place.line == 0) return "PTX line " + std::to_string(kernel.code[pc].ptx_line);
  std::string text = source_name(module, place.file, place.line);
  if (place.inlined_line != 0) {
    text += ", inlined at " + source_name(module, place.inlined_file, place.inlined_line);
  }
  return text;
}

void Counters::add(const Counters& other) {
  warp_instructions += other.warp_instructions;
  thread_instructions += other.thread_instructions;
  mma += other.mma;
  global_requests += other.global_requests;
  global_sectors += other.global_sectors;
  barriers += other.barriers;
  divergent_branches += other.divergent_branches;
}

bool Block::count_fault(FaultKind kind, int pc) {
  const auto [found, inserted] = faults.try_emplace({kind, pc});
  if (!inserted) ++found->second.count;
  return inserted;
}

void Block::describe_fault(const Warp& warp, FaultKind kind, int pc, int lane,
                           std::string message) {
  const Kernel& kernel = *launch->kernel;
  const Module& module = *kernel.module;
  const Instruction& instruction = kernel.code[pc];
  const SourcePlace& place = module.places[instruction.place];
  Fault& fault = faults[{kind, pc}];
  fault.kind = kind;
  fault.message = std::move(message);
  fault.kernel = kernel.name;
  fault.block = index;
  fault.block_index = linear_index;
  fault.warp = warp.id;
  fault.lane = lane;
  fault.ptx_line = instruction.ptx_line;
  fault.opcode = module.opcodes[instruction.opcode];
  if (place.line != 0) fault.source = source_name(module, place.file, place.line);
  if (place.inlined_line != 0) {
    fault.inlined_at = source_name(module, place.inlined_file, place.inlined_line);
  }
}

void require_lanes(Warp& warp, uint32_t required, const char* what) {
  const uint32_t missing = required & ~warp.mask;
  if (missing == 0) return;
  report(warp, FaultKind::kWarpSync, __builtin_ctz(missing), [&] {
    return format("%s needs the lanes %08x, but only %08x execute it", what, required, warp.mask);
  });
}

uint8_t* global_pointer(Warp& warp, uint64_t address, uint32_t bytes, int lane, bool write) {
  const Allocation* allocation = warp.allocation;
  if (allocation == nullptr || (address ^ allocation->address) >> kWindowBits != 0) {
    const Launch& launch = *warp.block->launch;
    allocation = launch.memory->find(address);
    if (allocation == nullptr) {
      report(warp, FaultKind::kBounds, lane, [&] {
        return format("%s of %u bytes at 0x%llx, where nothing is allocated", verb(write), bytes,
                      static_cast<unsigned long long>(address));
      });
      return scratch();
    }
    if (allocation->device >= 0 && allocation->device != launch.device) {
      report(warp, FaultKind::kBounds, lane, [&] {
        return format("%s of '%s', which belongs to device %d, by a kernel on device %d",
                      verb(write), allocation->name.c_str(), allocation->device, launch.device);
      });
      return scratch();
    }
    warp.allocation = allocation;
  }
  const uint64_t offset = address - allocation->address;
  if (offset >= allocation->bytes || allocation->bytes - offset < bytes) {
    report(warp, FaultKind::kBounds, lane, [&] {
      return format("%s of %u bytes at '%s'%+lld, which has %llu bytes", verb(write), bytes,
                    allocation->name.c_str(), static_cast<long long>(offset),
                    static_cast<unsigned long long>(allocation->bytes));
    });
    return scratch();
  }
  if (address % bytes != 0) {
    return misaligned(
        warp, lane, bytes, write,
        format("'%s'+%llu", allocation->name.c_str(), static_cast<unsigned long long>(offset)));
  }
  if (allocation->written) {
    uint8_t* const written = allocation->written.get() + offset;
    if (write) {
      std::memset(written, 1, bytes);
    } else if (warp.block->launch->checks_any(kCheckInit) && !all_written(written, bytes)) {
      report(warp, FaultKind::kUninitialized, lane, [&] {
        return format("read of %u bytes at '%s'+%llu, which nobody wrote", bytes,
                      allocation->name.c_str(), static_cast<unsigned long long>(offset));
      });
    }
  }
  return allocation->data + offset;
}

std::optional<uint32_t> shared_offset(Warp& warp, uint32_t address, uint32_t bytes, int lane,
                                      bool write) {
  const uint32_t offset = address - kSharedBase;
  const size_t size = warp.block->launch->shared_bytes;
  if (offset >= size || size - offset < bytes) {
    report(warp, FaultKind::kBounds, lane, [&] {
      return format("%s of %u bytes at shared%+d; the block has %zu bytes", verb(write), bytes,
                    static_cast<int32_t>(offset), size);
    });
    return std::nullopt;
  }
  if (address % bytes != 0) {
    report_misaligned(warp, lane, bytes, write, format("shared+%u", offset));
    return std::nullopt;
  }
  return offset;
}

uint8_t* shared_pointer(Warp& warp, uint32_t address, uint32_t bytes, int lane, bool write) {
  Block& block = *warp.block;
  const std::optional<uint32_t> offset = shared_offset(warp, address, bytes, lane, write);
  if (!offset) return scratch();
  if (block.use_shadow) block.shadow.access(warp, lane, *offset, bytes, write);
  return block.shared.data() + *offset;
}

uint8_t* memory_pointer(Warp& warp, Space space, uint64_t address, uint32_t bytes, int lane,
                        bool write) {
  if (space == Space::kGeneric) {
    if (address & kSharedWindow) {
      space = Space::kShared;
    } else if (address & kLocalWindow) {
      space = Space::kLocal;
    } else if (address & kParameterWindow) {
      space = Space::kParameter;
    }
    address &= kParameterWindow - 1;
  }
  switch (space) {
    case Space::kShared:
      return shared_pointer(warp, static_cast<uint32_t>(address), bytes, lane, write);
    case Space::kLocal:
      return local_pointer(warp, address, bytes, lane, write);
    case Space::kParameter:
      return parameter_pointer(warp, address, bytes, lane, write);
    default:
      return global_pointer(warp, address, bytes, lane, write);
  }
}

void memory_pointers(Warp& warp, Space space, const uint64_t addresses[kLanes], uint32_t bytes,
                     bool write, uint8_t* pointers[kLanes]) {
  if (warp.mask == kAllLanes && find_pointers(warp, space, addresses, bytes, pointers)) return;
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    pointers[lane] = memory_pointer(warp, space, addresses[lane], bytes, lane, write);
  }
}

uint8_t* atomic_pointer(Warp& warp, Space space, uint64_t address, uint32_t bytes, int lane) {
  if (space == Space::kGeneric && (address & kSharedWindow)) {
    space = Space::kShared;
    address &= kParameterWindow - 1;
  }
  if (space != Space::kShared) {
    memory_pointer(warp, space, address, bytes, lane, /*write=*/false);
    return memory_pointer(warp, space, address, bytes, lane, /*write=*/true);
  }
  Block& block = *warp.block;
  const bool use_shadow = std::exchange(block.use_shadow, false);
  uint8_t* const place =
      shared_pointer(warp, static_cast<uint32_t>(address), bytes, lane, /*write=*/true);
  block.use_shadow = use_shadow;
  const ptrdiff_t offset = place - block.shared.data();
  if (use_shadow && offset >= 0 && offset < static_cast<ptrdiff_t>(block.shared.size())) {
    block.shadow.atomic(warp, lane, static_cast<uint32_t>(offset), bytes);
  }
  return place;
}

void count_shared_access(Warp& warp, const uint64_t* addresses, uint32_t mask, uint32_t bytes) {
  constexpr uint32_t kWavefrontBytes = 128;
  constexpr uint32_t kBankBytes = 4;
  SharedCounters& counters = warp.block->shared_counters[warp.pc];
  // A wavefront moves at most 128 bytes: wide accesses go by half or quarter warps, and as they are
  // aligned, groups of banks serve them as single banks serve words.
  const uint32_t unit = std::max(bytes, kBankBytes);
  const uint32_t groups = kWavefrontBytes / unit;
  for (uint32_t first = 0; first < kLanes; first += groups) {
    uint32_t units[kLanes][kLanes];
    uint32_t used[kLanes] = {};
    uint32_t wavefronts = 0;
    for (uint32_t lane = first; lane < first + groups; ++lane) {
      if (!(mask >> lane & 1)) continue;
      const uint32_t index = static_cast<uint32_t>(addresses[lane]) / unit;
      const uint32_t group = index % groups;
      uint32_t* const end = units[group] + used[group];
      if (std::find(units[group], end, index) != end) continue;  // a broadcast
      *end = index;
      wavefronts = std::max(wavefronts, ++used[group]);
    }
    counters.phases += wavefronts > 0;
    counters.wavefronts += wavefronts;
  }
}

void count_global_access(Warp& warp, const uint64_t* addresses, uint32_t mask, uint32_t bytes) {
  constexpr uint64_t kSectorBytes = 32;
  uint64_t sectors[2 * kLanes];
  int used = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const uint64_t last = (addresses[lane] + bytes - 1) / kSectorBytes;
    for (uint64_t sector = addresses[lane] / kSectorBytes; sector <= last; ++sector) {
      if (used > 0 && sectors[used - 1] == sector) continue;  // the usual case, found fast
      if (std::find(sectors, sectors + used, sector) == sectors + used) sectors[used++] = sector;
    }
  }
  ++warp.block->counters.global_requests;
  warp.block->counters.global_sectors += used;
}

}  // namespace ptx_emulator
