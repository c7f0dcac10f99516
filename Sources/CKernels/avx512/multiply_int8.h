// What multiply_int8_body.h needs of AVX-512 VNNI, and nothing else does; part of multiply.c.
//
// Products of int8 codes: VPDPBUSD adds four of an unsigned and a signed byte each to a sum, without saturation. The
// weights are made unsigned: 128, or 8 for int4, too large, so that a sum starts at that many times −Σ codes of x.

enum { HEIGHT = 2 };

INLINE I i_int8_weights(I a) { return a ^ (int32_t)0x80808080; }
INLINE I i_start(int32_t start, int format) { return i_set1((format == CK_INT4 ? 8 : 128) * start); }

INLINE I i_dot(I sum, I w, I x) { return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }

// 4 · quads columns.
INLINE void i_add_products(I (*sum)[HEIGHT], const I (*w)[HEIGHT], const int8_t *const *x, int format, int tokens,
                           int quads) {
  (void)format;
  UNROLL for (int q = 0; q < quads; q++)
    UNROLL for (int t = 0; t < tokens; t++) {
      int32_t four;
      __builtin_memcpy(&four, x[t] + 4 * q, 4);
      UNROLL for (int v = 0; v < HEIGHT; v++) sum[t][v] = i_dot(sum[t][v], w[q][v], i_set1(four));
    }
}

#include "../multiply_int8_body.h"

// With up to three tokens, turning the weights would cost more than it saves: lanes run along 128 columns of a row, and
// their sums are turned.
enum { FEW_TOKENS = 3 };

// Lane 4 · l + j of the result: the sum of lanes 4 · l … 4 · l + 3 of row j.
INLINE I add_fours(const I *row) {
  I ab = i_low32(row[0], row[1]) + i_high32(row[0], row[1]);
  I cd = i_low32(row[2], row[3]) + i_high32(row[2], row[3]);
  return i_low64(ab, cd) + i_high64(ab, cd);
}

// Of 16 rows, four in each: out[l] holds lanes 4 · l … 4 · l + 3 of all.
INLINE void turn_fours(const I *rows, I *out) {
  I a = FIRST_BLOCKS(rows[0], rows[1]), b = FIRST_BLOCKS(rows[2], rows[3]);
  out[0] = EVEN_BLOCKS(a, b);
  out[1] = ODD_BLOCKS(a, b);
  a = LAST_BLOCKS(rows[0], rows[1]), b = LAST_BLOCKS(rows[2], rows[3]);
  out[2] = EVEN_BLOCKS(a, b);
  out[3] = ODD_BLOCKS(a, b);
}

