#include "plugins/runtime/attention_launcher.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>
#include <string>

#include "kernels/variant_tables.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

// Heuristics, all of them, with their reasons. The tiles themselves are in kernels/variants.bzl.

// CTAs per multiprocessor, those of splits counted, from which on tall tiles are faster than low
// ones, in quarters. Two keep the matrix unit busy: one computes its softmax while the other
// multiplies. CTAs of a chunk are about as long as one another, so that fewer will do.
constexpr int64_t kPrefillQuarters = 8;
constexpr int64_t kChunkQuarters = 6;

// The same for tiles of warpgroups, which have a multiprocessor for themselves: prompts with fewer
// are too short to gain. The CTAs of a chunk or a tree are as long as one another: in each round of
// those that run at the same time, so many quarters of the device have to be busy on average.
constexpr int64_t kWgmmaPrefillQuarters = 6;
constexpr int64_t kBusyQuarters = 3;

// Threads of the variants that have a multiprocessor for themselves. Where there are no more CTAs
// than that, their eight warps beat four: warps that share the KV range halve the way.
constexpr int kWideThreads = 256;

// Slots that a split of a full cache has at least, so that filling the pipeline and merging the
// partial results stay small beside the work: a tile of a chunk leaves more of these.
constexpr int64_t kMinDecodeSplitSlots = 64;
constexpr int64_t kMinPrefillSplitSlots = 256;

// Splits that have no more slots than that in a full cache are short. Where kernels start before
// those in front of them have ended, these gain more from a quarter of the device that is left to
// them than from more splits: with 12 splits a sequence of 2048 takes 5.9 us, with 16 or 32 it
// takes 6.4 (heads of 128, H200, 2026-11-30).
constexpr int64_t kShortSplitSlots = 192;

// A chunk is decoded while its rows take few tiles: each reads K and V anew, but once for all Q
// heads of a KV head, and without a kernel before it. By warpgroups, while a tile of prefill would
// be half empty.
constexpr int64_t kMaxDecodedTokens = 32;
constexpr int64_t kMaxDecodedTiles = 2;
constexpr int64_t kMaxWgmmaDecodedTokens = 64;

constexpr int64_t kWarpRows = 16;  // of a decode tile that warps share along the KV range alone
constexpr int64_t kMaxTreeTokens = 128;  // bits of a row of the mask in the decode kernels
static_assert(kMaxDecodedTokens <= kMaxTreeTokens && kMaxWgmmaDecodedTokens <= kMaxTreeTokens,
              "a chunk has more tokens than the mask has bits");
constexpr int64_t kMaxGroup = 16;  // Q heads of a KV head
constexpr int64_t kMaxGridYZ = 65535;
constexpr int64_t kMaxTokens = int64_t{1} << 22;  // 32-bit indices in the kernels, with room
constexpr int64_t kMaxAppendItems = std::numeric_limits<int32_t>::max();
constexpr int64_t kAppendValues = 16;  // of a thread of the append kernel

const AttentionVariant& untiled_variant(AttentionKind kind) {
  return *std::find_if(std::begin(kAttentionVariants), std::end(kAttentionVariants),
                       [&](const AttentionVariant& variant) { return variant.kind == kind; });
}

bool serves(const AttentionVariant& variant, AttentionKind kind, int64_t head_size) {
  return variant.kind == kind && variant.head_size == head_size;
}

// Without the matrix products of warpgroups, which all SMs have.
bool serves_any_sm(const AttentionVariant& variant, AttentionKind kind, int64_t head_size) {
  return serves(variant, kind, head_size) && !variant.wgmma;
}

bool runs_on(const AttentionVariant& variant, int sm) {
  const SmFacts& facts = sm_facts(sm);
  return variant.shared_bytes <= facts.shared_per_block && (!variant.wgmma || facts.wgmma);
}

// A tile of warpgroups, where the SM has them.
bool serves_by_wgmma(const AttentionVariant& variant, AttentionKind kind, int64_t head_size,
                     int sm) {
  return serves(variant, kind, head_size) && variant.wgmma && runs_on(variant, sm);
}

