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

// Every kernel of a set: its type and its name. A function ck_NAME_SET is one; a set without a kernel of its own defines
// that name as the one of scalar.
#define CK_KERNELS(each, set)                            \
  each(quantize, quantize_bf16, set)                     \
  each(quantize, quantize_f32, set)                      \
  each(decode, decode, set)                              \
  each(widen, widen_bf16, set)                           \
  each(widen, widen_f16, set)                            \
  each(first_not_finite, first_not_finite_bf16, set)     \
  each(first_not_finite, first_not_finite_f16, set)      \
  each(first_not_finite, first_not_finite_f32, set)      \
  each(split16, split16, set)                            \
  each(join16, join16, set)                              \
  each(histogram, histogram, set)                        \
  each(read_sum, read_sum, set)                          \
  each(xxh3, xxh3, set)                                  \
  each(xxh3_begin, xxh3_begin, set)                      \
  each(xxh3_add, xxh3_add, set)                          \
  each(xxh3_end, xxh3_end, set)                          \
  each(multiply, multiply, set)                          \
  each(quantize_activations, quantize_activations, set)  \
  each(multiply_int8, multiply_int8, set)                \
  each(weighted_sum, weighted_sum, set)                  \
  each(silu_multiply, silu_multiply, set)                \
  each(softmax, softmax, set)                            \
  each(score, score, set)                                \
  each(exp, exp, set)                                    \
  each(fma_loop, fma_loop, set)

// The sets of each processor, the fastest first. Each has a folder of its own.
#if defined(__x86_64__)
#define CK_SETS(each) each(avx512) each(avx2) each(scalar)
#elif defined(__aarch64__)
#define CK_SETS(each) each(neon) each(scalar)
#else
#define CK_SETS(each) each(scalar)
#endif

#define CK_DECLARE_KERNEL(type, name, set) ck_##type ck_##name##_##set;
#define CK_DECLARE_SET(set) CK_KERNELS(CK_DECLARE_KERNEL, set) extern const ck_kernel_set ck_set_##set;
CK_SETS(CK_DECLARE_SET)

// The table of a set, with the floats that it adds up side by side, and whether this processor can run it.
#define CK_TABLE_ENTRY(type, kernel, set) .kernel = ck_##kernel##_##set,
#define CK_DEFINE_SET(set, float_lanes, supports)                                             \
  const ck_kernel_set ck_set_##set = {.name = #set, .lanes = float_lanes, .is_supported = supports, \
                                      CK_KERNELS(CK_TABLE_ENTRY, set)};

#endif
