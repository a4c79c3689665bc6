/* Control of the PTX emulator beside its CUDA driver entry points. Plain C, thread-safe. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What launches check: "all", "none", or a comma-separated list of
 *   races     shared memory accesses with no barrier between them
 *   bounds    (always on)
 *   init      reads of bytes that nobody wrote, in shared memory and in allocations
 *   async     cp.async data that is used before its wait, or in flight at exit
 *   barriers  barriers that not all threads reach
 *   counters  no check: bank conflicts, sectors and instruction counts for take_stats
 * The default is PTX_EMULATOR_CHECKS, or "all". Writes to an allocation are tracked for `init`
 * where that was on when it was made. Returns 0, or -1 for an unknown name (see last_error). */
int ptx_emulator_set_checks(const char* list);

/* Host threads that share the blocks of a launch; 0 (the default): one per core. */
int ptx_emulator_set_threads(int threads);

/* 0 (the default): warps run in order until they wait. Else the seed of a random schedule. */
int ptx_emulator_set_seed(unsigned seed);

/* Warp instructions after which a block is stopped with a fault; 0 restores the default of 2^28. */
int ptx_emulator_set_instruction_limit(uint64_t limit);

/* Names an allocation in fault messages. Returns 0, or -1 where `pointer` is no allocation's begin.
 */
int ptx_emulator_name_allocation(unsigned long long pointer, const char* name);

/* Distinct faults of all launches since the last take. */
int64_t ptx_emulator_fault_count(void);

/* The faults as lines of JSON, one per distinct kind and place, which are then forgotten:
 *   kind, message, kernel, block [x, y, z], warp, lane, ptx_line, source "file:line" (may be
 * empty), inlined_at "file:line" (may be empty), opcode, count The text lives until the next call
 * on the same thread. */
const char* ptx_emulator_take_faults(void);

/* Counters of all launches since the last take as one JSON object. Bank conflicts:
 * shared_wavefronts / shared_phases is 1 without any; coalescing: global_sectors / global_requests.
 */
const char* ptx_emulator_take_stats(void);

/* After `skip` further calls of driver functions, by any thread, the next `count` give `result`, a
 * CUresult, and do nothing. UINT64_MAX calls: a device that is lost. Replaces what was asked for
 * before; a count of 0 ends it. cuGetErrorName and cuGetErrorString are no calls. */
void ptx_emulator_fail_calls(uint64_t skip, uint64_t count, int result);

/* Calls of driver functions since the last ptx_emulator_fail_calls, the failed ones counted. */
uint64_t ptx_emulator_calls(void);

/* What the driver keeps for its callers as one JSON object of counts: allocations (variables of
 * libraries counted), contexts (retained primary ones by their references), events, libraries,
 * streams. The text lives until the next call on the same thread. */
const char* ptx_emulator_held(void);

/* Why the last failed call on this thread failed, one line; never null. */
const char* ptx_emulator_last_error(void);

#ifdef __cplusplus
}
#endif
