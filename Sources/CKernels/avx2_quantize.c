// Quantization with 32-byte vectors: AVX2. The ideas are those of avx512_quantize.c, with half as many groups at a time
// and vpmaddwd with an addition where that has vpdpwssd.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { GROUPS = 8 };

// `wide` says that x holds binary32, otherwise bf16; like `bits` it is a constant wherever these are inlined.
INLINE const char *element(const void *x, int wide, size_t i) { return (const char *)x + (wide ? 4 : 2) * i; }

INLINE __m256i load(const void *x) { return _mm256_loadu_si256(x); }

INLINE __m256 load_floats(const void *x, int wide) {
  if (wide) return _mm256_loadu_ps(x);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(x)), 16));
}

// Eight vectors to the eight results of folding each: lane k with k + 4, k + 2, k + 1, the order of §10.
#define FOLD8(type, shuffle_blocks, shuffle_words, combine, v, result)                                             \
  do {                                                                                                             \
    type w[7], *next = w;                                                                                          \
    for (int i = 0; i < 8; i += 2)                                                                                 \
      *next++ = combine(shuffle_blocks(v[i], v[i + 1], 0x20), shuffle_blocks(v[i], v[i + 1], 0x31));               \
    for (int i = 0; i < 4; i += 2)                                                                                 \
      *next++ = combine(shuffle_words(w[i], w[i + 1], 0x44), shuffle_words(w[i], w[i + 1], 0xEE));                 \
    *next = combine(shuffle_words(w[4], w[5], 0x88), shuffle_words(w[4], w[5], 0xDD));                             \
    result = w[6];                                                                                                 \
  } while (0)

#define SHUFFLE_DWORDS(a, b, control) \
  _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), control))

// FOLD8 leaves v[2·j + l] in lane 4·l + j.
INLINE __m256i in_order(__m256i folded) {
  return _mm256_permutevar8x32_epi32(folded, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

INLINE __m256 fold_sums(const __m256 *v) {
  __m256 sums;
  FOLD8(__m256, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_add_ps, v, sums);
  return _mm256_castsi256_ps(in_order(_mm256_castps_si256(sums)));
}

// The greatest element of each vector as the bits of a binary32; 16-bit elements are taken for bf16.
INLINE __m256i fold_unsigned_maxima(const __m256i *v, int wide) {
  __m256i most;
  if (wide) {
    FOLD8(__m256i, _mm256_permute2x128_si256, SHUFFLE_DWORDS, _mm256_max_epu32, v, most);
    return in_order(most);
  }
  FOLD8(__m256i, _mm256_permute2x128_si256, SHUFFLE_DWORDS, _mm256_max_epu16, v, most);
  return _mm256_slli_epi32(_mm256_max_epu16(in_order(most), _mm256_srli_epi32(in_order(most), 16)), 16);
}

INLINE __m256i fold_signed_maxima(const __m256i *v, int wide) {
  __m256i most;
  if (wide) {
    FOLD8(__m256i, _mm256_permute2x128_si256, SHUFFLE_DWORDS, _mm256_max_epi32, v, most);
    return in_order(most);
  }
  FOLD8(__m256i, _mm256_permute2x128_si256, SHUFFLE_DWORDS, _mm256_max_epi16, v, most);
  return _mm256_slli_epi32(_mm256_max_epi16(in_order(most), _mm256_srli_epi32(in_order(most), 16)), 16);
}

// The largest magnitude of each group. Magnitudes of floats are in the order of their bits, infinities and NaNs last.
INLINE __m256 magnitudes(const void *x, int wide, size_t n) {
  const __m256i mask = wide ? _mm256_set1_epi32(0x7FFFFFFF) : _mm256_set1_epi16(0x7FFF);
  const size_t step = wide ? 8 : 16;
  __m256i most[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    most[g] = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += step) {
      __m256i v = _mm256_and_si256(load(element(x, wide, g * n + i)), mask);
      most[g] = wide ? _mm256_max_epu32(most[g], v) : _mm256_max_epu16(most[g], v);
    }
  }
  return _mm256_castsi256_ps(fold_unsigned_maxima(most, wide));
}

// The element of largest magnitude of each group with its sign, the positive one if both signs have it.
// As signed integers the bits of positive floats are the greatest, as unsigned integers those of negative floats.
INLINE __m256 extremes(const void *x, int wide, size_t n) {
  const size_t step = wide ? 8 : 16;
  __m256i positive[GROUPS], negative[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    positive[g] = negative[g] = load(element(x, wide, g * n));
    for (size_t i = step; i < n; i += step) {
      __m256i v = load(element(x, wide, g * n + i));
      positive[g] = wide ? _mm256_max_epi32(positive[g], v) : _mm256_max_epi16(positive[g], v);
      negative[g] = wide ? _mm256_max_epu32(negative[g], v) : _mm256_max_epu16(negative[g], v);
    }
  }
  __m256i p = _mm256_max_epi32(fold_signed_maxima(positive, wide), _mm256_setzero_si256());
  __m256i m = fold_unsigned_maxima(negative, wide);
  __m256i is_negative = _mm256_cmpgt_epi32(_mm256_and_si256(m, _mm256_set1_epi32(0x7FFFFFFF)), p);
  // A group without negative elements has its positive maximum in m: not greater than p.
  return _mm256_castsi256_ps(_mm256_blendv_epi8(p, m, is_negative));
}

// Transposes 8 rows of 8 dwords.
INLINE void transpose(const __m256i *rows, __m256i *columns) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  // b[4·i + c] holds in block l the dwords (4·i … 4·i + 3, column 4·l + c).
  for (int c = 0; c < 4; c++) {
    columns[c] = _mm256_permute2x128_si256(b[c], b[4 + c], 0x20);
    columns[4 + c] = _mm256_permute2x128_si256(b[c], b[4 + c], 0x31);
  }
}

