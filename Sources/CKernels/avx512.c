// The kernels of scalar.c with 64-byte vectors: AVX-512 F, BW, VL and VNNI. Quantization is in avx512_quantize.c.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,f16c"))), \
                             apply_to = function)
#define INLINE static inline __attribute__((always_inline))

// `wide` says that x holds binary32, otherwise bf16; like `bits` it is a constant wherever these are inlined.
INLINE const char *element(const void *x, int wide, size_t i) { return (const char *)x + (wide ? 4 : 2) * i; }

INLINE __m512i load(const void *x) { return _mm512_loadu_si512(x); }

INLINE __m512 load_floats(const void *x, int wide) {
  if (wide) return _mm512_loadu_ps(x);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x)), 16));
}

static void decode(const uint8_t *codes, const void *scales, size_t group_count, const ck_scheme *scheme, float *y) {
  const size_t n = (size_t)scheme->group_size;
  const __m512i nibble = _mm512_set1_epi32(15), eight = _mm512_set1_epi32(8);
  for (size_t g = 0; g < group_count; g++) {
    uint16_t scale_bits;
    __builtin_memcpy(&scale_bits, (const char *)scales + 2 * g, 2);
    const __m512 s = _mm512_castsi512_ps(_mm512_set1_epi32((int)((uint32_t)scale_bits << 16)));
    for (size_t i = g * n; i < (g + 1) * n; i += 32) {
      __m512i low, high;
      if (scheme->bits == 8) {
        low = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(codes + i)));
        high = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(codes + i + 16)));
      } else {
        __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(codes + i / 2)));
        low = _mm512_sub_epi32(_mm512_and_si512(both, nibble), eight);
        high = _mm512_sub_epi32(_mm512_srli_epi32(both, 4), eight);
      }
      _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_cvtepi32_ps(low), s));
      _mm512_storeu_ps(y + i + 16, _mm512_mul_ps(_mm512_cvtepi32_ps(high), s));
    }
  }
}

static void widen_bf16(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) _mm512_storeu_ps(y + i, load_floats(element(x, 0, i), 0));
  ck_set_scalar.widen_bf16(element(x, 0, i), count - i, y + i);
}

static void widen_f16(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)element(x, 0, i))));
  ck_set_scalar.widen_f16(element(x, 0, i), count - i, y + i);
}

// Whether any of the 256 bytes at x holds a magnitude from `limit` on.
INLINE int has_not_finite(const char *x, int wide, int limit) {
  const __m512i mask = wide ? _mm512_set1_epi32(0x7FFFFFFF) : _mm512_set1_epi16(0x7FFF);
  __m512i most = _mm512_setzero_si512();
  for (size_t i = 0; i < 256; i += 64) {
    __m512i v = _mm512_and_si512(load(x + i), mask);
    most = wide ? _mm512_max_epu32(most, v) : _mm512_max_epu16(most, v);
  }
  return wide ? _mm512_cmpge_epu32_mask(most, _mm512_set1_epi32(limit)) != 0
              : _mm512_cmpge_epu16_mask(most, _mm512_set1_epi16((short)limit)) != 0;
}

#define FIRST_NOT_FINITE(name, wide, limit)                                                      \
  static size_t name(const void *x, size_t count) {                                              \
    const size_t step = wide ? 64 : 128;                                                         \
    size_t i = 0;                                                                                \
    while (i + step <= count && !has_not_finite(element(x, wide, i), wide, limit)) i += step;    \
    return i + ck_set_scalar.name(element(x, wide, i), count - i);                               \
  }
FIRST_NOT_FINITE(first_not_finite_bf16, 0, CK_BF16_NOT_FINITE)
FIRST_NOT_FINITE(first_not_finite_f16, 0, CK_F16_NOT_FINITE)
FIRST_NOT_FINITE(first_not_finite_f32, 1, CK_F32_NOT_FINITE)

static void split16(const void *x, size_t count, uint8_t *high, uint8_t *low) {
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m512i v = load(element(x, 0, i));
    _mm256_storeu_si256((void *)(low + i), _mm512_cvtepi16_epi8(v));
    _mm256_storeu_si256((void *)(high + i), _mm512_cvtepi16_epi8(_mm512_srli_epi16(v, 8)));
  }
  ck_set_scalar.split16(element(x, 0, i), count - i, high + i, low + i);
}

static void join16(const uint8_t *high, const uint8_t *low, size_t count, void *x) {
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m512i h = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(high + i)));
    __m512i l = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(low + i)));
    _mm512_storeu_si512((char *)x + 2 * i, _mm512_or_si512(_mm512_slli_epi16(h, 8), l));
  }
  ck_set_scalar.join16(high + i, low + i, count - i, (char *)x + 2 * i);
}

static void histogram(const uint8_t *codes, size_t byte_count, int32_t bits, uint64_t *counts) {
  ck_set_scalar.histogram(codes, byte_count, bits, counts);
}

static uint64_t read_sum(const void *x, size_t byte_count) {
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  size_t i = 0;
  for (; i + 256 <= byte_count; i += 256)
    for (size_t j = 0; j < 4; j++) sum[j] = _mm512_add_epi64(sum[j], load((const char *)x + i + 64 * j));
  __m512i total = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
  return (uint64_t)_mm512_reduce_add_epi64(total) + ck_set_scalar.read_sum((const char *)x + i, byte_count - i);
}

const ck_kernel_set ck_set_avx512 = {
    .name = "avx512",
    .quantize_bf16 = ck_quantize_bf16_avx512,
    .quantize_f32 = ck_quantize_f32_avx512,
    .decode = decode,
    .widen_bf16 = widen_bf16,
    .widen_f16 = widen_f16,
    .first_not_finite_bf16 = first_not_finite_bf16,
    .first_not_finite_f16 = first_not_finite_f16,
    .first_not_finite_f32 = first_not_finite_f32,
    .split16 = split16,
    .join16 = join16,
    .histogram = histogram,
    .read_sum = read_sum,
    .xxh3 = ck_xxh3_avx512,
    .xxh3_begin = ck_xxh3_begin_avx512,
    .xxh3_add = ck_xxh3_add_avx512,
    .xxh3_end = ck_xxh3_end_avx512,
    .multiply = ck_multiply_avx512,
    .quantize_activations = ck_quantize_activations_avx512,
    .multiply_int8 = ck_multiply_int8_avx512,
    .weighted_sum = ck_weighted_sum_avx512,
    .silu_multiply = ck_silu_multiply_avx512,
    .softmax = ck_softmax_avx512,
    .score = ck_score_avx512,
    .exp = ck_exp_avx512,
    .fma_loop = ck_fma_loop_avx512,
};

#pragma clang attribute pop
#endif
