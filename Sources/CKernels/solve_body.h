// The calibrated solver's kernels in vectors of LANES floats; a set includes this after its lanes.h and SIDE. What they compute is in scalar/solve.c; sections (§) are those of Formats/solver.md.
//
// Everything comes down to one block of chains that stays in registers: SIDE elements along one index, WIDE along the
// other. Its factors are packed: by panels of SIDE or WIDE neighbouring elements, and in a panel one after the other along
// the chains.
#include <string.h>

#include "solve.h"

enum { WIDE = 2 * LANES };

typedef VECTOR(float, LANES / 2) F;
typedef VECTOR(double, LANES / 2) D;

INLINE D d_set1(double x) { return x - (D){0}; }
// Half of a vector, widened.
INLINE D d_of(V v, int half) {
  F part;
  memcpy(&part, (const char *)&v + (size_t)half * sizeof part, sizeof part);
  return __builtin_convertvector(part, D);
}

typedef V block_t[SIDE][2];

// acc[r] = fma(±a[k, r], b[k], acc[r]) for `depth` k.
INLINE void chain(const float *a, const float *b, size_t depth, V (*acc)[2]) {
  for (; depth > 0; depth--, a += SIDE, b += WIDE) {
    const V b0 = v_load(b), b1 = v_load(b + LANES);
    UNROLL for (int r = 0; r < SIDE; r++) {
      const V one = v_set1(a[r]);
      acc[r][0] = v_fma(one, b0, acc[r][0]);
      acc[r][1] = v_fma(one, b1, acc[r][1]);
    }
  }
}

// Accumulation ----------------------------------------------------------------------------------------------------

enum { DEPTH = 256, ROWS = 96, COLUMNS = 512 };  // of a block whose packed factors stay in the second-level cache
_Static_assert(ROWS % SIDE == 0 && COLUMNS % WIDE == 0, "whole panels");
_Static_assert(DEPTH * (ROWS + COLUMNS) <= CK_CHAINS_ROOM, "room");

INLINE const char *element(const ck_factor *f, size_t k, size_t i) {
  const size_t at = f->turned ? i * f->stride + k : k * f->stride + i;
  return (const char *)f->x + at * (f->format == CK_F32 ? 4 : 2);
}

INLINE float one_element(const char *x, int format) {
  if (format == CK_F32) {
    float value;
    memcpy(&value, x, 4);
    return value;
  }
  uint16_t narrow;
  memcpy(&narrow, x, 2);
  const uint32_t bits = (uint32_t)narrow << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// `count` neighbouring elements of one row, times a weight, as floats; zeros up to `width`, a multiple of LANES.
INLINE void take_row(const char *x, int format, float weight, int weighted, size_t count, size_t width, float *out) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    V v = format == CK_F32 ? LOAD(V, x + 4 * i)
                           : v_of_bf16(LOAD(W, x + 2 * i));
    v_store(out + i, weighted ? v_set1(weight) * v : v);
  }
  for (; i < count; i++) {
    const float v = one_element(x + i * (format == CK_F32 ? 4 : 2), format);
    out[i] = weighted ? weight * v : v;
  }
  for (; i < width; i++) out[i] = 0;
}