// The integers of §9 as pairs of 16 bits, n/2 vectors; lane g holds a pair of group g. Which elements make a pair does
// not matter, because only sums over the group are taken.
INLINE void scaled_integers(const void *x, int wide, size_t n, const float *f, __m256i *pairs) {
  const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000);
  for (size_t i = 0; i < n; i += 16) {
    __m256i rows[GROUPS];
    for (size_t g = 0; g < GROUPS; g++) {
      const char *from = element(x, wide, g * n + i);
      __m256i v = load(from), w = wide ? load(from + 32) : _mm256_slli_epi32(v, 16);
      if (!wide) v = _mm256_and_si256(v, upper);
      __m256 factor = _mm256_set1_ps(f[g]);
      __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(v), factor));
      __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(w), factor));
      rows[g] = _mm256_blend_epi16(b, _mm256_slli_epi32(a, 16), 0xAA);
    }
    transpose(rows, pairs + i / 2);
  }
}

// A/B of the candidate with the largest gain, group by group.
INLINE __m256 best_ratio(const __m256i *pairs, int bits, size_t n) {
  const __m256i low = _mm256_set1_epi16((short)ck_code_min(bits));
  const __m256i high = _mm256_set1_epi16((short)ck_code_max(bits));
  __m256 best = _mm256_set1_ps(-1), best_a = _mm256_setzero_ps(), best_b = _mm256_set1_ps(1);
  // Unrolled, so that candidates whose codes cannot leave the range do without a clamp.
#pragma clang loop unroll(full)
  for (int k = 0; k < ck_search_count(bits); k += 4) {
    __m256i a[4], b[4], r[4];
    for (int j = 0; j < 4; j++) {
      a[j] = b[j] = _mm256_setzero_si256();
      r[j] = _mm256_set1_epi16((short)ck_search_multiplier(bits, k + j));
    }
    for (size_t i = 0; i < n / 2; i++)
      for (int j = 0; j < 4; j++) {
        __m256i q = _mm256_mulhrs_epi16(pairs[i], r[j]);  // floor((x · r + 2¹⁴) / 2¹⁵)
        if (ck_search_code(bits, k + j, -1) < ck_code_min(bits)) q = _mm256_max_epi16(q, low);
        if (ck_search_code(bits, k + j, 1) > ck_code_max(bits)) q = _mm256_min_epi16(q, high);
        a[j] = _mm256_add_epi32(a[j], _mm256_madd_epi16(pairs[i], q));
        b[j] = _mm256_add_epi32(b[j], _mm256_madd_epi16(q, q));
      }
    for (int j = 0; j < 4; j++) {
      __m256 fa = _mm256_cvtepi32_ps(a[j]), fb = _mm256_cvtepi32_ps(b[j]);
      __m256 gain = _mm256_div_ps(_mm256_mul_ps(fa, fa), fb);  // B > 0, as m has a code other than 0
      __m256 better = _mm256_cmp_ps(gain, best, _CMP_GT_OQ);
      best = _mm256_blendv_ps(best, gain, better);
      best_a = _mm256_blendv_ps(best_a, fa, better);
      best_b = _mm256_blendv_ps(best_b, fb, better);
    }
  }
  return _mm256_div_ps(best_a, best_b);
}

