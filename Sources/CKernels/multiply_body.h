// Products in vectors of LANES floats; the multiply.c of a set includes this after decode32. What it computes is in
// scalar/multiply.c.
//
// Two ways to multiply. With few tokens, lanes run along the columns of a row: some rows are decoded in registers and
// meet each vector of x once (dot_block). With many, lanes run along the tokens: x is turned, a block of weights is
// decoded into the first-level cache, and each weight meets all tokens (panel).

// Arrays of vectors have constant lengths, or they would not become registers: the most rows and tokens of a block.
enum { MOST_ROWS = 8, MOST_TOKENS = 4 };
enum { CHUNK_BYTES = 1 << 18 };  // of weights that several parts of the tokens share
// How many bytes of weights are asked for ahead of their use.
#ifndef PREFETCH
#define PREFETCH 8192
#endif

INLINE const char *weights_of(const ck_product *p, int format, size_t row) {
  return (const char *)p->weights + row * bytes_of(format, p->columns);
}

// The scales of a row.
INLINE const char *scales_of(const ck_product *p, size_t row) {
  return (const char *)p->scales + row * ck_row_scale_bytes(p->scale, p->columns / (size_t)p->group_size);
}

// The last `count` < UNIT columns of a row of floats, with zeros behind them.
INLINE void decode_rest(const char *w, int format, size_t count, V *out) {
  char rest[4 * UNIT] = {0};
  __builtin_memcpy(rest, w, bytes_of(format, count));
  decode32(rest, format, group_of(format, v_zero()), group_of(format, v_zero()), out);
}

// Where the weights are that a block of rows will need `distance` bytes of each row later: `before` bytes on in each row, or
// `after` where that would be past the end of the row, from offset `turn` on.
struct ahead {
  size_t before, after, turn;
};

INLINE struct ahead look_ahead(size_t row_bytes, int rows, size_t distance) {
  size_t whole = distance / row_bytes, rest = distance % row_bytes;
  size_t block = row_bytes * (size_t)rows;
  return (struct ahead){whole * block + rest, (whole + 1) * block + rest - row_bytes, row_bytes - rest};
}

// `rows` rows from `row` on and `tokens` tokens, all constants where this is inlined. Rows past the end repeat the
// last.
INLINE void dot_block(const ck_product *p, size_t row, const float *x, float *y, int format, int rows, int tokens) {
  const char *w[MOST_ROWS], *scales[MOST_ROWS];
  V sum[MOST_ROWS][MOST_TOKENS];
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    w[r] = weights_of(p, format, index);
    if (is_coded(format)) scales[r] = scales_of(p, index);
    UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = v_zero();
  }
  const size_t whole = p->columns / UNIT * UNIT;
  const size_t group = !is_coded(format) || format == INT4_HALVES ? UNIT : (size_t)p->group_size;
  const struct ahead ahead = look_ahead(bytes_of(format, p->columns), rows, PREFETCH / (size_t)rows);
  size_t k = 0;
  for (size_t index = 0; k < whole; index++) {
    group_t g[MOST_ROWS], upper[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) {
      if (format == INT4_HALVES) {
        g[r] = group_of(format, v_scale_of(CK_SCALE_BYTE, scales[r], 2 * index));
        upper[r] = group_of(format, v_scale_of(CK_SCALE_BYTE, scales[r], 2 * index + 1));
      } else {
        upper[r] = g[r] = group_of(format, is_coded(format) ? v_scale_of(scale_of(format), scales[r], index) : v_zero());
      }
    }
    for (size_t end = k + group; k < end; k += UNIT) {
      V v[MOST_ROWS][VECTORS];
      size_t at = bytes_of(format, k), next = at + (at < ahead.turn ? ahead.before : ahead.after);
      UNROLL for (int r = 0; r < rows; r++) {
        __builtin_prefetch(w[r] + next);
        if (format == CK_F32) __builtin_prefetch(w[r] + next + 64);
        decode32(w[r] + at, format, g[r], upper[r], v[r]);
      }
      UNROLL for (int i = 0; i < VECTORS; i++) {
        UNROLL for (int t = 0; t < tokens; t++) {
          V xt = v_load(x + (size_t)t * p->x_stride + k + (size_t)i * LANES);
          UNROLL for (int r = 0; r < rows; r++) sum[r][t] = v_fma(v[r][i], xt, sum[r][t]);
        }
      }
    }
  }
  if (!is_coded(format) && k < p->columns) {
    size_t rest = p->columns - k;
    UNROLL for (int r = 0; r < rows; r++) {
      V v[VECTORS];
      decode_rest(w[r] + bytes_of(format, k), format, rest, v);
      UNROLL for (int t = 0; t < tokens; t++) {
        float xt[UNIT] = {0};
        __builtin_memcpy(xt, x + (size_t)t * p->x_stride + k, 4 * rest);
        UNROLL for (int i = 0; i < VECTORS; i++) sum[r][t] = v_fma(v[i], v_load(xt + i * LANES), sum[r][t]);
      }
    }
  }
  UNROLL for (int r = 0; r < rows; r++) {
    size_t index = row + (size_t)r < p->rows ? row + (size_t)r : p->rows - 1;
    UNROLL for (int t = 0; t < tokens; t++) y[(size_t)t * p->y_stride + index] = v_sum(sum[r][t]);
  }
}

