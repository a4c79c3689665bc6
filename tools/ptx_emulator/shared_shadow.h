// Shadow of one block's shared memory: what is initialised, who wrote and read last, what is still
// being copied.
//
// Each access is stamped with its warp, lane and epoch, and ordered as Order tells.
//
// wgmma reads through another proxy: a write that happened before is seen where a fence.proxy.async
// stands between, in the writer or in anyone whom a barrier let go on after it (PTX ISA, "Causality
// order"). Such fences end epochs too.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx_emulator {

struct Warp;

class SharedShadow {
 public:
  void reset(uint32_t bytes, int warps);

  // Checks and records an access by one lane; offset and size lie within the block's memory.
  void access(Warp& warp, int lane, uint32_t offset, uint32_t bytes, bool write);

  // Atomics are ordered among themselves: only initialisation and copies in flight are checked.
  void atomic(Warp& warp, int lane, uint32_t offset, uint32_t bytes);

  // An asynchronous copy may write from its issue until its lane has waited for it.
  void begin_copy(Warp& warp, int lane, uint32_t offset, uint32_t bytes);
  void end_copy(const Warp& warp, int lane, uint32_t offset, uint32_t bytes);

  // A product of the warp reads chunks of 16 bytes from its issue until the wait for its group.
  void read_product(Warp& warp, const uint32_t* offsets, int count);
  // The lanes of warp.mask show the async proxy what they wrote, and what happened before.
  void fence_proxy(Warp& warp);

  // Between begin and end, eight bytes are an mbarrier, which ordinary accesses have to leave alone.
  // A use of it is ordered behind its begin, and its end behind all uses.
  void begin_mbarrier(Warp& warp, int lane, uint32_t offset);
  void use_mbarrier(Warp& warp, int lane, uint32_t offset);
  void end_mbarrier(Warp& warp, int lane, uint32_t offset);

 private:
  // The shadow of four bytes.
  struct Word {
    uint32_t writer = 0;  // stamp of the last write, for all four bytes unless `split`
    uint8_t initialized = 0;
    uint8_t pending = 0;  // asynchronous copies in flight
    uint8_t split = 0;    // bytes have different writers: see byte_writers_
    uint8_t mbarrier = 0;  // part of a live mbarrier

    // One writer wrote it whole, and it is nothing but memory.
    bool is_plain() const {
      return initialized == 0xf && pending == 0 && split == 0 && mbarrier == 0;
    }
  };

  void check_content(Warp& warp, int lane, uint32_t word, uint32_t byte_mask, bool write);
  void check_writers(Warp& warp, int lane, uint32_t word, uint32_t byte_mask, bool write);
  void check_readers(Warp& warp, int lane, uint32_t word, uint32_t byte_mask);
  void check_products(Warp& warp, int lane, uint32_t offset, uint32_t bytes);
  void set_mbarrier(uint32_t offset, uint8_t mbarrier);
  bool check_product_word(Warp& warp, uint32_t word);
  void record_write(const Warp& warp, int lane, uint32_t word, uint32_t byte_mask);
  void record_read(const Warp& warp, int lane, uint32_t word, uint32_t byte_mask);

  int warps_ = 0;
  std::vector<Word> words_;
  std::vector<uint32_t> byte_writers_;  // four per word; empty until a narrower write happens
  std::vector<uint32_t> readers_;       // per word, one record of each warp's last read
  std::vector<uint32_t> products_;      // per chunk, the group of each warp's last product
  std::vector<uint32_t> unfenced_;      // by warp: the lanes that wrote since their proxy fence
};

}  // namespace ptx_emulator
