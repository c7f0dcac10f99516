// multiply_body.h and multiply_int8_body.h with vectors of 16 floats: AVX-512 F, BW, VL and VNNI.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#define OPERATION static inline __attribute__((always_inline))
#define SET(name) name##_avx512

typedef __m512 V;
enum { LANES = 16 };
// Rows that are multiplied at a time with 1 … 4 tokens: up to 16 sums of 32 registers, at least 8 because each takes a
// new term every fourth cycle only.
enum { ROWS_1 = 8, ROWS_2 = 4, ROWS_3 = 4, ROWS_4 = 4 };
// From 29 tokens on a panel, which holds 32, is faster than parts of 4.
enum { PANEL_ROWS = 12, PANEL_LEAST = 29, SUM_WIDTH = 4 };

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

// Does a product by a shorter way, if there is one for it.
static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens);

#include "multiply_body.h"
#include "elementwise_body.h"

// int4 with one or two tokens, 64 bytes of codes at a time. Nibble n of 32-bit lane d is element 32 · (d / 4) + 4 · (d
// mod 4) + n / 2 + 16 · (n mod 2), so x is brought into that order first; then a shift and a lookup decode 16 codes,
// without the widening of bytes. Scales come in at the end of the 128 columns, which hold one, two or four groups.
enum { RUN = 128, RUN_TOKENS = 2, RUN_ROWS = 4, RUN_NUMBERS = 1 << 14 };

static void arrange(const float *x, size_t columns, float *out) {
  const __m512i four = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  for (size_t k = 0; k < columns; k += RUN)
    for (size_t n = 0; n < 8; n++) {
      const float *from = x + k + n % 2 * 16;
      __m512i index = _mm512_add_epi32(four, _mm512_set1_epi32((int)(n / 2)));
      V low = _mm512_permutex2var_ps(v_load(from), index, v_load(from + 32));
      V high = _mm512_permutex2var_ps(v_load(from + 64), index, v_load(from + 96));
      v_store(out + k + 16 * n, _mm512_shuffle_f32x4(low, high, 0x44));
    }
}

// 16 codes of nibble n.
INLINE V codes_at(__m512i v, int n) {
  const V table = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  return _mm512_permutexvar_ps(n == 0 ? v : _mm512_srli_epi32(v, 4 * (unsigned)n), table);
}

// The scales of 128 columns, each in the lanes of its group.
INLINE V run_scales(const char *scales, int group) {
  if (group == RUN) return v_set1(load_scale(scales));
  uint64_t bits = 0;
  __builtin_memcpy(&bits, scales, 2 * RUN / (size_t)group);
  __m128i few = _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_cvtsi64_si128((long long)bits)), 16);
  const __m512i index = group == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)
                                    : _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return _mm512_permutexvar_ps(index, _mm512_castps128_ps512(_mm_castsi128_ps(few)));
}

INLINE void run_block(const ck_product *p, size_t row, const float *x, float *y, int group, int rows, int tokens) {
  const char *w[RUN_ROWS], *scales[RUN_ROWS];
  V sum[RUN_ROWS][RUN_TOKENS];
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    w[r] = weights_of(p, CK_INT4, index);
    scales[r] = scales_of(p, index);
    UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = v_zero();
  }
  const struct ahead ahead = look_ahead(p->columns / 2, rows);
  for (size_t at = 0; at < p->columns / 2; at += 64) {
    size_t next = at + (at < ahead.turn ? ahead.before : ahead.after);
    UNROLL for (int r = 0; r < rows; r++) {
      __builtin_prefetch(w[r] + next);
      __m512i v = _mm512_loadu_si512(w[r] + at);
      V part[RUN_TOKENS];
      UNROLL for (int n = 0; n < 8; n++) {
        V codes = codes_at(v, n);
        UNROLL for (int t = 0; t < tokens; t++) {
          V xt = v_load(x + (size_t)t * p->columns + 2 * at + 16 * (size_t)n);
          part[t] = n == 0 ? v_mul(codes, xt) : v_fma(codes, xt, part[t]);
        }
      }
      V s = run_scales(scales[r] + at / 64 * (2 * RUN / (size_t)group), group);
      UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = v_fma(part[t], s, sum[r][t]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    UNROLL for (int t = 0; t < tokens; t++) y[(size_t)t * p->y_stride + index] = v_sum(sum[r][t]);
  }
}

#define RUNS(group, height, tokens)                                                                      \
  static void runs_g##group##_##tokens(const ck_product *p, const float *x, float *y) {                  \
    for (size_t row = 0; row < p->rows; row += height) run_block(p, row, x, y, group, height, tokens);   \
  }
#define RUNS_OF(group) RUNS(group, 4, 1) RUNS(group, 2, 2)
RUNS_OF(32)
RUNS_OF(64)
RUNS_OF(128)

static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens) {
  typedef void runs(const ck_product *p, const float *x, float *y);
  static runs *const all[3][RUN_TOKENS] = {
      {runs_g32_1, runs_g32_2}, {runs_g64_1, runs_g64_2}, {runs_g128_1, runs_g128_2}};
  if (p->format != CK_INT4 || tokens > RUN_TOKENS) return 0;
  if (p->columns % RUN != 0 || tokens * p->columns > RUN_NUMBERS) return 0;
  _Alignas(64) float arranged[RUN_NUMBERS];
  for (size_t t = 0; t < tokens; t++) arrange(x + t * p->x_stride, p->columns, arranged + t * p->columns);
  all[p->group_size == 32 ? 0 : p->group_size == 64 ? 1 : 2][tokens - 1](p, arranged, y);
  return 1;
}

#include "multiply_int8_avx512.h"

#pragma clang attribute pop
#endif
