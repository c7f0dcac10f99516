// Quantization, LANES groups at a time: what there is one of per group (scale, magnitude, gain) fills one vector. The
// set.c of a set includes this after convert_body.h. What it computes is in scalar/set.c.

enum { GROUPS = LANES };

// The greatest element of each vector as the bits of a binary32; 16-bit elements are taken for bf16.
#define GREATER(a, b) MAX(a, b)
#define GREATER_16(a, b) ((I)MAX((H)(a), (H)(b)))
#define GREATER_U16(a, b) ((I)MAX((UH)(a), (UH)(b)))
#define UPPER_OF_TWO(greater, v) (greater(v, (I)((U)(v) >> 16)) << 16)

INLINE I signed_maxima(const I *v, int wide) {
  if (wide) return FOLD(I, GREATER, v);
  I most = FOLD(I, GREATER_16, v);
  return UPPER_OF_TWO(GREATER_16, most);
}

// What a vector holds of a group: all elements of a short one, zeros behind them.
INLINE I load_group(const void *x, int wide, size_t i, size_t n) {
  return LOAD_FIRST(I, element(x, wide, i), (wide ? 4 : 2) * n);
}

// The largest magnitude of each group. Magnitudes of floats are in the order of their bits, infinities and NaNs last.
INLINE V magnitudes(const void *x, int wide, size_t n) {
  const size_t step = sizeof(V) / (wide ? 4 : 2);
  I most[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    most[g] = (I){0};
    for (size_t i = 0; i < n; i += step) {
      I v = load_group(x, wide, g * n + i, n) & (wide ? 0x7FFFFFFF : 0x7FFF7FFF);
      most[g] = wide ? MAX(most[g], v) : GREATER_16(most[g], v);
    }
  }
  return (V)signed_maxima(most, wide);
}

#include "search_body.h"

// portable(x) of §3 as bf16 bits.
INLINE I portable(V x) {
  U bits = (U)x, rounded = (bits + ((bits >> 16 & 1) + 0x7FFF)) >> 16;
  return (I)(rounded & 0x8000) | MAX((I)(rounded & 0x7FFF), i_set1(CK_SCALE_MIN));
}

// k with k + 8 of sixteen partial sums, and on down to a vector.
INLINE V v_of_16(V16 a) {
#if LANES == 16
  return a;
#else
  VECTOR(float, 8) b = __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
#if LANES == 8
  return b;
#else
  return __builtin_shufflevector(b, b, 0, 1, 2, 3) + __builtin_shufflevector(b, b, 4, 5, 6, 7);
#endif
#endif
}

INLINE V16 load_16(const char *x, int wide) {
  if (wide) return LOAD(V16, x);
  return (V16)(__builtin_convertvector(LOAD(VECTOR(uint16_t, 16), x), U16) << 16);
}

// Which ends of the range of codes elements may go beyond.
enum { CLAMP_NONE = 0, CLAMP_LOW = 1, CLAMP_HIGH = 2, CLAMP_BOTH = 3 };

