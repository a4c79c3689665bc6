// The exported functions: TensorRT's three entry points, and those of edge_llm_plugins.h.
#include <dlfcn.h>

#include <cstdio>
#include <string>
#include <vector>

#include "plugins/abi/runtime.h"
#include "plugins/adapter/plugin_v2.h"
#include "plugins/adapter/plugin_v3.h"
#include "plugins/attention/attention_op.h"
#include "plugins/edge_llm_plugins.h"
#include "plugins/int4_gemm/int4_gemm_op.h"
#include "plugins/runtime/attention_launcher.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/int4_gemm_launcher.h"
#include "plugins/runtime/log.h"
#include "plugins/runtime/status.h"
#include "plugins/tensorrt_host.h"

namespace edge_llm {
namespace {

constexpr char kVersion[] = EDGE_LLM_PLUGINS_VERSION;  // set by BUILD from version.bzl

// The creators of one kind of caller, as the pointers that it expects. Never destroyed: TensorRT
// keeps creators until its own end.
using CreatorList = std::vector<void*>;

template <typename... Ops>
struct CreatorsOf {
  template <typename Abi>
  static const std::vector<abi::PluginCreator<Abi>*>& v2() {
    static const auto* creators =
        new std::vector<abi::PluginCreator<Abi>*>{new CreatorV2<Abi, Ops>...};
    return *creators;
  }

  static std::vector<abi::VersionedInterface*> v3(const char* version) {
    return {new CreatorV3<Ops>(version)...};
  }
};
using Creators = CreatorsOf<AttentionOp, Int4GemmOp>;

template <typename... Lists>
const CreatorList* joined(const Lists&... lists) {
  auto* all = new CreatorList;
  (all->insert(all->end(), lists.begin(), lists.end()), ...);
  return all;
}

const CreatorList& creators_of(int tensorrt_major) {
  static const auto* for_8 = joined(Creators::v2<abi::v8>());
  static const auto* for_10 = joined(Creators::v2<abi::v10>(), Creators::v3("2"));
  static const auto* for_11 = joined(Creators::v2<abi::v11>(), Creators::v3("2"));
  // Callers that know no V2 plugin, or one of unknown layout: V3 serves version "1" as well, which
  // nodes without a version ask for.
  static const auto* for_others = joined(Creators::v3("1"), Creators::v3("2"));
  switch (tensorrt_major) {
    case abi::v8::kMajor:
      return *for_8;
    case abi::v10::kMajor:
      return *for_10;
    case abi::v11::kMajor:
      return *for_11;
    default:
      return *for_others;
  }
}

void* const* creator_array(const char* where, int tensorrt_major, int* count) {
  return guarded(where, static_cast<void* const*>(nullptr), [&] {
    if (count == nullptr) fail("count is a null pointer");
    const CreatorList& creators = creators_of(tensorrt_major);
    *count = static_cast<int>(creators.size());
    return creators.data();
  });
}

template <typename Abi>
bool write_to_tensorrt(void* finder, LogLevel level, const char* message) {
  auto* logger = static_cast<abi::LoggerFinder<Abi>*>(finder)->findLogger();
  if (logger == nullptr) return false;
  logger->log(level == LogLevel::kError ? abi::Severity::kError : abi::Severity::kInfo, message);
  return true;
}

template <typename Abi>
void register_with(const TensorRtHost& host) {
  using GetPluginRegistry = abi::PluginRegistry<Abi>* (*)();
  const auto get_registry =
      reinterpret_cast<GetPluginRegistry>(dlsym(host.library, "getPluginRegistry"));
  abi::PluginRegistry<Abi>* registry = get_registry == nullptr ? nullptr : get_registry();
  if (registry == nullptr) fail("TensorRT ", Abi::kMajor, " has no plugin registry");
  for (abi::PluginCreator<Abi>* creator : Creators::v2<Abi>()) {
    if (!registry->registerCreator(*creator, "")) {
      fail("TensorRT's registry refused ", creator->getPluginName(), " version ",
           creator->getPluginVersion(), "; was it registered before?");
    }
  }
}

void register_with_loaded_tensorrt() {
  const TensorRtHost host = loaded_tensorrt();
  switch (host.major) {
    case 0:
      fail("no TensorRT is loaded in this process; load libnvinfer first");
    case abi::v8::kMajor:
      return register_with<abi::v8>(host);
    case abi::v10::kMajor:
      return register_with<abi::v10>(host);
    default:
      fail("TensorRT ", host.major, " registers plugins only through IPluginRegistry::loadLibrary ",
           "(Python: load_library) with the path of this library");
  }
}

// "<variant> splits=<count>", or "" where nothing is launched.
template <typename Plan>
void write_plan(const Plan& plan, char* out, int64_t size) {
  const std::string text =
      plan.variant == nullptr ? "" : concat(plan.variant->name, " splits=", plan.splits);
  if (size <= static_cast<int64_t>(text.size())) {
    fail("a buffer of ", size, " bytes; ", text.size() + 1, " are needed");
  }
  std::snprintf(out, size, "%s", text.c_str());
}

}  // namespace
}  // namespace edge_llm

