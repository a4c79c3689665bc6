// Liveness on basic blocks, then a linear scan that packs virtual registers into slots.
//
// Lanes of a warp may be at different places, but each lane has its own column of a slot and writes
// are masked, so the liveness of a single thread is what counts.
#include <algorithm>
#include <limits>
#include <map>

#include "tools/ptx_emulator/builder.h"

namespace ptx_emulator {
namespace {

constexpr int kMaxSlots = kNoRegister - 2;
// Bits of the live sets: 64 MB at most, far above what a compiler emits.
constexpr size_t kMaxLivenessBits = size_t{1} << 29;

class BitSet {
 public:
  explicit BitSet(size_t bits) : words_((bits + 63) / 64) {}
  bool has(int i) const { return words_[i / 64] >> (i % 64) & 1; }
  void insert(int i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
  // this |= other; true where something was new.
  bool unite(const BitSet& other) {
    uint64_t changed = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      changed |= other.words_[i] & ~words_[i];
      words_[i] |= other.words_[i];
    }
    return changed != 0;
  }
  // this |= out & ~kill; true where something was new.
  bool unite_without(const BitSet& out, const BitSet& kill) {
    uint64_t changed = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      const uint64_t more = out.words_[i] & ~kill.words_[i];
      changed |= more & ~words_[i];
      words_[i] |= more;
    }
    return changed != 0;
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t word = words_[i]; word != 0; word &= word - 1) {
        visit(static_cast<int>(i * 64 + __builtin_ctzll(word)));
      }
    }
  }

 private:
  std::vector<uint64_t> words_;
};

struct BasicBlock {
  int begin = 0, end = 0;
  BitSet live_in, live_out, killed;
  BasicBlock(int first, size_t bits) : begin(first), live_in(bits), live_out(bits), killed(bits) {}
};

template <class Visit>
void for_each_use(const Draft& draft, Visit visit) {
  const bool guarded = draft.guard >= 0;
  if (guarded) visit(draft.guard);
  for (const DraftOperand& operand : draft.operands) {
    // A definition under a guard keeps the old value of the other lanes: it is a use, too.
    if (guarded || operand.read) visit(operand.reg);
  }
}

template <class Visit>
void for_each_definition(const Draft& draft, Visit visit) {
  for (const DraftOperand& operand : draft.operands) {
    if (operand.written) visit(operand.reg);
  }
}

bool ends_block(const Draft& draft) {
  return draft.instruction.control == Control::kBranch ||
         draft.instruction.control == Control::kExit;
}

std::vector<BasicBlock> split_blocks(const std::vector<Draft>& drafts, size_t registers, int line) {
  std::vector<char> leads(drafts.size() + 1, 0);
  leads[0] = 1;
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (!ends_block(drafts[i])) continue;
    leads[i + 1] = 1;
    if (drafts[i].instruction.target >= 0) leads[drafts[i].instruction.target] = 1;
  }
  const size_t count = static_cast<size_t>(std::count(leads.begin(), leads.end(), 1));
  if (count * registers > kMaxLivenessBits) throw PtxError(line, "the kernel is too large");
  std::vector<BasicBlock> blocks;
  blocks.reserve(count);
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (leads[i]) blocks.emplace_back(static_cast<int>(i), registers);
    blocks.back().end = static_cast<int>(i) + 1;
  }
  return blocks;
}