// §7 and §10 for one group, or for the two of a run; meanwhile memory at `next` is asked for, where that is given.
//
// Adding 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves it in the low bits; with 8 + 16 · 8 more, and 16
// times the code of the upper half of a run, the low eight bits are two 4-bit codes as they are stored. Fused multiplications
// round nothing else than separate ones where a product is exact, as a code times a scale of eight bits is.
INLINE void encode_group(const void *x, const void *next, int wide, int bits, int clamps, size_t n, const float *r,
                         const float *s, uint8_t *codes, V *error, V *weight) {
  const float offset = 0x1.8p23f + (bits == 4 ? 136 : 0);
  const V16 low = offset + (float)ck_code_min(bits) + (V16){0}, high = offset + (float)ck_code_max(bits) + (V16){0};
  V16 e[2] = {{0}}, w[2] = {{0}};
  for (size_t i = 0; i < n; i += 32) {
    V16 t[2], code[2];
    if (next) __builtin_prefetch(element(next, wide, i));
    if (next && wide) __builtin_prefetch(element(next, wide, i + 16));
    UNROLL for (size_t half = 0; half < 2; half++) {
      const size_t own = n < 32 ? half : 0;
      V16 v = load_16(element(x, wide, i + 16 * half), wide);
      t[half] = v * r[own] + offset;
      if (clamps & CLAMP_LOW) t[half] = SELECT(t[half] > low, t[half], low);
      if (clamps & CLAMP_HIGH) t[half] = SELECT(t[half] < high, t[half], high);
      code[half] = t[half] - offset;
      V16 d = __builtin_elementwise_fma(-code[half], s[own] - (V16){0}, v);
      e[own] = e[own] + d * d;
      w[own] = w[own] + v * v;
    }
    if (bits == 4) {
      U16 both = (U16)__builtin_elementwise_fma(16 + (V16){0}, code[1], t[0]);
      STORE(codes + i / 2, __builtin_convertvector(both & 255, B16));
    } else {
      UNROLL for (size_t half = 0; half < 2; half++)
        STORE(codes + i + 16 * half, __builtin_convertvector((U16)t[half] & 255, B16));
    }
  }
  UNROLL for (size_t own = 0; own < (n < 32 ? 2 : 1); own++) {
    error[own] = v_of_16(e[own]);
    weight[own] = v_of_16(w[own]);
  }
}

// The same for all groups; those where `beyond` is not set need no clamps.
INLINE void encode_groups(const void *x, const void *next, int wide, int bits, int clamps, size_t n, const float *r,
                          const float *s, const int32_t *beyond, uint8_t *codes, ck_sums *sums) {
  V error[GROUPS], weight[GROUPS];
  const size_t groups = n < 32 ? 2 : 1;  // of a run
  for (size_t g = 0; g < GROUPS; g += groups) {
    const void *own = element(x, wide, g * n), *ahead = next ? element(next, wide, g * n) : NULL;
    uint8_t *to = codes + g * n * (size_t)bits / 8;
    if (clamps != CLAMP_NONE && (beyond[g] | beyond[g + groups - 1]))
      encode_group(own, ahead, wide, bits, clamps, n, r + g, s + g, to, error + g, weight + g);
    else
      encode_group(own, ahead, wide, bits, CLAMP_NONE, n, r + g, s + g, to, error + g, weight + g);
  }
  // Both sums side by side, group after group; a vector holds those of the first or of the last two groups of each four.
  const V errors = FOLD(V, PLUS, error), weights = FOLD(V, PLUS, weight);
  const V pairs[2] = {IN_BLOCKS(errors, weights, 0, 4, 1, 5), IN_BLOCKS(errors, weights, 2, 6, 3, 7)};
  typedef VECTOR(double, 2) two_doubles;
  double sides[2][LANES];
  UNROLL for (int i = 0; i < 2; i++) STORE(sides[i], __builtin_convertvector(pairs[i], VECTOR(double, LANES)));
  two_doubles both = {sums->squared_error, sums->squared_weight};
  UNROLL for (int g = 0; g < GROUPS; g++) both += LOAD(two_doubles, &sides[g % 4 / 2][g / 4 * 4 + g % 2 * 2]);
  sums->squared_error = both[0];
  sums->squared_weight = both[1];
}

// Codes at either end of their range, at most 4,096 bytes of them.
INLINE uint64_t count_saturated(const uint8_t *codes, size_t byte_count, int bits) {
  typedef VECTOR(uint8_t, sizeof(V)) bytes;
  bytes count = {0};  // a byte of it counts up to two codes at a time
  for (size_t i = 0; i < byte_count; i += sizeof(bytes)) {
    bytes v = LOAD(bytes, codes + i);
    if (bits == 8) {
      count -= (bytes)(v == 127) | (bytes)(v == 129);
    } else {  // nibbles 0 and 15: those that give 0 or 1 when 1 is added
      count -= (bytes)(((v + 1) & 14) == 0);
      count -= (bytes)((((v >> 4) + 1) & 14) == 0);
    }
  }
  return __builtin_reduce_add(__builtin_convertvector(count, VECTOR(uint16_t, sizeof(V))));
}

