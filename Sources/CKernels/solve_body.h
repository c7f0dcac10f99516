// Rows of a matrix: rounding with feedback and polish, §6 to §9. See chains_body.h.
#include "chains_body.h"
#include "factor_body.h"
#include "scales_body.h"

typedef VECTOR(float, LANES / 2) F;
typedef VECTOR(double, LANES / 2) D;

INLINE D d_set1(double x) { return x - (D){0}; }
// Half of a vector, widened.
INLINE D d_of(V v, int half) {
  F part;
  memcpy(&part, (const char *)&v + (size_t)half * sizeof part, sizeof part);
  return __builtin_convertvector(part, D);
}

// A panel is WIDE rows, turned: (columns, WIDE). There are as many as CK_SOLVE_ROWS needs at most.
enum { PANELS = CK_SOLVE_ROWS / WIDE };

struct panels {
  const ck_solve *p;
  size_t count, groups;  // of panels; of groups in a row
  float *weights, *errors, *codes;
  float *scales, *inverses;  // (groups, WIDE)
  V least[PANELS][2], most[PANELS][2];
  double sums[PANELS][WIDE];
};

typedef VECTOR(float, 4) four;

// out[i · WIDE + r] = x[r · columns + i]; rows past the end repeat the last.
static void turn(const float *x, size_t rows, size_t columns, float *out) {
  for (size_t r = 0; r < WIDE; r += 4) {
    const float *from[4];
    for (size_t i = 0; i < 4; i++) from[i] = x + least_of(r + i, rows - 1) * columns;
    for (size_t i = 0; i < columns; i += 4) {
      four a, b, c, d;
      memcpy(&a, from[0] + i, 16);
      memcpy(&b, from[1] + i, 16);
      memcpy(&c, from[2] + i, 16);
      memcpy(&d, from[3] + i, 16);
      const four ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const four cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      const four turned[4] = {__builtin_shufflevector(ab0, cd0, 0, 1, 4, 5), __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7),
                           __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5), __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7)};
      UNROLL for (size_t n = 0; n < 4; n++) memcpy(out + (i + n) * WIDE + r, &turned[n], 16);
    }
  }
}

static void search_scales(struct panels *x) {
  const ck_solve *p = x->p;
  const size_t n = (size_t)p->group_size;
  for (size_t t = 0; t < x->count; t++)
    for (size_t g = 0; g < x->groups; g++) {
      const float *w = x->weights + (t * p->columns + g * n) * WIDE, *h = p->diagonal + g * n;
      float *scales = x->scales + (t * x->groups + g) * WIDE;
      if (p->bits == 4) search_group(p, w, h, x->least[t], x->most[t], scales, 4);
      else search_group(p, w, h, x->least[t], x->most[t], scales, 8);
    }
}

// §6 for SIDE columns from the j0-th on and one panel. `bits` is a constant.
INLINE void feed_back_block(struct panels *x, size_t t, size_t j0, int bits) {
  const ck_solve *p = x->p;
  const size_t n = p->columns, shift = (size_t)__builtin_ctz((unsigned)p->group_size), last = n - 1;
  const float *u = p->factor + j0 * n, *weights = x->weights + t * n * WIDE;
  const float *scales = x->scales + t * x->groups * WIDE, *inverses = x->inverses + t * x->groups * WIDE;
  float *errors = x->errors + t * n * WIDE, *codes = x->codes + t * n * WIDE;
  block_t acc;
  UNROLL for (int r = 0; r < SIDE; r++) {
    const float *w = weights + (size_t)p->order[least_of(j0 + (size_t)r, last)] * WIDE;
    acc[r][0] = v_load(w);
    acc[r][1] = v_load(w + LANES);
  }
  chain(u, errors, j0, acc);
  UNROLL for (int r = 0; r < SIDE; r++) {
    const size_t j = j0 + (size_t)r;
    if (j > last) break;
    const size_t i = p->order[j], at = (i >> shift) * WIDE;
    const double pivot = p->pivots[j];
    UNROLL for (int v = 0; v < 2; v++) {
      const size_t lane = (size_t)v * LANES;
      const V code = v_code(acc[r][v] * v_load(inverses + at + lane), bits), q = v_load(scales + at + lane) * code;
      const V error = v_load(weights + i * WIDE + lane) - q;
      v_store(codes + i * WIDE + lane, code);
      v_store(errors + j * WIDE + lane, error);
      const V over = acc[r][v] - q;
      UNROLL for (int half = 0; half < 2; half++) {
        double *sum = x->sums[t] + lane + (size_t)half * (LANES / 2);
        const D o = d_of(over, half);
        STORE(sum, LOAD(D, sum) + d_set1(pivot * pivot) * (o * o));
      }
      UNROLL for (int s = r + 1; s < SIDE; s++) acc[s][v] = v_fma(v_set1(u[j * SIDE + (size_t)s]), error, acc[s][v]);
    }
  }
}