// What lies in the first-level cache during a panel: the turned x (16 KiB), the decoded weights of this piece and the next
// (12 KiB) and the sums (6 KiB).
enum { PANEL_COLUMNS = 128, TURNED_COLUMNS = 1024, CHUNK_ROWS = 4 * PANEL_ROWS, PANEL_TOKENS = 2 * LANES };

// Turned: out[k · PANEL_TOKENS + t] = x[t · stride + k] for k < count; zero for t from `tokens` on.
static void turn(const float *x, size_t stride, size_t tokens, size_t count, float *out) {
  for (size_t t = 0; t < PANEL_TOKENS; t += LANES) {
    size_t k = 0;
    if (t + LANES <= tokens) {
      for (; k + 4 <= count; k += 4) {
        I columns[4];
        turn16((const char *)(x + t * stride + k), 4 * stride, columns);
        UNROLL for (int i = 0; i < 4; i++) v_store(out + (k + (size_t)i) * PANEL_TOKENS + t, (V)columns[i]);
      }
    }
    for (; k < count; k++)
      for (size_t i = t; i < t + LANES; i++) out[k * PANEL_TOKENS + i] = i < tokens ? x[i * stride + k] : 0;
  }
}

// Turned back: y[t · stride + r] = sums[r][t], or that much more; `rows` is at most CHUNK_ROWS.
static void turn_back(float (*sums)[PANEL_TOKENS], size_t rows, size_t tokens, float *y, size_t stride, int first) {
  size_t r = 0;
  for (; r + LANES <= rows; r += LANES)
    for (size_t t = 0; t < tokens; t += 4) {
      I turned[4];
      turn16((const char *)&sums[r][t], sizeof *sums, turned);
      for (size_t i = 0; i < 4 && t + i < tokens; i++) {
        float *out = y + (t + i) * stride + r;
        v_store(out, first ? (V)turned[i] : v_add(v_load(out), (V)turned[i]));
      }
    }
  for (; r < rows; r++)
    for (size_t t = 0; t < tokens; t++) {
      float *out = y + t * stride + r;
      *out = first ? sums[r][t] : *out + sums[r][t];
    }
}

// Decodes `count` columns of a row from `first` on, a multiple of UNIT.
INLINE void decode_columns(const ck_product *p, size_t row, int format, size_t first, size_t count, float *out) {
  const int group_shift = is_coded(format) ? __builtin_ctz((unsigned)p->group_size) : 0;
  const char *w = weights_of(p, format, row) + bytes_of(format, first);
  const char *scales = is_coded(format) ? scales_of(p, row) : w;
  V v[VECTORS];
  size_t k = 0;
  for (; k + UNIT <= count; k += UNIT) {
    const size_t index = (first + k) >> group_shift;
    group_t g = group_of(format, is_coded(format) ? v_scale_of(scale_of(format), scales, index) : v_zero()), upper = g;
    if (format == INT4_HALVES) upper = group_of(format, v_scale_of(CK_SCALE_BYTE, scales, index + 1));
    decode32(w + bytes_of(format, k), format, g, upper, v);
    UNROLL for (int i = 0; i < VECTORS; i++) v_store(out + k + (size_t)i * LANES, v[i]);
  }
  if (!is_coded(format) && k < count) {
    decode_rest(w + bytes_of(format, k), format, count - k, v);
    UNROLL for (int i = 0; i < VECTORS; i++) v_store(out + k + (size_t)i * LANES, v[i]);
  }
}

// PANEL_ROWS rows and PANEL_COLUMNS columns of weights, of which the last may be fewer. A panel goes through the rows of a
// chunk, then through the columns from `begin` to `end`, then on to the next chunk.
struct panel_piece {
  size_t chunk, row, k, begin, end;
};

