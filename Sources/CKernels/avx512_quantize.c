// Quantization with 64-byte vectors: AVX-512 F, BW, VL and VNNI. Computes what scalar.c does, 16 groups at a time.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,f16c"))), \
                             apply_to = function)
#define INLINE static inline __attribute__((always_inline))

// Quantization takes 16 groups at a time: what there is one of per group (scale, magnitude, gain) fills one vector.
enum { GROUPS = 16 };

// `wide` says that x holds binary32, otherwise bf16; like `bits` it is a constant wherever these are inlined.
INLINE const char *element(const void *x, int wide, size_t i) { return (const char *)x + (wide ? 4 : 2) * i; }

INLINE __m512i load(const void *x) { return _mm512_loadu_si512(x); }

INLINE __m512 load_floats(const void *x, int wide) {
  if (wide) return _mm512_loadu_ps(x);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x)), 16));
}

// Sixteen vectors to the sixteen results of folding each: lane k with k + 8, k + 4, k + 2, k + 1, the order of §10.
// Each step folds two vectors into one, and lane i of the result belongs to v[i].
#define FOLD16(type, shuffle_blocks, shuffle_words, combine, v, result)                                             \
  do {                                                                                                              \
    type w[15], *next = w;                                                                                          \
    for (int i = 0; i < 16; i += 2)                                                                                 \
      *next++ = combine(shuffle_blocks(v[i], v[i + 1], 0x44), shuffle_blocks(v[i], v[i + 1], 0xEE));                \
    for (int i = 0; i < 8; i += 2)                                                                                  \
      *next++ = combine(shuffle_blocks(w[i], w[i + 1], 0x88), shuffle_blocks(w[i], w[i + 1], 0xDD));                \
    for (int i = 8; i < 12; i += 2)                                                                                 \
      *next++ = combine(shuffle_words(w[i], w[i + 1], 0x44), shuffle_words(w[i], w[i + 1], 0xEE));                  \
    *next = combine(shuffle_words(w[12], w[13], 0x88), shuffle_words(w[12], w[13], 0xDD));                          \
    result = w[14];                                                                                                 \
  } while (0)

#define SHUFFLE_DWORDS(a, b, control) \
  _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), control))

// FOLD16 leaves v[4·j + l] in lane 4·l + j.
INLINE __m512i in_order(__m512i folded) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), folded);
}

INLINE __m512 fold_sums(const __m512 *v) {
  __m512 sums;
  FOLD16(__m512, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_add_ps, v, sums);
  return _mm512_castsi512_ps(in_order(_mm512_castps_si512(sums)));
}

// The greatest element of each vector as the bits of a binary32; 16-bit elements are taken for bf16.
INLINE __m512i fold_unsigned_maxima(const __m512i *v, int wide) {
  __m512i most;
  if (wide) {
    FOLD16(__m512i, _mm512_shuffle_i32x4, SHUFFLE_DWORDS, _mm512_max_epu32, v, most);
    return in_order(most);
  }
  FOLD16(__m512i, _mm512_shuffle_i32x4, SHUFFLE_DWORDS, _mm512_max_epu16, v, most);
  return _mm512_slli_epi32(_mm512_max_epu16(in_order(most), _mm512_srli_epi32(in_order(most), 16)), 16);
}

INLINE __m512i fold_signed_maxima(const __m512i *v, int wide) {
  __m512i most;
  if (wide) {
    FOLD16(__m512i, _mm512_shuffle_i32x4, SHUFFLE_DWORDS, _mm512_max_epi32, v, most);
    return in_order(most);
  }
  FOLD16(__m512i, _mm512_shuffle_i32x4, SHUFFLE_DWORDS, _mm512_max_epi16, v, most);
  return _mm512_slli_epi32(_mm512_max_epi16(in_order(most), _mm512_srli_epi32(in_order(most), 16)), 16);
}

// The largest magnitude of each group. Magnitudes of floats are in the order of their bits, infinities and NaNs last.
INLINE __m512 magnitudes(const void *x, int wide, size_t n) {
  const __m512i mask = wide ? _mm512_set1_epi32(0x7FFFFFFF) : _mm512_set1_epi16(0x7FFF);
  const size_t step = wide ? 16 : 32;
  __m512i most[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    most[g] = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += step) {
      __m512i v = _mm512_and_si512(load(element(x, wide, g * n + i)), mask);
      most[g] = wide ? _mm512_max_epu32(most[g], v) : _mm512_max_epu16(most[g], v);
    }
  }
  return _mm512_castsi512_ps(fold_unsigned_maxima(most, wide));
}