// LANES rows, whose scales of the first group are at `s`.
INLINE void few_piece(const float *s, const ck_product *p, const ck_activations *x, size_t row, size_t token, size_t k,
                      size_t count, int format, int group, int tokens) {
  enum { MOST_TURNED = 8 };
  const size_t row_bytes = bytes_of(format, p->columns), groups = p->columns / (size_t)group;
  // Vectors of sums that are turned: of 16 columns each, or of 32 whose halves may come together.
  const int turned = format == CK_INT8 || group < UNIT ? 8 : 4, of_group = group * turned / RUN;
  const struct ahead ahead = look_ahead(row_bytes, PIECE_ROWS, PREFETCH / LANES);
  V y[FEW_TOKENS];
  UNROLL for (int t = 0; t < tokens; t++)
    y[t] = k == 0 ? v_zero() : v_load(p->y + (token + (size_t)t) * p->y_stride + row);
  for (size_t at = k; at < k + count; at += RUN) {
    I first[FEW_TOKENS], second[FEW_TOKENS], all[FEW_TOKENS][MOST_TURNED];
    UNROLL for (int t = 0; t < tokens; t++) {
      const int8_t *codes = x->codes + (token + (size_t)t) * p->columns + at;
      first[t] = LOAD(I, codes);
      second[t] = LOAD(I, codes + 64);
      if (format == CK_INT4) {  // the columns of the lower nibbles, then those of the upper
        I lower = EVEN_BLOCKS(first[t], second[t]);
        second[t] = ODD_BLOCKS(first[t], second[t]);
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
          const char *from = w + (size_t)r * row_bytes + (format == CK_INT8 ? 64 * half : 0);
          __builtin_prefetch(from + next);
          I v = LOAD(I, from), upper = i_nibbles(i_shift_nibble(v));
          UNROLL for (int t = 0; t < tokens; t++) {
            const I zero = {0}, own = half == 0 ? first[t] : second[t];
            if (format == CK_INT8)
              sum[t][r] = i_dot(zero, i_int8_weights(v), own);
            else if (group < UNIT)
              sum[t][r] = i_dot(zero, half == 0 ? i_nibbles(v) : upper, own);
            else
              sum[t][r] = i_dot(i_dot(zero, i_nibbles(v), first[t]), upper, second[t]);
          }
        }
        UNROLL for (int t = 0; t < tokens; t++) fours[t][half][i] = add_fours(sum[t]);
      }
    UNROLL for (int t = 0; t < tokens; t++)
      UNROLL for (int half = 0; half < turned / 4; half++) turn_fours(fours[t][half], all[t] + 4 * half);
    UNROLL for (int g = 0; g < RUN / group; g++, s += PIECE_ROWS)
      UNROLL for (int t = 0; t < tokens; t++) {
        const size_t place = (token + (size_t)t) * groups + at / (size_t)group + (size_t)g;
        I sum = i_start(x->starts[place], format);
        if (group < UNIT)
          sum += all[t][g % 2 * 4 + g / 2];
        else
          UNROLL for (int i = 0; i < of_group; i++) sum += all[t][g * of_group + i];
        y[t] = v_add(y[t], v_mul(v_mul(v_of_integers(sum), v_load(s)), v_set1(x->scales[place])));
      }
  }
  UNROLL for (int t = 0; t < tokens; t++) v_store(p->y + (token + (size_t)t) * p->y_stride + row, y[t]);
}

typedef void few_tokens(const float *s, const ck_product *p, const ck_activations *x, size_t row, size_t token, size_t k,
                        size_t count);

#define FEW(name, format, group, tokens)                                                                           \
  static void name##_few_g##group##_##tokens(const float *s, const ck_product *p, const ck_activations *x,         \
                                             size_t row, size_t token, size_t k, size_t count) {                   \
    few_piece(s, p, x, row, token, k, count, format, group, tokens);                                               \
  }
#define FEW_GROUP(name, format, group)                                                                             \
  FEW(name, format, group, 1) FEW(name, format, group, 2) FEW(name, format, group, 3)                              \
  static few_tokens *const name##_few_g##group[FEW_TOKENS] = {                                                     \
      name##_few_g##group##_1, name##_few_g##group##_2, name##_few_g##group##_3};
#define FEW_OF(name, format)                                                                                       \
  FEW_GROUP(name, format, 32) FEW_GROUP(name, format, 64) FEW_GROUP(name, format, 128)
FEW_OF(int8, CK_INT8)
FEW_OF(int4, CK_INT4)
FEW_GROUP(int4, CK_INT4, 16)
// By the logarithm of the group size, from 16 on.
static few_tokens *const *const int8_few[4] = {NULL, int8_few_g32, int8_few_g64, int8_few_g128};
static few_tokens *const *const int4_few[4] = {int4_few_g16, int4_few_g32, int4_few_g64, int4_few_g128};

static int multiply_few(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row,
                        size_t token, size_t k, size_t count, size_t tokens) {
  if (tokens > FEW_TOKENS || count % RUN != 0) return 0;
  few_tokens *const multiply = (p->format == CK_INT8 ? int8_few : int4_few)[group_shift(p) - 4][tokens - 1];
  for (size_t lane = 0; lane < PIECE_ROWS; lane += LANES)
    multiply(piece->scales[0] + lane, p, x, row + lane, token, k, count);
  return 1;
}
