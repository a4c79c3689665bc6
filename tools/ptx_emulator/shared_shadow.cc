#include "tools/ptx_emulator/shared_shadow.h"

#include <algorithm>

#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {
namespace {

constexpr uint32_t kWordBytes = 4;
constexpr uint32_t kWholeWord = 0xf;
constexpr uint32_t kMbarrierBytes = 8;
constexpr uint32_t kChunkBytes = 16;
constexpr uint32_t kWordsOfChunk = kChunkBytes / kWordBytes;

// A stamp: who accessed, and in which of its epochs. 0 means nobody. An epoch beyond the 22 bits is
// kept as the highest one: it then seems ordered, so that a fault can be missed but none is
// invented.
constexpr uint32_t kMaxEpoch = (1u << 22) - 1;

uint32_t clamp_epoch(uint32_t epoch) { return std::min(epoch, kMaxEpoch); }

uint32_t writer_stamp(const Warp& warp, int lane) {
  return clamp_epoch(warp.epoch()) << 10 | static_cast<uint32_t>(warp.id) << 5 |
         static_cast<uint32_t>(lane);
}
uint32_t stamp_epoch(uint32_t stamp) { return stamp >> 10; }
int stamp_warp(uint32_t stamp) { return static_cast<int>(stamp >> 5 & 31); }
uint32_t without_lane(uint32_t stamp) { return stamp >> 5; }
int stamp_lane(uint32_t stamp) { return static_cast<int>(stamp & 31); }

// A reader's record: epoch, the bytes that its lanes read, one lane, and whether there were more.
uint32_t reader_record(uint32_t epoch, uint32_t byte_mask, int lane, bool several) {
  return epoch << 10 | byte_mask << 6 | static_cast<uint32_t>(lane) << 1 | (several ? 1u : 0u);
}
uint32_t record_bytes(uint32_t record) { return record >> 6 & kWholeWord; }
int record_lane(uint32_t record) { return static_cast<int>(record >> 1 & 31); }

uint32_t bytes_of_word(uint32_t word, uint32_t offset, uint32_t bytes) {
  const uint32_t begin = std::max(offset, word * kWordBytes) - word * kWordBytes;
  const uint32_t end = std::min(offset + bytes, (word + 1) * kWordBytes) - word * kWordBytes;
  return ((1u << end) - 1) & ~((1u << begin) - 1);
}

// What happened before what this lane does now.
const Order& order_of(const Warp& warp, int lane) {
  return (warp.ahead >> lane & 1) != 0 ? warp.order_of_ahead : warp.order;
}

// Whether a write happened before what this lane does now.
bool is_ordered(const Warp& warp, int lane, uint32_t stamp) {
  if (stamp == 0) return true;
  const int writer = stamp_warp(stamp);
  if (writer != warp.id)
    return order_of(warp, lane).has(writer, stamp_epoch(stamp), stamp_lane(stamp));
  return warp.lanes_ordered(stamp_lane(stamp), stamp_epoch(stamp), lane) ||
         stamp_lane(stamp) == lane;
}

// What may be missing where an mbarrier did not order what a lane of another warp did.
std::string hint(const Warp& warp, int other, uint32_t epoch, int its_lane, bool several = false) {
  const Order& most = warp.ahead != 0 ? warp.order_of_ahead : warp.order;
  if (most.has(other, epoch, its_lane, several)) {
    return format(" (lanes %08x of this warp alone waited at an mbarrier: __syncwarp after it?)",
                  warp.ahead);
  }
  if (!most.has_any(other, epoch)) return "";
  return format(" (its lanes %08x alone arrived at an mbarrier: __syncwarp before it?)",
                most.some[other].lanes);
}

void report_writer(Warp& warp, int lane, uint32_t offset, uint32_t stamp, bool write) {
  report(warp, FaultKind::kRace, lane, [&] {
    const char* const pair = write ? "write after write" : "read after write";
    if (stamp_warp(stamp) != warp.id) {
      return format("%s: shared+%u was written by warp %d lane %d with no barrier since%s", pair,
                    offset, stamp_warp(stamp), stamp_lane(stamp),
                    hint(warp, stamp_warp(stamp), stamp_epoch(stamp), stamp_lane(stamp)).c_str());
    }
    return format("%s within the warp: shared+%u was written by lane %d with no __syncwarp since",
                  pair, offset, stamp_lane(stamp));
  });
}

}  // namespace