// The element of largest magnitude of each group with its sign, the positive one if both signs have it.
// As signed integers the bits of positive floats are the greatest, as unsigned integers those of negative floats.
INLINE __m512 extremes(const void *x, int wide, size_t n) {
  const size_t step = wide ? 16 : 32;
  __m512i positive[GROUPS], negative[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    positive[g] = negative[g] = load(element(x, wide, g * n));
    for (size_t i = step; i < n; i += step) {
      __m512i v = load(element(x, wide, g * n + i));
      positive[g] = wide ? _mm512_max_epi32(positive[g], v) : _mm512_max_epi16(positive[g], v);
      negative[g] = wide ? _mm512_max_epu32(negative[g], v) : _mm512_max_epu16(negative[g], v);
    }
  }
  __m512i p = _mm512_max_epi32(fold_signed_maxima(positive, wide), _mm512_setzero_si512());
  __m512i m = fold_unsigned_maxima(negative, wide);
  __mmask16 is_negative = _mm512_cmpgt_epu32_mask(_mm512_and_si512(m, _mm512_set1_epi32(0x7FFFFFFF)), p);
  // A group without negative elements has its positive maximum in m: not greater than p.
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(p, is_negative, m));
}

// Transposes 16 rows of 16 dwords.
INLINE void transpose(const __m512i *rows, __m512i *columns) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  // b[4·i + c] holds in block l the dwords (4·i … 4·i + 3, column 4·l + c).
  for (int c = 0; c < 4; c++) {
    __m512i even0 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88), odd0 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xDD);
    __m512i even1 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
    __m512i odd1 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xDD);
    columns[c] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    columns[4 + c] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    columns[8 + c] = _mm512_shuffle_i32x4(even0, even1, 0xDD);
    columns[12 + c] = _mm512_shuffle_i32x4(odd0, odd1, 0xDD);
  }
}

// The integers of §9 as pairs of 16 bits, n/2 vectors; lane g holds a pair of group g. Which elements make a pair does
// not matter, because only sums over the group are taken.
INLINE void scaled_integers(const void *x, int wide, size_t n, const float *f, __m512i *pairs) {
  const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000);
  for (size_t i = 0; i < n; i += 32) {
    __m512i rows[GROUPS];
    for (size_t g = 0; g < GROUPS; g++) {
      const char *from = element(x, wide, g * n + i);
      __m512i v = load(from), w = wide ? load(from + 64) : _mm512_slli_epi32(v, 16);
      if (!wide) v = _mm512_and_si512(v, upper);
      __m512 factor = _mm512_set1_ps(f[g]);
      __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(v), factor));
      __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(w), factor));
      rows[g] = _mm512_mask_blend_epi16(0xAAAAAAAA, b, _mm512_slli_epi32(a, 16));
    }
    transpose(rows, pairs + i / 2);
  }
}

// A/B of the candidate with the largest gain, group by group.
INLINE __m512 best_ratio(const __m512i *pairs, int bits, size_t n) {
  const __m512i low = _mm512_set1_epi16((short)ck_code_min(bits));
  const __m512i high = _mm512_set1_epi16((short)ck_code_max(bits));
  __m512 best = _mm512_set1_ps(-1), best_a = _mm512_setzero_ps(), best_b = _mm512_set1_ps(1);
  // Four candidates at once: eight sums in flight hide the latency of vpdpwssd. Unrolled, so that candidates whose
  // codes cannot leave the range do without a clamp.
#pragma clang loop unroll(full)
  for (int k = 0; k < ck_search_count(bits); k += 4) {
    __m512i a[4], b[4], r[4];
    for (int j = 0; j < 4; j++) {
      a[j] = b[j] = _mm512_setzero_si512();
      r[j] = _mm512_set1_epi16((short)ck_search_multiplier(bits, k + j));
    }
    for (size_t i = 0; i < n / 2; i++)
      for (int j = 0; j < 4; j++) {
        __m512i q = _mm512_mulhrs_epi16(pairs[i], r[j]);  // floor((x · r + 2¹⁴) / 2¹⁵)
        if (ck_search_code(bits, k + j, -1) < ck_code_min(bits)) q = _mm512_max_epi16(q, low);
        if (ck_search_code(bits, k + j, 1) > ck_code_max(bits)) q = _mm512_min_epi16(q, high);
        a[j] = _mm512_dpwssd_epi32(a[j], pairs[i], q);
        b[j] = _mm512_dpwssd_epi32(b[j], q, q);
      }
    for (int j = 0; j < 4; j++) {
      __m512 fa = _mm512_cvtepi32_ps(a[j]), fb = _mm512_cvtepi32_ps(b[j]);
      __m512 gain = _mm512_div_ps(_mm512_mul_ps(fa, fa), fb);  // B > 0, as m has a code other than 0
      __mmask16 better = _mm512_cmp_ps_mask(gain, best, _CMP_GT_OQ);
      best = _mm512_mask_mov_ps(best, better, gain);
      best_a = _mm512_mask_mov_ps(best_a, better, fa);
      best_b = _mm512_mask_mov_ps(best_b, better, fb);
    }
  }
  return _mm512_div_ps(best_a, best_b);
}