// §7 and §10 with scales; 0 where `nonzero` is not set. Largest magnitudes are looked at where they tell which groups need
// clamps, which with absmax are few. Groups at `next` are looked at next; a search has asked for them already.
INLINE void encode_with(const void *x, const void *next, int wide, int bits, int solver, int clamps, size_t n,
                        V magnitude, V scale, I nonzero, uint8_t *codes, ck_sums *sums) {
  float r[GROUPS], s[GROUPS];
  int32_t beyond[GROUPS];
  const V reciprocal = SELECT(nonzero, 1 / scale, v_zero());
  v_store(s, scale);
  v_store(r, reciprocal);
  STORE(beyond, solver != CK_ABSMAX ? i_set1(1) : v_round(magnitude * reciprocal) > ck_code_max(bits));
  encode_groups(x, solver == CK_ABSMAX ? next : NULL, wide, bits, clamps, n, r, s, beyond, codes, sums);
  sums->saturated += count_saturated(codes, GROUPS * n * (size_t)bits / 8, bits);
}

enum { MOST_WORDS = 128 };  // of a group

INLINE int32_t quantize_groups(const void *x, int wide, int bits, int solver, size_t n, uint8_t *codes, void *scales,
                               ck_sums *sums, size_t *bad_group) {
  const void *next = element(x, wide, GROUPS * n);
  V magnitude;
  I scale;
  if (solver == CK_ABSMAX) {
    magnitude = magnitudes(x, wide, n);
    scale = portable(magnitude / (float)ck_code_max(bits));
  } else {
    I words[MOST_WORDS];
    V m = words_in_lanes(x, wide, n, words);
    magnitude = v_magnitude(m);
    if (solver == CK_SEARCH_POSITIVE) m = -magnitude;
    to_integers(words, wide, n, (float)-ck_search_range(bits) / m);
    scale = portable(best_ratio(words, bits, next, wide, n) * (m / (float)-ck_search_range(bits)));
  }
  // Order of bits, so that NaN is above all and never negligible.
  I order = (I)magnitude, nonzero = order > (I)v_set1(CK_NEGLIGIBLE);
  I not_finite = order >= CK_F32_NOT_FINITE, large = nonzero & ((scale & 0x7FFF) > CK_SCALE_MAX);
  if (__builtin_reduce_or(not_finite | large)) {
    size_t g = 0;
    while (!not_finite[g] && !large[g]) g++;
    *bad_group = g;
    return not_finite[g] ? CK_NOT_FINITE : CK_SCALE_TOO_LARGE;
  }
  scale &= nonzero;
  STORE(scales, __builtin_convertvector(scale, W));
  // absmax needs no clamp: |x · r| ≤ p · (1 + 2⁻⁸ + rounding) < p + ½, because s is a / p rounded to 8 bits.
  const int clamps = solver == CK_ABSMAX ? CLAMP_NONE : CLAMP_BOTH;
  encode_with(x, next, wide, bits, solver, clamps, n, magnitude, (V)(scale << 16), nonzero, codes, sums);
  return CK_OK;
}

// The same with byte scales for finite groups, of which the elements of largest magnitude and the lowest indices of their rows
// are known, and for a search their words in lanes, which are lost.
INLINE void quantize_groups_to_bytes(const void *x, const void *next, int wide, int bits, int solver, size_t n, I *words,
                                     V m, I lowest, uint8_t *codes, uint8_t *scales, ck_sums *sums) {
  const V magnitude = v_magnitude(m);
  I index = ((I)(magnitude / ((float)ck_code_max(bits) + 0.5f)) + 0x7FFFF) >> 19, sign = {0};
  I clamped = ((I)magnitude > 0) & (index < lowest);
  if (__builtin_reduce_or(clamped)) sums->clamped += (uint64_t)-__builtin_reduce_add(clamped);
  if (solver == CK_ABSMAX) {
    index = within_range(index, lowest);
  } else {
    if (solver == CK_SEARCH_POSITIVE) m = -magnitude;
    I searched = (I)magnitude > (I)v_set1(CK_NEGLIGIBLE);
    V f = (float)-ck_search_range(bits) / m;
    to_integers(words, wide, n, f);
    index = SELECT(searched, best_index(words, bits, next, wide, n, magnitude, v_magnitude(f), lowest), lowest);
    sign = searched & ((I)m > 0) & (int32_t)0x80000000;
  }
  STORE(scales, __builtin_convertvector(index - lowest | (I)((U)sign >> 24), B));
  // absmax goes up to half a step beyond the largest code, which int4 has room for below zero.
  const int clamps = solver == CK_ABSMAX && bits == 4 ? CLAMP_HIGH : CLAMP_BOTH;
  encode_with(x, next, wide, bits, solver, clamps, n, magnitude, (V)(index << 19 | sign), (I){0} == 0, codes, sums);
}

