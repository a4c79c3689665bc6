"""What launching a variant costs, per SM: variants and splits are chosen by it.

Fitted by tools/bench/fit_costs.py to the measurements in kernels/tuning, in microseconds; what each
number means, kernels/variant_facts.h says. A choice depends on their proportions alone, and
an SM that was never measured is planned with those of the first SM here: what a multiprocessor can
compute and load differs less in proportion than in size.
"""

LAUNCH_COSTS = {
    # NVIDIA H200, 132 multiprocessors, 2026-11-27.
    "90": {
        "int4_gemm_f16_m128_n128_k64_s4": {"launch": 3.23, "cta": 0.0, "step": 0.668, "wait": 0.135, "partial": 1.27},
        "int4_gemm_f16_m16_n128_k128_s4": {"launch": 3.27, "cta": 0.511, "step": 0.247, "wait": 0.176, "partial": 0.947},
        "int4_gemm_f16_m32_n128_k128_s3": {"launch": 3.59, "cta": 0.305, "step": 0.398, "wait": 0.144, "partial": 1.2},
        "int4_gemm_f16_m64_n128_k128_s3": {"launch": 3.41, "cta": 0.527, "step": 0.662, "wait": 0.115, "partial": 1.3},
        "int4_gemm_f16_m64_n128_k64_s4": {"launch": 3.57, "cta": 0.055, "step": 0.314, "wait": 0.159, "partial": 1.2},
        "int4_gemv_f16_m16_n128_w4": {"launch": 3.43, "cta": 0.43, "step": 1.21, "wait": 0.0, "partial": 3.23},
        "int4_gemv_f16_m16_n32_w16": {"launch": 3.32, "cta": 0.0, "step": 1.44, "wait": 0.0, "partial": 5.8},
        "int4_gemv_f16_m16_n64_w4": {"launch": 3.77, "cta": 0.082, "step": 0.51, "wait": 0.209, "partial": 5.27},
        "int4_gemv_f16_m8_n32_w16": {"launch": 3.49, "cta": 0.123, "step": 1.03, "wait": 0.0, "partial": 6.42},
        "int4_gemv_f16_m8_n32_w8": {"launch": 3.1, "cta": 0.003, "step": 0.586, "wait": 0.032, "partial": 8.66},
        "int4_gemv_f16_m8_n64_w4": {"launch": 3.58, "cta": 0.058, "step": 0.477, "wait": 0.135, "partial": 5.69},
    },
}