// Packs (depth, count) elements from (k, i) on by panels of `side`; the last one is filled with zeros.
INLINE void pack(const ck_factor *f, size_t k, size_t i, size_t depth, size_t count, const float *weights, int negative,
                 int side, int format, float *out) {
  enum { TOGETHER = 8, MOST = COLUMNS };
  const size_t panels = (count + (size_t)side - 1) / (size_t)side, panel = depth * (size_t)side;
  if (f->turned) {
    for (size_t p = 0; p < panels; p++) {
      const char *x[WIDE];
      for (int r = 0; r < side; r++) {
        const size_t at = p * (size_t)side + (size_t)r;
        x[r] = element(f, k, i + (at < count ? at : count - 1));
      }
      for (size_t j = 0; j < depth; j++) {
        float *to = out + p * panel + j * (size_t)side;
        const float weight = (weights ? weights[k + j] : 1) * (negative ? -1.0f : 1.0f);
        for (int r = 0; r < side; r++) {
          const float v = one_element(x[r] + j * (format == CK_F32 ? 4 : 2), format);
          to[r] = weights || negative ? weight * v : v;
        }
      }
    }
    return;
  }
  float rows[TOGETHER][MOST + LANES];
  const size_t width = (panels * (size_t)side + LANES - 1) / LANES * LANES;
  for (size_t j0 = 0; j0 < depth; j0 += TOGETHER) {
    const size_t end = depth - j0 < TOGETHER ? depth - j0 : TOGETHER;
    for (size_t j = 0; j < end; j++) {
      const float weight = (weights ? weights[k + j0 + j] : 1) * (negative ? -1.0f : 1.0f);
      take_row(element(f, k + j0 + j, i), format, weight, weights || negative, count, width, rows[j]);
    }
    for (size_t p = 0; p < panels; p++)
      for (size_t j = 0; j < end; j++)
        memcpy(out + p * panel + (j0 + j) * (size_t)side, rows[j] + p * (size_t)side, 4 * (size_t)side);
  }
}

#define PACK(name, side)                                                                                         \
  static void name(const ck_factor *f, size_t k, size_t i, size_t depth, size_t count, const float *weights,     \
                   int negative, float *out) {                                                                   \
    if (f->format == CK_F32) pack(f, k, i, depth, count, weights, negative, side, CK_F32, out);                  \
    else pack(f, k, i, depth, count, weights, negative, side, CK_BF16, out);                                     \
  }
PACK(pack_side, SIDE)
PACK(pack_wide, WIDE)

// One block: c (+)= the chains of two panels. Fewer rows and columns go through a copy.
INLINE void accumulate_block(const float *a, const float *b, size_t depth, float *c, size_t stride, size_t rows,
                             size_t columns) {
  float part[SIDE * WIDE];
  float *from = c;
  size_t from_stride = stride;
  if (rows < SIDE || columns < WIDE) {
    for (size_t r = 0; r < SIDE; r++)
      for (size_t i = 0; i < WIDE; i++) part[r * WIDE + i] = r < rows && i < columns ? c[r * stride + i] : 0;
    from = part;
    from_stride = WIDE;
  }
  block_t acc;
  UNROLL for (int r = 0; r < SIDE; r++) {
    acc[r][0] = v_load(from + (size_t)r * from_stride);
    acc[r][1] = v_load(from + (size_t)r * from_stride + LANES);
  }
  chain(a, b, depth, acc);
  UNROLL for (int r = 0; r < SIDE; r++) {
    v_store(from + (size_t)r * from_stride, acc[r][0]);
    v_store(from + (size_t)r * from_stride + LANES, acc[r][1]);
  }
  if (from == part)
    for (size_t r = 0; r < rows; r++) memcpy(c + r * stride, part + r * WIDE, 4 * columns);
}

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }

void SET(ck_accumulate)(const ck_chains *p) {
  float *a = p->room, *b = p->room + DEPTH * ROWS;
  for (size_t j0 = 0; j0 < p->columns; j0 += COLUMNS) {
    const size_t columns = least_of(p->columns - j0, COLUMNS);
    // Rows from here on have no wanted element in these columns.
    const size_t wanted = p->upper ? least_of(p->rows, p->first_column + j0 + columns) : p->rows;
    for (size_t k0 = 0; k0 < p->depth; k0 += DEPTH) {
      const size_t depth = least_of(p->depth - k0, DEPTH);
      pack_wide(&p->b, k0, j0, depth, columns, NULL, 0, b);
      for (size_t i0 = 0; i0 < wanted; i0 += ROWS) {
        const size_t rows = least_of(wanted - i0, ROWS);
        pack_side(&p->a, k0, i0, depth, rows, p->weights, p->subtract, a);
        for (size_t j = 0; j < columns; j += WIDE)
          for (size_t i = 0; i < rows; i += SIDE) {
            if (p->upper && i0 + i >= p->first_column + j0 + j + WIDE) break;
            // The chains start with what is in c, so that it must be near when they do.
            const float *next = p->c + (i0 + i + SIDE) * p->c_stride + j0 + j;
            if (i + SIDE < rows)
              UNROLL for (size_t r = 0; r < SIDE; r++) {
                __builtin_prefetch(next + r * p->c_stride, 1);
                __builtin_prefetch(next + r * p->c_stride + WIDE - 1, 1);
              }
            accumulate_block(a + i * depth, b + j * depth, depth, p->c + (i0 + i) * p->c_stride + j0 + j, p->c_stride,
                             least_of(rows - i, SIDE), least_of(columns - j, WIDE));
          }
      }
    }
  }
}

