// What multiply_int8_body.h needs of AVX-512 VNNI, and nothing else does; part of multiply_avx512.c.
//
// Products of int8 codes: VPDPBUSD adds four of an unsigned and a signed byte each to a sum, without saturation. The
// weights are made unsigned: 128, or 8 for int4, too large, so that a sum starts at that many times −Σ codes of x.
typedef __m512i I;

// 16 bytes each of rows 0, 4, 8 and 12.
OPERATION I i_load_rows(const char *w, size_t row_bytes) {
  __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)w));
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(w + 4 * row_bytes)), 1);
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(w + 8 * row_bytes)), 2);
  return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(w + 12 * row_bytes)), 3);
}

OPERATION I i_low32(I a, I b) { return _mm512_unpacklo_epi32(a, b); }
OPERATION I i_high32(I a, I b) { return _mm512_unpackhi_epi32(a, b); }
OPERATION I i_low64(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
OPERATION I i_high64(I a, I b) { return _mm512_unpackhi_epi64(a, b); }
OPERATION I i_nibbles(I a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
OPERATION I i_shift_nibble(I a) { return _mm512_srli_epi16(a, 4); }
OPERATION I i_int8_weights(I a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
OPERATION V i_floats(I a) { return _mm512_cvtepi32_ps(a); }
OPERATION V i_lower_bf16(I a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)); }
OPERATION V i_upper_bf16(I a) { return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(-65536))); }
OPERATION I i_start(int32_t start, int format) {
  return _mm512_slli_epi32(_mm512_set1_epi32(start), format == CK_INT4 ? 3 : 7);
}

// 32 columns.
OPERATION void i_add_products(I *sum, const I *w, const int8_t *const *x, int format, int tokens) {
  (void)format;
  UNROLL for (int q = 0; q < 8; q++)
    UNROLL for (int t = 0; t < tokens; t++) {
      int32_t four;
      __builtin_memcpy(&four, x[t] + 4 * q, 4);
      sum[t] = _mm512_dpbusd_epi32(sum[t], w[q], _mm512_set1_epi32(four));
    }
}

#include "multiply_int8_body.h"

// With up to three tokens, turning the weights would cost more than it saves: lanes run along 128 columns of a row, and
// their sums are turned.
enum { FEW_TOKENS = 3 };

// Lane 4 · l + j of the result: the sum of lanes 4 · l … 4 · l + 3 of row j.
INLINE I add_fours(const I *row) {
  I ab = _mm512_add_epi32(i_low32(row[0], row[1]), i_high32(row[0], row[1]));
  I cd = _mm512_add_epi32(i_low32(row[2], row[3]), i_high32(row[2], row[3]));
  return _mm512_add_epi32(i_low64(ab, cd), i_high64(ab, cd));
}

// Of 16 rows, four in each: out[l] holds lanes 4 · l … 4 · l + 3 of all.
INLINE void turn_fours(const I *rows, I *out) {
  I a = _mm512_shuffle_i32x4(rows[0], rows[1], 0x44), b = _mm512_shuffle_i32x4(rows[2], rows[3], 0x44);
  out[0] = _mm512_shuffle_i32x4(a, b, 0x88);
  out[1] = _mm512_shuffle_i32x4(a, b, 0xDD);
  a = _mm512_shuffle_i32x4(rows[0], rows[1], 0xEE), b = _mm512_shuffle_i32x4(rows[2], rows[3], 0xEE);
  out[2] = _mm512_shuffle_i32x4(a, b, 0x88);
  out[3] = _mm512_shuffle_i32x4(a, b, 0xDD);
}

