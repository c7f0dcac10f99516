// Decoding, widening and bytes in vectors of LANES; the set.c of a set includes this. What it computes is in
// scalar/set.c.

// `wide` says that x holds binary32, otherwise bf16; like `bits` it is a constant wherever these are inlined.
INLINE const char *element(const void *x, int wide, size_t i) { return (const char *)x + (wide ? 4 : 2) * i; }

// A run of 32 codes, whose halves have scales of their own where groups are shorter.
INLINE void decode_run(const uint8_t *codes, int bits, float s0, float s1, float *y) {
  I16 low, high;
  if (bits == 8) {
    low = __builtin_convertvector((VECTOR(int8_t, 16))LOAD(B16, codes), I16);
    high = __builtin_convertvector((VECTOR(int8_t, 16))LOAD(B16, codes + 16), I16);
  } else {
    I16 both = __builtin_convertvector(LOAD(B16, codes), I16);
    low = (both & 15) - 8;
    high = (both >> 4) - 8;
  }
  STORE(y, __builtin_convertvector(low, V16) * s0);
  STORE(y + 16, __builtin_convertvector(high, V16) * s1);
}

INLINE void decode_all(const uint8_t *codes, const uint8_t *scales, size_t group_count, const ck_scheme *scheme,
                       int bits, int scale, float *y) {
  const size_t n = (size_t)scheme->group_size, code_bytes = (size_t)(4 * bits);
  const size_t row_groups = scale == CK_SCALE_BYTE ? scheme->row_groups : group_count;
  const size_t row_bytes = ck_row_scale_bytes(scale, row_groups);
  for (size_t row = 0; row < group_count; row += row_groups, scales += row_bytes)
    for (size_t g = 0; g < row_groups; g++) {
      const float s = ck_scale_of(scale, scales, g);
      if (n < 32) {  // row_groups is even then
        decode_run(codes, bits, s, ck_scale_of(scale, scales, ++g), y);
        codes += code_bytes, y += 32;
      } else {
        for (size_t i = 0; i < n; i += 32, codes += code_bytes, y += 32) decode_run(codes, bits, s, s, y);
      }
    }
}

void SET(ck_decode)(const uint8_t *codes, const void *scales, size_t group_count, const ck_scheme *scheme, float *y) {
  if (scheme->scale == CK_SCALE_BYTE)
    decode_all(codes, scales, group_count, scheme, scheme->bits, CK_SCALE_BYTE, y);
  else
    decode_all(codes, scales, group_count, scheme, scheme->bits, CK_SCALE_BF16, y);
}

void SET(ck_widen_bf16)(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(y + i, v_of_bf16(LOAD(W, element(x, 0, i))));
  ck_widen_bf16_scalar(element(x, 0, i), count - i, y + i);
}

void SET(ck_widen_f16)(const void *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(y + i, v_of_f16(LOAD(W, element(x, 0, i))));
  ck_widen_f16_scalar(element(x, 0, i), count - i, y + i);
}

INLINE void store_bf16(void *y, size_t i, V x, I is_nan) {
  U bits = (U)x;
  I rounded = (I)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  STORE((char *)y + 2 * i, __builtin_convertvector((U)SELECT(is_nan | (x != x), i_set1(CK_BF16_NAN), rounded), W));
}

void SET(ck_scale_e4m3)(const uint8_t *codes, size_t count, float scale, void *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    W code = __builtin_convertvector(LOAD(B, codes + i), W), magnitude = code & 0x7F;
    V value = v_of_f16((code & 0x80) << 8 | magnitude << 7) * CK_E4M3_FACTOR;
    store_bf16(y, i, value * scale, __builtin_convertvector(magnitude, I) == CK_E4M3_NOT_FINITE);
  }
  ck_scale_e4m3_scalar(codes + i, count - i, scale, (char *)y + 2 * i);
}

void SET(ck_scale_e5m2)(const uint8_t *codes, size_t count, float scale, void *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    W code = __builtin_convertvector(LOAD(B, codes + i), W);
    store_bf16(y, i, v_of_f16(code << 8) * scale, (I){0});
  }
  ck_scale_e5m2_scalar(codes + i, count - i, scale, (char *)y + 2 * i);
}

