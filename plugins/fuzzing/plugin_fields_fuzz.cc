// What a plugin is created from: fields of any name, type, length and value.
#include "plugins/fuzzing/host_calls.h"

namespace edge_llm::fuzzing {
namespace {

[[maybe_unused]] const bool kSilent = silence_log();

// Owns what the fields point to.
struct DrawnFields {
  DrawnFields() = default;
  DrawnFields(const DrawnFields&) = delete;

  std::vector<std::string> names;
  std::vector<std::vector<int32_t>> values;
  std::vector<abi::PluginField> list;
};

// The configuration's fields, up to three of them changed, and some of any other name.
template <typename Config>
void draw(Choices& choices, DrawnFields& drawn) {
  const size_t known = std::size(Config::kFields);
  const size_t count = choices.below(8) != 0 ? known : choices.below(2 * known);
  drawn.names.reserve(count);
  drawn.values.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const bool any_name = choices.below(16) == 1;
    const size_t which = choices.below(16) == 1 ? choices.below(known) : i % known;
    drawn.names.emplace_back(any_name ? std::string(choices.text(choices.below(9)))
                                      : Config::kFields[which].name);
    drawn.values.push_back({static_cast<int32_t>(choices.value<int8_t>())});
    if (choices.below(2)) drawn.values.back()[0] *= 64;
    if (choices.below(16) == 1) drawn.values.back()[0] = choices.value<int32_t>();
    abi::PluginField field{drawn.names.back().c_str(), drawn.values.back().data(),
                           abi::PluginFieldType::kInt32, 1};
    if (choices.below(16) == 1) {
      field.type = static_cast<abi::PluginFieldType>(choices.value<uint8_t>());
    }
    if (choices.below(16) == 1) field.length = choices.value<int32_t>();
    if (choices.below(32) == 1) field.data = nullptr;
    if (choices.below(32) == 1) field.name = nullptr;
    drawn.list.push_back(field);
  }
}

// The value of the one field of this name; an optional one may be missing.
template <typename Config>
void require_values(const Config& config, const DrawnFields& drawn) {
  for (const auto& [name, member, required] : Config::kFields) {
    int found = 0;
    for (const abi::PluginField& field : drawn.list) {
      if (field.name == nullptr || std::string(name) != field.name) continue;
      ++found;
      require(*static_cast<const int32_t*>(field.data) == config.*member, "another value");
    }
    require(found == 1 || (found == 0 && !required), "a field is missing or doubled");
  }
}

template <typename Op>
void create(Choices& choices) {
  using Config = typename Op::Config;
  DrawnFields drawn;
  draw<Config>(choices, drawn);
  const abi::PluginFieldCollection fields{static_cast<int32_t>(drawn.list.size()),
                                          drawn.list.data()};
  CreatorV2<abi::v10, Op> creator_2;
  CreatorV3<Op> creator_3("2");
  auto* plugin_2 = static_cast<PluginV2<abi::v10, Op>*>(creator_2.createPlugin("layer", &fields));
  if (plugin_2 == nullptr) require_refusal("createPlugin");
  auto* plugin_3 = static_cast<PluginV3<Op>*>(
      creator_3.createPlugin("layer", &fields, abi::TensorRTPhase::kBuild));
  require((plugin_2 == nullptr) == (plugin_3 == nullptr), "one version alone was created");
  if (plugin_3 == nullptr) return require_refusal("createPlugin");
  const Op op(read_fields<Config>(plugin_3->getFieldsToSerialize()));
  require_values(op.config(), drawn);
  plugin_2->destroy();
  drive(*plugin_3, op, choices);
  delete plugin_3;
}

}  // namespace
}  // namespace edge_llm::fuzzing

void fuzzing::fuzz(std::string_view input) {
  Choices choices(input);
  if (choices.value<uint8_t>() & 1) {
    edge_llm::fuzzing::create<edge_llm::AttentionOp>(choices);
  } else {
    edge_llm::fuzzing::create<edge_llm::Int4GemmOp>(choices);
  }
}

std::vector<std::string> fuzzing::seeds() {
  // Count; of each field: its name twice, value, factor, and whether it is odd.
  const auto field = [](char value, char factor) {
    return std::string(4, '\0') + std::string{value, factor} + std::string(11, '\0');
  };
  const std::string count("\1\0", 2), rest(60, '\1');
  return {
      "\1" + count + field(4, 0) + field(2, 0) + field(1, 1) + field(1, 0) + field(0, 0) + rest,
      std::string("\0", 1) + count + field(4, 1) + field(3, 1) + field(2, 1) + rest,
  };
}