INLINE struct panel_piece next_piece(const ck_product *p, struct panel_piece at) {
  at.row += PANEL_ROWS;
  if (at.row < CHUNK_ROWS && at.chunk + at.row < p->rows) return at;
  at.row = 0;
  at.k += PANEL_COLUMNS;
  if (at.k >= at.end) at.k = at.begin, at.chunk += CHUNK_ROWS;
  return at;
}

// Row r of a piece, decoded; rows past the end repeat the last.
INLINE void decode_row(const ck_product *p, int format, const struct panel_piece *at, size_t r, float *out) {
  size_t row = at->chunk + at->row + r, left = at->end - at->k;
  decode_columns(p, row < p->rows ? row : p->rows - 1, format, at->k, left < PANEL_COLUMNS ? left : PANEL_COLUMNS, out);
}

// Adds w[r, k] · x[k] for PANEL_ROWS rows and PANEL_TOKENS tokens.
INLINE void add_column(V (*sum)[2], float (*w)[PANEL_COLUMNS], const float *x, size_t k) {
  V v[2];
  UNROLL for (int i = 0; i < 2; i++) v[i] = v_load(x + k * PANEL_TOKENS + (size_t)i * LANES);
  UNROLL for (int r = 0; r < PANEL_ROWS; r++) {
    V one = v_set1(w[r][k]);
    UNROLL for (int i = 0; i < 2; i++) sum[r][i] = v_fma(one, v[i], sum[r][i]);
  }
}

// Asks for what row r of a piece has behind it, which is decoded after the same columns of the rest of the chunk.
INLINE void prefetch_behind(const ck_product *p, int format, struct panel_piece at, size_t r) {
  at.k += PANEL_COLUMNS;
  if (at.k >= at.end) at.k = at.begin, at.chunk += CHUNK_ROWS;
  const size_t row = at.chunk + at.row + r;
  const char *w = weights_of(p, format, row < p->rows ? row : p->rows - 1) + bytes_of(format, at.k);
  UNROLL for (size_t i = 0; i < bytes_of(format, PANEL_COLUMNS); i += 64) __builtin_prefetch(w + i, 0, 2);
}

// sums[r] (+)= w[r, k] · x[k] over the `count` columns of a piece. Meanwhile the rows of the next one are decoded, if there is
// one, and the weights of the same rows behind it are asked for: each of them between sums, which hide how long that takes.
INLINE void panel_block(const ck_product *p, int format, float (*w)[PANEL_COLUMNS], const float *x, size_t count,
                        float (*sums)[PANEL_TOKENS], int first, const struct panel_piece *next,
                        float (*next_w)[PANEL_COLUMNS]) {
  enum { STEP = PANEL_COLUMNS / 16 };  // no set has more rows than 16
  const size_t next_rows = next->chunk < p->rows ? PANEL_ROWS : 0;
  V sum[PANEL_ROWS][2];
  UNROLL for (int r = 0; r < PANEL_ROWS; r++) UNROLL for (int i = 0; i < 2; i++) sum[r][i] = v_zero();
  size_t k = 0, r = 0;
  for (; k + STEP <= count; k += STEP) {
    UNROLL for (size_t i = 0; i < STEP; i++) add_column(sum, w, x, k + i);
    if (r == next_rows) continue;
    prefetch_behind(p, format, *next, r);
    decode_row(p, format, next, r, next_w[r]);
    r++;
  }
  for (; k < count; k++) add_column(sum, w, x, k);
  for (; r < next_rows; r++) decode_row(p, format, next, r, next_w[r]);
  UNROLL for (int row = 0; row < PANEL_ROWS; row++) UNROLL for (int i = 0; i < 2; i++) {
    float *s = &sums[row][i * LANES];
    v_store(s, first ? sum[row][i] : v_add(v_load(s), sum[row][i]));
  }
}

