// Products and functions of activations with AVX-512.
#if defined(__x86_64__)
#include "lanes.h"

// Rows that are multiplied at a time with 1 … 4 tokens: up to 16 sums of 32 registers, at least 8 because each takes a
// new term every fourth cycle only.
enum { ROWS_1 = 8, ROWS_2 = 4, ROWS_3 = 4, ROWS_4 = 4 };
// From 22 tokens on a panel, which holds 32, is faster than parts of 4.
enum { PANEL_ROWS = 12, PANEL_LEAST = 22, SUM_TOKENS = 6, SUM_WIDTH = 4, ATTEND_ROWS = 8 };

// What a group of codes is decoded with: for int4 the sixteen values, for int8 the scale.
#define HAS_LOOKUP
typedef struct {
  V scale;
} group_t;

INLINE int is_int4(int format);

INLINE group_t group_of(int format, V scale) {
  if (!is_int4(format)) return (group_t){scale};
  return (group_t){(V){-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7} * scale};
}

INLINE V v_scale_of(int scale, const char *row, size_t group) { return v_set1(ck_scale_of(scale, row, group)); }

// Looking a value up uses the lowest four bits of an index alone, so that codes need no mask.
INLINE V v_of_lower(I both, group_t group) { return _mm512_permutexvar_ps((__m512i)both, group.scale); }
INLINE V v_of_upper(I both, group_t group) { return v_of_lower(both >> 4, group); }

// The most tokens that multiply_special takes; 0 where it does not take such a product.
static size_t special_tokens(const ck_product *p);
// Does a product by a shorter way, if there is one for it.
static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens);

#include "../multiply_decode.h"
#include "../multiply_body.h"
#include "../elementwise_body.h"
#include "../attention_body.h"

// int4 with one or two tokens, 64 bytes of codes at a time. Nibble n of 32-bit lane d is element 32 · (d / 4) + 4 · (d
// mod 4) + n / 2 + 16 · (n mod 2), so x is brought into that order first; then a shift and a lookup decode 16 codes,
// without the widening of bytes. Scales come in at the end of the 128 columns, which hold one, two or four groups.
enum { RUN = 128, RUN_TOKENS = 2, RUN_ROWS = 4, RUN_NUMBERS = 1 << 14 };

static void arrange(const float *x, size_t columns, float *out) {
  const I four = {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28};
  for (size_t k = 0; k < columns; k += RUN)
    for (int n = 0; n < 8; n++) {
      const float *from = x + k + n % 2 * 16;
      __m512i index = (__m512i)(four + n / 2);
      V low = _mm512_permutex2var_ps(v_load(from), index, v_load(from + 32));
      V high = _mm512_permutex2var_ps(v_load(from + 64), index, v_load(from + 96));
      v_store(out + k + 16 * (size_t)n, FIRST_BLOCKS(low, high));
    }
}

// 16 codes of nibble n.
INLINE V codes_at(I v, int n) {
  return v_of_lower((I)((U)v >> 4 * n), group_of(CK_INT4, v_set1(1)));
}

// Of scales one after the other from `first` on, that of its group in each lane: with groups of 16 those of the lower or of
// the upper nibbles, otherwise of both.
INLINE V in_lanes(I few, int group, int first, int upper) {
  const I index = group == 128  ? (I){0}
                  : group == 64 ? (I){0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}
                  : group == 32 ? (I){0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}
                                : (I){0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6} + upper;
  return (V)_mm512_permutexvar_epi32((__m512i)(index + first), (__m512i)few);
}

// `each` bytes of each row, one row after the other, as words.
INLINE void words_of_bytes(const uint64_t *bytes, int rows, int each, I *out) {
  uint64_t both[RUN_ROWS] = {0};
  UNROLL for (int r = 0; r < rows; r++) both[r * each / 8] |= bytes[r] << r * each % 8 * 8;
  UNROLL for (int i = 0; 16 * i < rows * each; i++)
    out[i] = (I)_mm512_cvtepu8_epi32(_mm_set_epi64x((long long)both[2 * i + 1], (long long)both[2 * i]));
}

// The scales of RUN columns of some rows, from group `index` on. Bases are in the lanes that the scales of a row take.
INLINE void run_scales(const char *const *scales, const I *bases, int scale, size_t index, int group, int rows,
                       V (*out)[2]) {
  const int each = RUN / group;
  uint64_t bytes[RUN_ROWS] = {0};
  UNROLL for (int r = 0; r < rows; r++) {
    if (group == RUN)
      out[r][0] = v_set1(ck_scale_of(scale, scales[r], index));
    else if (scale == CK_SCALE_BYTE)
      __builtin_memcpy(&bytes[r], scales[r] + 1 + index, (size_t)each);
    else {
      __builtin_memcpy(&bytes[r], scales[r] + 2 * index, 2 * (size_t)each);
      __m128i few = _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_cvtsi64_si128((long long)bytes[r])), 16);
      out[r][0] = in_lanes((I)_mm512_castsi128_si512(few), group, 0, 0);
    }
  }
  if (group == RUN || scale == CK_SCALE_BF16) return;
  I few[2];
  words_of_bytes(bytes, rows, each, few);
  UNROLL for (int i = 0; 16 * i < rows * each; i++)
    few[i] = byte_scales(bases[i], few[i] << 24);
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int half = 0; half < (group == 16 ? 2 : 1); half++)
      out[r][half] = in_lanes(few[r * each / 16], group, r * each % 16, half);
}

