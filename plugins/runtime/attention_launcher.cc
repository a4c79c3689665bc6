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

// CTAs per multiprocessor that splitting the KV range aims at: decode waits for K and V from
// memory, and a second CTA doubles the loads in flight.
constexpr int64_t kSplitCtasPerSm = 2;

// Slots that a split of a full cache has at least, so that filling the pipeline and merging the
// partial results stay small beside the work.
constexpr int64_t kMinSplitSlots = 128;

// CTAs of a split grid, whatever the device: this bounds the workspace for engines that are built
// on one GPU and run on another. Twice the multiprocessors of the largest SM of the table is 376.
constexpr int64_t kMaxSplitCtas = 512;

constexpr int64_t kMaxTreeTokens = 128;  // bits of a row of the mask in the decode kernels
constexpr int64_t kMaxGroup = 16;        // Q heads of a KV head
constexpr int64_t kMaxGridYZ = 65535;
constexpr int64_t kMaxTokens = int64_t{1} << 22;  // 32-bit indices in the kernels, with room
constexpr int64_t kMaxAppendChunks = std::numeric_limits<int32_t>::max();
constexpr int64_t kChunkValues = 8;  // of a thread of the append kernel

const AttentionVariant& untiled_variant(AttentionKind kind) {
  return *std::find_if(std::begin(kAttentionVariants), std::end(kAttentionVariants),
                       [&](const AttentionVariant& variant) { return variant.kind == kind; });
}

bool serves(const AttentionVariant& variant, AttentionKind kind, int64_t head_size) {
  return variant.kind == kind && variant.head_size == head_size;
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

int64_t append_chunks(const AttentionProblem& problem) {
  return problem.q_len * 2 * problem.num_kv_heads * problem.head_size / kChunkValues;
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
  if (append_chunks(problem) > kMaxAppendChunks) {
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

const AttentionVariant& prefill_variant(int64_t head_size) {
  return *std::find_if(std::begin(kAttentionVariants), std::end(kAttentionVariants),
                       [&](const AttentionVariant& variant) {
                         return serves(variant, AttentionKind::kPrefill, head_size);
                       });
}

// The decode variant with the least rows that hold those of one KV head, else the most rows: these
// read K and V least often.
const AttentionVariant& decode_variant(int64_t head_size, int64_t rows) {
  const AttentionVariant* best = nullptr;
  for (const AttentionVariant& variant : kAttentionVariants) {
    if (!serves(variant, AttentionKind::kDecode, head_size)) continue;
    const bool better =
        best == nullptr ||
        (best->tile_q < rows ? variant.tile_q > best->tile_q
                             : variant.tile_q >= rows && variant.tile_q < best->tile_q);
    if (better) best = &variant;
  }
  return *best;
}

// Rows of one KV head in a decode variant.
int64_t decode_rows(const AttentionProblem& problem) { return problem.q_len * group(problem); }

// A chunk whose rows fit into one tile gains from the split KV range, as a decode step does.
bool decodes(const AttentionProblem& problem, const AttentionVariant& decode) {
  if (problem.mode == AttentionMode::kPrefill) return false;
  if (problem.mode == AttentionMode::kChunkedPrefill) {
    return decode_rows(problem) <= decode.tile_q && problem.q_len <= kMaxTreeTokens;
  }
  return true;
}

// Upper limit of the splits, apart from the device.
int64_t max_splits(int64_t capacity) {
  return std::max<int64_t>(1, std::min<int64_t>(kMaxAttentionSplits, capacity / kMinSplitSlots));
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

  const AttentionVariant& decode = decode_variant(problem.head_size, decode_rows(problem));
  if (decodes(problem, decode)) {
    plan.variant = &decode;
    plan.row_tiles = ceil_div(decode_rows(problem), decode.tile_q);
    const int64_t ctas = plan.row_tiles * problem.num_kv_heads * problem.batch;
    const int64_t wanted = std::min(kSplitCtasPerSm * device.sm_count, kMaxSplitCtas) / ctas;
    plan.splits =
        static_cast<int>(std::max<int64_t>(1, std::min(wanted, max_splits(problem.capacity))));
  } else {
    plan.variant = &prefill_variant(problem.head_size);
    plan.row_tiles = ceil_div(problem.q_len, plan.variant->tile_q);
    check_range("tiles of q_len", plan.row_tiles, 1, kMaxGridYZ);
  }
  if (plan.variant->shared_bytes > sm_facts(device.sm).shared_per_block) {
    fail(plan.variant->name, " needs ", plan.variant->shared_bytes, " bytes of shared memory, and ",
         "SM ", device.sm, " has ", sm_facts(device.sm).shared_per_block, "; change its row in ",
         "kernels/variants.bzl");
  }
  plan.second = dependent_order(device.sm);
  if (plan.splits > 1) {
    plan.workspace_bytes = partial_bytes(plan.splits * output_heads(problem), problem.head_size);
  }
  return plan;
}

int64_t attention_workspace_bound(const AttentionProblem& largest) {
  check_problem(largest);
  // Only the decode variants split, and they take no more tokens than a tree.
  AttentionProblem decoded = largest;
  decoded.q_len = std::min(largest.q_len, kMaxTreeTokens);
  const AttentionVariant& tallest = decode_variant(largest.head_size, decode_rows(decoded));
  const int64_t splits = max_splits(largest.capacity);
  if (splits == 1) return 0;
  // splits * CTAs <= kMaxSplitCtas, and a CTA has at most the rows of the tallest tile.
  const int64_t heads = std::min(splits * output_heads(decoded), kMaxSplitCtas * tallest.tile_q);
  return partial_bytes(heads, largest.head_size);
}

std::vector<KernelRequest> attention_kernels(int sm, int64_t head_size) {
  check_head_size(head_size);
  std::vector<KernelRequest> requests;
  for (const AttentionVariant& variant : kAttentionVariants) {
    const bool wanted = variant.head_size == 0 || variant.head_size == head_size;
    if (wanted && variant.shared_bytes <= sm_facts(sm).shared_per_block) {
      requests.push_back({variant.name, variant.shared_bytes});
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
  if (plan.variant->kind == AttentionKind::kPrefill) {
    const AttentionVariant& append = untiled_variant(AttentionKind::kAppend);
    launch_variant(driver, kernels, append,
                   {ceil_div(append_chunks(problem), append.threads), problem.batch}, params,
                   stream);
    launch_variant(driver, kernels, *plan.variant,
                   {problem.num_q_heads, plan.row_tiles, problem.batch}, params, stream,
                   plan.second);
    return;
  }
  launch_variant(driver, kernels, *plan.variant,
                 {plan.row_tiles * problem.num_kv_heads, plan.splits, problem.batch}, params,
                 stream);
  if (plan.splits == 1) return;
  launch_variant(driver, kernels, untiled_variant(AttentionKind::kCombine), {output_heads(problem)},
                 params, stream, plan.second);
}

}  // namespace edge_llm