// portable(x) of §3 as bf16 bits, one to a dword.
INLINE __m256i portable(__m256 x) {
  __m256i bits = _mm256_castps_si256(x);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  __m256i sign = _mm256_and_si256(rounded, _mm256_set1_epi32(0x8000));
  __m256i magnitude = _mm256_and_si256(rounded, _mm256_set1_epi32(0x7FFF));
  return _mm256_or_si256(sign, _mm256_max_epi32(magnitude, _mm256_set1_epi32(CK_SCALE_MIN)));
}

// The low bytes of 16 dwords.
INLINE __m128i low_bytes(__m256i a, __m256i b) {
  const __m256i byte = _mm256_set1_epi32(255);
  __m256i words = _mm256_packus_epi32(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
  words = _mm256_permute4x64_epi64(words, 0xD8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

// §7 and §10 for 8 groups. Adding 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves it in the low bits;
// with 8 more, the low four bits are a 4-bit code as it is stored.
INLINE void encode_groups(const void *x, int wide, int bits, int clamps, size_t n, const float *r, const float *s,
                          uint8_t *codes, ck_sums *sums) {
  const float offset = 0x1.8p23f + (bits == 4 ? 8 : 0);
  const __m256 round = _mm256_set1_ps(offset);
  const __m256 low = _mm256_set1_ps(offset + (float)ck_code_min(bits));
  const __m256 high = _mm256_set1_ps(offset + (float)ck_code_max(bits));
  __m256 error[GROUPS], weight[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    const __m256 factor = _mm256_set1_ps(r[g]), scale = _mm256_set1_ps(s[g]);
    // Partial sums 0 … 7 and 8 … 15.
    __m256 e[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, w[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < n; i += 32) {
      __m256i code[4];
      for (size_t part = 0; part < 4; part++) {
        __m256 v = load_floats(element(x, wide, g * n + i + 8 * part), wide);
        __m256 t = _mm256_add_ps(_mm256_mul_ps(v, factor), round);
        if (clamps) t = _mm256_min_ps(_mm256_max_ps(t, low), high);
        code[part] = _mm256_castps_si256(t);
        __m256 d = _mm256_sub_ps(v, _mm256_mul_ps(_mm256_sub_ps(t, round), scale));
        e[part % 2] = _mm256_add_ps(e[part % 2], _mm256_mul_ps(d, d));
        w[part % 2] = _mm256_add_ps(w[part % 2], _mm256_mul_ps(v, v));
      }
      if (bits == 4) {
        __m256i both0 = _mm256_or_si256(code[0], _mm256_slli_epi32(code[2], 4));
        __m256i both1 = _mm256_or_si256(code[1], _mm256_slli_epi32(code[3], 4));
        _mm_storeu_si128((void *)(codes + (g * n + i) / 2), low_bytes(both0, both1));
      } else {
        _mm_storeu_si128((void *)(codes + g * n + i), low_bytes(code[0], code[1]));
        _mm_storeu_si128((void *)(codes + g * n + i + 16), low_bytes(code[2], code[3]));
      }
    }
    error[g] = _mm256_add_ps(e[0], e[1]);
    weight[g] = _mm256_add_ps(w[0], w[1]);
  }
  float group_error[GROUPS], group_weight[GROUPS];
  _mm256_storeu_ps(group_error, fold_sums(error));
  _mm256_storeu_ps(group_weight, fold_sums(weight));
  for (int g = 0; g < GROUPS; g++) {
    sums->squared_error += group_error[g];
    sums->squared_weight += group_weight[g];
  }
}

INLINE uint64_t count_bytes(__m256i is_set) {
  return (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(is_set));
}

// Codes at either end of their range.
INLINE uint64_t count_saturated(const uint8_t *codes, size_t byte_count, int bits) {
  uint64_t count = 0;
  for (size_t i = 0; i < byte_count; i += 32) {
    __m256i v = load(codes + i);
    if (bits == 8) {
      count += count_bytes(_mm256_cmpeq_epi8(_mm256_abs_epi8(v), _mm256_set1_epi8(127)));
    } else {
      const __m256i nibble = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
      __m256i low = _mm256_and_si256(v, nibble), high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
      count += count_bytes(_mm256_or_si256(_mm256_cmpeq_epi8(low, zero), _mm256_cmpeq_epi8(low, nibble)));
      count += count_bytes(_mm256_or_si256(_mm256_cmpeq_epi8(high, zero), _mm256_cmpeq_epi8(high, nibble)));
    }
  }
  return count;
}

INLINE unsigned lanes(__m256i is_set) { return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_set)); }

INLINE int32_t quantize_groups(const void *x, int wide, int bits, int solver, size_t n, uint8_t *codes, void *scales,
                               ck_sums *sums, size_t *bad_group) {
  __m256 magnitude;
  __m256i scale;
  if (solver == CK_ABSMAX) {
    magnitude = magnitudes(x, wide, n);
    scale = portable(_mm256_div_ps(magnitude, _mm256_set1_ps((float)ck_code_max(bits))));
  } else {
    __m256 m = extremes(x, wide, n), range = _mm256_set1_ps((float)-ck_search_range(bits));
    magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), m);
    float f[GROUPS];
    __m256i pairs[64];
    _mm256_storeu_ps(f, _mm256_div_ps(range, m));
    scaled_integers(x, wide, n, f, pairs);
    scale = portable(_mm256_mul_ps(best_ratio(pairs, bits, n), _mm256_div_ps(m, range)));
  }
  // Order of bits, so that NaN is above all and never negligible.
  __m256i order = _mm256_castps_si256(magnitude);
  unsigned not_finite = lanes(_mm256_cmpgt_epi32(order, _mm256_set1_epi32(CK_F32_NOT_FINITE - 1)));
  __m256i nonzero = _mm256_cmpgt_epi32(order, _mm256_castps_si256(_mm256_set1_ps(CK_NEGLIGIBLE)));
  __m256i scale_magnitude = _mm256_and_si256(scale, _mm256_set1_epi32(0x7FFF));
  __m256i large = _mm256_and_si256(nonzero, _mm256_cmpgt_epi32(scale_magnitude, _mm256_set1_epi32(CK_SCALE_MAX)));
  unsigned bad = lanes(large) | not_finite;
  if (bad) {
    *bad_group = (size_t)__builtin_ctz(bad);
    return not_finite >> *bad_group & 1 ? CK_NOT_FINITE : CK_SCALE_TOO_LARGE;
  }
  scale = _mm256_and_si256(nonzero, scale);
  __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(scale, scale), 0xD8);
  _mm_storeu_si128(scales, _mm256_castsi256_si128(words));
  float r[GROUPS], s[GROUPS];
  __m256 scale_floats = _mm256_castsi256_ps(_mm256_slli_epi32(scale, 16));
  __m256 reciprocal = _mm256_div_ps(_mm256_set1_ps(1), scale_floats);
  _mm256_storeu_ps(s, scale_floats);
  _mm256_storeu_ps(r, _mm256_and_ps(_mm256_castsi256_ps(nonzero), reciprocal));
  // absmax needs no clamp: |x · r| ≤ p · (1 + 2⁻⁸ + rounding) < p + ½, because s is a / p rounded to 8 bits.
  encode_groups(x, wide, bits, solver != CK_ABSMAX, n, r, s, codes, sums);
  sums->saturated += count_saturated(codes, GROUPS * n * (size_t)bits / 8, bits);
  return CK_OK;
}