void check_head_size(int64_t head_size) {
  std::set<int> allowed;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (variant.kind == AttentionKind::kPrefill) allowed.insert(variant.head_size);
  }
  if (allowed.count(static_cast<int>(head_size)) > 0) return;
  std::string list;
  for (const int size : allowed) list += concat(list.empty() ? "" : ", ", size);
  fail("head_size is ", head_size, "; ", list, " are allowed");
}

void check_range(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    fail(name, " is ", value, "; ", least, " to ", most, " are allowed");
  }
}

int64_t group(const AttentionProblem& problem) {
  return problem.num_q_heads / problem.num_kv_heads;
}

int64_t append_items(const AttentionProblem& problem) {
  return problem.q_len * 2 * problem.num_kv_heads * problem.head_size / kAppendValues;
}

void check_problem(const AttentionProblem& problem) {
  check_head_size(problem.head_size);
  check_range("num_kv_heads", problem.num_kv_heads, 1, kMaxGridYZ);
  if (problem.num_q_heads < 1 || problem.num_q_heads % problem.num_kv_heads != 0 ||
      group(problem) > kMaxGroup) {
    fail("num_q_heads is ", problem.num_q_heads, "; 1 to ", kMaxGroup,
         " times num_kv_heads = ", problem.num_kv_heads, " is allowed");
  }
  check_range("batch", problem.batch, 0, kMaxGridYZ);
  check_range("q_len", problem.q_len, 0, kMaxTokens);
  check_range("capacity", problem.capacity, 0, kMaxTokens);
  if (append_items(problem) > kMaxAppendItems) {
    fail("q_len is ", problem.q_len, " with ", problem.num_kv_heads, " KV heads of ",
         problem.head_size, "; split the prompt into chunks");
  }
}

void check_tokens(const AttentionProblem& problem) {
  if (problem.mode == AttentionMode::kDecode) check_range("q_len in decode", problem.q_len, 0, 1);
  if (problem.mode == AttentionMode::kTreeDecode) {
    check_range("q_len in tree decode", problem.q_len, 0, kMaxTreeTokens);
  }
}

int64_t prefill_ctas(const AttentionVariant& variant, const AttentionProblem& problem) {
  return ceil_div(problem.q_len, variant.tile_q) * problem.num_q_heads * problem.batch;
}

// Rows of one KV head in a decode variant.
int64_t decode_rows(const AttentionProblem& problem) { return problem.q_len * group(problem); }

int64_t decode_ctas(const AttentionVariant& variant, const AttentionProblem& problem) {
  return ceil_div(decode_rows(problem), variant.tile_q) * problem.num_kv_heads * problem.batch;
}

// CTAs without splits.
int64_t unsplit_ctas(const AttentionVariant& variant, const AttentionProblem& problem) {
  return variant.kind == AttentionKind::kDecode ? decode_ctas(variant, problem)
                                                : prefill_ctas(variant, problem);
}

// CTAs that run at the same time.
int64_t resident_ctas(const AttentionVariant& variant, const DeviceFacts& device) {
  return resident_ctas_per_sm(variant, device.sm) * device.sm_count;
}

bool decodes(const AttentionProblem& problem, const AttentionVariant& decode) {
  if (problem.mode == AttentionMode::kPrefill) return false;
  if (problem.mode != AttentionMode::kChunkedPrefill) return true;
  if (decode.wgmma) return problem.q_len <= kMaxWgmmaDecodedTokens;
  return problem.q_len <= kMaxDecodedTokens &&
         decode_rows(problem) <= kMaxDecodedTiles * decode.tile_q;
}

// Upper limit of the splits, apart from the device. In prefill the tiles themselves share the KV
// range, which is no longer than they are.
int64_t max_splits(AttentionKind kind, const AttentionProblem& problem) {
  if (problem.mode == AttentionMode::kPrefill) return 1;
  const int64_t slots =
      kind == AttentionKind::kDecode ? kMinDecodeSplitSlots : kMinPrefillSplitSlots;
  return std::clamp<int64_t>(problem.capacity / slots, 1, kMaxAttentionSplits);
}

// At most `most` splits: a power of two, which divides KV ranges of usual lengths evenly, or one
// and a half of it, which is three quarters of the next.
int splits_of(const AttentionVariant& variant, const AttentionProblem& problem, int64_t most) {
  most = std::min(most, max_splits(variant.kind, problem));
  int splits = 1;
  while (2 * splits <= most) splits *= 2;
  return 3 * splits <= 2 * most ? splits * 3 / 2 : splits;
}

