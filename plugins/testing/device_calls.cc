#include "plugins/testing/device_calls.h"

#include <cmath>
#include <cstring>
#include <random>

namespace edge_llm::testing {
namespace {

constexpr auto kFloat = abi::DataType::kFloat;
constexpr auto kInt8 = abi::DataType::kInt8;
constexpr auto kInt32 = abi::DataType::kInt32;

// One tile of a long k: every device splits it.
constexpr int64_t kN = 8, kK = 16384;
// Slots enough for two splits of a chunk and eight of a decode step.
constexpr int64_t kQHeads = 4, kKvHeads = 2, kHeadSize = 64, kSlots = 512, kPositions = 512;
constexpr int64_t kPast = 300;
constexpr char kPattern = '\x5a';

enum Mode { kPrefill, kChunk, kDecode, kTree };  // as edge_llm_plugins_attention_variant counts

size_t bytes_of(const Tensor& tensor) {
  size_t bytes = tensor.type == kInt8 ? 1 : tensor.type == abi::DataType::kHalf ? 2 : 4;
  for (const int64_t extent : tensor.shape) bytes *= static_cast<size_t>(extent);
  return bytes;
}

template <typename T>
Bytes as_bytes(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Multiples of 1/16 from -1 to 1, for a tensor of f16.
Bytes random_halves(const Tensor& tensor, std::mt19937& random) {
  std::vector<uint16_t> values(bytes_of(tensor) / 2);
  for (uint16_t& value : values) {
    const int number = static_cast<int>(random() % 33) - 16;
    const uint16_t sixteenths = number == 0 ? 0 : half_of(std::abs(number)) - (4 << 10);
    value = static_cast<uint16_t>(sixteenths | (number < 0 ? 0x8000 : 0));
  }
  return as_bytes(values);
}

Bytes rope_table() {
  std::vector<float> table;
  for (int position = 0; position < kPositions; ++position) {
    for (int column = 0; column < kHeadSize; ++column) {
      const float angle =
          static_cast<float>(position) / static_cast<float>(1 + column % (kHeadSize / 2));
      table.push_back(column < kHeadSize / 2 ? std::cos(angle) : std::sin(angle));
    }
  }
  return as_bytes(table);
}

DeviceCall int4_call(const std::string& name, const std::string& variant, int64_t m) {
  DeviceCall call{
      name,       0,     {{{1, m, kK}}, {{kN / 2, kK}, kInt8}, {{kK / 128, kN}}, {{1, m, kN}}},
      {},         false, variant,
      {m, kN, kK}};
  std::mt19937 random(static_cast<unsigned>(m));
  Bytes weights(bytes_of(call.tensors[1]));
  for (char& byte : weights) byte = static_cast<char>(random());
  call.inputs = {random_halves(call.tensors[0], random), weights,
                 random_halves(call.tensors[2], random)};
  return call;
}

// `lengths` and `start` per row; no start for prefill. A tree of tokens that all see one another.
DeviceCall attention_call(const std::string& name, const std::string& variant, Mode mode, int64_t s,
                          const std::vector<int32_t>& lengths, const std::vector<int32_t>& start,
                          bool in_place) {
  const auto b = static_cast<int64_t>(lengths.size());
  const Tensor cache{{b, 2, kKvHeads, kSlots, kHeadSize}};
  DeviceCall call{name,
                  mode == kTree ? 2u : 1u,
                  {{{b, s, (kQHeads + 2 * kKvHeads) * kHeadSize}},
                   cache,
                   {{b}, kInt32},
                   {{1, kPositions, kHeadSize}, kFloat},
                   {{static_cast<int64_t>(start.size())}, kInt32}},
                  {},
                  in_place,
                  variant,
                  {mode, b, s, kQHeads, kKvHeads, kHeadSize, kSlots}};
  std::mt19937 random(static_cast<unsigned>(mode));
  call.inputs = {random_halves(call.tensors[0], random), random_halves(cache, random),
                 as_bytes(lengths), rope_table(), as_bytes(start)};
  if (mode == kTree) {
    call.tensors.push_back({{b, s, 1}, kInt32});
    call.tensors.push_back({{b, s}, kInt32});
    call.inputs.push_back(as_bytes(std::vector<int32_t>(b * s, (1 << s) - 1)));
    call.inputs.push_back(as_bytes(std::vector<int32_t>(b * s, kPast)));
  }
  call.tensors.push_back({{b, s, kQHeads, kHeadSize}});
  call.tensors.push_back(cache);
  return call;
}

}  // namespace

const std::vector<Fields>& fields_of_device_calls() {
  static const auto* all = [] {
    const Fields attention{"AttentionPlugin",
                           {{"num_q_heads", kQHeads},
                            {"num_kv_heads", kKvHeads},
                            {"head_size", kHeadSize},
                            {"enable_tree_attention", 0}}};
    return new std::vector<Fields>{
        {"Int4GroupwiseGemmPlugin", {{"gemm_n", kN}, {"gemm_k", kK}, {"group_size", 128}}},
        attention,
        attention.with("enable_tree_attention", 1)};
  }();
  return *all;
}

const std::vector<DeviceCall>& device_calls() {
  static const auto* all = new std::vector<DeviceCall>{
      int4_call("GEMV", "int4_gemv", 1),
      int4_call("GEMM", "int4_wgmma", 20),
      attention_call("prefill", "attention_prefill", kPrefill, 40, {33}, {}, true),
      attention_call("chunked prefill", "attention_prefill", kChunk, 40, {39}, {kPast}, true),
      attention_call("decode", "attention_decode", kDecode, 1, {kPast + 1, 7}, {0, 0}, true),
      attention_call("decode on a copy", "attention_decode", kDecode, 1, {kPast + 1}, {0}, false),
      attention_call("tree decode", "attention_decode", kTree, 5, {kPast + 5}, {0}, true),
  };
  return *all;
}

std::string plan_of(const DeviceCall& call, int sm, int sm_count) {
  char plan[256] = "";
  const std::vector<int64_t>& p = call.problem;
  if (call.plugin == 0) {
    const auto variant = symbol<int (*)(int64_t, int64_t, int64_t, int, int, char*, int64_t)>(
        kLibrary, "edge_llm_plugins_int4_gemm_variant");
    ASSERT_EQ(variant(p[0], p[1], p[2], sm, sm_count, plan, sizeof(plan)), 0);
  } else {
    const auto variant =
        symbol<int (*)(int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int, int, char*,
                       int64_t)>(kLibrary, "edge_llm_plugins_attention_variant");
    ASSERT_EQ(variant(static_cast<int>(p[0]), p[1], p[2], p[3], p[4], p[5], p[6], sm, sm_count,
                      plan, sizeof(plan)),
              0);
  }
  return plan;
}

std::vector<int> served_devices() {
  std::vector<int> served;
  const int devices = use_emulator();
  for (int device = 0; device < devices; ++device) {
    use_device(device);
    if (all_interfaces(kLibrary)[0].create(fields_of_device_calls()[0])->attach()) {
      served.push_back(device);
    }
  }
  ASSERT_TRUE(!served.empty());
  return served;
}

CallBuffers::CallBuffers(const DeviceCall& call, size_t workspace_bytes)
    : call_(call), workspace_(Bytes(workspace_bytes, kPattern)) {
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const bool shared = call.in_place && i + 1 == call.tensors.size();
    const Bytes bytes(shared ? 0 : bytes_of(call.tensors[i]), kPattern);
    tensors_.push_back(std::make_unique<DeviceArray<char>>(bytes));
  }
}

void CallBuffers::reset() const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const size_t size = tensors_[i]->size();
    tensors_[i]->write(i < call_.inputs.size() ? call_.inputs[i] : Bytes(size, kPattern));
  }
  workspace_.write(Bytes(workspace_.size(), kPattern));
}

Pointers CallBuffers::pointers(CUstream stream) const {
  const size_t inputs = call_.inputs.size();
  Pointers pointers(static_cast<int>(inputs), static_cast<int>(tensors_.size() - inputs));
  for (size_t i = 0; i < inputs; ++i) pointers.inputs[i] = tensors_[i]->pointer();
  for (size_t i = inputs; i < tensors_.size(); ++i) {
    pointers.outputs[i - inputs] = tensors_[i]->pointer();
  }
  if (call_.in_place) pointers.outputs[1] = tensors_[1]->pointer();
  pointers.workspace = workspace_.pointer();
  pointers.stream = stream;
  return pointers;
}

Bytes CallBuffers::results() const {
  Bytes all;
  for (size_t i = call_.in_place ? 1 : call_.inputs.size(); i < tensors_.size(); ++i) {
    const Bytes bytes = tensors_[i]->values();
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

}  // namespace edge_llm::testing
