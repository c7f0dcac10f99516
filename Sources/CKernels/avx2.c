// The kernels of scalar.c with 32-byte vectors: AVX2 and F16C. Quantization is in avx2_quantize.c.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

// `wide` says that x holds binary32, otherwise bf16; like `bits` it is a constant wherever these are inlined.
INLINE const char *element(const void *x, int wide, size_t i) { return (const char *)x + (wide ? 4 : 2) * i; }

INLINE __m256i load(const void *x) { return _mm256_loadu_si256(x); }

INLINE __m256 load_floats(const void *x, int wide) {
  if (wide) return _mm256_loadu_ps(x);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(x)), 16));
}

static void decode(const uint8_t *codes, const void *scales, size_t group_count, const ck_scheme *scheme, float *y) {
  const size_t n = (size_t)scheme->group_size;
  const __m256i nibble = _mm256_set1_epi32(15), eight = _mm256_set1_epi32(8);
  for (size_t g = 0; g < group_count; g++) {
    uint16_t scale_bits;
    __builtin_memcpy(&scale_bits, (const char *)scales + 2 * g, 2);
    const __m256 s = _mm256_castsi256_ps(_mm256_set1_epi32((int)((uint32_t)scale_bits << 16)));
    for (size_t i = g * n; i < (g + 1) * n; i += 32)
      for (size_t j = 0; j < 16; j += 8) {
        __m256i low, high;
        if (scheme->bits == 8) {
          low = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(codes + i + j)));
          high = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(codes + i + j + 16)));
        } else {
          __m256i both = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(codes + i / 2 + j)));
          low = _mm256_sub_epi32(_mm256_and_si256(both, nibble), eight);
          high = _mm256_sub_epi32(_mm256_srli_epi32(both, 4), eight);
        }
        _mm256_storeu_ps(y + i + j, _mm256_mul_ps(_mm256_cvtepi32_ps(low), s));
        _mm256_storeu_ps(y + i + j + 16, _mm256_mul_ps(_mm256_cvtepi32_ps(high), s));
      }
  }
}

static void widen_bf16(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(y + i, load_floats(element(x, 0, i), 0));
  ck_set_scalar.widen_bf16(element(x, 0, i), count - i, y + i);
}

static void widen_f16(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)element(x, 0, i))));
  ck_set_scalar.widen_f16(element(x, 0, i), count - i, y + i);
}

// Whether any of the 128 bytes at x holds a magnitude from `limit` on.
INLINE int has_not_finite(const char *x, int wide, int limit) {
  const __m256i mask = wide ? _mm256_set1_epi32(0x7FFFFFFF) : _mm256_set1_epi16(0x7FFF);
  __m256i most = _mm256_setzero_si256();  // magnitudes are below the sign bit, so that signed comparisons do
  for (size_t i = 0; i < 128; i += 32) {
    __m256i v = _mm256_and_si256(load(x + i), mask);
    most = wide ? _mm256_max_epi32(most, v) : _mm256_max_epi16(most, v);
  }
  return _mm256_movemask_epi8(wide ? _mm256_cmpgt_epi32(most, _mm256_set1_epi32(limit - 1))
                                   : _mm256_cmpgt_epi16(most, _mm256_set1_epi16((short)(limit - 1)))) != 0;
}

#define FIRST_NOT_FINITE(name, wide, limit)                                                      \
  static size_t name(const void *x, size_t count) {                                              \
    const size_t step = wide ? 32 : 64;                                                         \
    size_t i = 0;                                                                                \
    while (i + step <= count && !has_not_finite(element(x, wide, i), wide, limit)) i += step;    \
    return i + ck_set_scalar.name(element(x, wide, i), count - i);                               \
  }
FIRST_NOT_FINITE(first_not_finite_bf16, 0, CK_BF16_NOT_FINITE)
FIRST_NOT_FINITE(first_not_finite_f16, 0, CK_F16_NOT_FINITE)
FIRST_NOT_FINITE(first_not_finite_f32, 1, CK_F32_NOT_FINITE)

static void split16(const void *x, size_t count, uint8_t *high, uint8_t *low) {
  const __m256i byte = _mm256_set1_epi16(255);
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m256i a = load(element(x, 0, i)), b = load(element(x, 0, i + 16));
    __m256i l = _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
    __m256i h = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
    _mm256_storeu_si256((void *)(low + i), _mm256_permute4x64_epi64(l, 0xD8));
    _mm256_storeu_si256((void *)(high + i), _mm256_permute4x64_epi64(h, 0xD8));
  }
  ck_set_scalar.split16(element(x, 0, i), count - i, high + i, low + i);
}

static void join16(const uint8_t *high, const uint8_t *low, size_t count, void *x) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i h = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(high + i)));
    __m256i l = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(low + i)));
    _mm256_storeu_si256((void *)((char *)x + 2 * i), _mm256_or_si256(_mm256_slli_epi16(h, 8), l));
  }
  ck_set_scalar.join16(high + i, low + i, count - i, (char *)x + 2 * i);
}

static void histogram(const uint8_t *codes, size_t byte_count, int32_t bits, uint64_t *counts) {
  ck_set_scalar.histogram(codes, byte_count, bits, counts);
}

static uint64_t read_sum(const void *x, size_t byte_count) {
  __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  size_t i = 0;
  for (; i + 128 <= byte_count; i += 128)
    for (size_t j = 0; j < 4; j++) sum[j] = _mm256_add_epi64(sum[j], load((const char *)x + i + 32 * j));
  uint64_t lanes[4];
  __m256i total = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  _mm256_storeu_si256((void *)lanes, total);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + ck_set_scalar.read_sum((const char *)x + i, byte_count - i);
}

const ck_kernel_set ck_set_avx2 = {
    .name = "avx2",
    .quantize_bf16 = ck_quantize_bf16_avx2,
    .quantize_f32 = ck_quantize_f32_avx2,
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
    .xxh3 = ck_xxh3_avx2,
    .xxh3_begin = ck_xxh3_begin_avx2,
    .xxh3_add = ck_xxh3_add_avx2,
    .xxh3_end = ck_xxh3_end_avx2,
    .multiply = ck_multiply_avx2,
    .quantize_activations = ck_quantize_activations_avx2,
    .multiply_int8 = ck_multiply_int8_avx2,
    .weighted_sum = ck_weighted_sum_avx2,
    .silu_multiply = ck_silu_multiply_avx2,
    .softmax = ck_softmax_avx2,
    .score = ck_score_avx2,
    .exp = ck_exp_avx2,
    .fma_loop = ck_fma_loop_avx2,
};

#pragma clang attribute pop
#endif