// Splits of a plan with this variant: as many as run at the same time. Where they are short, three
// quarters of those: with one CTA on each multiprocessor, or else with all that fit. That holds for
// the most that there may be too: 48 splits took 6 to 17 % less than 64.
int splits_of(const AttentionVariant& variant, const AttentionProblem& problem,
              const DeviceFacts& device) {
  const int64_t resident = std::min(resident_ctas(variant, device), kMaxSplitCtas);
  const int64_t ctas = unsplit_ctas(variant, problem);
  if (launch_order(device.sm) == LaunchOrder::kWaitsItself) {
    for (const int64_t places : {std::min<int64_t>(device.sm_count, resident), resident}) {
      const int64_t most = std::min<int64_t>(places / ctas, kMaxAttentionSplits);
      const int splits = splits_of(variant, problem, 3 * most / 4);
      if (problem.capacity <= kShortSplitSlots * splits) return splits;
    }
  }
  return splits_of(variant, problem, resident / ctas);
}

bool is_wide(const AttentionVariant& variant) { return variant.threads >= kWideThreads; }

// The wide variant of a kind and head size with up to `rows` rows whose CTAs all run at the same
// time without splits, or null.
const AttentionVariant* wide_variant(AttentionKind kind, int64_t rows,
                                     const AttentionProblem& problem, const DeviceFacts& device) {
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (serves_any_sm(variant, kind, problem.head_size) && is_wide(variant) &&
        variant.tile_q <= rows &&
        unsplit_ctas(variant, problem) <= resident_ctas(variant, device)) {
      return &variant;
    }
  }
  return nullptr;
}

// Whether the CTAs of a variant, those of splits counted, keep the device busy until the last ends.
bool keeps_busy(const AttentionVariant& variant, const AttentionProblem& problem,
                const DeviceFacts& device) {
  const int64_t ctas = unsplit_ctas(variant, problem) * splits_of(variant, problem, device);
  const int64_t resident = resident_ctas(variant, device);
  return 4 * ctas >= kBusyQuarters * ceil_div(ctas, resident) * resident;
}

// Whether a row of the batch takes more than half of a prefill variant's rows: half of a tile for
// nothing costs more than what a tall one saves.
bool fills_rows(const AttentionVariant& variant, const AttentionProblem& problem) {
  return 2 * problem.q_len > variant.tile_q;
}

// The prefill variant of warpgroups, where its CTAs fill the device, or null.
const AttentionVariant* wgmma_prefill_variant(const AttentionProblem& problem,
                                              const DeviceFacts& device) {
  const auto fills = [&](const AttentionVariant& variant) {
    if (!fills_rows(variant, problem)) return false;
    if (problem.mode == AttentionMode::kChunkedPrefill) return keeps_busy(variant, problem, device);
    return 4 * prefill_ctas(variant, problem) >= kWgmmaPrefillQuarters * device.sm_count;
  };
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (serves_by_wgmma(variant, AttentionKind::kPrefill, problem.head_size, device.sm) &&
        fills(variant)) {
      return &variant;
    }
  }
  return nullptr;
}

// The decode variant of warpgroups, or null. That with the least rows, where its KV range is split:
// it has the fewest splits, and leaves the least partial results. Else the one with the most rows,
// which reads K and V least often, if it keeps the device busy. Else the first whose CTAs all run
// at the same time.
const AttentionVariant* wgmma_decode_variant(const AttentionProblem& problem,
                                             const DeviceFacts& device) {
  const AttentionVariant *low = nullptr, *tall = nullptr;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (!serves_by_wgmma(variant, AttentionKind::kDecode, problem.head_size, device.sm)) continue;
    if (low == nullptr || variant.tile_q < low->tile_q) low = &variant;
    if (tall == nullptr || variant.tile_q > tall->tile_q) tall = &variant;
  }
  if (low == nullptr || splits_of(*low, problem, device) > 1) return low;
  if (decode_rows(problem) <= low->tile_q) tall = low;  // half of the other would be empty
  if (keeps_busy(*tall, problem, device)) return tall;
  for (const AttentionVariant* variant : {low, tall}) {
    if (unsplit_ctas(*variant, problem) <= resident_ctas(*variant, device)) return variant;
  }
  return nullptr;
}