INLINE int32_t quantize_all(const void *x, int wide, int bits, int solver, size_t n, size_t group_count,
                            const ck_scheme *scheme, uint8_t *codes, void *scales, ck_sums *sums, size_t *bad_group) {
  const size_t code_bytes = n * (size_t)bits / 8;
  size_t g = 0;
  for (; g + GROUPS <= group_count; g += GROUPS) {
    int32_t status = quantize_groups(element(x, wide, g * n), wide, bits, solver, n, codes + g * code_bytes,
                                     (char *)scales + 2 * g, sums, bad_group);
    if (status != CK_OK) return *bad_group += g, status;
  }
  ck_quantize *tail = wide ? ck_set_scalar.quantize_f32 : ck_set_scalar.quantize_bf16;
  int32_t status = tail(element(x, wide, g * n), group_count - g, scheme, codes + g * code_bytes,
                        (char *)scales + 2 * g, sums, bad_group);
  if (status != CK_OK) *bad_group += g;
  return status;
}

// A function for each combination, in which all of it is constant.
#define QUANTIZE(name, wide, bits, solver)                                                                          \
  static int32_t name(const void *x, size_t count, const ck_scheme *scheme, uint8_t *codes, void *scales,           \
                      ck_sums *sums, size_t *bad) {                                                                 \
    switch (scheme->group_size) {                                                                                   \
      case 32: return quantize_all(x, wide, bits, solver, 32, count, scheme, codes, scales, sums, bad);             \
      case 64: return quantize_all(x, wide, bits, solver, 64, count, scheme, codes, scales, sums, bad);             \
      default: return quantize_all(x, wide, bits, solver, 128, count, scheme, codes, scales, sums, bad);            \
    }                                                                                                               \
  }
