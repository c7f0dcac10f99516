// What the sets share: constants of Formats/encodings.md and the scalar kernels that wider sets use for tails.
#ifndef KERNELS_H
#define KERNELS_H

#include "CKernels.h"

// Products and sums round separately, in every set: a fused multiply-add would give other bits.
#pragma STDC FP_CONTRACT OFF

#define CK_BF16_NOT_FINITE 0x7F80  // magnitudes from here on are infinities and NaNs
#define CK_F16_NOT_FINITE 0x7C00
#define CK_F32_NOT_FINITE 0x7F800000
#define CK_E4M3_NOT_FINITE 0x7F
#define CK_E5M2_NOT_FINITE 0x7C

// e4m3 has one NaN of each sign and no infinities. In the place of the highest bits of a binary16 an e5m2 is what it was, and
// an e4m3, whose exponent has one bit fewer and a bias of 7 instead of 15, is 2⁸ times too small.
#define CK_E4M3_FACTOR 256.0f
#define CK_BF16_NAN 0x7FC0

// Portable scales, §3, as bits of a bf16 magnitude.
#define CK_SCALE_MIN 0x3700
#define CK_SCALE_MAX 0x477F
// Groups up to this magnitude get the scale zero, or the byte zero.
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

// Byte scales, §3.2: an index of 4 bits below the exponent, of which the lowest of a row is 16 · its base.
enum { CK_BASE_MIN = 110, CK_BASE_MAX = 135, CK_GRID_LAST = 127 };

static inline float ck_float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t ck_bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Sign, and exponent above the base with mantissa: where the bits of a byte scale are after a signed shift to bit 19.
#define CK_BYTE_SCALE_BITS 0x83F80000

static inline float ck_byte_scale(uint8_t base, uint8_t byte) {
  return ck_float_of(((uint32_t)base << 23) + ((uint32_t)(int8_t)byte << 19 & CK_BYTE_SCALE_BITS));
}

// The code of element i of a plane, §4 and §5.
static inline int ck_code_of(int format, const void *codes, size_t i) {
  const uint8_t *bytes = codes;
  if (format == CK_INT8) return (int8_t)bytes[i];
  return (bytes[i / 32 * 16 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15) - 8;
}

// Bytes of the scales of a row, §6.
static inline size_t ck_row_scale_bytes(int scale, size_t row_groups) {
  return scale == CK_SCALE_BYTE ? 1 + row_groups : 2 * row_groups;
}

// The scale of a group of a row.
static inline float ck_scale_of(int scale, const void *row, size_t group) {
  const uint8_t *bytes = row;
  if (scale == CK_SCALE_BYTE) return ck_byte_scale(bytes[0], bytes[1 + group]);
  uint16_t bits;
  __builtin_memcpy(&bits, bytes + 2 * group, sizeof bits);
  return ck_float_of((uint32_t)bits << 16);
}

// The base of a row whose largest magnitude has these bits; above CK_BASE_MAX where there is none.
static inline int ck_base(int bits, uint32_t magnitude) {
  int base = (int)(magnitude >> 23) - (bits == 4 ? 9 : 13);
  return base < CK_BASE_MIN ? CK_BASE_MIN : base;
}

// Candidates of the search for a byte, §9.2.
static inline int ck_grid_count(int bits) { return bits == 4 ? 12 : 4; }
static inline float ck_grid_least(int bits) { return bits == 4 ? 27.0f / 256 : 1.0f / 128; }

// Whether candidate k may lead to codes beyond `limit`. With mantissa M (16 … 31) of candidate 0, the largest magnitude is
// less than (M + 1) / (M + k) / least times the scale, which is most for M = 32 − k.
static inline int ck_grid_exceeds(int bits, int k, int limit) {
  float most = (k == 0 ? 17.0f / 16 : (float)(33 - k) / 32) / ck_grid_least(bits);
  return most * 1.005f >= (float)limit + 0.5f;  // the multiplier is rounded
}

// Every kernel of a set: its type and its name. A function ck_NAME_SET is one; a set without a kernel of its own defines
// that name as the one of scalar.
#define CK_KERNELS(each, set)                            \
  each(quantize, quantize_bf16, set)                     \
  each(quantize, quantize_f32, set)                      \
  each(decode, decode, set)                              \
  each(widen, widen_bf16, set)                           \
  each(widen, widen_f16, set)                            \
  each(scale_fp8, scale_e4m3, set)                       \
  each(scale_fp8, scale_e5m2, set)                       \
  each(first_not_finite, first_not_finite_bf16, set)     \
  each(first_not_finite, first_not_finite_f16, set)      \
  each(first_not_finite, first_not_finite_f32, set)      \
  each(first_not_finite, first_not_finite_e4m3, set)     \
  each(first_not_finite, first_not_finite_e5m2, set)     \
  each(split16, split16, set)                            \
  each(join16, join16, set)                              \
  each(histogram, histogram, set)                        \
  each(read_sum, read_sum, set)                          \
  each(xxh3, xxh3, set)                                  \
  each(xxh3_begin, xxh3_begin, set)                      \
  each(xxh3_add, xxh3_add, set)                          \
  each(xxh3_end, xxh3_end, set)                          \
  each(blake3, blake3, set)                              \
  each(multiply, multiply, set)                          \
  each(quantize_activations, quantize_activations, set)  \
  each(multiply_int8, multiply_int8, set)                \
  each(weighted_sum, weighted_sum, set)                  \
  each(silu_multiply, silu_multiply, set)                \
  each(softmax, softmax, set)                            \
  each(attend, attend, set)                              \
  each(score, score, set)                                \
  each(exp, exp, set)                                    \
  each(fma_loop, fma_loop, set)                          \
  each(accumulate, accumulate, set)                      \
  each(factor_block, factor_block, set)                  \
  each(factor_strip, factor_strip, set)                  \
  each(pack_symmetric, pack_symmetric, set)              \
  each(pack_factor, pack_factor, set)                    \
  each(solve_rows, solve_rows, set)                      \
  each(gate, gate, set)

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
