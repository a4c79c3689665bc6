"""THE table: one row of facts per SM, one row per kernel variant.

Nobody else lists SMs, tiles, stages or head sizes. The generator, the launcher, the tests and the
wheel read the manifest that is made from this file.
"""

# One row per SM.
#   arch              what NVRTC is asked for (compute_<arch> and sm_<arch>)
#   dependent_launch  whether a kernel may start before the one before it has ended (PTX ISA,
#                     griddepcontrol: SM 90 and later)
#   gpu, sm_count     a typical GPU of that SM and its number of multiprocessors (the emulated one)
#   shared_per_block  opt-in limit of dynamic shared memory of one block, bytes
#   shared_per_sm     shared memory of one multiprocessor, bytes
#   threads_per_sm    resident threads of one multiprocessor
#   cuda              the CUDA releases whose NVRTC compiles it
#   wgmma             whether it has the matrix products of warpgroups (PTX ISA, wgmma: SM 90 alone)
# The GPU of Thor is SM 101 to CUDA 12 and SM 110 to CUDA 13.
SMS = {
    "80": {"arch": "80", "cuda": ["12.6", "12.9", "13.0"], "dependent_launch": False, "gpu": "A100", "shared_per_block": 166912, "shared_per_sm": 167936, "sm_count": 108, "threads_per_sm": 2048, "wgmma": False},
    "86": {"arch": "86", "cuda": ["12.6", "12.9", "13.0"], "dependent_launch": False, "gpu": "RTX A6000", "shared_per_block": 101376, "shared_per_sm": 102400, "sm_count": 84, "threads_per_sm": 1536, "wgmma": False},
    "87": {"arch": "87", "cuda": ["12.6", "12.9", "13.0"], "dependent_launch": False, "gpu": "Jetson AGX Orin", "shared_per_block": 166912, "shared_per_sm": 167936, "sm_count": 16, "threads_per_sm": 1536, "wgmma": False},
    "89": {"arch": "89", "cuda": ["12.6", "12.9", "13.0"], "dependent_launch": False, "gpu": "L40S", "shared_per_block": 101376, "shared_per_sm": 102400, "sm_count": 142, "threads_per_sm": 1536, "wgmma": False},
    "90": {"arch": "90", "cuda": ["12.6", "12.9", "13.0"], "dependent_launch": True, "gpu": "H200", "shared_per_block": 232448, "shared_per_sm": 233472, "sm_count": 132, "threads_per_sm": 2048, "wgmma": True},
    "100": {"arch": "100", "cuda": ["12.9", "13.0"], "dependent_launch": True, "gpu": "B200", "shared_per_block": 232448, "shared_per_sm": 233472, "sm_count": 148, "threads_per_sm": 2048, "wgmma": False},
    "101": {"arch": "101", "cuda": ["12.9"], "dependent_launch": True, "gpu": "DRIVE AGX Thor", "shared_per_block": 232448, "shared_per_sm": 233472, "sm_count": 20, "threads_per_sm": 1536, "wgmma": False},
    "110": {"arch": "110", "cuda": ["13.0"], "dependent_launch": True, "gpu": "Jetson AGX Thor", "shared_per_block": 232448, "shared_per_sm": 233472, "sm_count": 20, "threads_per_sm": 1536, "wgmma": False},
    "120": {"arch": "120", "cuda": ["12.9", "13.0"], "dependent_launch": True, "gpu": "RTX PRO 6000 Blackwell", "shared_per_block": 101376, "shared_per_sm": 102400, "sm_count": 188, "threads_per_sm": 1536, "wgmma": False},
    "121": {"arch": "121", "cuda": ["12.9", "13.0"], "dependent_launch": True, "gpu": "DGX Spark GB10", "shared_per_block": 101376, "shared_per_sm": 102400, "sm_count": 48, "threads_per_sm": 1536, "wgmma": False},
}