// One of warpgroups, else the prefill variant with the most rows, which reads K and V least often,
// that is filled and whose CTAs fill the device. Where there is none: a wide one, else the one with
// the least rows.
const AttentionVariant& prefill_variant(const AttentionProblem& problem,
                                        const DeviceFacts& device) {
  if (const auto* wgmma = wgmma_prefill_variant(problem, device)) return *wgmma;
  const int64_t quarters =
      problem.mode == AttentionMode::kPrefill ? kPrefillQuarters : kChunkQuarters;
  const auto fills = [&](const AttentionVariant& variant) {
    const int64_t ctas = prefill_ctas(variant, problem) * splits_of(variant, problem, device);
    return fills_rows(variant, problem) && 4 * ctas >= quarters * device.sm_count;
  };
  const AttentionVariant* best = nullptr;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (!serves_any_sm(variant, AttentionKind::kPrefill, problem.head_size)) continue;
    if (is_wide(variant)) continue;
    const bool taller = best != nullptr && variant.tile_q > best->tile_q;
    if (best == nullptr || (taller ? fills(variant) : !fills(*best))) best = &variant;
  }
  if (fills(*best)) return *best;
  const auto* wide = wide_variant(AttentionKind::kPrefill, problem.q_len, problem, device);
  return wide == nullptr ? *best : *wide;
}

// The decode variant with the least rows that hold those of one KV head, else the most rows: these
// read K and V least often. Of two with the same rows the wide one, if it fits. A tile of
// warpgroups takes the place of those with more rows than one warp has.
const AttentionVariant& decode_variant(const AttentionProblem& problem, const DeviceFacts& device) {
  const int64_t rows = decode_rows(problem);
  const AttentionVariant* best = nullptr;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (!serves_any_sm(variant, AttentionKind::kDecode, problem.head_size)) continue;
    if (is_wide(variant)) continue;
    const bool better =
        best == nullptr ||
        (best->tile_q < rows ? variant.tile_q > best->tile_q
                             : variant.tile_q >= rows && variant.tile_q < best->tile_q);
    if (better) best = &variant;
  }
  if (best->tile_q > kWarpRows) {
    if (const auto* wgmma = wgmma_decode_variant(problem, device)) return *wgmma;
  }
  const auto* wide = wide_variant(AttentionKind::kDecode, best->tile_q, problem, device);
  return wide == nullptr ? *best : *wide;
}

int64_t output_heads(const AttentionProblem& problem) {
  return problem.batch * problem.q_len * problem.num_q_heads;
}

// Partial results of `heads` output heads, those of all splits counted: attention_partials.cuh.
int64_t partial_bytes(int64_t heads, int64_t head_size) {
  return heads * (head_size + 2) * static_cast<int64_t>(sizeof(float));
}

// Copies the cache in-stream where the output is another tensor.
void copy_cache(const CudaDriver& driver, const AttentionParams& params, const void* kv_cache_in,
                CUstream stream) {
  if (kv_cache_in == params.kv_cache) return;
  const int64_t bytes =
      int64_t{params.batch} * 2 * params.num_kv_heads * params.capacity * params.head_size * 2;
  if (bytes == 0) return;
  const auto from = reinterpret_cast<CUdeviceptr>(kv_cache_in);
  const auto to = reinterpret_cast<CUdeviceptr>(params.kv_cache);
  if ((from < to ? to - from : from - to) < static_cast<CUdeviceptr>(bytes)) {
    fail("the KV cache at ", kv_cache_in, " and its output at ", params.kv_cache, " share some of ",
         bytes, " bytes; bind both to the same address or to separate buffers");
  }
  check_cuda(driver, driver.cuMemcpyDtoDAsync(to, from, bytes, stream), "copying the KV cache");
}

}  // namespace