// Factor, §5 --------------------------------------------------------------------------------------------------------

_Static_assert(CK_FACTOR_BLOCK % SIDE == 0, "whole panels");

size_t SET(ck_factor_block)(float *t, size_t stride, size_t count) {
  for (size_t k = 0; k < count; k++) {
    float *row = t + k * stride;
    if (!(row[k] > 0 && row[k] < __builtin_inff())) return k;
    const float pivot = __builtin_sqrtf(row[k]);
    row[k] = pivot;
    for (size_t i = k + 1; i < count; i++) row[i] /= pivot;
    for (size_t j = k + 1; j < count; j++) {
      const float one = -row[j];
      float *to = t + j * stride;
      size_t i = j;
      for (; i + LANES <= count; i += LANES) v_store(to + i, v_fma(v_set1(one), v_load(row + i), v_load(to + i)));
      for (; i < count; i++) to[i] = __builtin_fmaf(one, row[i], to[i]);
    }
  }
  return count;
}

void SET(ck_factor_strip)(const float *block, size_t block_stride, float *t, size_t stride, size_t columns) {
  // Minus the rows of each panel above it; and the columns on the way, for WIDE of them.
  float above[CK_FACTOR_BLOCK * CK_FACTOR_BLOCK], x[CK_FACTOR_BLOCK * WIDE];
  for (size_t j0 = 0; j0 < CK_FACTOR_BLOCK; j0 += SIDE)
    for (size_t k = 0; k < j0; k++)
      for (size_t r = 0; r < SIDE; r++) above[j0 * CK_FACTOR_BLOCK + k * SIDE + r] = -block[k * block_stride + j0 + r];
  for (size_t i0 = 0; i0 < columns; i0 += WIDE) {
    const size_t count = least_of(columns - i0, WIDE);
    for (size_t j = 0; j < CK_FACTOR_BLOCK; j++) {
      memcpy(x + j * WIDE, t + j * stride + i0, 4 * count);
      for (size_t i = count; i < WIDE; i++) x[j * WIDE + i] = 0;
    }
    for (size_t j0 = 0; j0 < CK_FACTOR_BLOCK; j0 += SIDE) {
      block_t acc;
      UNROLL for (int r = 0; r < SIDE; r++) UNROLL for (int v = 0; v < 2; v++)
          acc[r][v] = v_load(x + (j0 + (size_t)r) * WIDE + v * LANES);
      chain(above + j0 * CK_FACTOR_BLOCK, x, j0, acc);
      UNROLL for (int r = 0; r < SIDE; r++) {
        const float *row = block + (j0 + (size_t)r) * block_stride + j0;
        UNROLL for (int v = 0; v < 2; v++) {
          acc[r][v] /= v_set1(row[r]);
          v_store(x + (j0 + (size_t)r) * WIDE + v * LANES, acc[r][v]);
          UNROLL for (int s = r + 1; s < SIDE; s++) acc[s][v] = v_fma(v_set1(-row[s]), acc[r][v], acc[s][v]);
        }
      }
    }
    for (size_t j = 0; j < CK_FACTOR_BLOCK; j++) memcpy(t + j * stride + i0, x + j * WIDE, 4 * count);
  }
}