# One row per variant of the INT4 groupwise GEMM. The key is the name of the variant, which the
# generator computes from the row and compares.
#   kind         gemv (few rows; CTAs that stay, and a ring of weights for each warp), gemm (a CTA
#                per tile, which its warps load together), wgmma (a CTA per tile, for which four
#                warps load and warpgroups compute, on the SMs that have these), combine (adds the
#                partial sums of a split k range)
#   tile_m/n/k   output rows and channels of one CTA, and the k of one step (gemv: one group of 128)
#   stages       steps in shared memory: of one warp (gemv) or of the CTA (gemm)
#   warps_m/n/k  warps of one CTA along each dimension (wgmma: those that compute)
#   ctas_per_sm  CTAs of one multiprocessor that the registers are budgeted for
#   fewer_ctas   the same of SMs whose compiler spills registers otherwise (CUDA 12.9: 4 bytes)
# Widths: the narrow tiles give small n enough CTAs, the wide ones read x less often. 112 and 224
# divide the layers of many models (14336 = 128 * 112) so that 128 CTAs, and not 112, share them.
# 16 warps along k keep x of 4096 k in registers, and load it once for all of their tiles.
INT4_GEMM_VARIANTS = {
    "int4_gemv_f16_m8_n32_w8": {"kind": "gemv", "tile_m": 8, "tile_n": 32, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 1, "warps_k": 8, "ctas_per_sm": 2},
    "int4_gemv_f16_m8_n32_w16": {"kind": "gemv", "tile_m": 8, "tile_n": 32, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 1, "warps_k": 16, "ctas_per_sm": 1},
    "int4_gemv_f16_m8_n64_w4": {"kind": "gemv", "tile_m": 8, "tile_n": 64, "tile_k": 128, "stages": 4, "warps_m": 1, "warps_n": 1, "warps_k": 4, "ctas_per_sm": 2},
    "int4_gemv_f16_m16_n32_w16": {"kind": "gemv", "tile_m": 16, "tile_n": 32, "tile_k": 128, "stages": 2, "warps_m": 1, "warps_n": 1, "warps_k": 16, "ctas_per_sm": 1},
    "int4_gemv_f16_m16_n64_w4": {"kind": "gemv", "tile_m": 16, "tile_n": 64, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 1, "warps_k": 4, "ctas_per_sm": 2},
    "int4_gemv_f16_m16_n128_w4": {"kind": "gemv", "tile_m": 16, "tile_n": 128, "tile_k": 128, "stages": 2, "warps_m": 1, "warps_n": 2, "warps_k": 4, "ctas_per_sm": 1},
    "int4_gemm_f16_m32_n112_k128_s4": {"kind": "gemm", "tile_m": 32, "tile_n": 112, "tile_k": 128, "stages": 4, "warps_m": 1, "warps_n": 2, "warps_k": 2, "ctas_per_sm": 4},
    "int4_gemm_f16_m32_n128_k128_s3": {"kind": "gemm", "tile_m": 32, "tile_n": 128, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 2, "warps_k": 2, "ctas_per_sm": 3},
    "int4_gemm_f16_m64_n128_k64_s4": {"kind": "gemm", "tile_m": 64, "tile_n": 128, "tile_k": 64, "stages": 4, "warps_m": 1, "warps_n": 4, "warps_k": 1, "ctas_per_sm": 4, "fewer_ctas": {"101": 3}},
    "int4_gemm_f16_m64_n128_k128_s3": {"kind": "gemm", "tile_m": 64, "tile_n": 128, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 4, "warps_k": 1, "ctas_per_sm": 3},
    "int4_gemm_f16_m64_n224_k128_s3": {"kind": "gemm", "tile_m": 64, "tile_n": 224, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 4, "warps_k": 2, "ctas_per_sm": 1},
    "int4_gemm_f16_m64_n256_k128_s3": {"kind": "gemm", "tile_m": 64, "tile_n": 256, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 4, "warps_k": 2, "ctas_per_sm": 1},
    "int4_gemm_f16_m128_n128_k64_s4": {"kind": "gemm", "tile_m": 128, "tile_n": 128, "tile_k": 64, "stages": 4, "warps_m": 2, "warps_n": 4, "warps_k": 1, "ctas_per_sm": 2},
    "int4_gemm_f16_m128_n224_k64_s4": {"kind": "gemm", "tile_m": 128, "tile_n": 224, "tile_k": 64, "stages": 4, "warps_m": 2, "warps_n": 4, "warps_k": 1, "ctas_per_sm": 1},
    "int4_wgmma_f16_m32_n128_s4": {"kind": "wgmma", "tile_m": 32, "tile_n": 128, "tile_k": 128, "stages": 4, "warps_m": 1, "warps_n": 8, "warps_k": 1, "ctas_per_sm": 3},
    "int4_wgmma_f16_m32_n128_s6": {"kind": "wgmma", "tile_m": 32, "tile_n": 128, "tile_k": 128, "stages": 6, "warps_m": 1, "warps_n": 8, "warps_k": 1, "ctas_per_sm": 2},
    "int4_wgmma_f16_m32_n256_s6": {"kind": "wgmma", "tile_m": 32, "tile_n": 256, "tile_k": 128, "stages": 6, "warps_m": 1, "warps_n": 16, "warps_k": 1, "ctas_per_sm": 1},
    "int4_wgmma_f16_m64_n128_s4": {"kind": "wgmma", "tile_m": 64, "tile_n": 128, "tile_k": 128, "stages": 4, "warps_m": 1, "warps_n": 8, "warps_k": 1, "ctas_per_sm": 2},
    "int4_wgmma_f16_m64_n256_s6": {"kind": "wgmma", "tile_m": 64, "tile_n": 256, "tile_k": 128, "stages": 6, "warps_m": 1, "warps_n": 16, "warps_k": 1, "ctas_per_sm": 1},
    "int4_wgmma_f16_m128_n128_s4": {"kind": "wgmma", "tile_m": 128, "tile_n": 128, "tile_k": 128, "stages": 4, "warps_m": 1, "warps_n": 8, "warps_k": 1, "ctas_per_sm": 1},
    "int4_wgmma_f16_m256_n128_s3": {"kind": "wgmma", "tile_m": 256, "tile_n": 128, "tile_k": 128, "stages": 3, "warps_m": 1, "warps_n": 8, "warps_k": 1, "ctas_per_sm": 1},
    "int4_combine_f16": {"kind": "combine", "threads": 256, "ctas_per_sm": 4},
}