enum { FINITE_BYTES = 4 * sizeof(V) };

// Whether any of the FINITE_BYTES at x holds a magnitude from `limit` on. Magnitudes are below the sign bit, so that
// signed comparisons do.
INLINE int has_not_finite(const char *x, int wide, int limit) {
  I most = {0};
  H most16 = {0};
  for (size_t i = 0; i < FINITE_BYTES; i += sizeof(V)) {
    most = MAX(most, LOAD(I, x + i) & 0x7FFFFFFF);
    most16 = MAX(most16, LOAD(H, x + i) & 0x7FFF);
  }
  return __builtin_reduce_or(wide ? most >= limit : (I)(most16 >= (int16_t)limit)) != 0;
}

#define FIRST_NOT_FINITE(format, wide, limit)                                                      \
  size_t SET(ck_first_not_finite_##format)(const void *x, size_t count) {                          \
    const size_t step = FINITE_BYTES / (wide ? 4 : 2);                                             \
    size_t i = 0;                                                                                  \
    while (i + step <= count && !has_not_finite(element(x, wide, i), wide, limit)) i += step;      \
    return i + ck_first_not_finite_##format##_scalar(element(x, wide, i), count - i);              \
  }
FIRST_NOT_FINITE(bf16, 0, CK_BF16_NOT_FINITE)
FIRST_NOT_FINITE(f16, 0, CK_F16_NOT_FINITE)
FIRST_NOT_FINITE(f32, 1, CK_F32_NOT_FINITE)

// Whether a magnitude of 7 bits reaches the limit, the highest bit of its byte tells after a sum.
#define FIRST_NOT_FINITE_FP8(format, limit)                                                           \
  size_t SET(ck_first_not_finite_##format)(const void *x, size_t count) {                             \
    typedef VECTOR(uint8_t, sizeof(V)) bytes;                                                         \
    size_t i = 0;                                                                                     \
    for (; i + sizeof(V) <= count; i += sizeof(V)) {                                                  \
      bytes magnitude = LOAD(bytes, (const char *)x + i) & 0x7F;                                      \
      if (__builtin_reduce_or((Q)(magnitude + (0x80 - limit) & 0x80))) break;                         \
    }                                                                                                 \
    return i + ck_first_not_finite_##format##_scalar((const char *)x + i, count - i);                 \
  }
FIRST_NOT_FINITE_FP8(e4m3, CK_E4M3_NOT_FINITE)
FIRST_NOT_FINITE_FP8(e5m2, CK_E5M2_NOT_FINITE)

enum { SPLIT = 32 };  // numbers at a time
typedef VECTOR(uint16_t, SPLIT) split_words;
typedef VECTOR(uint8_t, SPLIT) split_bytes;

void SET(ck_split16)(const void *x, size_t count, uint8_t *high, uint8_t *low) {
  size_t i = 0;
  for (; i + SPLIT <= count; i += SPLIT) {
    split_words v = LOAD(split_words, element(x, 0, i));
    STORE(low + i, __builtin_convertvector(v & 255, split_bytes));
    STORE(high + i, __builtin_convertvector(v >> 8, split_bytes));
  }
  ck_split16_scalar(element(x, 0, i), count - i, high + i, low + i);
}

void SET(ck_join16)(const uint8_t *high, const uint8_t *low, size_t count, void *x) {
  size_t i = 0;
  for (; i + SPLIT <= count; i += SPLIT) {
    split_words h = __builtin_convertvector(LOAD(split_bytes, high + i), split_words);
    STORE((char *)x + 2 * i, h << 8 | __builtin_convertvector(LOAD(split_bytes, low + i), split_words));
  }
  ck_join16_scalar(high + i, low + i, count - i, (char *)x + 2 * i);
}

uint64_t SET(ck_read_sum)(const void *x, size_t byte_count) {
  Q sum[4] = {{0}};
  size_t i = 0;
  for (; i + sizeof sum <= byte_count; i += sizeof sum)
    for (size_t j = 0; j < 4; j++) sum[j] += LOAD(Q, (const char *)x + i + sizeof(Q) * j);
  return __builtin_reduce_add(sum[0] + sum[1] + (sum[2] + sum[3])) +
         ck_read_sum_scalar((const char *)x + i, byte_count - i);
}