void SharedShadow::reset(uint32_t bytes, int warps) {
  const size_t words = (bytes + kWordBytes - 1) / kWordBytes;
  warps_ = warps;
  words_.assign(words, Word{});
  readers_.assign(words * warps, 0);
  byte_writers_.clear();
  products_.clear();
  unfenced_.assign(warps, 0);
}

void SharedShadow::access(Warp& warp, int lane, uint32_t offset, uint32_t bytes, bool write) {
  const bool races = warp.block->launch->checks_any(kCheckRaces);
  if (write && !products_.empty()) check_products(warp, lane, offset, bytes);
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + bytes; ++word) {
    const uint32_t byte_mask = bytes_of_word(word, offset, bytes);
    const Word& state = words_[word];
    if (!write && state.is_plain() && is_ordered(warp, lane, state.writer)) {  // nearly every read
      record_read(warp, lane, word, byte_mask);
      continue;
    }
    check_content(warp, lane, word, byte_mask, write);
    if (races) {
      check_writers(warp, lane, word, byte_mask, write);
      if (write) check_readers(warp, lane, word, byte_mask);
    }
    if (write) {
      record_write(warp, lane, word, byte_mask);
    } else {
      record_read(warp, lane, word, byte_mask);
    }
  }
}

void SharedShadow::atomic(Warp& warp, int lane, uint32_t offset, uint32_t bytes) {
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + bytes; ++word) {
    check_content(warp, lane, word, bytes_of_word(word, offset, bytes), /*write=*/false);
  }
}

void SharedShadow::check_content(Warp& warp, int lane, uint32_t word, uint32_t byte_mask,
                                 bool write) {
  const Launch& launch = *warp.block->launch;
  const Word& state = words_[word];
  if (state.mbarrier != 0) {
    if (!launch.checks_any(kCheckBarriers)) return;
    report(warp, FaultKind::kBarrier, lane, [&] {
      return format("%s of shared+%u, which is part of a live mbarrier", write ? "write" : "read",
                    word * kWordBytes);
    });
  } else if (state.pending != 0 && launch.checks_any(kCheckAsync)) {
    report(warp, FaultKind::kAsync, lane, [&] {
      return format(
          "%s of shared+%u while a cp.async to it is in flight: wait for its group, and "
          "pass a barrier where another thread issued it",
          write ? "write" : "read", word * kWordBytes);
    });
  } else if (!write && (state.initialized & byte_mask) != byte_mask &&
             launch.checks_any(kCheckInit)) {
    report(warp, FaultKind::kUninitialized, lane,
           [&] { return format("read of shared+%u, which nobody wrote", word * kWordBytes); });
  }
}

void SharedShadow::begin_copy(Warp& warp, int lane, uint32_t offset, uint32_t bytes) {
  access(warp, lane, offset, bytes, /*write=*/true);
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + bytes; ++word) {
    words_[word].pending = 1;
  }
}

void SharedShadow::end_copy(const Warp& warp, int lane, uint32_t offset, uint32_t bytes) {
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + bytes; ++word) {
    words_[word].pending = 0;
    record_write(warp, lane, word, kWholeWord);
  }
}

void SharedShadow::begin_mbarrier(Warp& warp, int lane, uint32_t offset) {
  access(warp, lane, offset, kMbarrierBytes, /*write=*/true);
  set_mbarrier(offset, 1);
}

void SharedShadow::use_mbarrier(Warp& warp, int lane, uint32_t offset) {
  const uint32_t word = offset / kWordBytes;
  const uint32_t stamp = words_[word].writer;
  if (warp.block->launch->checks_any(kCheckRaces) && !is_ordered(warp, lane, stamp)) {
    report(warp, FaultKind::kRace, lane, [&] {
      return format("the mbarrier at shared+%u was initialised by warp %d lane %d with no %s since",
                    offset, stamp_warp(stamp), stamp_lane(stamp),
                    stamp_warp(stamp) == warp.id ? "__syncwarp" : "barrier");
    });
  }
  record_read(warp, lane, word, kWholeWord);
}