AttentionPlan plan_attention(const AttentionProblem& problem, const DeviceFacts& device) {
  check_problem(problem);
  check_tokens(problem);
  AttentionPlan plan;
  if (problem.batch == 0 || problem.q_len == 0) return plan;

  const AttentionVariant& decode = decode_variant(problem, device);
  if (decodes(problem, decode)) {
    plan.variant = &decode;
    plan.row_tiles = ceil_div(decode_rows(problem), decode.tile_q);
  } else {
    plan.variant = &prefill_variant(problem, device);
    plan.row_tiles = ceil_div(problem.q_len, plan.variant->tile_q);
    check_range("tiles of q_len", plan.row_tiles, 1, kMaxGridYZ);
  }
  plan.splits = splits_of(*plan.variant, problem, device);
  if (plan.variant->shared_bytes > sm_facts(device.sm).shared_per_block) {
    fail(plan.variant->name, " needs ", plan.variant->shared_bytes, " bytes of shared memory, and ",
         "SM ", device.sm, " has ", sm_facts(device.sm).shared_per_block, "; change its row in ",
         "kernels/variants.bzl");
  }
  plan.shared_bytes = least_spread_shared_bytes(
      plan.variant->shared_bytes, plan.splits * unsplit_ctas(*plan.variant, problem), device);
  plan.order = launch_order(device.sm);
  if (plan.splits > 1) {
    plan.workspace_bytes = partial_bytes(plan.splits * output_heads(problem), problem.head_size);
  }
  return plan;
}

int64_t attention_workspace_bound(const AttentionProblem& largest) {
  check_problem(largest);
  // splits * CTAs <= kMaxSplitCtas, and a CTA has at most the rows of the tallest tile.
  AttentionProblem chunk = largest;
  chunk.mode = AttentionMode::kChunkedPrefill;
  int64_t heads = 0;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (variant.head_size != largest.head_size) continue;
    const int64_t splits = max_splits(variant.kind, chunk);
    if (splits == 1) continue;
    heads =
        std::max(heads, std::min(splits * output_heads(largest), kMaxSplitCtas * variant.tile_q));
  }
  return partial_bytes(heads, largest.head_size);
}

std::vector<KernelRequest> attention_kernels(int sm, int64_t head_size) {
  check_head_size(head_size);
  std::vector<KernelRequest> requests;
  for (const AttentionVariant& variant : kAttentionVariants) {
    const bool wanted = variant.head_size == 0 || variant.head_size == head_size;
    if (wanted && runs_on(variant, sm)) {
      // Tiles may be spread; combine has static shared memory, which counts too.
      const bool has_tile = variant.head_size != 0;
      requests.push_back({variant.name, has_tile ? sm_facts(sm).shared_per_block : 0});
    }
  }
  return requests;
}

void launch_attention(const CudaDriver& driver, const KernelSet& kernels, const AttentionPlan& plan,
                      AttentionParams params, const void* kv_cache_in, void* workspace,
                      CUstream stream) {
  copy_cache(driver, params, kv_cache_in, stream);
  if (plan.variant == nullptr) return;
  params.partials = plan.splits == 1 ? nullptr : static_cast<float*>(workspace);
  params.splits = plan.splits;
  const AttentionProblem problem{params.mode,        params.batch,        params.q_len,
                                 params.num_q_heads, params.num_kv_heads, params.head_size,
                                 params.capacity};
  const auto launch = [&](const AttentionVariant& variant, const Grid& grid, int64_t shared_bytes) {
    launch_variant(driver, kernels, variant, grid, shared_bytes, params, plan.order, stream);
  };
  if (plan.variant->kind == AttentionKind::kPrefill) {
    const AttentionVariant& append = untiled_variant(AttentionKind::kAppend);
    launch(append, {ceil_div(append_items(problem), append.threads), problem.batch},
           append.shared_bytes);
    launch(*plan.variant, {problem.num_q_heads * plan.splits, plan.row_tiles, problem.batch},
           plan.shared_bytes);
  } else {
    launch(*plan.variant, {plan.row_tiles * problem.num_kv_heads, plan.splits, problem.batch},
           plan.shared_bytes);
  }
  if (plan.splits == 1) return;
  const AttentionVariant& combine = untiled_variant(AttentionKind::kCombine);
  const int64_t heads = combined_heads(combine.threads, params.head_size, plan.splits);
  launch(combine, {ceil_div(output_heads(problem), heads)}, combine.shared_bytes);
}

}  // namespace edge_llm