# One row per attention variant.
#   kind         append (K after RoPE, and V, to the cache), prefill (many tokens of one Q head),
#                decode (few tokens of all Q heads of a KV head, and append), combine (merges a
#                split KV range)
#   head_size    of a tile; append and combine serve all
#   blocks_m     m16 blocks of rows of one warp: two read K and V half as often, where registers do
#   warps_m/kv   warps of one CTA along the rows and along the KV range: where few CTAs share the
#                GPU, eight warps (w8) use a multiprocessor of their own
#   tile_kv      slots of one step
#   stages       steps in flight in shared memory
#   wgmma        the products are those of warpgroups, four warps along the rows; left out where not
#   ctas_per_sm  CTAs of one multiprocessor that the registers are budgeted for
# Left out: decode tiles of 64 rows for the head sizes of models without published draft heads
# (32, 80, 96, 256), whose trees take more tiles of 16 rows, and prefill tiles of 32 and 64 rows for the
# rarer head sizes (32, 80, 96), where short prompts gain from them; each is compiled and tested for ten SMs.
# Tiles of warpgroups for heads other than 128 have not been tried.
ATTENTION_VARIANTS = {
    "attention_append_f16": {"kind": "append", "threads": 256, "ctas_per_sm": 4},
    "attention_prefill_f16_d32_q128": {"kind": "prefill", "head_size": 32, "blocks_m": 2, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d64_q32": {"kind": "prefill", "head_size": 64, "blocks_m": 1, "warps_m": 2, "warps_kv": 2, "tile_kv": 64, "stages": 2, "ctas_per_sm": 3},
    "attention_prefill_f16_d64_q64": {"kind": "prefill", "head_size": 64, "blocks_m": 2, "warps_m": 2, "warps_kv": 2, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d64_q128": {"kind": "prefill", "head_size": 64, "blocks_m": 2, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d80_q128": {"kind": "prefill", "head_size": 80, "blocks_m": 2, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d96_q128": {"kind": "prefill", "head_size": 96, "blocks_m": 2, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d128_q32": {"kind": "prefill", "head_size": 128, "blocks_m": 1, "warps_m": 2, "warps_kv": 2, "tile_kv": 64, "stages": 2, "ctas_per_sm": 3},
    "attention_prefill_f16_d128_q64": {"kind": "prefill", "head_size": 128, "blocks_m": 1, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d128_q64_w8": {"kind": "prefill", "head_size": 128, "blocks_m": 1, "warps_m": 4, "warps_kv": 2, "tile_kv": 64, "stages": 2, "ctas_per_sm": 1},
    "attention_prefill_f16_d128_q128": {"kind": "prefill", "head_size": 128, "blocks_m": 2, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_prefill_f16_d128_q128_wgmma": {"kind": "prefill", "head_size": 128, "blocks_m": 1, "warps_m": 8, "warps_kv": 1, "tile_kv": 128, "stages": 3, "wgmma": True, "ctas_per_sm": 1},
    "attention_prefill_f16_d256_q64": {"kind": "prefill", "head_size": 256, "blocks_m": 1, "warps_m": 4, "warps_kv": 1, "tile_kv": 32, "stages": 2, "ctas_per_sm": 1},
    "attention_decode_f16_d32_m16": {"kind": "decode", "head_size": 32, "blocks_m": 1, "warps_m": 1, "warps_kv": 4, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d64_m16": {"kind": "decode", "head_size": 64, "blocks_m": 1, "warps_m": 1, "warps_kv": 4, "tile_kv": 64, "stages": 2, "ctas_per_sm": 4},
    "attention_decode_f16_d80_m16": {"kind": "decode", "head_size": 80, "blocks_m": 1, "warps_m": 1, "warps_kv": 4, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d96_m16": {"kind": "decode", "head_size": 96, "blocks_m": 1, "warps_m": 1, "warps_kv": 4, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d128_m16": {"kind": "decode", "head_size": 128, "blocks_m": 1, "warps_m": 1, "warps_kv": 4, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d256_m16": {"kind": "decode", "head_size": 256, "blocks_m": 1, "warps_m": 1, "warps_kv": 2, "tile_kv": 32, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d64_m64": {"kind": "decode", "head_size": 64, "blocks_m": 1, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d128_m64": {"kind": "decode", "head_size": 128, "blocks_m": 1, "warps_m": 4, "warps_kv": 1, "tile_kv": 64, "stages": 2, "ctas_per_sm": 2},
    "attention_decode_f16_d128_m64_w8": {"kind": "decode", "head_size": 128, "blocks_m": 1, "warps_m": 4, "warps_kv": 2, "tile_kv": 64, "stages": 2, "ctas_per_sm": 1},
    "attention_decode_f16_d128_m64_wgmma": {"kind": "decode", "head_size": 128, "blocks_m": 1, "warps_m": 4, "warps_kv": 2, "tile_kv": 128, "stages": 3, "wgmma": True, "ctas_per_sm": 1},
    "attention_decode_f16_d128_m128_wgmma": {"kind": "decode", "head_size": 128, "blocks_m": 1, "warps_m": 8, "warps_kv": 1, "tile_kv": 64, "stages": 6, "wgmma": True, "ctas_per_sm": 1},
    "attention_combine_f16": {"kind": "combine", "threads": 256, "ctas_per_sm": 4},
}

# Kernels with instructions of one architecture alone.
WGMMA_VARIANTS = [name for name, row in INT4_GEMM_VARIANTS.items() if row["kind"] == "wgmma"] + [
    name
    for name, row in ATTENTION_VARIANTS.items()
    if row.get("wgmma", False)
]

_SMS_WITH_LITTLE_SHARED_MEMORY = [sm for sm, row in SMS.items() if row["shared_per_block"] < 128 * 1024]
_SMS_WITHOUT_WGMMA = [sm for sm, row in SMS.items() if not row["wgmma"]]

# The SMs for which a variant is not compiled: one CTA of theirs may not have its shared memory, or they
# lack its instructions. The generator computes it, and refuses a table that says otherwise.
EXCLUDED = {
    "int4_gemv_f16_m8_n32_w16": _SMS_WITH_LITTLE_SHARED_MEMORY,
    "int4_gemv_f16_m16_n32_w16": _SMS_WITH_LITTLE_SHARED_MEMORY,
    "int4_gemv_f16_m16_n128_w4": _SMS_WITH_LITTLE_SHARED_MEMORY,
} | {name: _SMS_WITHOUT_WGMMA for name in WGMMA_VARIANTS}
