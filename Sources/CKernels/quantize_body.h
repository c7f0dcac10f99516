// Quantization, LANES groups at a time: what there is one of per group (scale, magnitude, gain) fills one vector. The
// set.c of a set includes this after convert_body.h. What it computes is in scalar/set.c.

enum { GROUPS = LANES };

// The greatest element of each vector as the bits of a binary32; 16-bit elements are taken for bf16.
#define GREATER(a, b) MAX(a, b)
#define GREATER_16(a, b) ((I)MAX((H)(a), (H)(b)))
#define GREATER_U16(a, b) ((I)MAX((UH)(a), (UH)(b)))
#define UPPER_OF_TWO(greater, v) (greater(v, (I)((U)(v) >> 16)) << 16)

INLINE I unsigned_maxima(const I *v, int wide) {
  if (wide) return (I)FOLD(U, GREATER, (const U *)v);
  I most = FOLD(I, GREATER_U16, v);
  return UPPER_OF_TWO(GREATER_U16, most);
}

INLINE I signed_maxima(const I *v, int wide) {
  if (wide) return FOLD(I, GREATER, v);
  I most = FOLD(I, GREATER_16, v);
  return UPPER_OF_TWO(GREATER_16, most);
}

// The largest magnitude of each group. Magnitudes of floats are in the order of their bits, infinities and NaNs last.
INLINE V magnitudes(const void *x, int wide, size_t n) {
  const size_t step = sizeof(V) / (wide ? 4 : 2);
  I most[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    most[g] = (I){0};
    for (size_t i = 0; i < n; i += step) {
      I v = LOAD(I, element(x, wide, g * n + i)) & (wide ? 0x7FFFFFFF : 0x7FFF7FFF);
      most[g] = wide ? MAX(most[g], v) : GREATER_16(most[g], v);
    }
  }
  return (V)signed_maxima(most, wide);
}

// The element of largest magnitude of each group with its sign, the positive one if both signs have it.
// As signed integers the bits of positive floats are the greatest, as unsigned integers those of negative floats.
INLINE V extremes(const void *x, int wide, size_t n) {
  const size_t step = sizeof(V) / (wide ? 4 : 2);
  I positive[GROUPS], negative[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    positive[g] = negative[g] = LOAD(I, element(x, wide, g * n));
    for (size_t i = step; i < n; i += step) {
      I v = LOAD(I, element(x, wide, g * n + i));
      positive[g] = wide ? MAX(positive[g], v) : GREATER_16(positive[g], v);
      negative[g] = wide ? (I)MAX((U)negative[g], (U)v) : GREATER_U16(negative[g], v);
    }
  }
  I p = MAX(signed_maxima(positive, wide), (I){0}), m = unsigned_maxima(negative, wide);
  // A group without negative elements has its positive maximum in m: not greater than p.
  return (V)SELECT((m & 0x7FFFFFFF) > p, m, p);
}

// The integers of §9 as pairs of 16 bits, n/2 vectors; lane g holds a pair of group g. Which elements make a pair does
// not matter, because only sums over the group are taken.
INLINE void scaled_integers(const void *x, int wide, size_t n, const float *f, I *pairs) {
  for (size_t i = 0; i < n; i += 2 * LANES) {
    I rows[GROUPS];
    for (size_t g = 0; g < GROUPS; g++) {
      const char *from = element(x, wide, g * n + i);
      I v = LOAD(I, from), w = wide ? LOAD(I, from + sizeof(V)) : v << 16;
      if (!wide) v &= (int32_t)0xFFFF0000;
      I a = v_round((V)v * f[g]), b = v_round((V)w * f[g]);
      rows[g] = a << 16 | (b & 0xFFFF);
    }
    transpose(rows, pairs + i / 2);
  }
}

// A/B of the candidate with the largest gain, group by group.
INLINE V best_ratio(const I *pairs, int bits, size_t n) {
  const H low = (int16_t)ck_code_min(bits) + (H){0}, high = (int16_t)ck_code_max(bits) + (H){0};
  V best = v_set1(-1), best_a = v_zero(), best_b = v_set1(1);
  // Unrolled, so that candidates whose codes cannot leave the range do without a clamp.
  UNROLL for (int k = 0; k < ck_search_count(bits); k += 4) {
    I a[4], b[4];
    H r[4];
    for (int j = 0; j < 4; j++) {
      a[j] = b[j] = (I){0};
      r[j] = (int16_t)ck_search_multiplier(bits, k + j) + (H){0};
    }
    for (size_t i = 0; i < n / 2; i++)
      for (int j = 0; j < 4; j++) {
        H q = h_multiply_high((H)pairs[i], r[j]);
        if (ck_search_code(bits, k + j, -1) < ck_code_min(bits)) q = MAX(q, low);
        if (ck_search_code(bits, k + j, 1) > ck_code_max(bits)) q = __builtin_elementwise_min(q, high);
        a[j] = i_add_pair_products(a[j], (H)pairs[i], q);
        b[j] = i_add_pair_products(b[j], q, q);
      }
    for (int j = 0; j < 4; j++) {
      V fa = v_of_integers(a[j]), fb = v_of_integers(b[j]);
      V gain = fa * fa / fb;  // B > 0, as m has a code other than 0
      I better = gain > best;
      best = SELECT(better, gain, best);
      best_a = SELECT(better, fa, best_a);
      best_b = SELECT(better, fb, best_b);
    }
  }
  return best_a / best_b;
}

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