static void feed_back(struct panels *x) {
  memset(x->sums, 0, sizeof x->sums);
  for (size_t j = 0; j < x->p->columns; j += SIDE)
    for (size_t t = 0; t < x->count; t++) {
      if (x->p->bits == 4) feed_back_block(x, t, j, 4);
      else feed_back_block(x, t, j, 8);
    }
}

// §7
static void round_codes(struct panels *x) {
  const ck_solve *p = x->p;
  for (size_t t = 0; t < x->count; t++)
    for (size_t j = 0; j < p->columns; j++)
      for (size_t lane = 0; lane < WIDE; lane += LANES) {
        const size_t at = (t * p->columns + j) * WIDE + lane;
        const V r = v_load(x->inverses + (t * x->groups + j / (size_t)p->group_size) * WIDE + lane);
        v_store(x->codes + at, v_code(v_load(x->weights + at) * r, p->bits));
      }
}

// The codes' numbers minus the weights, in the order of the columns; or the weights.
static void take_errors(struct panels *x, int of_weights) {
  const ck_solve *p = x->p;
  for (size_t t = 0; t < x->count; t++)
    for (size_t j = 0; j < p->columns; j++)
      for (size_t lane = 0; lane < WIDE; lane += LANES) {
        const size_t at = (t * p->columns + j) * WIDE + lane;
        const V s = v_load(x->scales + (t * x->groups + j / (size_t)p->group_size) * WIDE + lane);
        const V w = v_load(x->weights + at);
        v_store(x->errors + at, of_weights ? w : s * v_load(x->codes + at) - w);
      }
}

// §8 for SIDE columns from j0 on and one panel. `bits` is a constant.
INLINE void polish_block(struct panels *x, size_t t, size_t j0, int bits) {
  const ck_solve *p = x->p;
  const size_t n = p->columns, shift = (size_t)__builtin_ctz((unsigned)p->group_size);
  const float *h = p->moments + j0 * n, *weights = x->weights + t * n * WIDE;
  const float *scales = x->scales + t * x->groups * WIDE;
  float *errors = x->errors + t * n * WIDE, *codes = x->codes + t * n * WIDE;
  block_t acc;
  UNROLL for (int r = 0; r < SIDE; r++) acc[r][0] = acc[r][1] = v_zero();
  // The errors of the block as they are, each in the chains of the columns up to its own.
  UNROLL for (int k = 0; k < SIDE; k++) {
    if (j0 + (size_t)k >= n) break;
    const float *e = errors + (j0 + (size_t)k) * WIDE, *row = h + (j0 + (size_t)k) * SIDE;
    UNROLL for (int v = 0; v < 2; v++) UNROLL for (int r = 0; r <= k; r++)
        acc[r][v] = v_fma(v_set1(row[r]), v_load(e + v * LANES), acc[r][v]);
  }
  if (j0 + SIDE < n) chain(h + (j0 + SIDE) * SIDE, errors + (j0 + SIDE) * WIDE, n - j0 - SIDE, acc);
  chain(h, errors, j0, acc);
  UNROLL for (int r = 0; r < SIDE; r++) {
    const size_t j = j0 + (size_t)r;
    if (j >= n) break;
    const V diagonal = v_set1(p->diagonal[j]);
    UNROLL for (int v = 0; v < 2; v++) {
      const size_t lane = (size_t)v * LANES;
      const V s = v_load(scales + (j >> shift) * WIDE + lane), hs = diagonal * s;
      const V code = v_load(codes + j * WIDE + lane);
      const V better = SELECT(hs == v_zero(), code, v_code(code - acc[r][v] / hs, bits));
      const V error = s * better - v_load(weights + j * WIDE + lane);
      v_store(codes + j * WIDE + lane, better);
      v_store(errors + j * WIDE + lane, error);
      const V step = (better - code) * s;
      UNROLL for (int half = 0; half < 2; half++) {
        double *sum = x->sums[t] + lane + (size_t)half * (LANES / 2);
        const D d = d_of(step, half);
        STORE(sum, LOAD(D, sum) + d * (d_set1(2) * d_of(acc[r][v], half) + d * d_set1(p->diagonal[j])));
      }
      UNROLL for (int i = r + 1; i < SIDE; i++) acc[i][v] = v_fma(v_set1(h[j * SIDE + (size_t)i]), error, acc[i][v]);
    }
  }
}

