"""What launching a variant costs, per SM: variants and splits are chosen by it.

Fitted by tools/bench/fit_costs.py to the measurements in kernels/tuning, in microseconds; what each
number means, kernels/variant_facts.h says. A choice depends on their proportions alone, and
an SM that was never measured is planned with those of the first SM here: what a multiprocessor can
compute and load differs less in proportion than in size.
"""

LAUNCH_COSTS = {
    # NVIDIA H200, 132 multiprocessors, 2026-11-22.
    "90": {
        "int4_gemm_f16_m128_n128_k64_s4": {"launch": 3.03, "cta": 0.148, "step": 0.664, "wait": 0.143, "partial": 1.22},
        "int4_gemm_f16_m16_n128_k128_s4": {"launch": 3.32, "cta": 0.57, "step": 0.243, "wait": 0.184, "partial": 0.733},
        "int4_gemm_f16_m16_n64_k128_s4": {"launch": 3.27, "cta": 0.368, "step": 0.134, "wait": 0.135, "partial": 1.11},
        "int4_gemm_f16_m32_n128_k128_s4": {"launch": 3.19, "cta": 0.753, "step": 0.359, "wait": 0.212, "partial": 1.18},
        "int4_gemm_f16_m64_n128_k64_s4": {"launch": 2.88, "cta": 0.816, "step": 0.324, "wait": 0.118, "partial": 1.22},
        "int4_gemv_f16_m8_n16": {"launch": 1.77, "cta": 0.963, "step": 0.232, "wait": 0.202, "partial": 8.36},
        "int4_gemv_f16_m8_n32": {"launch": 2.67, "cta": 0.329, "step": 0.195, "wait": 0.328, "partial": 5.75},
        "int4_gemv_f16_m8_n64": {"launch": 2.63, "cta": 0.481, "step": 0.154, "wait": 0.332, "partial": 3.54},
    },
}
