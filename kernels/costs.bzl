"""What launching a variant costs, per SM: variants and splits are chosen by it.

Fitted by tools/bench/fit_costs.py to the measurements in kernels/tuning, in microseconds; what each
number means, kernels/variant_facts.h says. A choice depends on their proportions alone, and
an SM that was never measured is planned with those of the first SM here: what a multiprocessor can
compute and load differs less in proportion than in size.
"""

LAUNCH_COSTS = {
    # NVIDIA H200, 132 multiprocessors: GEMV 2026-11-27, the others 2026-11-29.
    "90": {
        "int4_gemm_f16_m128_n128_k64_s4": {"launch": 2.9, "cta": 0.54, "step": 0.69, "wait": 0.03, "partial": 1.01},
        "int4_gemm_f16_m128_n224_k64_s4": {"launch": 1.3, "cta": 2.38, "step": 1.19, "wait": 0.0, "partial": 1.45},
        "int4_gemm_f16_m32_n112_k128_s4": {"launch": 2.69, "cta": 0.37, "step": 0.33, "wait": 0.14, "partial": 1.41},
        "int4_gemm_f16_m32_n128_k128_s3": {"launch": 3.27, "cta": 0.29, "step": 0.4, "wait": 0.12, "partial": 1.1},
        "int4_gemm_f16_m64_n128_k128_s3": {"launch": 3.1, "cta": 0.38, "step": 0.67, "wait": 0.12, "partial": 0.72},
        "int4_gemm_f16_m64_n128_k64_s4": {"launch": 2.99, "cta": 0.37, "step": 0.33, "wait": 0.1, "partial": 0.81},
        "int4_gemm_f16_m64_n224_k128_s3": {"launch": 1.51, "cta": 2.61, "step": 1.23, "wait": 0.0, "partial": 1.16},
        "int4_gemm_f16_m64_n256_k128_s3": {"launch": 1.59, "cta": 3.27, "step": 1.34, "wait": 0.0, "partial": 1.21},
        "int4_gemv_f16_m16_n128_w4": {"launch": 3.43, "cta": 0.43, "step": 1.21, "wait": 0.0, "partial": 3.23},
        "int4_gemv_f16_m16_n32_w16": {"launch": 3.32, "cta": 0.0, "step": 1.44, "wait": 0.0, "partial": 5.8},
        "int4_gemv_f16_m16_n64_w4": {"launch": 3.77, "cta": 0.08, "step": 0.51, "wait": 0.21, "partial": 5.27},
        "int4_gemv_f16_m8_n32_w16": {"launch": 3.49, "cta": 0.12, "step": 1.03, "wait": 0.0, "partial": 6.42},
        "int4_gemv_f16_m8_n32_w8": {"launch": 3.1, "cta": 0.0, "step": 0.59, "wait": 0.03, "partial": 8.66},
        "int4_gemv_f16_m8_n64_w4": {"launch": 3.58, "cta": 0.06, "step": 0.48, "wait": 0.14, "partial": 5.69},
        "int4_wgmma_f16_m128_n128_s4": {"launch": 0.59, "cta": 2.97, "step": 0.74, "wait": 0.0, "partial": 1.35},
        "int4_wgmma_f16_m256_n128_s3": {"launch": 0.26, "cta": 3.39, "step": 1.31, "wait": 0.0, "partial": 1.76},
        "int4_wgmma_f16_m32_n128_s4": {"launch": 2.95, "cta": 0.61, "step": 0.35, "wait": 0.08, "partial": 0.89},
        "int4_wgmma_f16_m32_n128_s6": {"launch": 2.43, "cta": 1.02, "step": 0.34, "wait": 0.06, "partial": 0.93},
        "int4_wgmma_f16_m32_n256_s6": {"launch": 1.86, "cta": 2.66, "step": 0.69, "wait": 0.0, "partial": 0.97},
        "int4_wgmma_f16_m64_n128_s4": {"launch": 2.45, "cta": 1.04, "step": 0.49, "wait": 0.01, "partial": 1.07},
        "int4_wgmma_f16_m64_n256_s6": {"launch": 1.25, "cta": 2.98, "step": 0.9, "wait": 0.0, "partial": 1.32},
    },
}