// Packed: panels of SIDE columns, and in a panel (columns, SIDE).
void SET(ck_pack_symmetric)(const float *h, size_t columns, float *packed) {
  enum { TOGETHER = 64 };
  for (size_t k0 = 0; k0 < columns; k0 += TOGETHER)
    for (size_t j0 = 0; j0 < columns; j0 += SIDE) {
      const size_t count = least_of(columns - j0, SIDE), end = least_of(columns, k0 + TOGETHER);
      float *out = packed + j0 * columns;
      for (size_t k = k0; k < end; k++) {
        if (count == SIDE) {
          memcpy(out + k * SIDE, h + k * columns + j0, 4 * SIDE);
        } else {
          for (size_t r = 0; r < SIDE; r++) out[k * SIDE + r] = r < count ? h[k * columns + j0 + r] : 0;
        }
      }
    }
}

void SET(ck_pack_factor)(float *t, size_t columns, float *packed, float *pivots) {
  const size_t last = columns - 1;
  for (size_t j0 = 0; j0 < columns; j0 += SIDE) {
    const float *rows[SIDE];
    for (size_t r = 0; r < SIDE; r++) {
      const size_t j = least_of(j0 + r, last), start = last - j;
      float *row = t + start * columns;
      rows[r] = row;
      if (j0 + r > last) continue;
      const float pivot = row[start];
      pivots[j] = pivot;
      for (size_t i = start + 1; i < columns; i++) row[i] /= pivot;
    }
    float *out = packed + j0 * columns;
    const size_t end = least_of(columns, j0 + SIDE);
    for (size_t k = 0; k < end; k++)
      for (size_t r = 0; r < SIDE; r++) out[k * SIDE + r] = rows[r][last - k];
  }
}

// Rows of a matrix -----------------------------------------------------------------------------------------------

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

INLINE V v_code(V x, int bits) {
  const V low = v_set1((float)ck_code_min(bits)), high = v_set1((float)ck_code_max(bits));
  return v_rint(v_min(v_max(x, low), high));
}

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

INLINE V on_grid(V s, int mantissa_bits, V least, V most) {
  const int shift = 23 - mantissa_bits;
  U bits = (U)s;
  const U sign = bits & 0x80000000;
  bits &= 0x7FFFFFFF;
  bits = (bits + ((1u << (shift - 1)) - 1) + (bits >> shift & 1)) >> shift << shift;
  V magnitude = (V)bits;
  magnitude = v_min(v_max(magnitude, least), most);
  return (V)((U)magnitude | sign);
}

struct found {
  V scale, error;
};

INLINE void keep_better(struct found *best, V scale, V error) {
  best->scale = SELECT(error < best->error, scale, best->scale);
  best->error = v_min(error, best->error);
}

// Adds to the error what one number of a group and its code add.
INLINE V with_error(V error, V w, V h, V s, V r, int bits) {
  const V d = v_fma(-v_code(w * r, bits), s, w);
  return v_fma(h * d, d, error);
}