enum { MOST_GROUPS = 2048, MOST_BYTES = 1 << 18 };  // of the rows at a time

// As many rows as fill whole vectors with their groups, or CK_NOT_FINITE or CK_SCALE_TOO_LARGE where one has no base.
INLINE int32_t quantize_rows(const void *x, int wide, int bits, int solver, size_t n, size_t rows, size_t row_groups,
                             uint8_t *codes, uint8_t *scales, ck_sums *sums) {
  I words[MOST_BYTES / sizeof(I)];
  float m[MOST_GROUPS];  // the element of largest magnitude of each group, for absmax its magnitude
  int32_t lowest[GROUPS];
  const size_t word_count = wide ? n : n / 2;  // of GROUPS groups
  for (size_t g = 0; g < rows * row_groups; g += GROUPS) {
    const void *from = element(x, wide, g * n);
    v_store(m + g, solver == CK_ABSMAX ? magnitudes(from, wide, n)
                                       : words_in_lanes(from, wide, n, words + g / GROUPS * word_count));
  }
  for (size_t row = 0; row < rows; row++) {
    uint32_t most = 0;
    for (size_t g = row * row_groups; g < (row + 1) * row_groups; g++)
      most = MAX(most, ck_bits_of(m[g]) & 0x7FFFFFFF);
    const int base = ck_base(bits, most);
    if (base > CK_BASE_MAX) return most >= CK_F32_NOT_FINITE ? CK_NOT_FINITE : CK_SCALE_TOO_LARGE;
    lowest[row] = 16 * base;
    scales[row * (row_groups + 1)] = (uint8_t)base;
  }
  size_t row = 0, column = 0;
  for (size_t g = 0; g < rows * row_groups; g += GROUPS) {
    const void *from = element(x, wide, g * n), *next = element(from, wide, rows * row_groups * n);  // of the next rows
    const V largest = v_load(m + g);
    I *own_words = words + g / GROUPS * word_count;
    uint8_t *to = codes + g * n * (size_t)bits / 8, *place = scales + row * (row_groups + 1) + 1 + column;
    if (column + GROUPS <= row_groups) {
      quantize_groups_to_bytes(from, next, wide, bits, solver, n, own_words, largest, i_set1(lowest[row]), to,
                               place, sums);
      column += GROUPS;
      if (column == row_groups) row++, column = 0;
    } else {
      int32_t own[GROUPS];
      uint8_t bytes[GROUPS], *places[GROUPS];
      for (size_t i = 0; i < GROUPS; i++, place++) {
        own[i] = lowest[row];
        places[i] = place;
        if (++column == row_groups) row++, place++, column = 0;
      }
      quantize_groups_to_bytes(from, next, wide, bits, solver, n, own_words, largest, LOAD(I, own), to, bytes,
                               sums);
      for (size_t i = 0; i < GROUPS; i++) *places[i] = bytes[i];
    }
  }
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
  ck_quantize *tail = wide ? ck_quantize_f32_scalar : ck_quantize_bf16_scalar;
  int32_t status = tail(element(x, wide, g * n), group_count - g, scheme, codes + g * code_bytes,
                        (char *)scales + 2 * g, sums, bad_group);
  if (status != CK_OK) *bad_group += g;
  return status;
}

