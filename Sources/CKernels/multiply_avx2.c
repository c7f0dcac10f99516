// multiply_body.h and multiply_int8_body.h with vectors of 8 floats: AVX2, FMA and F16C.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define OPERATION static inline __attribute__((always_inline))
#define SET(name) name##_avx2

typedef __m256 V;
enum { LANES = 8 };
// Rows that are multiplied at a time with 1 … 4 tokens: about 8 sums of 16 registers.
enum { ROWS_1 = 4, ROWS_2 = 3, ROWS_3 = 2, ROWS_4 = 2 };
enum { PANEL_ROWS = 6, PANEL_LEAST = 13, SUM_WIDTH = 2 };

OPERATION V v_zero(void) { return _mm256_setzero_ps(); }
OPERATION V v_set1(float x) { return _mm256_set1_ps(x); }
OPERATION V v_load(const float *x) { return _mm256_loadu_ps(x); }
OPERATION void v_store(float *x, V a) { _mm256_storeu_ps(x, a); }
OPERATION V v_add(V a, V b) { return _mm256_add_ps(a, b); }
OPERATION V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
OPERATION V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
OPERATION V v_div(V a, V b) { return _mm256_div_ps(a, b); }
OPERATION V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
// Where one operand is a NaN, the second is taken.
OPERATION V v_min(V a, V b) { return _mm256_min_ps(a, b); }
OPERATION V v_max(V a, V b) { return _mm256_max_ps(a, b); }
OPERATION V v_rint(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// 2ⁿ for −126 ≤ n ≤ 127.
OPERATION V power(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// a · 2ⁿ for −252 ≤ n ≤ 254 and a near 1, in two steps of which only the second rounds.
OPERATION V v_scale(V a, V n) {
  __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  return v_mul(v_mul(a, power(half)), power(_mm256_sub_epi32(whole, half)));
}

OPERATION float v_sum(V a) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

OPERATION float v_most(V a) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// What a group of codes is decoded with: code · scale + offset. For int4 the code is the stored 0 … 15 and the offset
// −8 · scale; the sum is exact, because scales have eight bits.
typedef struct {
  V scale, offset;
} group_t;

OPERATION group_t group_of(int format, float scale) {
  (void)format;
  return (group_t){v_set1(scale), v_set1(-8 * scale)};
}

OPERATION __m256i load8(const char *w) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)w)); }
OPERATION __m128i load16(const char *w) { return _mm_loadu_si128((const void *)w); }

// 32 weights as floats.
OPERATION void decode32(const char *w, int format, group_t group, V *out) {
  const __m256i nibble = _mm256_set1_epi32(15);
  if (format == CK_INT4) {
    for (size_t i = 0; i < 2; i++) {
      __m256i both = load8(w + 8 * i);
      out[i] = v_fma(_mm256_cvtepi32_ps(_mm256_and_si256(both, nibble)), group.scale, group.offset);
      out[i + 2] = v_fma(_mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)), group.scale, group.offset);
    }
    return;
  }
  for (size_t i = 0; i < 4; i++) {
    if (format == CK_F32)
      out[i] = _mm256_loadu_ps((const float *)(const void *)(w + 32 * i));
    else if (format == CK_BF16)
      out[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(w + 16 * i)), 16));
    else if (format == CK_F16)
      out[i] = _mm256_cvtph_ps(load16(w + 16 * i));
    else
      out[i] = v_mul(
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(w + 8 * i)))), group.scale);
  }
}

OPERATION int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens) {
  (void)p, (void)x, (void)y, (void)tokens;
  return 0;
}

#include "multiply_body.h"
#include "elementwise_body.h"

#include "multiply_int8_avx2.h"

#pragma clang attribute pop
#endif
