// What the sets share: constants of Formats/encodings.md and the scalar kernels that wider sets use for tails.
#ifndef KERNELS_H
#define KERNELS_H

#include "CKernels.h"

// Products and sums round separately, in every set: a fused multiply-add would give other bits.
#pragma STDC FP_CONTRACT OFF

#define CK_BF16_NOT_FINITE 0x7F80  // magnitudes from here on are infinities and NaNs
#define CK_F16_NOT_FINITE 0x7C00
#define CK_F32_NOT_FINITE 0x7F800000

// Portable scales, §3, as bits of a bf16 magnitude.
#define CK_SCALE_MIN 0x3700
#define CK_SCALE_MAX 0x477F
// Groups up to this magnitude get the scale zero.
#define CK_NEGLIGIBLE 0x1p-18f

static inline int ck_code_min(int bits) { return bits == 4 ? -8 : -127; }
static inline int ck_code_max(int bits) { return bits == 4 ? 7 : 127; }

// Candidates of the search, §9.
static inline int ck_search_range(int bits) { return bits == 4 ? 1024 : 4096; }
static inline int ck_search_count(int bits) { return bits == 4 ? 12 : 16; }
static inline int ck_search_multiplier(int bits, int k) { return bits == 4 ? 198 + (103 * k + 5) / 11 : 896 + 8 * k; }

// The code of the largest magnitude, before the clamp: the lowest for sign −1, the highest for 1.
static inline int ck_search_code(int bits, int k, int sign) {
  return (sign * ck_search_range(bits) * ck_search_multiplier(bits, k) + (1 << 14)) >> 15;
}

static inline size_t ck_code_bytes(const ck_scheme *scheme, size_t groups) {
  return groups * (size_t)scheme->group_size * (size_t)scheme->bits / 8;
}

#define CK_PRODUCT_KERNELS(set)                           \
  ck_multiply ck_multiply_##set;                          \
  ck_quantize_activations ck_quantize_activations_##set;  \
  ck_multiply_int8 ck_multiply_int8_##set;                \
  ck_weighted_sum ck_weighted_sum_##set;                  \
  ck_silu_multiply ck_silu_multiply_##set;                \
  ck_softmax ck_softmax_##set;                            \
  ck_score ck_score_##set;                                \
  ck_exp ck_exp_##set;                                    \
  ck_fma_loop ck_fma_loop_##set

#define CK_XXH3_KERNELS(set)            \
  ck_xxh3 ck_xxh3_##set;                \
  ck_xxh3_begin ck_xxh3_begin_##set;    \
  ck_xxh3_add ck_xxh3_add_##set;        \
  ck_xxh3_end ck_xxh3_end_##set

CK_PRODUCT_KERNELS(scalar);
CK_XXH3_KERNELS(scalar);

extern const ck_kernel_set ck_set_scalar;
#if defined(__x86_64__)
extern const ck_kernel_set ck_set_avx2;
extern const ck_kernel_set ck_set_avx512;

ck_quantize ck_quantize_bf16_avx2, ck_quantize_f32_avx2;
ck_quantize ck_quantize_bf16_avx512, ck_quantize_f32_avx512;
CK_PRODUCT_KERNELS(avx2);
CK_PRODUCT_KERNELS(avx512);
CK_XXH3_KERNELS(avx2);
CK_XXH3_KERNELS(avx512);
#endif

#endif