static void polish(struct panels *x) {
  take_errors(x, 0);
  for (size_t j = 0; j < x->p->columns; j += SIDE)
    for (size_t t = 0; t < x->count; t++) {
      if (x->p->bits == 4) polish_block(x, t, j, 4);
      else polish_block(x, t, j, 8);
    }
}

// §9 for SIDE columns from j0 on and one panel.
INLINE void measure_block(struct panels *x, size_t t, size_t j0) {
  const ck_solve *p = x->p;
  const size_t n = p->columns;
  const float *h = p->moments + j0 * n, *errors = x->errors + t * n * WIDE;
  block_t acc;
  UNROLL for (int r = 0; r < SIDE; r++) acc[r][0] = acc[r][1] = v_zero();
  chain(h, errors, j0, acc);
  UNROLL for (int r = 0; r < SIDE; r++) {
    const size_t j = j0 + (size_t)r;
    if (j >= n) break;
    UNROLL for (int v = 0; v < 2; v++) {
      const size_t lane = (size_t)v * LANES;
      const V error = v_load(errors + j * WIDE + lane);
      UNROLL for (int half = 0; half < 2; half++) {
        double *sum = x->sums[t] + lane + (size_t)half * (LANES / 2);
        const D e = d_of(error, half);
        STORE(sum, LOAD(D, sum) + e * (e * d_set1(p->diagonal[j]) + d_set1(2) * d_of(acc[r][v], half)));
      }
      UNROLL for (int i = r + 1; i < SIDE; i++) acc[i][v] = v_fma(v_set1(h[j * SIDE + (size_t)i]), error, acc[i][v]);
    }
  }
}

static void measure(struct panels *x, int of_weights) {
  take_errors(x, of_weights);
  memset(x->sums, 0, sizeof x->sums);
  for (size_t j = 0; j < x->p->columns; j += SIDE)
    for (size_t t = 0; t < x->count; t++) measure_block(x, t, j);
}

void SET(ck_solve_rows)(const ck_solve *p) {
  const size_t n = p->columns, groups = n / (size_t)p->group_size;
  struct panels x = {.p = p, .count = (p->rows + WIDE - 1) / WIDE, .groups = groups};
  const size_t size = x.count * WIDE * n;
  x.weights = p->room;
  x.errors = x.weights + size;
  x.codes = x.errors + size;
  x.scales = x.codes + size;
  x.inverses = x.scales + x.count * WIDE * groups;
  const int given = !(p->steps & CK_SEARCH_SCALES), coded = !(p->steps & (CK_FEEDBACK | CK_ROUND));
  const int writes_codes = (p->steps & (CK_FEEDBACK | CK_ROUND | CK_POLISH)) != 0;
  for (size_t t = 0; t < x.count; t++) {
    const size_t first = t * WIDE, rows = least_of(p->rows - first, WIDE);
    turn(p->weights + first * n, rows, n, x.weights + first * n);
    float least[WIDE], most[WIDE];
    for (size_t r = 0; r < WIDE; r++) {
      const size_t row = first + least_of(r, rows - 1);
      least[r] = p->least[row];
      most[r] = p->most[row];
      x.sums[t][r] = p->errors[row];
      for (size_t g = 0; g < groups; g++)
        x.scales[(first * groups) + g * WIDE + r] = given ? p->scales[row * groups + g] : 0;
      if (coded)
        for (size_t j = 0; j < n; j++) x.codes[first * n + j * WIDE + r] = (float)p->codes[row * n + j];
    }
    for (int v = 0; v < 2; v++) {
      x.least[t][v] = v_load(least + v * LANES);
      x.most[t][v] = v_load(most + v * LANES);
    }
  }
  if (p->steps & CK_SEARCH_SCALES) search_scales(&x);
  for (size_t i = 0; i < x.count * WIDE * groups; i += LANES) {
    const V s = v_load(x.scales + i);
    v_store(x.inverses + i, SELECT(s == v_zero(), v_zero(), v_set1(1) / s));
  }
  if (p->steps & CK_FEEDBACK) feed_back(&x);
  if (p->steps & CK_ROUND) round_codes(&x);
  if (p->steps & CK_POLISH) polish(&x);
  if (p->steps & CK_MEASURE) measure(&x, 0);
  if (p->steps & CK_MEASURE_WEIGHTS) measure(&x, 1);
  for (size_t row = 0; row < p->rows; row++) {
    const size_t t = row / WIDE, r = row % WIDE;
    for (size_t g = 0; g < groups; g++) p->scales[row * groups + g] = x.scales[(t * groups + g) * WIDE + r];
    if (writes_codes)
      for (size_t j = 0; j < n; j++) p->codes[row * n + j] = (int8_t)x.codes[(t * n + j) * WIDE + r];
    p->errors[row] = x.sums[t][r];
  }
}
