// Products with int8 activations in vectors of LANES; the multiply_int8.h of a set includes this
// after i_add_products. What it computes is in scalar/multiply_int8.c.
//
// Lanes run along the rows: each takes four neighbouring columns of a row in its four bytes, and meets four activations
// that are the same in all lanes. So the exact sum of a group is in one lane, nothing is added across lanes, and the
// floats of a sum come in the order of the groups, however many tokens, rows or lanes there are.

#include "int8_activations.h"

// A sum takes new terms every fourth or fifth cycle only: HEIGHT vectors of rows and MOST_INT8_TOKENS tokens keep the core
// busy, as far as there are registers for their sums.
enum { PIECE_COLUMNS = 512, PIECE_ROWS = HEIGHT * LANES, MOST_INT8_TOKENS = 8, TILE_TOKENS = 64 };
enum { QUADS = UNIT / 4 };  // vectors that hold UNIT columns

INLINE I i_nibbles(I a) { return a & 0x0F0F0F0F; }
INLINE I i_shift_nibble(I a) { return (I)((U)a >> 4); }

INLINE int group_shift(const ck_product *p) { return __builtin_ctz((unsigned)p->group_size); }

// What products with int8 activations read again and again: PIECE_ROWS rows of at most PIECE_COLUMNS columns.
struct piece {
  I weights[PIECE_COLUMNS / 4][HEIGHT];
  float scales[PIECE_COLUMNS / 16][PIECE_ROWS];
  // The lines of the next piece. They are asked for during the products of this one, some at a time, because the core waits
  // when too many are on their way.
  const char *ahead;
  size_t row_bytes, lines, asked;
};

// Asks for up to `count` further lines of the next piece.
INLINE void ask_for_lines(struct piece *piece, size_t count) {
  for (; count > 0 && piece->asked < piece->lines; count--, piece->asked++)
    __builtin_prefetch(piece->ahead + piece->asked % PIECE_ROWS * piece->row_bytes + piece->asked / PIECE_ROWS * 64);
}

// `count` columns from k on of PIECE_ROWS rows from `row` on.
INLINE void fill_weights(struct piece *piece, const ck_product *p, size_t row, size_t k, size_t count, int format) {
  const size_t row_bytes = bytes_of(format, p->columns), left = p->columns - k - count;
  const char *const first = weights_of(p, format, row) + bytes_of(format, k);
  const size_t next = left > 0 ? left : p->columns;
  piece->ahead = left > 0 ? first + bytes_of(format, count) : weights_of(p, format, row + PIECE_ROWS);
  piece->row_bytes = row_bytes;
  piece->lines = PIECE_ROWS * ((bytes_of(format, next < PIECE_COLUMNS ? next : PIECE_COLUMNS) + 63) / 64);
  piece->asked = 0;
  UNROLL for (int v = 0; v < HEIGHT; v++) {
    const char *w = first + (size_t)v * LANES * row_bytes;
    for (size_t quad = 0; quad < count / 4; quad += QUADS, w += bytes_of(format, UNIT)) {
      I turned[QUADS];
      turn16(w, row_bytes, turned);
      if (format == CK_INT4) {
        UNROLL for (int q = 0; q < QUADS / 2; q++) {
          turned[q + QUADS / 2] = i_nibbles(i_shift_nibble(turned[q]));
          turned[q] = i_nibbles(turned[q]);
        }
      } else {
        turn16(w + 16, row_bytes, turned + QUADS / 2);
        UNROLL for (int q = 0; q < QUADS; q++) turned[q] = i_int8_weights(turned[q]);
      }
      UNROLL for (int q = 0; q < QUADS; q++) piece->weights[quad + (size_t)q][v] = turned[q];
    }
  }
}

