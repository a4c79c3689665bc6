#include "python/bindings/plugin_fields.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace edge_llm::host {
namespace {

size_t element_size(abi::PluginFieldType type) {
  switch (type) {
    case abi::PluginFieldType::kInt8:
    case abi::PluginFieldType::kChar:
    case abi::PluginFieldType::kUnknown:
      return 1;
    case abi::PluginFieldType::kFloat16:
    case abi::PluginFieldType::kInt16:
      return 2;
    case abi::PluginFieldType::kFloat32:
    case abi::PluginFieldType::kInt32:
      return 4;
    case abi::PluginFieldType::kFloat64:
      return 8;
    case abi::PluginFieldType::kDims:
      return sizeof(abi::v10::Dims);
  }
  throw PluginError("field type " + std::to_string(static_cast<int>(type)) + " is not known here");
}

}  // namespace

FieldCollection::FieldCollection(const std::vector<Field>& fields) : owned_(fields) {
  for (const Field& field : owned_) {
    borrowed_.push_back({field.name.c_str(), field.data.data(), field.type, field.length});
  }
  collection_ = {static_cast<int32_t>(borrowed_.size()), borrowed_.data()};
}

FieldCollection::~FieldCollection() {
  for (Field& field : owned_) {
    std::fill(field.name.begin(), field.name.end(), '?');
    std::fill(field.data.begin(), field.data.end(), '\xee');
  }
}

std::vector<Field> from_collection(const abi::PluginFieldCollection& collection) {
  std::vector<Field> fields;
  for (int32_t i = 0; i < collection.nbFields; ++i) {
    const abi::PluginField& field = collection.fields[i];
    std::string data;
    if (field.data != nullptr) {
      data.assign(static_cast<const char*>(field.data), field.length * element_size(field.type));
    }
    fields.push_back({field.name, field.type, std::move(data), field.length});
  }
  return fields;
}

}  // namespace edge_llm::host
