// What multiply_int8_body.h needs of AVX2, and nothing else does; part of multiply_avx2.c.
//
// Products of int8 codes: VPMADDUBSW multiplies unsigned with signed bytes and adds pairs in 16 bits, which saturate
// beyond ±32767. int8 weights go in as magnitudes of at most 128 (a damaged pack may hold −128) and their signs move to
// the activations, of at most 127: 2 · 128 · 127 = 32512. int4 weights are made unsigned, 8 too large, so that sums
// start at −8 · Σ codes of x: 8 pairs of at most 2 · 15 · 127 = 3810 fit into 16 bits.
typedef __m256i I;

// 16 bytes each of rows 0 and 4.
OPERATION I i_load_rows(const char *w, size_t row_bytes) {
  return _mm256_loadu2_m128i((const void *)(w + 4 * row_bytes), (const void *)w);
}

OPERATION I i_low32(I a, I b) { return _mm256_unpacklo_epi32(a, b); }
OPERATION I i_high32(I a, I b) { return _mm256_unpackhi_epi32(a, b); }
OPERATION I i_low64(I a, I b) { return _mm256_unpacklo_epi64(a, b); }
OPERATION I i_high64(I a, I b) { return _mm256_unpackhi_epi64(a, b); }
OPERATION I i_nibbles(I a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
OPERATION I i_shift_nibble(I a) { return _mm256_srli_epi16(a, 4); }
OPERATION I i_int8_weights(I a) { return a; }
OPERATION V i_floats(I a) { return _mm256_cvtepi32_ps(a); }
OPERATION V i_lower_bf16(I a) { return _mm256_castsi256_ps(_mm256_slli_epi32(a, 16)); }
OPERATION V i_upper_bf16(I a) { return _mm256_castsi256_ps(_mm256_and_si256(a, _mm256_set1_epi32(-65536))); }
OPERATION I i_start(int32_t start, int format) {
  return format == CK_INT4 ? _mm256_slli_epi32(_mm256_set1_epi32(start), 3) : _mm256_setzero_si256();
}

OPERATION I i_add_pairs(I sum, I pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// 32 columns.
OPERATION void i_add_products(I *sum, const I *w, const int8_t *const *x, int format, int tokens) {
  UNROLL for (int t = 0; t < tokens; t++) {
    I pairs = _mm256_setzero_si256();
    UNROLL for (int q = 0; q < 8; q++) {
      int32_t four;
      __builtin_memcpy(&four, x[t] + 4 * q, 4);
      I xt = _mm256_set1_epi32(four);
      if (format == CK_INT4)
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[q], xt));
      else
        sum[t] = i_add_pairs(sum[t], _mm256_maddubs_epi16(_mm256_abs_epi8(w[q]), _mm256_sign_epi8(xt, w[q])));
    }
    if (format == CK_INT4) sum[t] = i_add_pairs(sum[t], pairs);
  }
}

#include "multiply_int8_body.h"

static int multiply_few(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row,
                        size_t token, size_t k, size_t count, size_t tokens) {
  (void)piece, (void)p, (void)x, (void)row, (void)token, (void)k, (void)count, (void)tokens;
  return 0;
}