// §7 and §10. Adding 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves it in the low bits; with 8 more,
// the low four bits are a 4-bit code as it is stored.
INLINE void encode_groups(const void *x, int wide, int bits, int clamps, size_t n, const float *r, const float *s,
                          uint8_t *codes, ck_sums *sums) {
  const float offset = 0x1.8p23f + (bits == 4 ? 8 : 0);
  const V16 low = offset + (float)ck_code_min(bits) + (V16){0}, high = offset + (float)ck_code_max(bits) + (V16){0};
  V error[GROUPS], weight[GROUPS];
  for (size_t g = 0; g < GROUPS; g++) {
    V16 e = {0}, w = {0};
    for (size_t i = 0; i < n; i += 32) {
      U16 code[2];
      for (size_t half = 0; half < 2; half++) {
        V16 v = load_16(element(x, wide, g * n + i + 16 * half), wide);
        V16 t = v * r[g] + offset;
        if (clamps) {
          t = SELECT(t > low, t, low);
          t = SELECT(t < high, t, high);
        }
        code[half] = (U16)t;
        V16 d = v - (t - offset) * s[g];
        e = e + d * d;
        w = w + v * v;
      }
      if (bits == 4) {
        STORE(codes + (g * n + i) / 2, __builtin_convertvector((code[0] | code[1] << 4) & 255, B16));
      } else {
        STORE(codes + g * n + i, __builtin_convertvector(code[0] & 255, B16));
        STORE(codes + g * n + i + 16, __builtin_convertvector(code[1] & 255, B16));
      }
    }
    error[g] = v_of_16(e);
    weight[g] = v_of_16(w);
  }
  float group_error[GROUPS], group_weight[GROUPS];
  v_store(group_error, FOLD(V, PLUS, error));
  v_store(group_weight, FOLD(V, PLUS, weight));
  for (int g = 0; g < GROUPS; g++) {
    sums->squared_error += group_error[g];
    sums->squared_weight += group_weight[g];
  }
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

INLINE int32_t quantize_groups(const void *x, int wide, int bits, int solver, size_t n, uint8_t *codes, void *scales,
                               ck_sums *sums, size_t *bad_group) {
  V magnitude;
  I scale;
  if (solver == CK_ABSMAX) {
    magnitude = magnitudes(x, wide, n);
    scale = portable(magnitude / (float)ck_code_max(bits));
  } else {
    const float range = (float)-ck_search_range(bits);
    V m = extremes(x, wide, n);
    magnitude = v_magnitude(m);
    float f[GROUPS];
    I pairs[64];
    v_store(f, range / m);
    scaled_integers(x, wide, n, f, pairs);
    scale = portable(best_ratio(pairs, bits, n) * (m / range));
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
  float r[GROUPS], s[GROUPS];
  V wide_scale = (V)(scale << 16);
  v_store(s, wide_scale);
  v_store(r, SELECT(nonzero, 1 / wide_scale, v_zero()));
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
  ck_quantize *tail = wide ? ck_quantize_f32_scalar : ck_quantize_bf16_scalar;
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
#define QUANTIZE_FROM(format, wide)                                                                                 \
  QUANTIZE(absmax4_##format, wide, 4, CK_ABSMAX)                                                                    \
  QUANTIZE(absmax8_##format, wide, 8, CK_ABSMAX)                                                                    \
  QUANTIZE(search4_##format, wide, 4, CK_SEARCH)                                                                    \
  QUANTIZE(search8_##format, wide, 8, CK_SEARCH)                                                                    \
  int32_t SET(ck_quantize_##format)(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes,     \
                                    void *scales, ck_sums *sums, size_t *bad_group) {                               \
    ck_quantize *quantize = scheme->solver == CK_ABSMAX                                                             \
                                ? (scheme->bits == 4 ? absmax4_##format : absmax8_##format)                         \
                                : (scheme->bits == 4 ? search4_##format : search8_##format);                        \
    return quantize(x, group_count, scheme, codes, scales, sums, bad_group);                                        \
  }
QUANTIZE_FROM(bf16, 0)
QUANTIZE_FROM(f32, 1)