// portable(x) of §3 as bf16 bits, one to a dword.
INLINE __m512i portable(__m512 x) {
  __m512i bits = _mm512_castps_si512(x);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  __m512i sign = _mm512_and_si512(rounded, _mm512_set1_epi32(0x8000));
  __m512i magnitude = _mm512_and_si512(rounded, _mm512_set1_epi32(0x7FFF));
  return _mm512_or_si512(sign, _mm512_max_epi32(magnitude, _mm512_set1_epi32(CK_SCALE_MIN)));
}

// §7 and §10 for 16 groups. Adding 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves it in the low
// bits; with 8 more, the low four bits are a 4-bit code as it is stored.
INLINE void encode_groups(const void *x, int wide, int bits, int clamps, size_t n, const float *r, const float *s,
                          uint8_t *codes, ck_sums *sums) {
  const float offset = 0x1.8p23f + (bits == 4 ? 8 : 0);
  const __m512 round = _mm512_set1_ps(offset);
  const __m512 low = _mm512_set1_ps(offset + (float)ck_code_min(bits));
  const __m512 high = _mm512_set1_ps(offset + (float)ck_code_max(bits));
  __m512 error[GROUPS], weight[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    const __m512 factor = _mm512_set1_ps(r[g]), scale = _mm512_set1_ps(s[g]);
    __m512 e = _mm512_setzero_ps(), w = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 32) {
      __m512i code[2];
      for (size_t half = 0; half < 2; half++) {
        __m512 v = load_floats(element(x, wide, g * n + i + 16 * half), wide);
        __m512 t = _mm512_add_ps(_mm512_mul_ps(v, factor), round);
        if (clamps) t = _mm512_min_ps(_mm512_max_ps(t, low), high);
        code[half] = _mm512_castps_si512(t);
        __m512 d = _mm512_sub_ps(v, _mm512_mul_ps(_mm512_sub_ps(t, round), scale));
        e = _mm512_add_ps(e, _mm512_mul_ps(d, d));
        w = _mm512_add_ps(w, _mm512_mul_ps(v, v));
      }
      if (bits == 4) {
        __m512i both = _mm512_or_si512(code[0], _mm512_slli_epi32(code[1], 4));
        _mm_storeu_si128((void *)(codes + (g * n + i) / 2), _mm512_cvtepi32_epi8(both));
      } else {
        _mm_storeu_si128((void *)(codes + g * n + i), _mm512_cvtepi32_epi8(code[0]));
        _mm_storeu_si128((void *)(codes + g * n + i + 16), _mm512_cvtepi32_epi8(code[1]));
      }
    }
    error[g] = e;
    weight[g] = w;
  }
  float group_error[GROUPS], group_weight[GROUPS];
  _mm512_storeu_ps(group_error, fold_sums(error));
  _mm512_storeu_ps(group_weight, fold_sums(weight));
  for (int g = 0; g < GROUPS; g++) {
    sums->squared_error += group_error[g];
    sums->squared_weight += group_weight[g];
  }
}