void SharedShadow::end_mbarrier(Warp& warp, int lane, uint32_t offset) {
  set_mbarrier(offset, 0);
  access(warp, lane, offset, kMbarrierBytes, /*write=*/true);
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + kMbarrierBytes; ++word) {
    words_[word].initialized = 0;
  }
}

void SharedShadow::set_mbarrier(uint32_t offset, uint8_t mbarrier) {
  for (uint32_t word = offset / kWordBytes; word * kWordBytes < offset + kMbarrierBytes; ++word) {
    words_[word].mbarrier = mbarrier;
  }
}

void SharedShadow::read_product(Warp& warp, const uint32_t* offsets, int count) {
  if (products_.empty()) products_.resize((words_.size() / kWordsOfChunk + 1) * warps_);
  // A warp and an epoch of it for which everything is in order: most words have the same ones.
  uint32_t known = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t first = offsets[i] / kWordBytes;
    for (uint32_t word = first; word < first + kWordsOfChunk; ++word) {
      const Word& state = words_[word];
      if (state.is_plain() && without_lane(state.writer) == known) continue;
      if (check_product_word(warp, word)) known = without_lane(state.writer);
    }
    products_[offsets[i] / kChunkBytes * warps_ + warp.id] = warp.products.group;
  }
}

// What the lanes of the warp wrote happened before, since a product needs all of them. False after
// a report, and where the same may not hold of all that the same warp wrote in this epoch.
bool SharedShadow::check_product_word(Warp& warp, uint32_t word) {
  const Launch& launch = *warp.block->launch;
  check_content(warp, 0, word, kWholeWord, /*write=*/false);
  const Word& state = words_[word];
  bool of_all_lanes = true;
  for (uint32_t byte = 0; byte < (state.split ? kWordBytes : 1); ++byte) {
    const uint32_t stamp = state.split ? byte_writers_[word * kWordBytes + byte] : state.writer;
    if (stamp == 0) continue;
    const int writer = stamp_warp(stamp);
    if (writer != warp.id && !warp.order.has(writer, stamp_epoch(stamp), stamp_lane(stamp))) {
      if (launch.checks_any(kCheckRaces)) {
        report_writer(warp, 0, word * kWordBytes, stamp, /*write=*/false);
      }
      return false;
    }
    if (stamp_epoch(stamp) > warp.order.fenced[writer]) {
      if (!launch.checks_any(kCheckAsync)) return false;
      report(warp, FaultKind::kAsync, 0, [&] {
        return format(
            "wgmma reads shared+%u, which warp %d lane %d wrote with no fence.proxy.async since",
            word * kWordBytes, writer, stamp_lane(stamp));
      });
      return false;
    }
    of_all_lanes &= writer == warp.id || stamp_epoch(stamp) <= warp.order.clock[writer];
  }
  return state.split == 0 && of_all_lanes;
}

// A write while a product reads, or that no barrier orders behind the wait for it.
void SharedShadow::check_products(Warp& warp, int lane, uint32_t offset, uint32_t bytes) {
  const Launch& launch = *warp.block->launch;
  const uint32_t last = (offset + bytes - 1) / kChunkBytes;
  for (uint32_t chunk = offset / kChunkBytes; chunk <= last; ++chunk) {
    const uint32_t* const groups = &products_[static_cast<size_t>(chunk) * warps_];
    for (int reader = 0; reader < warps_; ++reader) {
      const uint32_t group = groups[reader];
      if (group == 0) continue;
      const WarpProducts& products = warp.block->warps[reader].products;
      if (products.in_flight(group)) {
        if (!launch.checks_any(kCheckAsync)) continue;
        report(warp, FaultKind::kAsync, lane, [&] {
          return format(
              "write of shared+%u while a wgmma of warp %d that reads it is in flight: wait for "
              "its group, and pass a barrier",
              offset, reader);
        });
      } else if (reader != warp.id &&
                 !order_of(warp, lane).has_any(reader, products.wait_epochs[group])) {
        if (!launch.checks_any(kCheckRaces)) continue;
        report(warp, FaultKind::kRace, lane, [&] {
          return format(
              "write after read: shared+%u was read by a wgmma of warp %d with no barrier since "
              "its wait",
              offset, reader);
        });
      }
    }
  }
}