// Those of LANES rows from `row` on, to lane `lane` and the next.
static void fill_scales(struct piece *piece, size_t lane, const ck_product *p, size_t row, size_t k, size_t count) {
  const int shift = group_shift(p);
  const size_t row_bytes = ck_row_scale_bytes(p->scale, p->columns >> shift), first = k >> shift, groups = count >> shift;
  const char *from = scales_of(p, row);
  size_t g = 0;
  if (p->scale == CK_SCALE_BYTE) {
    I base;
    for (size_t r = 0; r < LANES; r++) base[r] = (int32_t)((uint32_t)(uint8_t)from[r * row_bytes] << 23);
    // 16 bytes may go beyond the row, but not beyond the last.
    const size_t rows_beyond = LANES + 16 / row_bytes + 1;
    for (; g < groups && (g + 16 <= groups || row + rows_beyond <= p->rows); g += 16) {
      I fours[4];
      turn16(from + 1 + first + g, row_bytes, fours);
      for (size_t i = 0; i < 16 && g + i < groups; i++) {
        v_store(piece->scales[g + i] + lane, (V)byte_scales(base, fours[i / 4] << (24 - 8 * (i % 4))));
      }
    }
  } else {
    for (; g + 8 <= groups; g += 8) {
      I pairs[4];
      turn16(from + 2 * (first + g), row_bytes, pairs);
      for (size_t q = 0; q < 4; q++) {
        v_store(piece->scales[g + 2 * q] + lane, (V)(pairs[q] << 16));
        v_store(piece->scales[g + 2 * q + 1] + lane, (V)(pairs[q] & (int32_t)0xFFFF0000));
      }
    }
  }
  for (; g < groups; g++)
    for (size_t r = 0; r < LANES; r++)
      piece->scales[g][lane + r] = ck_scale_of(p->scale, from + r * row_bytes, first + g);
}

// The products of a piece with `tokens` tokens from `token` on, added to y unless k is 0; `tokens` is a constant. With each
// group so many lines of the next piece are asked for.
INLINE void multiply_piece(struct piece *piece, const ck_product *p, const ck_activations *x, size_t row, size_t token,
                           size_t k, size_t count, size_t lines, int format, int tokens) {
  const int shift = group_shift(p);
  const size_t groups = p->columns >> shift;
  const int8_t *codes[MOST_INT8_TOKENS];
  V y[MOST_INT8_TOKENS][HEIGHT];
  float *out[MOST_INT8_TOKENS];
  UNROLL for (int t = 0; t < tokens; t++) {
    codes[t] = x->codes + (token + (size_t)t) * p->columns + k;
    out[t] = p->y + (token + (size_t)t) * p->y_stride + row;
    UNROLL for (int v = 0; v < HEIGHT; v++) y[t][v] = k == 0 ? v_zero() : v_load(out[t] + v * LANES);
  }
  const float *scales = x->scales + token * groups + (k >> shift);
  const int32_t *starts = x->starts + token * groups + (k >> shift);
  const I(*w)[HEIGHT] = piece->weights;
  for (size_t g = 0; g < count >> shift; g++) {
    ask_for_lines(piece, lines);
    I sum[MOST_INT8_TOKENS][HEIGHT];
    UNROLL for (int t = 0; t < tokens; t++)
      UNROLL for (int v = 0; v < HEIGHT; v++) sum[t][v] = i_start(starts[(size_t)t * groups + g], format);
    if (p->group_size < UNIT) {
      i_add_products(sum, w, codes, format, tokens, QUADS / 2);
      UNROLL for (int t = 0; t < tokens; t++) codes[t] += UNIT / 2;
      w += QUADS / 2;
    } else {
      for (size_t i = 0; i < (size_t)p->group_size; i += UNIT, w += QUADS) {
        i_add_products(sum, w, codes, format, tokens, QUADS);
        UNROLL for (int t = 0; t < tokens; t++) codes[t] += UNIT;
      }
    }
    UNROLL for (int v = 0; v < HEIGHT; v++) {
      V s = v_load(piece->scales[g] + v * LANES);
      UNROLL for (int t = 0; t < tokens; t++)
        y[t][v] = v_add(y[t][v], v_mul(v_mul(v_of_integers(sum[t][v]), s), v_set1(scales[(size_t)t * groups + g])));
    }
  }
  UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int v = 0; v < HEIGHT; v++) v_store(out[t] + v * LANES, y[t][v]);
}

