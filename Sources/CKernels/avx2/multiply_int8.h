// What multiply_int8_body.h needs of AVX2, and nothing else does; part of multiply.c.
//
// Products of int8 codes: VPMADDUBSW multiplies unsigned with signed bytes and adds pairs in 16 bits, which saturate
// beyond ±32767. int8 weights go in as magnitudes of at most 128 (a damaged pack may hold −128) and their signs move to
// the activations, of at most 127: 2 · 128 · 127 = 32512. int4 weights are made unsigned, 8 too large, so that sums
// start at −8 · Σ codes of x: 8 pairs of at most 2 · 15 · 127 = 3810 fit into 16 bits.

enum { HEIGHT = 1 };

INLINE I i_int8_weights(I a) { return a; }
// Sums of int4 start at 8 · `start`.
INLINE I i_start(int32_t start, int format) { return i_set1(format == CK_INT4 ? 8 * start : 0); }

INLINE I i_add_pairs(I sum, __m256i pairs) {
  return sum + (I)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

// 4 · quads columns.
INLINE void i_add_products(I (*sum)[HEIGHT], const I (*weights)[HEIGHT], const int8_t *const *x, int format, int tokens,
                           int quads) {
  const __m256i *w = (const __m256i *)weights;
  UNROLL for (int t = 0; t < tokens; t++) {
    __m256i pairs = _mm256_setzero_si256();
    UNROLL for (int q = 0; q < quads; q++) {
      int32_t four;
      __builtin_memcpy(&four, x[t] + 4 * q, 4);
      __m256i xt = _mm256_set1_epi32(four);
      if (format == CK_INT4)
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[q], xt));
      else
        sum[t][0] = i_add_pairs(sum[t][0], _mm256_maddubs_epi16(_mm256_abs_epi8(w[q]), _mm256_sign_epi8(xt, w[q])));
    }
    if (format == CK_INT4) sum[t][0] = i_add_pairs(sum[t][0], pairs);
  }
}

#include "../multiply_int8_body.h"

static int multiply_few(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row,
                        size_t token, size_t k, size_t count, size_t tokens) {
  (void)piece, (void)p, (void)x, (void)row, (void)token, (void)k, (void)count, (void)tokens;
  return 0;
}