// §4 for one group of one panel. `bits` is a constant.
INLINE void search_group(const ck_solve *p, const float *w, const float *h, const V *least, const V *most, float *scales,
                         int bits) {
  const size_t n = (size_t)p->group_size;
  struct found best[2];
  V m[2], first[2];
  UNROLL for (int v = 0; v < 2; v++) {
    V high = v_load(w + v * LANES), low = high;
    for (size_t j = 1; j < n; j++) {
      const V x = v_load(w + j * WIDE + v * LANES);
      high = v_max(x, high);
      low = v_min(x, low);
    }
    m[v] = SELECT(high >= -low, high, low);
    first[v] = on_grid(m[v] / v_set1(ck_first_divisor(bits)), p->mantissa_bits, least[v], most[v]);
    best[v] = (struct found){first[v], v_set1(__builtin_inff())};
  }
  for (int k = 0; k < CK_CANDIDATES; k++) {
    const V divisor = v_set1(ck_first_divisor(bits) + (float)k * ck_divisor_step(bits));
    V s[2], r[2], plus[2] = {v_zero(), v_zero()}, minus[2] = {v_zero(), v_zero()};
    UNROLL for (int v = 0; v < 2; v++) {
      s[v] = on_grid(m[v] / divisor, p->mantissa_bits, least[v], most[v]);
      r[v] = v_set1(1) / s[v];
    }
    for (size_t j = 0; j < n; j++) {
      const V hj = v_set1(h[j]);
      UNROLL for (int v = 0; v < 2; v++) {
        const V x = v_load(w + j * WIDE + v * LANES);
        plus[v] = with_error(plus[v], x, hj, s[v], r[v], bits);
        if (bits == 4) minus[v] = with_error(minus[v], x, hj, -s[v], -r[v], bits);
      }
    }
    UNROLL for (int v = 0; v < 2; v++) {
      keep_better(&best[v], s[v], plus[v]);
      if (bits == 4) keep_better(&best[v], -s[v], minus[v]);
    }
  }
  for (int i = 0; i < CK_REFITS; i++) {
    V r[2], s[2], above[2] = {v_zero(), v_zero()}, below[2] = {v_zero(), v_zero()}, error[2] = {v_zero(), v_zero()};
    UNROLL for (int v = 0; v < 2; v++) r[v] = v_set1(1) / best[v].scale;
    for (size_t j = 0; j < n; j++)
      UNROLL for (int v = 0; v < 2; v++) {
        const V x = v_load(w + j * WIDE + v * LANES), q = v_code(x * r[v], bits), hq = v_set1(h[j]) * q;
        above[v] = v_fma(hq, x, above[v]);
        below[v] = v_fma(hq, q, below[v]);
      }
    UNROLL for (int v = 0; v < 2; v++) {
      s[v] = SELECT(below[v] > v_zero(), above[v] / below[v], best[v].scale);
      s[v] = on_grid(s[v], p->mantissa_bits, least[v], most[v]);
      r[v] = v_set1(1) / s[v];
    }
    for (size_t j = 0; j < n; j++)
      UNROLL for (int v = 0; v < 2; v++)
        error[v] = with_error(error[v], v_load(w + j * WIDE + v * LANES), v_set1(h[j]), s[v], r[v], bits);
    UNROLL for (int v = 0; v < 2; v++) keep_better(&best[v], s[v], error[v]);
  }
  UNROLL for (int v = 0; v < 2; v++) {
    const V magnitude = v_magnitude(m[v]);
    v_store(scales + v * LANES, SELECT(magnitude <= v_set1(CK_NEGLIGIBLE), v_zero(), best[v].scale));
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

// §2
INLINE V v_two_to(I n) { return (V)((n + 127) << 23); }

INLINE V v_chain_exp(V x) {
  x = v_min(v_max(x, v_set1(-105)), v_set1(89));
  const V n = v_rint(x * v_set1(0x1.715476p+0f));
  V r = v_fma(n, v_set1(-0x1.62e4p-1f), x);
  r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
  V q = v_set1(1.9875691500e-4f);
  q = v_fma(q, r, v_set1(1.3981999507e-3f));
  q = v_fma(q, r, v_set1(8.3334519073e-3f));
  q = v_fma(q, r, v_set1(4.1665795894e-2f));
  q = v_fma(q, r, v_set1(1.6666665459e-1f));
  q = v_fma(q, r, v_set1(5.0000001201e-1f));
  q = v_fma(r * r, q, r);
  const I whole = __builtin_convertvector(n, I), half = whole >> 1;
  return (q + v_set1(1)) * v_two_to(half) * v_two_to(whole - half);
}

void SET(ck_gate)(const float *g, const float *u, size_t count, float *y) {
  for (size_t i = 0; i < count; i += LANES) {
    float a[LANES] = {0}, b[LANES] = {0};
    const size_t bytes = 4 * least_of(count - i, LANES);
    memcpy(a, g + i, bytes);
    memcpy(b, u + i, bytes);
    const V x = v_load(a);
    v_store(a, x / (v_set1(1) + v_chain_exp(-x)) * v_load(b));
    memcpy(y + i, a, bytes);
  }
}
