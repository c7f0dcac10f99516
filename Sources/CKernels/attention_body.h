// Attention in vectors of LANES floats; the multiply.c of a set includes this after elementwise_body.h. What it computes is in
// scalar/multiply.c.
//
// With many queries, lanes run along them, PANEL_TOKENS at a time: the scores of a position are a row of numbers, so that
// nothing is turned between the two products, and no sum or maximum goes across lanes. Few queries go the way of products.

// ATTENDED positions have values that stay in the first-level cache while all columns meet them. Queries of more numbers than
// MOST_DIMENSION go the way of few, whatever their number.
enum { MOST_DIMENSION = 256, ATTENDED = 64 };

// sums[r] (+)= Σ w[r · row_stride + k · stride] · x[k] over k < count for `rows` rows, a constant, with vectors of PANEL_TOKENS.
// Meanwhile memory from `ahead` on is asked for, ATTEND_ROWS numbers for each k, unless it is NULL.
INLINE void attend_rows(const float *w, size_t row_stride, size_t stride, const float *x, size_t count, float *sums,
                        int first, const char *ahead, int rows) {
  V sum[ATTEND_ROWS][2];
  UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 2; i++)
    sum[r][i] = first ? v_zero() : v_load(sums + r * PANEL_TOKENS + i * LANES);
  for (size_t k = 0; k < count; k++) {
    if (ahead && k % (16 / ATTEND_ROWS) == 0) __builtin_prefetch(ahead + 4 * ATTEND_ROWS * k);
    V v[2];
    UNROLL for (int i = 0; i < 2; i++) v[i] = v_load(x + k * PANEL_TOKENS + (size_t)i * LANES);
    UNROLL for (int r = 0; r < rows; r++) {
      V one = v_set1(w[(size_t)r * row_stride + k * stride]);
      UNROLL for (int i = 0; i < 2; i++) sum[r][i] = v_fma(one, v[i], sum[r][i]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int i = 0; i < 2; i++) v_store(sums + r * PANEL_TOKENS + i * LANES, sum[r][i]);
}

// Any number of rows.
INLINE void attend_all_rows(const float *w, size_t row_stride, size_t stride, size_t rows, const float *x, size_t count,
                            float *sums, int first, const char *ahead) {
  size_t r = 0;
  for (; r + ATTEND_ROWS <= rows; r += ATTEND_ROWS)
    attend_rows(w + r * row_stride, row_stride, stride, x, count, sums + r * PANEL_TOKENS, first,
                ahead ? ahead + 4 * r * count : ahead, ATTEND_ROWS);
  for (; r < rows; r++)
    attend_rows(w + r * row_stride, row_stride, stride, x, count, sums + r * PANEL_TOKENS, first, NULL, 1);
}

// At most PANEL_TOKENS queries. The first of those that go to the same positions asks for keys and values.
INLINE void attend_panel(const ck_attention *a, size_t dimension, size_t token, size_t tokens) {
  _Alignas(64) float turned[MOST_DIMENSION * PANEL_TOKENS], numbers[MOST_DIMENSION * PANEL_TOKENS];
  _Alignas(64) float scores[CK_ATTEND_POSITIONS * PANEL_TOKENS];
  const size_t step = ATTEND_ROWS * dimension;  // what is asked for is two steps ahead
  turn(a->queries + token * dimension, dimension, tokens, dimension, turned);
  attend_all_rows(a->keys, dimension, 1, a->positions, turned, dimension, scores, 1,
                  token == 0 ? (const char *)(a->keys + 2 * step) : NULL);

  V largest[2], sum[2] = {v_zero(), v_zero()};
  UNROLL for (int i = 0; i < 2; i++) largest[i] = v_load(scores + i * LANES);
  for (size_t j = 1; j < a->positions; j++)
    UNROLL for (int i = 0; i < 2; i++) largest[i] = v_max(largest[i], v_load(scores + j * PANEL_TOKENS + (size_t)i * LANES));
  for (size_t j = 0; j < a->positions; j += ATTENDED) {
    const size_t count = a->positions - j < ATTENDED ? a->positions - j : ATTENDED;
    V part[2] = {v_zero(), v_zero()};
    for (size_t k = j; k < j + count; k++)
      UNROLL for (int i = 0; i < 2; i++) {
        float *score = scores + k * PANEL_TOKENS + (size_t)i * LANES;
        V e = v_exp(v_sub(v_load(score), largest[i]));
        v_store(score, e);
        part[i] = v_add(part[i], e);
      }
    UNROLL for (int i = 0; i < 2; i++) sum[i] = v_add(sum[i], part[i]);
    const float *values = a->values + j * dimension;
    attend_all_rows(values, 1, dimension, dimension, scores + j * PANEL_TOKENS, count, numbers, j == 0,
                    token == 0 ? (const char *)(values + ATTENDED * dimension) : NULL);
  }

  float most[PANEL_TOKENS], sums[PANEL_TOKENS], factors[PANEL_TOKENS];
  UNROLL for (int i = 0; i < 2; i++) {
    v_store(most + i * LANES, largest[i]);
    v_store(sums + i * LANES, sum[i]);
    v_store(factors + i * LANES, v_div(v_set1(1), sum[i]));
  }
  for (size_t t = 0; t < tokens; t++) {
    a->largest[token + t] = most[t];
    a->sums[token + t] = sums[t];
    float *y = a->y + (token + t) * dimension;
    for (size_t c = 0; c < dimension; c++) y[c] = numbers[c * PANEL_TOKENS + t] * factors[t];
  }
}

// Fewer queries than fill a panel.
static void attend_few(const ck_attention *a, size_t token, size_t tokens) {
  float scores[PANEL_LEAST * CK_ATTEND_POSITIONS];
  const ck_product product = {
      .weights = a->keys, .rows = a->positions, .columns = a->dimension, .format = CK_F32, .group_size = 1,
      .tokens = tokens, .x = a->queries + token * a->dimension, .x_stride = a->dimension, .y = scores,
      .y_stride = a->positions};
  SET(ck_multiply)(&product);
  for (size_t t = 0; t < tokens; t++) {
    const ck_normalizer of_query = SET(ck_softmax)(scores + t * a->positions, a->positions);
    a->largest[token + t] = of_query.largest;
    a->sums[token + t] = of_query.sum;
  }
  SET(ck_weighted_sum)(scores, a->positions, tokens, a->values, a->dimension, a->positions, a->dimension,
                       a->y + token * a->dimension, a->dimension);
}

void SET(ck_attend)(const ck_attention *a) {
  size_t t = 0;
  while (a->dimension <= MOST_DIMENSION && a->tokens - t >= PANEL_LEAST) {
    const size_t count = a->tokens - t < PANEL_TOKENS ? a->tokens - t : PANEL_TOKENS;
    if (a->dimension == 128)
      attend_panel(a, 128, t, count);
    else
      attend_panel(a, a->dimension, t, count);
    t += count;
  }
  for (; t < a->tokens; t += PANEL_LEAST)
    attend_few(a, t, a->tokens - t < PANEL_LEAST ? a->tokens - t : PANEL_LEAST);
}
