// What a version "1" plugin is restored from: any bytes, and any configuration with a right
// checksum.
#include <cstring>

#include "plugins/fuzzing/host_calls.h"

namespace edge_llm::fuzzing {
namespace {

[[maybe_unused]] const bool kSilent = silence_log();

template <typename Abi, typename Op>
std::string stored(const abi::PluginV2Head<Abi>& plugin) {
  std::string data(plugin.getSerializationSize(), '\0');
  plugin.serialize(data.data());
  return data;
}

template <typename Abi, typename Op>
void restore(std::string_view data, Choices& choices) {
  CreatorV2<Abi, Op> creator;
  auto* restored = static_cast<PluginV2<Abi, Op>*>(
      creator.deserializePlugin("layer", data.empty() ? nullptr : data.data(), data.size()));
  if (restored == nullptr) return require_refusal("deserializePlugin");
  require(stored<Abi, Op>(*restored) == data, "other engine data than it was restored from");
  auto* clone = static_cast<PluginV2<Abi, Op>*>(restored->clone());
  require(stored<Abi, Op>(*clone) == data, "a clone has other engine data");
  restored->destroy();
  drive(*clone, Op(read_engine_data<typename Op::Config>(data.data(), data.size())), choices);
  clone->destroy();
}

// A configuration of the input's bytes in a right frame.
template <typename Op>
std::string framed(Choices& choices) {
  typename Op::Config config;
  const std::string_view bytes = choices.text(sizeof(config));
  if (!bytes.empty()) std::memcpy(&config, bytes.data(), bytes.size());
  std::string data(kEngineDataSize<typename Op::Config>, '\0');
  write_engine_data(config, data.data());
  return data;
}

template <typename Op>
void fuzz_operation(Choices& choices) {
  const uint8_t kind = choices.value<uint8_t>();
  const std::string data = kind & 1 ? framed<Op>(choices) : std::string(choices.rest());
  switch (kind >> 1 & 3) {
    case 0:
      return restore<abi::v8, Op>(data, choices);
    case 1:
      return restore<abi::v10, Op>(data, choices);
    default:
      return restore<abi::v11, Op>(data, choices);
  }
}

template <typename Config>
std::string bytes_of(const Config& config) {
  return {reinterpret_cast<const char*>(&config), sizeof(config)};
}

}  // namespace
}  // namespace edge_llm::fuzzing

void fuzzing::fuzz(std::string_view input) {
  Choices choices(input);
  if (choices.value<uint8_t>() & 1) {
    edge_llm::fuzzing::fuzz_operation<edge_llm::AttentionOp>(choices);
  } else {
    edge_llm::fuzzing::fuzz_operation<edge_llm::Int4GemmOp>(choices);
  }
}

std::vector<std::string> fuzzing::seeds() {
  using edge_llm::fuzzing::bytes_of;
  const edge_llm::AttentionConfig attention{4, 2, 64, 1, 0};
  const edge_llm::Int4GemmConfig gemm{256, 192, 128};
  std::string data(edge_llm::kEngineDataSize<edge_llm::AttentionConfig>, '\0');
  edge_llm::write_engine_data(attention, data.data());
  std::vector<std::string> seeds = {std::string("\1\0", 2) + data};
  for (const char kind : {1, 3, 5}) {
    seeds.push_back(std::string{1, kind} + bytes_of(attention) + std::string(40, '\1'));
    seeds.push_back(std::string{0, kind} + bytes_of(gemm) + std::string(40, '\2'));
  }
  return seeds;
}