// Up to PANEL_TOKENS tokens.
INLINE void panel(const ck_product *p, const float *x, float *y, size_t tokens, int format) {
  _Alignas(64) float turned[TURNED_COLUMNS * PANEL_TOKENS];
  _Alignas(64) float w[2][PANEL_ROWS][PANEL_COLUMNS], sums[CHUNK_ROWS][PANEL_TOKENS];
  for (size_t begin = 0; begin < p->columns; begin += TURNED_COLUMNS) {
    const size_t end = p->columns - begin < TURNED_COLUMNS ? p->columns : begin + TURNED_COLUMNS;
    turn(x + begin, p->x_stride, tokens, end - begin, turned);
    struct panel_piece at = {.k = begin, .begin = begin, .end = end};
    for (size_t r = 0; r < PANEL_ROWS; r++) decode_row(p, format, &at, r, w[0][r]);
    for (int own = 0; at.chunk < p->rows; own = !own) {
      const struct panel_piece next = next_piece(p, at);
      const size_t count = end - at.k < PANEL_COLUMNS ? end - at.k : PANEL_COLUMNS;
      panel_block(p, format, w[own], turned + (at.k - begin) * PANEL_TOKENS, count, sums + at.row, at.k == begin, &next,
                  w[!own]);
      if (next.chunk != at.chunk) {
        const size_t left = p->rows - at.chunk;
        turn_back(sums, left < CHUNK_ROWS ? left : CHUNK_ROWS, tokens, y + at.chunk, p->y_stride, begin == 0);
      }
      at = next;
    }
  }
}

// One product of at most PANEL_TOKENS tokens, for one format.
typedef void block_of_tokens(const ck_product *p, const float *x, float *y, size_t tokens);

#define DOTS(name, format, height, tokens)                                                              \
  static void name##_##tokens(const ck_product *p, const float *x, float *y, size_t unused) {           \
    (void)unused;                                                                                       \
    for (size_t row = 0; row < p->rows; row += height) dot_block(p, row, x, y, format, height, tokens); \
  }
#define FORMAT(name, format)                                                                           \
  DOTS(name, format, ROWS_1, 1)                                                                        \
  DOTS(name, format, ROWS_2, 2)                                                                        \
  DOTS(name, format, ROWS_3, 3)                                                                        \
  DOTS(name, format, ROWS_4, 4)                                                                        \
  static void name##_panel(const ck_product *p, const float *x, float *y, size_t tokens) {             \
    panel(p, x, y, tokens, format);                                                                    \
  }
FORMAT(f32, CK_F32)
FORMAT(bf16, CK_BF16)
FORMAT(f16, CK_F16)
FORMAT(int8, CK_INT8)
FORMAT(int4, CK_INT4)
FORMAT(int8_bytes, INT8_BYTES)
FORMAT(int4_bytes, INT4_BYTES)
FORMAT(int4_halves, INT4_HALVES)

#define BLOCKS(name) {name##_1, name##_2, name##_3, name##_4, name##_panel}
static block_of_tokens *const blocks[FORMATS][MOST_TOKENS + 1] = {
    BLOCKS(f32),  BLOCKS(bf16),       BLOCKS(f16),        BLOCKS(int8),
    BLOCKS(int4), BLOCKS(int8_bytes), BLOCKS(int4_bytes), BLOCKS(int4_halves)};

// At most MOST_TOKENS tokens. x is copied to whole cache lines, and so that its tokens do not compete for the same
// ones: with 2048 columns all of them start at the same place of a page.
static void multiply_part(const ck_product *p, const float *x, float *y, size_t tokens) {
  if (multiply_special(p, x, y, tokens)) return;
  enum { LINE = 16, COPIED = MOST_TOKENS * (2048 + 2 * LINE) };
  _Alignas(64) float copy[COPIED];
  ck_product part = *p;
  const size_t stride = (p->columns / LINE + 2) * LINE;
  if (tokens * stride <= COPIED) {
    for (size_t t = 0; t < tokens; t++) __builtin_memcpy(copy + t * stride, x + t * p->x_stride, 4 * p->columns);
    part.x_stride = stride;
    x = copy;
  }
  blocks[format_of(p)][tokens - 1](&part, x, y, tokens);
}

// Few tokens, in parts of at most MOST_TOKENS, whose x stays in the first-level cache; a chunk of rows comes from the
// caches when the second part needs it. In the order of one alone all parts go the special way, or none.
static void multiply_parts(const ck_product *p, const float *x, float *y, size_t tokens) {
  const size_t special = special_tokens(p), most = p->order == CK_ORDER_ALONE && special > 0 ? special : MOST_TOKENS;
  const size_t parts = (tokens + most - 1) / most;
  const size_t height = CHUNK_BYTES / bytes_of(p->format, p->columns) / 24 * 24;
  const size_t step = parts == 1 ? p->rows : height < 24 ? 24 : height;
  for (size_t row = 0; row < p->rows; row += step) {
    ck_product chunk = *p;
    chunk.weights = weights_of(p, p->format, row);
    if (is_coded(p->format)) chunk.scales = scales_of(p, row);
    chunk.rows = p->rows - row < step ? p->rows - row : step;
    for (size_t part = 0; part < parts; part++) {
      size_t t = tokens * part / parts, end = tokens * (part + 1) / parts;
      multiply_part(&chunk, x + t * p->x_stride, y + t * p->y_stride + row, end - t);
    }
  }
}

