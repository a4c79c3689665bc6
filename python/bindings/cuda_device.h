// A device, its memory and its streams, through any library that exports the CUDA driver API:
// libcuda.so.1, or the emulator of tools/ptx_emulator.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_CUDA_DEVICE_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_CUDA_DEVICE_H_

#include <cuda.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

namespace edge_llm::host {

struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Driver functions, resolved from a library that stays loaded for the life of the process.
struct DriverFunctions;

// Number of devices that the driver library at `driver_path` offers.
int device_count(const std::string& driver_path);

// One device with its primary context.
class CudaDevice {
 public:
  CudaDevice(const std::string& driver_path, int ordinal);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const std::string& name() const { return name_; }
  int sm() const { return sm_; }              // compute capability, major * 10 + minor
  int sm_count() const { return sm_count_; }  // multiprocessors

 private:
  friend class CurrentDevice;
  friend class DeviceBuffer;
  friend class Stream;

  void check(CUresult result, const char* action) const;

  const DriverFunctions& driver_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::string name_;
  int sm_ = 0;
  int sm_count_ = 0;
};

// Makes a device's context the calling thread's current one for a scope.
class CurrentDevice {
 public:
  explicit CurrentDevice(const CudaDevice& device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const CudaDevice& device_;
};

class DeviceBuffer {
 public:
  DeviceBuffer(std::shared_ptr<CudaDevice> device, size_t size);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  CUdeviceptr address() const { return address_; }
  size_t size() const { return size_; }
  void fill(unsigned char value);
  void write(size_t offset, const void* bytes, size_t size);
  void read(size_t offset, void* bytes, size_t size) const;
  // Copies `rows` pieces of `size` bytes that lie `pitch` bytes apart, the first one from `source`
  // to `destination`, the others likewise behind them. A piece and its copy do not overlap.
  void copy_pieces(size_t destination, size_t source, size_t size, size_t pitch, size_t rows);

 private:
  void check_range(size_t offset, size_t size) const;

  std::shared_ptr<CudaDevice> device_;
  CUdeviceptr address_ = 0;
  size_t size_;
};

// Ordered with the synchronous copies of DeviceBuffer, as streams of the driver are by default.
class Stream {
 public:
  explicit Stream(std::shared_ptr<CudaDevice> device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const CudaDevice& device() const { return *device_; }
  CUstream handle() const { return stream_; }
  void synchronize();

 private:
  std::shared_ptr<CudaDevice> device_;
  CUstream stream_ = nullptr;
};

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_CUDA_DEVICE_H_