INLINE void few_piece(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row, size_t token,
                      size_t k, size_t count, int format, int group, int tokens) {
  enum { MOST_TURNED = 8 };
  const size_t row_bytes = bytes_of(format, p->columns), groups = p->columns / (size_t)group;
  const int turned = format == CK_INT8 ? 8 : 4, of_group = group * turned / RUN;
  const struct ahead ahead = look_ahead(row_bytes, LANES);
  const float *s = piece->scales[0];
  V y[FEW_TOKENS];
  UNROLL for (int t = 0; t < tokens; t++)
    y[t] = k == 0 ? v_zero() : v_load(p->y + (token + (size_t)t) * p->y_stride + row);
  for (size_t at = k; at < k + count; at += RUN) {
    I first[FEW_TOKENS], second[FEW_TOKENS], all[FEW_TOKENS][MOST_TURNED];
    UNROLL for (int t = 0; t < tokens; t++) {
      const int8_t *codes = x->codes + (token + (size_t)t) * p->columns + at;
      first[t] = _mm512_loadu_si512(codes);
      second[t] = _mm512_loadu_si512(codes + 64);
      if (format == CK_INT4) {  // the columns of the lower nibbles, then those of the upper
        I lower = _mm512_shuffle_i32x4(first[t], second[t], 0x88);
        second[t] = _mm512_shuffle_i32x4(first[t], second[t], 0xDD);
        first[t] = lower;
      }
    }
    const size_t offset = bytes_of(format, at), next = offset < ahead.turn ? ahead.before : ahead.after;
    const char *w = weights_of(p, format, row) + offset;
    I fours[FEW_TOKENS][2][4];
    UNROLL for (int i = 0; i < 4; i++, w += 4 * row_bytes)
      UNROLL for (int half = 0; half < turned / 4; half++) {
        I sum[FEW_TOKENS][4];
        UNROLL for (int r = 0; r < 4; r++) {
          const char *from = w + (size_t)r * row_bytes + 64 * half;
          __builtin_prefetch(from + next);
          I v = _mm512_loadu_si512(from);
          UNROLL for (int t = 0; t < tokens; t++) {
            I zero = _mm512_setzero_si512();
            sum[t][r] = format == CK_INT8
                            ? _mm512_dpbusd_epi32(zero, i_int8_weights(v), half == 0 ? first[t] : second[t])
                            : _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, i_nibbles(v), first[t]),
                                                  i_nibbles(i_shift_nibble(v)), second[t]);
          }
        }
        UNROLL for (int t = 0; t < tokens; t++) fours[t][half][i] = add_fours(sum[t]);
      }
    UNROLL for (int t = 0; t < tokens; t++)
      UNROLL for (int half = 0; half < turned / 4; half++) turn_fours(fours[t][half], all[t] + 4 * half);
    UNROLL for (int g = 0; g < RUN / group; g++, s += LANES)
      UNROLL for (int t = 0; t < tokens; t++) {
        const size_t place = (token + (size_t)t) * groups + at / (size_t)group + (size_t)g;
        I sum = i_start(x->starts[place], format);
        UNROLL for (int i = 0; i < of_group; i++) sum = _mm512_add_epi32(sum, all[t][g * of_group + i]);
        y[t] = v_add(y[t], v_mul(v_mul(i_floats(sum), v_load(s)), v_set1(x->scales[place])));
      }
  }
  UNROLL for (int t = 0; t < tokens; t++) v_store(p->y + (token + (size_t)t) * p->y_stride + row, y[t]);
}

#define FEW(name, format, group, tokens)                                                                           \
  static void name##_few_g##group##_##tokens(const struct piece *piece, const ck_product *p,                       \
                                             const ck_activations *x, size_t row, size_t token, size_t k,          \
                                             size_t count) {                                                       \
    few_piece(piece, p, x, row, token, k, count, format, group, tokens);                                           \
  }
#define FEW_GROUP(name, format, group)                                                                             \
  FEW(name, format, group, 1) FEW(name, format, group, 2) FEW(name, format, group, 3)                              \
  static block_of_piece *const name##_few_g##group[FEW_TOKENS] = {                                                 \
      name##_few_g##group##_1, name##_few_g##group##_2, name##_few_g##group##_3};
#define FEW_OF(name, format)                                                                                       \
  FEW_GROUP(name, format, 32) FEW_GROUP(name, format, 64) FEW_GROUP(name, format, 128)                             \
  static block_of_piece *const *const name##_few[3] = {name##_few_g32, name##_few_g64, name##_few_g128};
FEW_OF(int8, CK_INT8)
FEW_OF(int4, CK_INT4)

static int multiply_few(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row,
                        size_t token, size_t k, size_t count, size_t tokens) {
  if (tokens > FEW_TOKENS || count % RUN != 0) return 0;
  const int group = p->group_size == 32 ? 0 : p->group_size == 64 ? 1 : 2;
  (p->format == CK_INT8 ? int8_few : int4_few)[group][tokens - 1](piece, p, x, row, token, k, count);
  return 1;
}