INLINE int32_t quantize_all_rows(const void *x, int wide, int bits, int solver, size_t n, size_t group_count,
                                 const ck_scheme *scheme, uint8_t *codes, void *scales, ck_sums *sums,
                                 size_t *bad_group) {
  const size_t row_groups = scheme->row_groups, code_bytes = n * (size_t)bits / 8;
  size_t rows = 1, g = 0;
  while (rows * row_groups % GROUPS != 0) rows++;
  const int fits = rows * row_groups <= MOST_GROUPS && rows * row_groups * n * (wide ? 4 : 2) <= MOST_BYTES;
  uint8_t *bytes = scales;
  for (; fits && g + rows * row_groups <= group_count; g += rows * row_groups, bytes += rows * (row_groups + 1))
    if (quantize_rows(element(x, wide, g * n), wide, bits, solver, n, rows, row_groups, codes + g * code_bytes, bytes,
                      sums) != CK_OK)
      break;  // the scalar kernel tells the group
  ck_quantize *tail = wide ? ck_quantize_f32_scalar : ck_quantize_bf16_scalar;
  int32_t status = tail(element(x, wide, g * n), group_count - g, scheme, codes + g * code_bytes, bytes, sums, bad_group);
  if (status != CK_OK) *bad_group += g;
  return status;
}

// A function for each combination, in which all of it is constant.
#define QUANTIZE(name, all, wide, bits, solver)                                                                     \
  static int32_t name(const void *x, size_t count, const ck_scheme *scheme, uint8_t *codes, void *scales,           \
                      ck_sums *sums, size_t *bad) {                                                                 \
    switch (scheme->group_size) {                                                                                   \
      case 16: return all(x, wide, bits, solver, 16, count, scheme, codes, scales, sums, bad);                      \
      case 32: return all(x, wide, bits, solver, 32, count, scheme, codes, scales, sums, bad);                      \
      case 64: return all(x, wide, bits, solver, 64, count, scheme, codes, scales, sums, bad);                      \
      default: return all(x, wide, bits, solver, 128, count, scheme, codes, scales, sums, bad);                     \
    }                                                                                                               \
  }
#define QUANTIZE_WITH(format, all, scale, wide)                                                                     \
  QUANTIZE(absmax4_##scale##_##format, all, wide, 4, CK_ABSMAX)                                                     \
  QUANTIZE(absmax8_##scale##_##format, all, wide, 8, CK_ABSMAX)                                                     \
  QUANTIZE(search4_##scale##_##format, all, wide, 4, CK_SEARCH)                                                     \
  QUANTIZE(search8_##scale##_##format, all, wide, 8, CK_SEARCH)                                                     \
  QUANTIZE(positive4_##scale##_##format, all, wide, 4, CK_SEARCH_POSITIVE)                                          \
  QUANTIZE(positive8_##scale##_##format, all, wide, 8, CK_SEARCH_POSITIVE)
#define QUANTIZE_FROM(format, wide)                                                                                 \
  QUANTIZE_WITH(format, quantize_all, to_bf16, wide)                                                                \
  QUANTIZE_WITH(format, quantize_all_rows, to_byte, wide)                                                           \
  int32_t SET(ck_quantize_##format)(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,     \
                                    void *scales, ck_sums *sums, size_t *bad_group) {                               \
    /* by scale, solver and bits */                                                                                 \
    static ck_quantize *const all[2][3][2] = {                                                                      \
        {{absmax4_to_bf16_##format, absmax8_to_bf16_##format},                                                      \
         {search4_to_bf16_##format, search8_to_bf16_##format},                                                      \
         {positive4_to_bf16_##format, positive8_to_bf16_##format}},                                                 \
        {{absmax4_to_byte_##format, absmax8_to_byte_##format},                                                      \
         {search4_to_byte_##format, search8_to_byte_##format},                                                      \
         {positive4_to_byte_##format, positive8_to_byte_##format}}};                                                \
    return all[scheme->scale][scheme->solver][scheme->bits / 8](x, group_count, scheme, codes, scales, sums, bad_group); \
  }
QUANTIZE_FROM(bf16, 0)
QUANTIZE_FROM(f32, 1)