// Codes at either end of their range.
INLINE uint64_t count_saturated(const uint8_t *codes, size_t byte_count, int bits) {
  uint64_t count = 0;
  for (size_t i = 0; i < byte_count; i += 64) {
    __m512i v = load(codes + i);
    if (bits == 8) {
      count += (uint64_t)__builtin_popcountll(_mm512_cmpeq_epi8_mask(_mm512_abs_epi8(v), _mm512_set1_epi8(127)));
    } else {  // nibbles 0 and 15: those that give 1 or 16 when 1 is added
      const __m512i nibble = _mm512_set1_epi8(15), one = _mm512_set1_epi8(1), inner = _mm512_set1_epi8(14);
      __m512i low = _mm512_and_si512(v, nibble), high = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
      count += (uint64_t)__builtin_popcountll(_mm512_testn_epi8_mask(_mm512_add_epi8(low, one), inner));
      count += (uint64_t)__builtin_popcountll(_mm512_testn_epi8_mask(_mm512_add_epi8(high, one), inner));
    }
  }
  return count;
}

INLINE int32_t quantize_groups(const void *x, int wide, int bits, int solver, size_t n, uint8_t *codes, void *scales,
                               ck_sums *sums, size_t *bad_group) {
  const __m512 negligible = _mm512_set1_ps(CK_NEGLIGIBLE);
  __m512 magnitude;
  __m512i scale;
  if (solver == CK_ABSMAX) {
    magnitude = magnitudes(x, wide, n);
    scale = portable(_mm512_div_ps(magnitude, _mm512_set1_ps((float)ck_code_max(bits))));
  } else {
    __m512 m = extremes(x, wide, n), range = _mm512_set1_ps((float)-ck_search_range(bits));
    magnitude = _mm512_abs_ps(m);
    float f[GROUPS];
    __m512i pairs[64];
    _mm512_storeu_ps(f, _mm512_div_ps(range, m));
    scaled_integers(x, wide, n, f, pairs);
    scale = portable(_mm512_mul_ps(best_ratio(pairs, bits, n), _mm512_div_ps(m, range)));
  }
  // Order of bits, so that NaN is above all and never negligible.
  __m512i order = _mm512_castps_si512(magnitude);
  __mmask16 finite = _mm512_cmplt_epi32_mask(order, _mm512_set1_epi32(CK_F32_NOT_FINITE));
  __mmask16 nonzero = _mm512_cmpgt_epi32_mask(order, _mm512_castps_si512(negligible));
  __m512i scale_magnitude = _mm512_and_si512(scale, _mm512_set1_epi32(0x7FFF));
  __mmask16 large = _mm512_mask_cmpgt_epi32_mask(nonzero, scale_magnitude, _mm512_set1_epi32(CK_SCALE_MAX));
  unsigned bad = (unsigned)large | (uint16_t)~finite;
  if (bad) {
    *bad_group = (size_t)__builtin_ctz(bad);
    return finite >> *bad_group & 1 ? CK_SCALE_TOO_LARGE : CK_NOT_FINITE;
  }
  scale = _mm512_maskz_mov_epi32(nonzero, scale);
  _mm256_storeu_si256(scales, _mm512_cvtepi32_epi16(scale));
  float r[GROUPS], s[GROUPS];
  __m512 scale_floats = _mm512_castsi512_ps(_mm512_slli_epi32(scale, 16));
  _mm512_storeu_ps(s, scale_floats);
  _mm512_storeu_ps(r, _mm512_maskz_div_ps(nonzero, _mm512_set1_ps(1), scale_floats));
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

int32_t ck_quantize_bf16_avx512(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,
                                void *scales, ck_sums *sums, size_t *bad_group) {
  ck_quantize *quantize = scheme->solver == CK_ABSMAX ? (scheme->bits == 4 ? absmax4_bf16 : absmax8_bf16)
                                                      : (scheme->bits == 4 ? search4_bf16 : search8_bf16);
  return quantize(x, group_count, scheme, codes, scales, sums, bad_group);
}

int32_t ck_quantize_f32_avx512(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,
                               void *scales, ck_sums *sums, size_t *bad_group) {
  ck_quantize *quantize = scheme->solver == CK_ABSMAX ? (scheme->bits == 4 ? absmax4_f32 : absmax8_f32)
                                                      : (scheme->bits == 4 ? search4_f32 : search8_f32);
  return quantize(x, group_count, scheme, codes, scales, sums, bad_group);
}

#pragma clang attribute pop
#endif
