/* C interface of libedge_llm_plugins.so, for hosts that are not TensorRT.
 *
 * TensorRT itself needs nothing from here: give the library's path to
 * IPluginRegistry::loadLibrary (Python: load_library). Failure is a non-zero status or a null
 * pointer, and edge_llm_plugins_last_error() then holds one line of text. All functions are
 * thread-safe. */
#pragma once

#include <stdint.h>

#define EDGE_LLM_PLUGINS_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this library, "major.minor.patch". Never null. */
EDGE_LLM_PLUGINS_API const char* edge_llm_plugins_version(void);

/* The latest failure on the calling thread, one line; "" before the first. Never null. */
EDGE_LLM_PLUGINS_API const char* edge_llm_plugins_last_error(void);

/* Registers the version "1" (IPluginV2DynamicExt) creators with the TensorRT 8.6 or 10 that this
 * process has loaded; for programs that dlopen this library. Other versions of TensorRT are refused
 * with a message that names loadLibrary. Returns 0 on success. */
EDGE_LLM_PLUGINS_API int edge_llm_plugins_register(void);

/* The creators in the interfaces of one TensorRT major version (declared in plugins/abi).
 *   8       each is an abi::PluginCreator<abi::v8>*
 *   10, 11  each is an abi::VersionedInterface*; its InterfaceInfo says whether it is an
 *           abi::PluginCreator<abi::v10 or v11> or an abi::PluginCreatorV3One
 *   other   abi::PluginCreatorV3One only (TensorRT-RTX and majors to come)
 * Writes their number to *count. The array and the creators live as long as the process. */
EDGE_LLM_PLUGINS_API void* const* edge_llm_plugins_creators(int tensorrt_major, int* count);

/* Uses the CUDA driver library at `path` in place of EDGE_LLM_PLUGINS_CUDA_DRIVER or libcuda.so.1.
 * Returns non-zero when another driver is already in use. */
EDGE_LLM_PLUGINS_API int edge_llm_plugins_set_cuda_driver(const char* path);

/* Writes the plan of an INT4 groupwise GEMM as text, "<variant> splits=<count>", NUL-terminated,
 * to out[0..size); "" when m == 0. sm is major * 10 + minor, sm_count the multiprocessors of the
 * device. Returns non-zero for an impossible shape or a short buffer. */
EDGE_LLM_PLUGINS_API int edge_llm_plugins_int4_gemm_variant(int64_t m, int64_t n, int64_t k, int sm,
                                                            int sm_count, char* out, int64_t size);

/* The same of attention: mode is 0 prefill, 1 chunked prefill, 2 decode, 3 tree decode; q_len and
 * capacity count tokens. "" when batch or q_len is 0. */
EDGE_LLM_PLUGINS_API int edge_llm_plugins_attention_variant(int mode, int64_t batch, int64_t q_len,
                                                            int64_t num_q_heads,
                                                            int64_t num_kv_heads, int64_t head_size,
                                                            int64_t capacity, int sm, int sm_count,
                                                            char* out, int64_t size);

#ifdef __cplusplus
}
#endif