void solve(const std::vector<Draft>& drafts, std::vector<BasicBlock>& blocks) {
  std::vector<int> block_at(drafts.size());
  for (size_t b = 0; b < blocks.size(); ++b) block_at[blocks[b].begin] = static_cast<int>(b);
  for (BasicBlock& block : blocks) {
    for (int i = block.begin; i < block.end; ++i) {
      for_each_use(drafts[i], [&](int r) {
        if (!block.killed.has(r)) block.live_in.insert(r);
      });
      for_each_definition(drafts[i], [&](int r) { block.killed.insert(r); });
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (int b = static_cast<int>(blocks.size()) - 1; b >= 0; --b) {
      BasicBlock& block = blocks[b];
      const Draft& last = drafts[block.end - 1];
      const bool guarded = last.guard >= 0;
      if (last.instruction.target >= 0) {
        block.live_out.unite(blocks[block_at[last.instruction.target]].live_in);
      }
      if ((!ends_block(last) || guarded) && b + 1 < static_cast<int>(blocks.size())) {
        block.live_out.unite(blocks[b + 1].live_in);
      }
      changed |= block.live_in.unite_without(block.live_out, block.killed);
    }
  }
}

struct Interval {
  int first = std::numeric_limits<int>::max();
  int last = -1;
  void cover(int position) {
    first = std::min(first, position);
    last = std::max(last, position);
  }
};

// A definition begins before the uses of its instruction end: an instruction never writes the slot
// of another register that it still reads.
std::vector<Interval> live_intervals(const std::vector<Draft>& drafts,
                                     const std::vector<BasicBlock>& blocks, size_t registers) {
  std::vector<Interval> intervals(registers);
  for (const BasicBlock& block : blocks) {
    block.live_in.for_each([&](int r) { intervals[r].cover(2 * block.begin); });
    block.live_out.for_each([&](int r) { intervals[r].cover(2 * block.end); });
    for (int i = block.begin; i < block.end; ++i) {
      for_each_use(drafts[i], [&](int r) { intervals[r].cover(2 * i + 1); });
      for_each_definition(drafts[i], [&](int r) {
        intervals[r].cover(2 * i);
        intervals[r].cover(2 * i + 1);
      });
    }
  }
  return intervals;
}

// Slots by class: a register of 64 bits takes two neighbours, and classes never share slots.
class SlotPool {
 public:
  int take(Width width) {
    std::vector<int>& free = free_[pool(width)];
    if (!free.empty()) {
      const int slot = free.back();
      free.pop_back();
      return slot;
    }
    if (width == Width::kPredicate) return predicates_++;
    const int slot = slots_;
    slots_ += width == Width::k64 ? 2 : 1;
    return slot;
  }
  void give_back(Width width, int slot) { free_[pool(width)].push_back(slot); }
  int slots() const { return slots_; }
  int predicates() const { return predicates_; }

 private:
  static int pool(Width width) {
    return width == Width::kPredicate ? 0 : width == Width::k64 ? 1 : 2;
  }
  std::vector<int> free_[3];
  int slots_ = 0;
  int predicates_ = 0;
};

}  // namespace

void allocate_slots(const std::vector<Draft>& drafts, std::vector<VirtualRegister>& registers,
                    Kernel& kernel, int line) {
  std::vector<BasicBlock> blocks = split_blocks(drafts, registers.size(), line);
  solve(drafts, blocks);
  const std::vector<Interval> intervals = live_intervals(drafts, blocks, registers.size());

  SlotPool pool;
  std::vector<int> order;
  for (size_t r = 0; r < registers.size(); ++r) {
    VirtualRegister& reg = registers[r];
    if (reg.constant) {
      reg.slot = pool.take(reg.width);
      kernel.constants.push_back(Constant{static_cast<uint16_t>(reg.slot), reg.width, reg.value});
    } else if (intervals[r].last >= 0) {
      order.push_back(static_cast<int>(r));
    }
  }
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return intervals[a].first < intervals[b].first; });
  std::multimap<int, int> active;  // by the end of the interval
  for (const int r : order) {
    while (!active.empty() && active.begin()->first < intervals[r].first) {
      const VirtualRegister& ended = registers[active.begin()->second];
      pool.give_back(ended.width, ended.slot);
      active.erase(active.begin());
    }
    registers[r].slot = pool.take(registers[r].width);
    active.emplace(intervals[r].last, r);
  }
  if (pool.slots() > kMaxSlots || pool.predicates() > kMaxSlots) {
    throw PtxError(line, "the kernel needs too many registers");
  }
  kernel.slots = static_cast<uint32_t>(pool.slots());
  kernel.predicates = static_cast<uint32_t>(pool.predicates());
}

}  // namespace ptx_emulator
