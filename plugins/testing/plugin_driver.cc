#include "plugins/testing/plugin_driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <stdexcept>

#include "plugins/testing/symbolic_shapes.h"
#include "plugins/testing/virtual_slots.h"

namespace edge_llm::testing {
namespace {

// The fields as a creator takes them; points into `fields`.
struct PackedFields {
  explicit PackedFields(const Fields& fields) {
    for (const auto& [name, value] : fields.values) {
      list.push_back({name.c_str(), &value, abi::PluginFieldType::kInt32, 1});
    }
    collection = {static_cast<int32_t>(list.size()), list.data()};
  }
  PackedFields(const PackedFields&) = delete;

  std::vector<abi::PluginField> list;
  abi::PluginFieldCollection collection;
};

std::vector<std::string> names_of(const abi::PluginFieldCollection* fields) {
  std::vector<std::string> names;
  for (int32_t i = 0; i < fields->nbFields; ++i) names.push_back(fields->fields[i].name);
  return names;
}

template <typename Dims>
Dims dims_of(const std::vector<int64_t>& shape) {
  Dims dims{static_cast<int32_t>(shape.size()), {}};
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

template <typename Abi>
std::vector<typename Abi::PluginTensorDesc> descs_of(const Tensors& tensors) {
  std::vector<typename Abi::PluginTensorDesc> descs;
  for (const Tensor& t : tensors) {
    descs.push_back({dims_of<typename Abi::Dims>(t.shape), t.type, t.format, 1.0f});
  }
  return descs;
}

// As a builder gives them: extents of the description unknown, known by their maximum.
template <typename Abi>
std::vector<typename Abi::DynamicPluginTensorDesc> dynamic_descs_of(const Tensors& tensors) {
  std::vector<typename Abi::DynamicPluginTensorDesc> dynamic;
  for (const auto& desc : descs_of<Abi>(tensors)) {
    typename Abi::DynamicPluginTensorDesc d{};
    d.desc = desc;
    std::fill(d.desc.dims.d, d.desc.dims.d + std::max(0, desc.dims.nbDims), -1);
    d.min = d.max = desc.dims;
    dynamic.push_back(d);
  }
  return dynamic;
}

std::vector<abi::DataType> types_of(const Tensors& tensors) {
  std::vector<abi::DataType> types;
  for (const Tensor& tensor : tensors) types.push_back(tensor.type);
  return types;
}

// An IPluginV2DynamicExt of one major.
template <typename Abi>
class PluginV2 : public Plugin {
 public:
  // Slots of the creator; that of major 8 begins elsewhere.
  static constexpr int kCreatorShift = Abi::kMajor == 8 ? -3 : 0;

  static void* creator(const std::string& library, const std::string& plugin) {
    return find_creator(library, Abi::kMajor, plugin, "1");
  }
  static std::unique_ptr<Plugin> create(const std::string& library, const Fields& fields) {
    const PackedFields packed(fields);
    void* owner = creator(library, fields.plugin);
    return wrap(owner, call<void*>(owner, 7 + kCreatorShift, "layer", &packed.collection));
  }
  static std::unique_ptr<Plugin> deserialize(void* owner, const std::vector<char>& data) {
    return wrap(owner, call<void*>(owner, 8 + kCreatorShift, "layer", data.data(), data.size()));
  }

  ~PluginV2() override { call<void>(object_, 13); }
  std::string name() override { return call<const char*>(object_, 1); }
  std::string version() override { return call<const char*>(object_, 2); }
  std::string plugin_namespace() override { return call<const char*>(object_, 16); }
  int outputs() override { return call<int32_t>(object_, 3); }
  std::vector<abi::DataType> output_types(const Tensors& tensors) override {
    const std::vector<abi::DataType> inputs = types_of(tensors);
    std::vector<abi::DataType> types;
    for (int i = 0; i < outputs(); ++i) {
      types.push_back(call<abi::DataType>(object_, 19, i, inputs.data(), input_count(tensors)));
    }
    return types;
  }
  bool attach() override { return call<int32_t>(object_, 7) == 0; }
  std::unique_ptr<Plugin> clone() override { return wrap(creator_, call<void*>(object_, 14)); }
  std::vector<std::string> output_shapes(const std::vector<int>& ranks) override {
    SymbolicShapes<Abi> symbolic(ranks);
    abi::ExprBuilder<Abi> builder(&symbolic);
    std::vector<std::string> shapes;
    for (int i = 0; i < outputs(); ++i) {
      const auto shape = call<abi::DimsExprs<Abi>>(object_, 25 + kShift, i, symbolic.inputs(),
                                                   static_cast<int32_t>(ranks.size()), &builder);
      if (shape.nbDims < 0) return {};
      shapes.push_back(symbolic.text(shape));
    }
    return shapes;
  }
  bool supports(int position, const Tensors& tensors) override {
    return call<bool>(object_, 26 + kShift, position, descs_of<Abi>(tensors).data(),
                      input_count(tensors), outputs());
  }
  void configure(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    const int inputs = input_count(tensors);
    call<void>(object_, 27 + kShift, &d[0], inputs, &d[inputs], outputs());
  }
  size_t workspace(const Tensors& tensors) override {
    const auto d = descs_of<Abi>(tensors);
    const int inputs = input_count(tensors);
    return call<size_t>(object_, 28 + kShift, &d[0], inputs, &d[inputs], outputs());
  }
  int enqueue(const Tensors& tensors, const Pointers& p) override {
    const auto d = descs_of<Abi>(tensors);
    return call<int32_t>(object_, 29 + kShift, &d[0], &d[input_count(tensors)], p.inputs.data(),
                         p.outputs.data(), p.workspace, p.stream);
  }
  std::vector<char> engine_data() {
    const size_t size = call<size_t>(object_, 11);
    std::vector<char> data(size + 8, 'x');
    call<void>(object_, 12, data.data());
    if (std::string(data.begin() + size, data.end()) != std::string(8, 'x')) {
      throw std::runtime_error("serialize() wrote more than getSerializationSize() bytes");
    }
    data.resize(size);
    return data;
  }
  std::unique_ptr<Plugin> stored_and_restored() override {
    return deserialize(creator_, engine_data());
  }

 private:
  static constexpr int kShift = Abi::kMajor == 11 ? -2 : 0;  // 11 dropped two slots in the middle

  PluginV2(void* creator, void* object) : creator_(creator), object_(object) {}
  static std::unique_ptr<Plugin> wrap(void* creator, void* object) {
    return std::unique_ptr<Plugin>(object ? new PluginV2(creator, object) : nullptr);
  }
  int input_count(const Tensors& tensors) { return static_cast<int>(tensors.size()) - outputs(); }

  void* creator_;
  void* object_;
};

// An IPluginV3 with its three capabilities.
class PluginV3 : public Plugin {
 public:
  using Abi = abi::v10;

  static std::unique_ptr<Plugin> create(void* creator, const abi::PluginFieldCollection* fields,
                                        int phase) {
    return wrap(creator, call<void*>(creator, 4, "layer", fields, phase));
  }

  ~PluginV3() override { destroy(); }
  std::string name() override { return call<const char*>(core(), 4); }
  std::string version() override { return call<const char*>(core(), 5); }
  std::string plugin_namespace() override { return call<const char*>(core(), 6); }
  int outputs() override { return call<int32_t>(build(), 8); }
  std::vector<abi::DataType> output_types(const Tensors& tensors) override {
    const std::vector<abi::DataType> inputs = types_of(tensors);
    std::vector<abi::DataType> types(outputs(), abi::DataType::kBool);
    call<int32_t>(build(), 5, types.data(), outputs(), inputs.data(), input_count(tensors));
    return types;
  }
  bool attach() override {
    void* attached = call<void*>(runtime(), 7, nullptr);
    if (attached == nullptr) return false;
    destroy();
    object_ = attached;
    return true;
  }
  std::unique_ptr<Plugin> clone() override { return wrap(creator_, call<void*>(object_, 5)); }
  std::vector<std::string> output_shapes(const std::vector<int>& ranks) override {
    SymbolicShapes<Abi> symbolic(ranks);
    abi::ExprBuilder<Abi> builder(&symbolic);
    std::vector<abi::DimsExprs<Abi>> dims(outputs(), {-1, {}});
    const int status =
        call<int32_t>(build(), 6, symbolic.inputs(), static_cast<int32_t>(ranks.size()), nullptr, 0,
                      dims.data(), outputs(), &builder);
    std::vector<std::string> shapes;
    for (const auto& shape : dims) shapes.push_back(symbolic.text(shape));
    return status == 0 ? shapes : std::vector<std::string>{};
  }
  bool supports(int position, const Tensors& tensors) override {
    return call<bool>(build(), 7, position, dynamic_descs_of<Abi>(tensors).data(),
                      input_count(tensors), outputs());
  }
  void configure(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    const int inputs = input_count(tensors);
    call<int32_t>(build(), 4, &d[0], inputs, &d[inputs], outputs());
  }
  size_t workspace(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    const int inputs = input_count(tensors);
    return call<size_t>(build(), 9, &d[0], inputs, &d[inputs], outputs());
  }
  int enqueue(const Tensors& tensors, const Pointers& p) override {
    const auto d = descs_of<Abi>(tensors);
    const int inputs = input_count(tensors);
    const int32_t refused =
        call<int32_t>(runtime(), 5, &d[0], inputs, &d[inputs], outputs());  // onShapeChange
    const int32_t status = call<int32_t>(runtime(), 6, &d[0], &d[inputs], p.inputs.data(),
                                         p.outputs.data(), p.workspace, p.stream);
    if (refused != 0 && status == 0) throw std::logic_error("enqueue took refused shapes");
    return status;
  }
  std::unique_ptr<Plugin> stored_and_restored() override {
    const auto* fields = call<const abi::PluginFieldCollection*>(runtime(), 8);
    return create(creator_, fields, 1);
  }
  int build_edition() override { return call<abi::InterfaceInfo>(build(), 1).major; }
  int aliased_input(int output) override {
    return build_edition() < 2 ? -1 : call<int32_t>(build(), 15, output);
  }

 private:
  PluginV3(void* creator, void* object) : creator_(creator), object_(object) {}
  static std::unique_ptr<Plugin> wrap(void* creator, void* object) {
    return std::unique_ptr<Plugin>(object ? new PluginV3(creator, object) : nullptr);
  }
  void destroy() { call<void>(object_, 3); }  // the deleting destructor
  void* core() { return call<void*>(object_, 4, 0); }
  void* build() { return call<void*>(object_, 4, 1); }
  void* runtime() { return call<void*>(object_, 4, 2); }
  int input_count(const Tensors& tensors) { return static_cast<int>(tensors.size()) - outputs(); }

  void* creator_;
  void* object_;
};

template <typename Abi>
Interface interface_v2(const std::string& library) {
  using Layout = PluginV2<Abi>;
  constexpr int kShift = Layout::kCreatorShift;
  return {"V2 of TensorRT " + std::to_string(Abi::kMajor), "1",
          [=](const Fields& fields) { return Layout::create(library, fields); },
          [=](const std::string& plugin, const char* plugin_namespace) {
            call<void>(Layout::creator(library, plugin), 9 + kShift, plugin_namespace);
          },
          [=](const std::string& plugin) {
            return names_of(call<const abi::PluginFieldCollection*>(
                Layout::creator(library, plugin), 6 + kShift));
          }};
}

Interface interface_v3(const std::string& library, const std::string& name, int major,
                       const std::string& version) {
  return {name, version,
          [=](const Fields& fields) {
            const PackedFields packed(fields);
            return PluginV3::create(find_creator(library, major, fields.plugin, version),
                                    &packed.collection, 0);
          },
          nullptr,
          [=](const std::string& plugin) {
            return names_of(call<const abi::PluginFieldCollection*>(
                find_creator(library, major, plugin, version), 5));
          }};
}

}  // namespace

void* find_symbol(const std::string& library, const char* name) {
  void* handle = dlopen(library.c_str(), RTLD_NOW);
  void* address = handle == nullptr ? nullptr : dlsym(handle, name);
  if (address == nullptr) throw std::runtime_error(dlerror());
  return address;
}

Fields Fields::with(const std::string& name, int32_t value) const {
  Fields changed = *this;
  for (auto& field : changed.values) {
    if (field.first == name) {
      field.second = value;
      return changed;
    }
  }
  changed.values.emplace_back(name, value);
  return changed;
}

Pointers::Pointers(int input_count, int output_count) {
  uintptr_t address = 0;
  const auto next = [&] { return reinterpret_cast<void*>(address += 0x1000000); };
  for (int i = 0; i < input_count; ++i) inputs.push_back(next());
  for (int i = 0; i < output_count; ++i) outputs.push_back(next());
  workspace = next();
}

std::vector<Interface> all_interfaces(const std::string& library) {
  constexpr int kUnknownMajor = 1;
  return {interface_v2<abi::v8>(library),
          interface_v2<abi::v10>(library),
          interface_v2<abi::v11>(library),
          interface_v3(library, "V3 of TensorRT 10", 10, "2"),
          interface_v3(library, "V3 of TensorRT 11", 11, "2"),
          interface_v3(library, "V3 as version 1", kUnknownMajor, "1"),
          interface_v3(library, "V3 as version 2", kUnknownMajor, "2")};
}

std::vector<char> v2_engine_data(const std::string& library, const Fields& fields) {
  const auto plugin = PluginV2<abi::v10>::create(library, fields);
  return static_cast<PluginV2<abi::v10>&>(*plugin).engine_data();
}

std::unique_ptr<Plugin> v2_deserialize(const std::string& library, const std::string& plugin,
                                       const std::vector<char>& data) {
  using Layout = PluginV2<abi::v10>;
  return Layout::deserialize(Layout::creator(library, plugin), data);
}

}  // namespace edge_llm::testing