INLINE void run_block(const ck_product *p, size_t row, const float *x, float *y, int scale, int group, int rows,
                      int tokens) {
  const char *w[RUN_ROWS], *scales[RUN_ROWS];
  V sum[RUN_ROWS][RUN_TOKENS];
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    w[r] = weights_of(p, CK_INT4, index);
    scales[r] = scales_of(p, index);
    UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = v_zero();
  }
  I bases[2] = {{0}};
  if (scale == CK_SCALE_BYTE) {
    uint64_t bytes[RUN_ROWS];
    UNROLL for (int r = 0; r < rows; r++)
      bytes[r] = (uint8_t)scales[r][0] * (0x0101010101010101 >> (64 - 8 * RUN / group));
    words_of_bytes(bytes, rows, RUN / group, bases);
    UNROLL for (int i = 0; i < 2; i++) bases[i] <<= 23;
  }
  const struct ahead ahead = look_ahead(p->columns / 2, rows, PREFETCH / (size_t)rows);
  for (size_t at = 0; at < p->columns / 2; at += 64) {
    size_t next = at + (at < ahead.turn ? ahead.before : ahead.after);
    V s[RUN_ROWS][2];
    run_scales(scales, bases, scale, at / 64 * (RUN / (size_t)group), group, rows, s);
    UNROLL for (int r = 0; r < rows; r++) {
      __builtin_prefetch(w[r] + next);
      I v = LOAD(I, w[r] + at);
      V part[RUN_TOKENS][2];
      const int parts = group == 16 ? 2 : 1;
      UNROLL for (int n = 0; n < 8; n++) {
        V codes = codes_at(v, n);
        UNROLL for (int t = 0; t < tokens; t++) {
          V xt = v_load(x + (size_t)t * p->columns + 2 * at + 16 * (size_t)n);
          V *sum_of_part = &part[t][n % parts];
          *sum_of_part = n < parts ? v_mul(codes, xt) : v_fma(codes, xt, *sum_of_part);
        }
      }
      UNROLL for (int t = 0; t < tokens; t++)
        UNROLL for (int i = 0; i < parts; i++) sum[r][t] = v_fma(part[t][i], s[r][i], sum[r][t]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    UNROLL for (int t = 0; t < tokens; t++) y[(size_t)t * p->y_stride + index] = v_sum(sum[r][t]);
  }
}

#define RUNS(name, scale, group, height, tokens)                                                              \
  static void runs_##name##_g##group##_##tokens(const ck_product *p, const float *x, float *y) {              \
    for (size_t row = 0; row < p->rows; row += height) run_block(p, row, x, y, scale, group, height, tokens); \
  }
// Byte scales of four rows fill a vector, or two.
#define RUNS_BF16(group) RUNS(bf16, CK_SCALE_BF16, group, 4, 1) RUNS(bf16, CK_SCALE_BF16, group, 2, 2)
#define RUNS_BYTE(group) RUNS(byte, CK_SCALE_BYTE, group, 4, 1) RUNS(byte, CK_SCALE_BYTE, group, 4, 2)
RUNS_BF16(32)
RUNS_BF16(64)
RUNS_BF16(128)
RUNS_BYTE(16)
RUNS_BYTE(32)
RUNS_BYTE(64)
RUNS_BYTE(128)

static size_t special_tokens(const ck_product *p) {
  if (p->format != CK_INT4 || p->columns % RUN != 0) return 0;
  const size_t most = RUN_NUMBERS / p->columns;
  return most < RUN_TOKENS ? most : RUN_TOKENS;
}

static int multiply_special(const ck_product *p, const float *x, float *y, size_t tokens) {
  typedef void runs(const ck_product *p, const float *x, float *y);
#define RUNS_BY_TOKENS(name, group) {runs_##name##_g##group##_1, runs_##name##_g##group##_2}
  // By scale and the logarithm of the group size, from 16 on.
  static runs *const all[2][4][RUN_TOKENS] = {
      {{0}, RUNS_BY_TOKENS(bf16, 32), RUNS_BY_TOKENS(bf16, 64), RUNS_BY_TOKENS(bf16, 128)},
      {RUNS_BY_TOKENS(byte, 16), RUNS_BY_TOKENS(byte, 32), RUNS_BY_TOKENS(byte, 64), RUNS_BY_TOKENS(byte, 128)}};
  if (tokens > special_tokens(p)) return 0;
  _Alignas(64) float arranged[RUN_NUMBERS];
  for (size_t t = 0; t < tokens; t++) arrange(x + t * p->x_stride, p->columns, arranged + t * p->columns);
  all[p->scale][__builtin_ctz((unsigned)p->group_size) - 4][tokens - 1](p, arranged, y);
  return 1;
}

#include "multiply_int8.h"

#pragma clang attribute pop
#endif
