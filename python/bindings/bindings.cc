// The Python module edge_llm_plugins._bindings. python/edge_llm_plugins/host.py is what people use.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "python/bindings/cuda_device.h"
#include "python/bindings/hosted_plugin.h"
#include "python/bindings/plugin_library.h"

namespace py = pybind11;

namespace edge_llm::host {
namespace {

// Calls that reach a device or may wait for one run without the interpreter's lock.
using WithoutGil = py::call_guard<py::gil_scoped_release>;

void write_buffer(DeviceBuffer& buffer, size_t offset, const py::buffer& source) {
  const py::buffer_info info = source.request();
  const size_t size = info.size * info.itemsize;
  const py::gil_scoped_release release;
  buffer.write(offset, info.ptr, size);
}

py::bytes read_buffer(const DeviceBuffer& buffer, size_t offset, size_t size) {
  std::string bytes(size, '\0');
  {
    const py::gil_scoped_release release;
    buffer.read(offset, bytes.data(), size);
  }
  return bytes;
}

void bind_device(py::module_& m) {
  py::register_exception<CudaError>(m, "CudaError", PyExc_RuntimeError);
  m.def("device_count", &device_count, py::arg("driver_path"));
  py::class_<CudaDevice, std::shared_ptr<CudaDevice>>(m, "CudaDevice")
      .def(py::init<const std::string&, int>(), py::arg("driver_path"), py::arg("ordinal"))
      .def_property_readonly("name", &CudaDevice::name)
      .def_property_readonly("sm", &CudaDevice::sm)
      .def_property_readonly("sm_count", &CudaDevice::sm_count);
  py::class_<DeviceBuffer>(m, "DeviceBuffer")
      .def(py::init<std::shared_ptr<CudaDevice>, size_t>(), py::arg("device"), py::arg("size"))
      .def_property_readonly("address", &DeviceBuffer::address)
      .def_property_readonly("size", &DeviceBuffer::size)
      .def("fill", &DeviceBuffer::fill, py::arg("value"), WithoutGil())
      .def("write", &write_buffer, py::arg("offset"), py::arg("source"))
      .def("read", &read_buffer, py::arg("offset"), py::arg("size"))
      .def("copy_pieces", &DeviceBuffer::copy_pieces, py::arg("destination"), py::arg("source"),
           py::arg("size"), py::arg("pitch"), py::arg("rows"), WithoutGil());
  py::class_<Stream>(m, "Stream")
      .def(py::init<std::shared_ptr<CudaDevice>>(), py::arg("device"))
      // The CUstream, to share the stream with another library of the process.
      .def_property_readonly(
          "handle",
          [](const Stream& stream) { return reinterpret_cast<uintptr_t>(stream.handle()); })
      .def("synchronize", &Stream::synchronize, WithoutGil());
}

void bind_values(py::module_& m) {
  py::enum_<abi::DataType>(m, "DataType")
      .value("FLOAT", abi::DataType::kFloat)
      .value("HALF", abi::DataType::kHalf)
      .value("INT8", abi::DataType::kInt8)
      .value("INT32", abi::DataType::kInt32)
      .value("BOOL", abi::DataType::kBool);
  py::enum_<abi::PluginFieldType>(m, "FieldType")
      .value("FLOAT16", abi::PluginFieldType::kFloat16)
      .value("FLOAT32", abi::PluginFieldType::kFloat32)
      .value("FLOAT64", abi::PluginFieldType::kFloat64)
      .value("INT8", abi::PluginFieldType::kInt8)
      .value("INT16", abi::PluginFieldType::kInt16)
      .value("INT32", abi::PluginFieldType::kInt32)
      .value("CHAR", abi::PluginFieldType::kChar)
      .value("DIMS", abi::PluginFieldType::kDims)
      .value("UNKNOWN", abi::PluginFieldType::kUnknown);
  py::class_<Field>(m, "Field")
      .def(py::init([](std::string name, abi::PluginFieldType type, const py::bytes& data,
                       int32_t length) {
             return Field{std::move(name), type, std::string(data), length};
           }),
           py::arg("name"), py::arg("type"), py::arg("data"), py::arg("length"))
      .def_readonly("name", &Field::name)
      .def_readonly("type", &Field::type)
      .def_property_readonly("data", [](const Field& field) { return py::bytes(field.data); })
      .def_readonly("length", &Field::length);
  py::class_<Tensor>(m, "Tensor")
      .def(py::init([](abi::DataType type, Shape shape, int format) {
             return Tensor{type, std::move(shape), static_cast<abi::TensorFormat>(format)};
           }),
           py::arg("type"), py::arg("shape"), py::arg("format") = 0)
      .def_readonly("type", &Tensor::type)
      .def_readonly("shape", &Tensor::shape);
  py::class_<TensorRange>(m, "TensorRange")
      .def(py::init([](abi::DataType type, Shape min, Shape opt, Shape max) {
             return TensorRange{type, std::move(min), std::move(opt), std::move(max)};
           }),
           py::arg("type"), py::arg("min"), py::arg("opt"), py::arg("max"))
      .def_readonly("type", &TensorRange::type)
      .def_readonly("min", &TensorRange::min)
      .def_readonly("opt", &TensorRange::opt)
      .def_readonly("max", &TensorRange::max);
  py::class_<SerializedPlugin>(m, "SerializedPlugin")
      .def(py::init([](const py::bytes& bytes, std::vector<Field> fields) {
             return SerializedPlugin{std::string(bytes), std::move(fields)};
           }),
           py::arg("bytes") = py::bytes(), py::arg("fields") = std::vector<Field>())
      .def_property_readonly("bytes",
                             [](const SerializedPlugin& data) { return py::bytes(data.bytes); })
      .def_readonly("fields", &SerializedPlugin::fields);
}

void bind_plugins(py::module_& m) {
  py::register_exception<PluginError>(m, "PluginError", PyExc_RuntimeError);
  py::class_<HostedPlugin>(m, "HostedPlugin")
      .def_property_readonly("name", &HostedPlugin::name)
      .def_property_readonly("version", &HostedPlugin::version)
      .def("clone", &HostedPlugin::clone)
      .def("output_types", &HostedPlugin::output_types, py::arg("inputs"))
      .def("output_shapes", &HostedPlugin::output_shapes, py::arg("inputs"))
      .def("supports_format_combination", &HostedPlugin::supports_format_combination,
           py::arg("position"), py::arg("tensors"), py::arg("input_count"))
      .def("configure", &HostedPlugin::configure, py::arg("inputs"), py::arg("outputs"))
      .def("workspace_size", &HostedPlugin::workspace_size, py::arg("inputs"), py::arg("outputs"))
      .def("serialize", &HostedPlugin::serialize)
      .def("initialize", &HostedPlugin::initialize, py::arg("device"), WithoutGil())
      .def("terminate", &HostedPlugin::terminate, py::arg("device"), WithoutGil())
      .def("attach_to_context", &HostedPlugin::attach_to_context, py::arg("device"), WithoutGil())
      .def("on_shape_change", &HostedPlugin::on_shape_change, py::arg("inputs"), py::arg("outputs"))
      .def("enqueue", &HostedPlugin::enqueue, py::arg("inputs"), py::arg("outputs"),
           py::arg("input_addresses"), py::arg("output_addresses"), py::arg("workspace"),
           py::arg("stream"), WithoutGil());
  py::class_<HostedCreator, std::shared_ptr<HostedCreator>>(m, "HostedCreator")
      .def_property_readonly("name", &HostedCreator::name)
      .def_property_readonly("version", &HostedCreator::version)
      .def_property_readonly("kind", &HostedCreator::kind)
      .def("field_names", &HostedCreator::field_names)
      .def("create", &HostedCreator::create, py::arg("layer_name"), py::arg("fields"))
      .def("deserialize", &HostedCreator::deserialize, py::arg("layer_name"), py::arg("data"));
  py::class_<PluginLibrary>(m, "PluginLibrary")
      .def(py::init<const std::string&>(), py::arg("path"))
      .def("version", &PluginLibrary::version)
      .def("last_error", &PluginLibrary::last_error)
      .def("set_cuda_driver", &PluginLibrary::set_cuda_driver, py::arg("path"))
      .def("creators", &PluginLibrary::creators, py::arg("tensorrt_major"))
      .def("int4_gemm_variant", &PluginLibrary::int4_gemm_variant, py::arg("m"), py::arg("n"),
           py::arg("k"), py::arg("sm"), py::arg("sm_count"))
      .def("attention_variant", &PluginLibrary::attention_variant, py::arg("mode"),
           py::arg("batch"), py::arg("q_len"), py::arg("num_q_heads"), py::arg("num_kv_heads"),
           py::arg("head_size"), py::arg("capacity"), py::arg("sm"), py::arg("sm_count"));
}

}  // namespace
}  // namespace edge_llm::host

PYBIND11_MODULE(_bindings, m) {
  m.doc() = "Drives the plugins of libedge_llm_plugins.so as TensorRT does.";
  edge_llm::host::bind_device(m);
  edge_llm::host::bind_values(m);
  edge_llm::host::bind_plugins(m);
}
