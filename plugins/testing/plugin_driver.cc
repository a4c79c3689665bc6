#include "plugins/testing/plugin_driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <stdexcept>

#include "plugins/abi/expressions.h"

namespace edge_llm::testing {
namespace {

template <typename Result, typename... Arguments>
Result call(void* object, int slot, Arguments... arguments) {
  void** slots = *static_cast<void***>(object);
  return reinterpret_cast<Result (*)(void*, Arguments...)>(slots[slot])(object, arguments...);
}

constexpr abi::DataType kInputTypes[] = {abi::DataType::kHalf, abi::DataType::kInt8,
                                         abi::DataType::kHalf};

void* creator(const std::string& library, int major, int index) {
  int count = 0;
  const auto creators =
      symbol<void* const* (*)(int, int*)>(library, "edge_llm_plugins_creators")(major, &count);
  if (index >= count) throw std::runtime_error("the library has too few creators");
  return creators[index];
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

// Symbolic shapes that remember which constants were asked for.
template <typename Abi>
class Expressions : public abi::ExprBuilderImpl<Abi> {
 public:
  using Expr = abi::DimensionExpr<Abi>;

  const Expr* constant(typename Abi::Extent value) override {
    constants_.emplace_back(value, std::make_unique<Expr>(nullptr));
    return constants_.back().second.get();
  }
  const Expr* operation(abi::DimensionOperation, const Expr&, const Expr&) override {
    throw std::logic_error("no operation on extents is expected");
  }

  std::vector<abi::DimsExprs<Abi>> inputs(int x_rank) const {
    return {{x_rank, {&b_, &s_, &other_}}, {2, {&other_, &other_}}, {2, {&other_, &other_}}};
  }
  std::vector<int64_t> read(const abi::DimsExprs<Abi>& shape) const {
    std::vector<int64_t> extents;
    for (int i = 0; i < shape.nbDims; ++i) extents.push_back(read(shape.d[i]));
    return extents;
  }

 private:
  int64_t read(const Expr* expr) const {
    if (expr == &b_) return 0;
    if (expr == &s_) return 1;
    for (const auto& [value, constant] : constants_) {
      if (constant.get() == expr) return value;
    }
    return -1;
  }

  const Expr b_{nullptr}, s_{nullptr}, other_{nullptr};
  std::vector<std::pair<int64_t, std::unique_ptr<Expr>>> constants_;
};

// An IPluginV2DynamicExt of one major.
template <typename Abi>
class PluginV2 : public Plugin {
 public:
  static std::unique_ptr<Plugin> create(const std::string& library, const Fields& fields) {
    return wrap(library, call<void*>(creator(library, Abi::kMajor, 0), 7 + kCreatorShift, "layer",
                                     &fields.collection));
  }
  static std::unique_ptr<Plugin> deserialize(const std::string& library,
                                             const std::vector<char>& data) {
    return wrap(library, call<void*>(creator(library, Abi::kMajor, 0), 8 + kCreatorShift, "layer",
                                     data.data(), data.size()));
  }

  static void set_namespace(const std::string& library, const char* plugin_namespace) {
    call<void>(creator(library, Abi::kMajor, 0), 9 + kCreatorShift, plugin_namespace);
  }

  ~PluginV2() override { call<void>(object_, 13); }
  std::string name() override { return call<const char*>(object_, 1); }
  std::string version() override { return call<const char*>(object_, 2); }
  std::string plugin_namespace() override { return call<const char*>(object_, 16); }
  int outputs() override { return call<int32_t>(object_, 3); }
  abi::DataType output_type() override {
    return call<abi::DataType>(object_, 19, 0, kInputTypes, 3);
  }
  bool attach() override { return call<int32_t>(object_, 7) == 0; }
  std::unique_ptr<Plugin> clone() override { return wrap(library_, call<void*>(object_, 14)); }
  std::vector<int64_t> output_shape(int x_rank) override {
    Expressions<Abi> expressions;
    abi::ExprBuilder<Abi> builder(&expressions);
    const auto inputs = expressions.inputs(x_rank);
    return expressions.read(
        call<abi::DimsExprs<Abi>>(object_, 25 + kShift, 0, inputs.data(), 3, &builder));
  }
  bool supports(int position, const Tensors& tensors) override {
    return call<bool>(object_, 26 + kShift, position, descs_of<Abi>(tensors).data(), 3, 1);
  }
  void configure(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    call<void>(object_, 27 + kShift, &d[0], 3, &d[3], 1);
  }
  size_t workspace(const Tensors& tensors) override {
    const auto d = descs_of<Abi>(tensors);
    return call<size_t>(object_, 28 + kShift, &d[0], 3, &d[3], 1);
  }
  int enqueue(const Tensors& tensors, const Pointers& p) override {
    const auto d = descs_of<Abi>(tensors);
    return call<int32_t>(object_, 29 + kShift, &d[0], &d[3], p.inputs, p.outputs, p.workspace,
                         p.stream);
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
    return deserialize(library_, engine_data());
  }

 private:
  // Major 11 dropped two slots in the middle; the creator of major 8 begins elsewhere.
  static constexpr int kShift = Abi::kMajor == 11 ? -2 : 0;
  static constexpr int kCreatorShift = Abi::kMajor == 8 ? -3 : 0;

  PluginV2(std::string library, void* object) : library_(std::move(library)), object_(object) {}
  static std::unique_ptr<Plugin> wrap(const std::string& library, void* object) {
    return std::unique_ptr<Plugin>(object ? new PluginV2(library, object) : nullptr);
  }

  std::string library_;
  void* object_;
};

// An IPluginV3 with its three capabilities.
class PluginV3 : public Plugin {
 public:
  using Abi = abi::v10;

  PluginV3(void* creator, void* object) : creator_(creator), object_(object) {}
  static std::unique_ptr<Plugin> create(void* creator, const abi::PluginFieldCollection* fields,
                                        int phase) {
    return wrap(creator, call<void*>(creator, 4, "layer", fields, phase));
  }

  ~PluginV3() override { destroy(); }
  std::string name() override { return call<const char*>(core(), 4); }
  std::string version() override { return call<const char*>(core(), 5); }
  std::string plugin_namespace() override { return call<const char*>(core(), 6); }
  int outputs() override { return call<int32_t>(build(), 8); }
  abi::DataType output_type() override {
    abi::DataType type = abi::DataType::kBool;
    call<int32_t>(build(), 5, &type, 1, kInputTypes, 3);
    return type;
  }
  bool attach() override {
    void* attached = call<void*>(runtime(), 7, nullptr);
    if (attached == nullptr) return false;
    destroy();
    object_ = attached;
    return true;
  }
  std::unique_ptr<Plugin> clone() override { return wrap(creator_, call<void*>(object_, 5)); }
  std::vector<int64_t> output_shape(int x_rank) override {
    Expressions<Abi> expressions;
    abi::ExprBuilder<Abi> builder(&expressions);
    const auto inputs = expressions.inputs(x_rank);
    abi::DimsExprs<Abi> shape{-1, {}};
    const int status = call<int32_t>(build(), 6, inputs.data(), 3, nullptr, 0, &shape, 1, &builder);
    return status == 0 ? expressions.read(shape) : std::vector<int64_t>{};
  }
  bool supports(int position, const Tensors& tensors) override {
    return call<bool>(build(), 7, position, dynamic_descs_of<Abi>(tensors).data(), 3, 1);
  }
  void configure(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    call<int32_t>(build(), 4, &d[0], 3, &d[3], 1);
  }
  size_t workspace(const Tensors& tensors) override {
    const auto d = dynamic_descs_of<Abi>(tensors);
    return call<size_t>(build(), 9, &d[0], 3, &d[3], 1);
  }
  int enqueue(const Tensors& tensors, const Pointers& p) override {
    const auto d = descs_of<Abi>(tensors);
    const int32_t refused = call<int32_t>(runtime(), 5, &d[0], 3, &d[3], 1);  // onShapeChange
    const int32_t status =
        call<int32_t>(runtime(), 6, &d[0], &d[3], p.inputs, p.outputs, p.workspace, p.stream);
    if (refused != 0 && status == 0) throw std::logic_error("enqueue took refused shapes");
    return status;
  }
  std::unique_ptr<Plugin> stored_and_restored() override {
    const auto* fields = call<const abi::PluginFieldCollection*>(runtime(), 8);
    return create(creator_, fields, 1);
  }

 private:
  static std::unique_ptr<Plugin> wrap(void* creator, void* object) {
    return std::unique_ptr<Plugin>(object ? new PluginV3(creator, object) : nullptr);
  }
  void destroy() { call<void>(object_, 3); }  // the deleting destructor
  void* core() { return call<void*>(object_, 4, 0); }
  void* build() { return call<void*>(object_, 4, 1); }
  void* runtime() { return call<void*>(object_, 4, 2); }

  void* creator_;
  void* object_;
};

template <typename Abi>
Interface interface_v2(const std::string& library) {
  return {"V2 of TensorRT " + std::to_string(Abi::kMajor), "1",
          [=](const Fields& fields) { return PluginV2<Abi>::create(library, fields); },
          [=](const char* name) { PluginV2<Abi>::set_namespace(library, name); }};
}

Interface interface_v3(const std::string& library, const std::string& name, int major, int index,
                       const char* version) {
  return {name, version,
          [=](const Fields& fields) {
            return PluginV3::create(creator(library, major, index), &fields.collection, 0);
          },
          nullptr};
}

}  // namespace

void* find_symbol(const std::string& library, const char* name) {
  void* handle = dlopen(library.c_str(), RTLD_NOW);
  void* address = handle == nullptr ? nullptr : dlsym(handle, name);
  if (address == nullptr) throw std::runtime_error(dlerror());
  return address;
}

Tensors tensors(int64_t b, int64_t s) {
  return {{{b, s, 192}}, {{4, 192}, abi::DataType::kInt8}, {{2, 8}}, {{b, s, 8}}};
}

std::vector<Interface> all_interfaces(const std::string& library) {
  constexpr int kUnknownMajor = 1;
  return {interface_v2<abi::v8>(library),
          interface_v2<abi::v10>(library),
          interface_v2<abi::v11>(library),
          interface_v3(library, "V3 of TensorRT 10", 10, 1, "2"),
          interface_v3(library, "V3 of TensorRT 11", 11, 1, "2"),
          interface_v3(library, "V3 as version 1", kUnknownMajor, 0, "1"),
          interface_v3(library, "V3 as version 2", kUnknownMajor, 1, "2")};
}

std::vector<char> v2_engine_data(const std::string& library) {
  const auto plugin = PluginV2<abi::v10>::create(library, Fields());
  return static_cast<PluginV2<abi::v10>&>(*plugin).engine_data();
}

std::unique_ptr<Plugin> v2_deserialize(const std::string& library, const std::vector<char>& data) {
  return PluginV2<abi::v10>::deserialize(library, data);
}

}  // namespace edge_llm::testing