void SharedShadow::fence_proxy(Warp& warp) {
  warp.order.fence_others(warp.id);
  if ((warp.mask & warp.ahead) != 0) warp.order_of_ahead.fence_others(warp.id);
  unfenced_[warp.id] &= ~warp.mask;
  if (unfenced_[warp.id] != 0) return;  // what other lanes wrote is not seen yet
  warp.order.fenced[warp.id] = warp.order.clock[warp.id]++;
}

void SharedShadow::check_writers(Warp& warp, int lane, uint32_t word, uint32_t byte_mask,
                                 bool write) {
  const auto check = [&](uint32_t stamp) {
    if (!is_ordered(warp, lane, stamp)) report_writer(warp, lane, word * kWordBytes, stamp, write);
  };
  if (!words_[word].split) {
    check(words_[word].writer);
    return;
  }
  for (uint32_t byte = 0; byte < kWordBytes; ++byte) {
    if (byte_mask >> byte & 1) check(byte_writers_[word * kWordBytes + byte]);
  }
}

void SharedShadow::check_readers(Warp& warp, int lane, uint32_t word, uint32_t byte_mask) {
  const uint32_t* const records = &readers_[static_cast<size_t>(word) * warps_];
  for (int reader = 0; reader < warps_; ++reader) {
    const uint32_t record = records[reader];
    if ((record_bytes(record) & byte_mask) == 0) continue;
    const uint32_t epoch = stamp_epoch(record);
    const bool several = (record & 1) != 0;
    const auto readers_lanes = [&] {
      return several ? "several lanes" : format("lane %d", record_lane(record));
    };
    if (reader != warp.id) {
      if (order_of(warp, lane).has(reader, epoch, record_lane(record), several)) continue;
      report(warp, FaultKind::kRace, lane, [&] {
        return format("write after read: shared+%u was read by warp %d %s with no barrier since%s",
                      word * kWordBytes, reader, readers_lanes().c_str(),
                      hint(warp, reader, epoch, record_lane(record), several).c_str());
      });
    } else if (!warp.lanes_ordered(record_lane(record), epoch, lane)) {
      // The record of several lanes does not tell who read which byte: narrow writes pass.
      if (several ? byte_mask != kWholeWord : record_lane(record) == lane) continue;
      report(warp, FaultKind::kRace, lane, [&] {
        return format(
            "write after read within the warp: shared+%u was read by %s with no __syncwarp since",
            word * kWordBytes, readers_lanes().c_str());
      });
    }
  }
}

void SharedShadow::record_write(const Warp& warp, int lane, uint32_t word, uint32_t byte_mask) {
  Word& state = words_[word];
  const uint32_t stamp = writer_stamp(warp, lane);
  unfenced_[warp.id] |= 1u << lane;
  state.initialized |= static_cast<uint8_t>(byte_mask);
  if (byte_mask == kWholeWord) {
    state.writer = stamp;
    state.split = 0;
    return;
  }
  if (byte_writers_.empty()) byte_writers_.resize(words_.size() * kWordBytes);
  uint32_t* const writers = &byte_writers_[word * kWordBytes];
  if (!state.split) {
    std::fill_n(writers, kWordBytes, state.writer);
    state.split = 1;
  }
  for (uint32_t byte = 0; byte < kWordBytes; ++byte) {
    if (byte_mask >> byte & 1) writers[byte] = stamp;
  }
}

void SharedShadow::record_read(const Warp& warp, int lane, uint32_t word, uint32_t byte_mask) {
  uint32_t& record = readers_[static_cast<size_t>(word) * warps_ + warp.id];
  const uint32_t epoch = clamp_epoch(warp.epoch());
  if (record != 0 && !warp.lanes_ordered(record_lane(record), stamp_epoch(record), lane)) {
    const bool several = (record & 1) != 0 || record_lane(record) != lane;
    record = reader_record(epoch, record_bytes(record) | byte_mask, record_lane(record), several);
  } else {
    record = reader_record(epoch, byte_mask, lane, false);
  }
}

}  // namespace ptx_emulator
