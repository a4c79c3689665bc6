"""What launching a variant costs, per SM: variants and splits are chosen by it.

Fitted by tools/bench/fit_costs.py to the measurements in kernels/tuning, in microseconds; what each
number means, plugins/runtime/launch_costs.h says. A choice depends on their proportions alone, and
an SM that was never measured is planned with those of REFERENCE_SM: what a multiprocessor can
compute and load differs less in proportion than in size.
"""

REFERENCE_SM = "90"

LAUNCH_COSTS = {
    # NVIDIA H200, 132 multiprocessors, 2026-11-22.
    "90": {
        "int4_gemm_f16_m128_n128_k64_s4": {"launch_us": 3.03, "cta_us": 0.148, "step_us": 0.664, "wait_us": 0.143, "partial_us": 1.22},
        "int4_gemm_f16_m16_n128_k128_s4": {"launch_us": 3.32, "cta_us": 0.57, "step_us": 0.243, "wait_us": 0.184, "partial_us": 0.733},
        "int4_gemm_f16_m16_n64_k128_s4": {"launch_us": 3.27, "cta_us": 0.368, "step_us": 0.134, "wait_us": 0.135, "partial_us": 1.11},
        "int4_gemm_f16_m32_n128_k128_s4": {"launch_us": 3.19, "cta_us": 0.753, "step_us": 0.359, "wait_us": 0.212, "partial_us": 1.18},
        "int4_gemm_f16_m64_n128_k64_s4": {"launch_us": 2.88, "cta_us": 0.816, "step_us": 0.324, "wait_us": 0.118, "partial_us": 1.22},
        "int4_gemv_f16_m8_n16": {"launch_us": 1.77, "cta_us": 0.963, "step_us": 0.232, "wait_us": 0.202, "partial_us": 8.36},
        "int4_gemv_f16_m8_n32": {"launch_us": 2.67, "cta_us": 0.329, "step_us": 0.195, "wait_us": 0.328, "partial_us": 5.75},
        "int4_gemv_f16_m8_n64": {"launch_us": 2.63, "cta_us": 0.481, "step_us": 0.154, "wait_us": 0.332, "partial_us": 3.54},
    },
}