QUANTIZE(absmax4_bf16, 0, 4, CK_ABSMAX)
QUANTIZE(absmax8_bf16, 0, 8, CK_ABSMAX)
QUANTIZE(search4_bf16, 0, 4, CK_SEARCH)
QUANTIZE(search8_bf16, 0, 8, CK_SEARCH)
QUANTIZE(absmax4_f32, 1, 4, CK_ABSMAX)
QUANTIZE(absmax8_f32, 1, 8, CK_ABSMAX)
QUANTIZE(search4_f32, 1, 4, CK_SEARCH)
QUANTIZE(search8_f32, 1, 8, CK_SEARCH)

int32_t ck_quantize_bf16_avx2(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,
                              void *scales, ck_sums *sums, size_t *bad_group) {
  ck_quantize *quantize = scheme->solver == CK_ABSMAX ? (scheme->bits == 4 ? absmax4_bf16 : absmax8_bf16)
                                                      : (scheme->bits == 4 ? search4_bf16 : search8_bf16);
  return quantize(x, group_count, scheme, codes, scales, sums, bad_group);
}

int32_t ck_quantize_f32_avx2(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,
                             void *scales, ck_sums *sums, size_t *bad_group) {
  ck_quantize *quantize = scheme->solver == CK_ABSMAX ? (scheme->bits == 4 ? absmax4_f32 : absmax8_f32)
                                                      : (scheme->bits == 4 ? search4_f32 : search8_f32);
  return quantize(x, group_count, scheme, codes, scales, sums, bad_group);
}

#pragma clang attribute pop
#endif
