// multiply_body.h with vectors of 16 floats: AVX-512 F, BW and VL.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c"))), apply_to = function)
#define OPERATION static inline __attribute__((always_inline))
#define SET(name) name##_avx512

typedef __m512 V;
enum { LANES = 16 };
// Rows that are multiplied at a time with 1 … 8 tokens: up to 16 sums of 32 registers, at least 8 because each takes a new
// term every fourth cycle only.
enum { ROWS_1 = 8, ROWS_2 = 4, ROWS_3 = 4, ROWS_4 = 4, ROWS_5 = 3, ROWS_6 = 2, ROWS_7 = 2, ROWS_8 = 2 };
// From 3 · 8 tokens on a panel is faster than parts of 8.
enum { PANEL_ROWS = 12, PANEL_LEAST = 25, SUM_WIDTH = 4 };

OPERATION V v_zero(void) { return _mm512_setzero_ps(); }
OPERATION V v_set1(float x) { return _mm512_set1_ps(x); }
OPERATION V v_load(const float *x) { return _mm512_loadu_ps(x); }
OPERATION void v_store(float *x, V a) { _mm512_storeu_ps(x, a); }
OPERATION V v_add(V a, V b) { return _mm512_add_ps(a, b); }
OPERATION V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
OPERATION V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
OPERATION V v_div(V a, V b) { return _mm512_div_ps(a, b); }
OPERATION V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
// Where one operand is a NaN, the second is taken.
OPERATION V v_min(V a, V b) { return _mm512_min_ps(a, b); }
OPERATION V v_max(V a, V b) { return _mm512_max_ps(a, b); }
OPERATION V v_rint(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
OPERATION V v_scale(V a, V n) { return _mm512_scalef_ps(a, n); }  // a · 2ⁿ
OPERATION float v_sum(V a) { return _mm512_reduce_add_ps(a); }
OPERATION float v_most(V a) { return _mm512_reduce_max_ps(a); }

OPERATION double sum_of_squares(const float *x, size_t count) {
  __m512d sum[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd()};
  for (size_t i = 0; i < count; i += 32)
    for (size_t j = 0; j < 4; j++) {
      __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8 * j));
      sum[j] = _mm512_fmadd_pd(v, v, sum[j]);
    }
  return _mm512_reduce_add_pd(_mm512_add_pd(_mm512_add_pd(sum[0], sum[1]), _mm512_add_pd(sum[2], sum[3])));
}

// What a group of codes is decoded with: for int4 the sixteen values, for int8 the scale.
typedef V group_t;

OPERATION group_t group_of(int format, float scale) {
  if (format != CK_INT4) return v_set1(scale);
  return v_mul(_mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7), v_set1(scale));
}

OPERATION __m256i load16(const char *w) { return _mm256_loadu_si256((const void *)w); }
OPERATION __m512i widen(__m256i v) { return _mm512_cvtepu16_epi32(v); }

// 32 weights as floats. Looking a value up uses the lowest four bits of an index alone, so that codes need no mask.
OPERATION void decode32(const char *w, int format, group_t group, V *out) {
  if (format == CK_F32) {
    out[0] = _mm512_loadu_ps(w);
    out[1] = _mm512_loadu_ps(w + 64);
  } else if (format == CK_BF16) {
    out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(widen(load16(w)), 16));
    out[1] = _mm512_castsi512_ps(_mm512_slli_epi32(widen(load16(w + 32)), 16));
  } else if (format == CK_F16) {
    out[0] = _mm512_cvtph_ps(load16(w));
    out[1] = _mm512_cvtph_ps(load16(w + 32));
  } else if (format == CK_INT8) {
    __m512i low = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)w));
    __m512i high = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(w + 16)));
    out[0] = v_mul(_mm512_cvtepi32_ps(low), group);
    out[1] = v_mul(_mm512_cvtepi32_ps(high), group);
  } else {
    __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)w));
    out[0] = _mm512_permutexvar_ps(both, group);
    out[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), group);
  }
}

#include "multiply_body.h"

#pragma clang attribute pop
#endif