using namespace edge_llm;

extern "C" {

// TensorRT from 10 on, and TensorRT-RTX: all creators.
EDGE_LLM_PLUGINS_API void* const* getCreators(int32_t& count) {
  return creator_array("getCreators", tensorrt_at(__builtin_return_address(0)).major, &count);
}

// TensorRT 8: V2 creators. Other callers expect V2 creators of a layout that is not known.
EDGE_LLM_PLUGINS_API void* const* getPluginCreators(int32_t& count) {
  count = 0;
  if (tensorrt_at(__builtin_return_address(0)).major != abi::v8::kMajor) return nullptr;
  return creator_array("getPluginCreators", abi::v8::kMajor, &count);
}

// TensorRT refuses a library without this function. The layout of a logger is known for the same
// majors as that of V2 plugins; without one, messages go to stderr.
EDGE_LLM_PLUGINS_API void setLoggerFinder(void* finder) {
  if (finder == nullptr) return set_log_sink(nullptr, nullptr);
  switch (tensorrt_at(__builtin_return_address(0)).major) {
    case abi::v8::kMajor:
      return set_log_sink(write_to_tensorrt<abi::v8>, finder);
    case abi::v10::kMajor:
      return set_log_sink(write_to_tensorrt<abi::v10>, finder);
    case abi::v11::kMajor:
      return set_log_sink(write_to_tensorrt<abi::v11>, finder);
    default:
      return;
  }
}

const char* edge_llm_plugins_version(void) { return kVersion; }

const char* edge_llm_plugins_last_error(void) { return last_error(); }

int edge_llm_plugins_register(void) {
  return guarded("edge_llm_plugins_register", 1, [] {
    register_with_loaded_tensorrt();
    return 0;
  });
}

void* const* edge_llm_plugins_creators(int tensorrt_major, int* count) {
  return creator_array("edge_llm_plugins_creators", tensorrt_major, count);
}

int edge_llm_plugins_set_cuda_driver(const char* path) {
  return guarded("edge_llm_plugins_set_cuda_driver", 1, [&] {
    if (path == nullptr || path[0] == '\0') fail("the path is empty");
    set_cuda_driver(path);
    return 0;
  });
}

int edge_llm_plugins_int4_gemm_variant(int64_t m, int64_t n, int64_t k, int sm, int sm_count,
                                       char* out, int64_t size) {
  return guarded("edge_llm_plugins_int4_gemm_variant", 1, [&] {
    write_plan(plan_int4_gemm({m, n, k}, {sm, sm_count}), out, size);
    return 0;
  });
}

int edge_llm_plugins_attention_variant(int mode, int64_t batch, int64_t q_len, int64_t num_q_heads,
                                       int64_t num_kv_heads, int64_t head_size, int64_t capacity,
                                       int sm, int sm_count, char* out, int64_t size) {
  return guarded("edge_llm_plugins_attention_variant", 1, [&] {
    if (mode < 0 || mode > 3) fail("mode is ", mode, "; 0 to 3 are allowed");
    const AttentionProblem problem{static_cast<AttentionMode>(mode),
                                   batch,
                                   q_len,
                                   num_q_heads,
                                   num_kv_heads,
                                   head_size,
                                   capacity};
    write_plan(plan_attention(problem, {sm, sm_count}), out, size);
    return 0;
  });
}

}  // extern "C"
