"""What launching a variant costs, per SM: variants and splits are chosen by it.

Fitted by tools/bench/fit_costs.py to the measurements in kernels/tuning, in microseconds; what each
number means, kernels/variant_facts.h says. A choice depends on their proportions alone, and
an SM that was never measured is planned with those of the first SM here: what a multiprocessor can
compute and load differs less in proportion than in size.
"""

LAUNCH_COSTS = {
    # NVIDIA H200, 132 multiprocessors, 2026-11-27.
    "90": {
        "int4_gemm_f16_m128_n128_k64_s4": {"launch": 3.23, "cta": 0.0, "step": 0.67, "wait": 0.13, "partial": 1.27},
        "int4_gemm_f16_m16_n128_k128_s4": {"launch": 3.27, "cta": 0.51, "step": 0.25, "wait": 0.18, "partial": 0.95},
        "int4_gemm_f16_m32_n128_k128_s3": {"launch": 3.59, "cta": 0.31, "step": 0.4, "wait": 0.14, "partial": 1.2},
        "int4_gemm_f16_m64_n128_k128_s3": {"launch": 3.41, "cta": 0.53, "step": 0.66, "wait": 0.12, "partial": 1.3},
        "int4_gemm_f16_m64_n128_k64_s4": {"launch": 3.57, "cta": 0.06, "step": 0.31, "wait": 0.16, "partial": 1.2},
        "int4_gemv_f16_m16_n128_w4": {"launch": 3.43, "cta": 0.43, "step": 1.21, "wait": 0.0, "partial": 3.23},
        "int4_gemv_f16_m16_n32_w16": {"launch": 3.32, "cta": 0.0, "step": 1.44, "wait": 0.0, "partial": 5.8},
        "int4_gemv_f16_m16_n64_w4": {"launch": 3.77, "cta": 0.08, "step": 0.51, "wait": 0.21, "partial": 5.27},
        "int4_gemv_f16_m8_n32_w16": {"launch": 3.49, "cta": 0.12, "step": 1.03, "wait": 0.0, "partial": 6.42},
        "int4_gemv_f16_m8_n32_w8": {"launch": 3.1, "cta": 0.0, "step": 0.59, "wait": 0.03, "partial": 8.66},
        "int4_gemv_f16_m8_n64_w4": {"launch": 3.58, "cta": 0.06, "step": 0.48, "wait": 0.14, "partial": 5.69},
    },
}