typedef void block_of_piece(struct piece *piece, const ck_product *p, const ck_activations *x, size_t row, size_t token,
                            size_t k, size_t count, size_t lines);

#define PIECE_OF(name, format, tokens)                                                                         \
  static void name##_piece_##tokens(struct piece *piece, const ck_product *p, const ck_activations *x,         \
                                    size_t row, size_t token, size_t k, size_t count, size_t lines) {          \
    multiply_piece(piece, p, x, row, token, k, count, lines, format, tokens);                                  \
  }
#define PIECES_OF(name, format)                                                                                \
  PIECE_OF(name, format, 1) PIECE_OF(name, format, 2) PIECE_OF(name, format, 3) PIECE_OF(name, format, 4)      \
  PIECE_OF(name, format, 5) PIECE_OF(name, format, 6) PIECE_OF(name, format, 7) PIECE_OF(name, format, 8)      \
  static block_of_piece *const name##_pieces[MOST_INT8_TOKENS] = {                                             \
      name##_piece_1, name##_piece_2, name##_piece_3, name##_piece_4,                                          \
      name##_piece_5, name##_piece_6, name##_piece_7, name##_piece_8};                                         \
  static void name##_fill(struct piece *piece, const ck_product *p, size_t row, size_t k, size_t count) {      \
    fill_weights(piece, p, row, k, count, format);                                                               \
  }
PIECES_OF(int8, CK_INT8)
PIECES_OF(int4, CK_INT4)

// Does the products of a piece with few tokens by a shorter way, if there is one.
static int multiply_few(const struct piece *piece, const ck_product *p, const ck_activations *x, size_t row,
                        size_t token, size_t k, size_t count, size_t tokens);

// `tokens` tokens from `first` on, in parts of about the same size.
static void multiply_tile(const ck_product *p, const ck_activations *x, size_t first, size_t tokens) {
  block_of_piece *const *blocks = p->format == CK_INT8 ? int8_pieces : int4_pieces;
  const size_t parts = (tokens + MOST_INT8_TOKENS - 1) / MOST_INT8_TOKENS;
  struct piece piece;
  for (size_t next = 0; next < p->rows; next += PIECE_ROWS) {
    // The last rows go with some that are done already and get the same results again.
    const size_t row = next + PIECE_ROWS <= p->rows ? next : p->rows - PIECE_ROWS;
    for (size_t k = 0; k < p->columns; k += PIECE_COLUMNS) {
      const size_t count = p->columns - k < PIECE_COLUMNS ? p->columns - k : PIECE_COLUMNS;
      for (size_t lane = 0; lane < PIECE_ROWS; lane += LANES) fill_scales(&piece, lane, p, row + lane, k, count);
      if (multiply_few(&piece, p, x, row, first, k, count, tokens)) continue;
      (p->format == CK_INT8 ? int8_fill : int4_fill)(&piece, p, row, k, count);
      const size_t groups = parts * (count >> group_shift(p)), lines = (piece.lines + groups - 1) / groups;
      for (size_t part = 0; part < parts; part++) {
        const size_t t = tokens * part / parts, end = tokens * (part + 1) / parts;
        blocks[end - t - 1](&piece, p, x, row, first + t, k, count, lines);
      }
    }
  }
}

void SET(ck_multiply_int8)(const ck_product *p, const ck_activations *x) {
  if (p->rows < PIECE_ROWS) {
    ck_multiply_int8_scalar(p, x);
    return;
  }
  for (size_t t = 0; t < p->tokens; t += TILE_TOKENS)
    multiply_tile(p, x, t, p->tokens - t < TILE_TOKENS ? p->tokens - t : TILE_TOKENS);
}

void SET(ck_quantize_activations)(const float *x, size_t group_count, size_t group_size, const ck_activations *to) {
  quantize_activation_groups(x, group_count, group_size, to);
}