void SET(ck_multiply)(const ck_product *p) {
  const size_t least = p->order == CK_ORDER_FASTEST ? PANEL_LEAST : p->order == CK_ORDER_PANEL ? 1 : SIZE_MAX;
  size_t t = 0;
  for (; p->tokens - t >= least; t += PANEL_TOKENS) {
    size_t rest = p->tokens - t, count = rest < PANEL_TOKENS ? rest : PANEL_TOKENS;
    blocks[format_of(p)][MOST_TOKENS](p, p->x + t * p->x_stride, p->y + t * p->y_stride, count);
    if (rest <= PANEL_TOKENS) return;
  }
  if (t < p->tokens) multiply_parts(p, p->x + t * p->x_stride, p->y + t * p->y_stride, p->tokens - t);
}

// Rows of v that all tokens meet while they are in the first-level cache: 64 with 16 KiB of columns.
enum { SUM_ROWS = 64 };

// `tokens` times `width` vectors of columns, both constants, added to y unless these are the first rows.
INLINE void sum_block(const float *p, size_t p_stride, const float *v, size_t v_stride, size_t count, float *y,
                      size_t y_stride, int first, int tokens, int width) {
  V sum[SUM_TOKENS][SUM_WIDTH];
  UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int i = 0; i < width; i++)
    sum[t][i] = first ? v_zero() : v_load(y + (size_t)t * y_stride + (size_t)i * LANES);
  for (size_t j = 0; j < count; j++) {
    V row[SUM_WIDTH];
    UNROLL for (int i = 0; i < width; i++) row[i] = v_load(v + j * v_stride + (size_t)i * LANES);
    UNROLL for (int t = 0; t < tokens; t++) {
      V one = v_set1(p[(size_t)t * p_stride + j]);
      UNROLL for (int i = 0; i < width; i++) sum[t][i] = v_fma(one, row[i], sum[t][i]);
    }
  }
  UNROLL for (int t = 0; t < tokens; t++)
    UNROLL for (int i = 0; i < width; i++) v_store(y + (size_t)t * y_stride + (size_t)i * LANES, sum[t][i]);
}

// All tokens, SUM_TOKENS at a time, and `width` vectors of columns. Meanwhile as many further rows are asked for.
INLINE void sum_columns(const float *p, size_t p_stride, size_t tokens, const float *v, size_t v_stride, size_t count,
                        float *y, size_t y_stride, int first, int width) {
  enum { ASKED = 4 };  // rows at a time: more would wait for each other
  const float *next = v + SUM_ROWS * v_stride, *const end = next + SUM_ROWS * v_stride;
  size_t t = 0;
  for (; t + SUM_TOKENS <= tokens; t += SUM_TOKENS) {
    for (int r = 0; r < ASKED && next < end; r++, next += v_stride)
      UNROLL for (int i = 0; i < width; i++) __builtin_prefetch(next + i * LANES);
    sum_block(p + t * p_stride, p_stride, v, v_stride, count, y + t * y_stride, y_stride, first, SUM_TOKENS, width);
  }
  for (; t < tokens; t++)
    sum_block(p + t * p_stride, p_stride, v, v_stride, count, y + t * y_stride, y_stride, first, 1, width);
}

void SET(ck_weighted_sum)(const float *p, size_t p_stride, size_t tokens, const float *v, size_t v_stride, size_t count,
                          size_t columns, float *y, size_t y_stride) {
  const size_t whole = columns / LANES * LANES;
  for (size_t j = 0; j < count; j += SUM_ROWS) {
    const size_t rows = count - j < SUM_ROWS ? count - j : SUM_ROWS;
    const float *from = v + j * v_stride;
    size_t c = 0;
    for (; c + SUM_WIDTH * LANES <= whole; c += SUM_WIDTH * LANES)
      sum_columns(p + j, p_stride, tokens, from + c, v_stride, rows, y + c, y_stride, j == 0, SUM_WIDTH);
    for (; c < whole; c += LANES)
      sum_columns(p + j, p_stride, tokens, from + c, v_stride, rows, y + c, y_stride, j == 0, 1);
  }
  if (whole < columns)
    ck_weighted_sum_scalar(p, p_stride, tokens, v + whole, v_stride, count, columns - whole, y + whole, y_stride);
}
