// The meaning of the calibrated solver's kernels, in plain loops. Sections (§) are those of Formats/solver.md.
#include <math.h>
#include <string.h>

#include "../solve.h"

static float element(const ck_factor *f, size_t k, size_t i) {
  size_t at = f->turned ? i * f->stride + k : k * f->stride + i;
  if (f->format == CK_F32) return ((const float *)f->x)[at];
  uint32_t bits = (uint32_t)((const uint16_t *)f->x)[at] << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void ck_accumulate_scalar(const ck_chains *p) {
  for (size_t k = 0; k < p->depth; k++)
    for (size_t i = 0; i < p->rows; i++) {
      float a = element(&p->a, k, i);
      if (p->weights) a = p->weights[k] * a;
      if (p->subtract) a = -a;
      const size_t start = p->upper && i > p->first_column ? i - p->first_column : 0;
      for (size_t j = start; j < p->columns; j++)
        p->c[i * p->c_stride + j] = fmaf(a, element(&p->b, k, j), p->c[i * p->c_stride + j]);
    }
}

// §5
size_t ck_factor_block_scalar(float *t, size_t stride, size_t count) {
  for (size_t j = 0; j < count; j++) {
    for (size_t i = j; i < count; i++)
      for (size_t k = 0; k < j; k++)
        t[j * stride + i] = fmaf(-t[k * stride + j], t[k * stride + i], t[j * stride + i]);
    float pivot = t[j * stride + j];
    if (!(pivot > 0 && pivot < INFINITY)) return j;
    t[j * stride + j] = sqrtf(pivot);
    for (size_t i = j + 1; i < count; i++) t[j * stride + i] /= t[j * stride + j];
  }
  return count;
}

void ck_factor_strip_scalar(const float *block, size_t block_stride, float *t, size_t stride, size_t columns) {
  for (size_t j = 0; j < CK_FACTOR_BLOCK; j++)
    for (size_t i = 0; i < columns; i++) {
      float sum = t[j * stride + i];
      for (size_t k = 0; k < j; k++) sum = fmaf(-block[k * block_stride + j], t[k * stride + i], sum);
      t[j * stride + i] = sum / block[j * block_stride + j];
    }
}

// Packed here: column by column.
void ck_pack_symmetric_scalar(const float *h, size_t columns, float *packed) {
  memcpy(packed, h, columns * columns * sizeof *h);
}

void ck_pack_factor_scalar(float *t, size_t columns, float *packed, float *pivots) {
  const size_t last = columns - 1;
  for (size_t j = 0; j < columns; j++) {
    const float *row = t + (last - j) * columns;
    pivots[j] = row[last - j];
    for (size_t k = 0; k < j; k++) packed[j * columns + k] = row[last - k] / pivots[j];
  }
}

// A scale as the grid holds it: the magnitude rounded to some bits of mantissa, ties to even, then clamped.
static float on_grid(const ck_solve *p, size_t row, float s) {
  const int shift = 23 - p->mantissa_bits;
  uint32_t bits;
  memcpy(&bits, &s, sizeof bits);
  const uint32_t sign = bits & 0x80000000;
  bits &= 0x7FFFFFFF;
  bits = (bits + (1u << (shift - 1)) - 1 + (bits >> shift & 1)) >> shift << shift;
  float magnitude;
  memcpy(&magnitude, &bits, sizeof magnitude);
  if (!(magnitude > p->least[row])) magnitude = p->least[row];
  if (!(magnitude < p->most[row])) magnitude = p->most[row];
  return sign ? -magnitude : magnitude;
}

// rint(x), clamped; a NaN becomes the lowest code.
static float code_of(float x, int bits) {
  const float low = (float)ck_code_min(bits), high = (float)ck_code_max(bits);
  x = x > low ? x : low;
  x = x < high ? x : high;
  return rintf(x);
}

struct group {
  const float *w, *h;
  float scale, error;
};

// The error of a group with one more scale, which is kept if it is better.
static void try_scale(const ck_solve *p, struct group *group, float s) {
  const float r = 1 / s;
  float error = 0;
  for (int j = 0; j < p->group_size; j++) {
    float q = code_of(group->w[j] * r, p->bits);
    float d = fmaf(-q, s, group->w[j]);
    error = fmaf(group->h[j] * d, d, error);
  }
  if (error < group->error) {
    group->error = error;
    group->scale = s;
  }
}

// §4
static float search_scale(const ck_solve *p, size_t row, const float *w, const float *h) {
  float maximum = w[0], minimum = w[0];
  for (int j = 1; j < p->group_size; j++) {
    if (w[j] > maximum) maximum = w[j];
    if (w[j] < minimum) minimum = w[j];
  }
  const float m = maximum >= -minimum ? maximum : minimum;
  if (fabsf(m) <= CK_NEGLIGIBLE) return p->has_zero ? 0 : p->least[row];
  struct group group = {.w = w, .h = h, .scale = 0, .error = INFINITY};
  for (int k = 0; k < CK_CANDIDATES; k++) {
    float s = on_grid(p, row, m / (ck_first_divisor(p->bits) + (float)k * ck_divisor_step(p->bits)));
    if (k == 0) group.scale = s;  // also where no error is finite
    try_scale(p, &group, s);
    if (p->bits == 4) try_scale(p, &group, -s);  // the codes of int8 are symmetric
  }
  for (int i = 0; i < CK_REFITS; i++) {
    const float r = 1 / group.scale;
    float above = 0, below = 0;
    for (int j = 0; j < p->group_size; j++) {
      float q = code_of(w[j] * r, p->bits), hq = h[j] * q;
      above = fmaf(hq, w[j], above);
      below = fmaf(hq, q, below);
    }
    try_scale(p, &group, on_grid(p, row, below > 0 ? above / below : group.scale));
  }
  return group.scale;
}

// One row of a matrix.
struct row {
  const float *w, *scales;
  int8_t *codes;
  double *error;
  size_t group_size;
};

static float scale_at(const struct row *row, size_t j) { return row->scales[j / row->group_size]; }
static float inverse_at(const struct row *row, size_t j) { return scale_at(row, j) == 0 ? 0 : 1 / scale_at(row, j); }

// §6
static void feed_back(const ck_solve *p, const struct row *row) {
  const size_t n = p->columns;
  float *errors = p->room;
  *row->error = 0;
  for (size_t j = 0; j < n; j++) {
    const size_t i = p->order[j];
    float t = row->w[i];
    for (size_t k = 0; k < j; k++) t = fmaf(p->factor[j * n + k], errors[k], t);
    float code = code_of(t * inverse_at(row, i), p->bits), q = scale_at(row, i) * code;
    row->codes[i] = (int8_t)code;
    errors[j] = row->w[i] - q;
    double a = p->pivots[j], v = t - q;
    *row->error += a * a * (v * v);
  }
}

// §8
static void polish(const ck_solve *p, const struct row *row) {
  const size_t n = p->columns;
  float *errors = p->room;
  for (size_t j = 0; j < n; j++) errors[j] = scale_at(row, j) * (float)row->codes[j] - row->w[j];
  for (size_t j = 0; j < n; j++) {
    float sum = 0;
    for (size_t k = j; k < n; k++) sum = fmaf(p->moments[j * n + k], errors[k], sum);
    for (size_t k = 0; k < j; k++) sum = fmaf(p->moments[j * n + k], errors[k], sum);
    const float s = scale_at(row, j), hs = p->diagonal[j] * s, code = row->codes[j];
    if (hs == 0) continue;
    const float better = code_of(code - sum / hs, p->bits);
    row->codes[j] = (int8_t)better;
    errors[j] = s * better - row->w[j];
    const double step = (better - code) * s;
    *row->error += step * (2 * (double)sum + step * (double)p->diagonal[j]);
  }
}

// §9
static void measure(const ck_solve *p, const struct row *row) {
  const size_t n = p->columns;
  float *errors = p->room;
  for (size_t j = 0; j < n; j++)
    errors[j] = p->steps & CK_MEASURE ? scale_at(row, j) * (float)row->codes[j] - row->w[j] : row->w[j];
  *row->error = 0;
  for (size_t j = 0; j < n; j++) {
    float sum = 0;
    for (size_t k = 0; k < j; k++) sum = fmaf(p->moments[j * n + k], errors[k], sum);
    const double e = errors[j];
    *row->error += e * (e * (double)p->diagonal[j] + 2 * (double)sum);
  }
}

void ck_solve_rows_scalar(const ck_solve *p) {
  const size_t n = p->columns, group_size = (size_t)p->group_size, groups = n / group_size;
  for (size_t r = 0; r < p->rows; r++) {
    const float *w = p->weights + r * n;
    float *scales = p->scales + r * groups;
    const struct row row = {w, scales, p->codes + r * n, p->errors + r, group_size};
    if (p->steps & CK_SEARCH_SCALES)
      for (size_t g = 0; g < groups; g++)
        scales[g] = search_scale(p, r, w + g * group_size, p->diagonal + g * group_size);
    if (p->steps & CK_FEEDBACK) feed_back(p, &row);
    if (p->steps & CK_ROUND)
      for (size_t j = 0; j < n; j++) row.codes[j] = (int8_t)code_of(w[j] * inverse_at(&row, j), p->bits);
    if (p->steps & CK_POLISH) polish(p, &row);
    if (p->steps & (CK_MEASURE | CK_MEASURE_WEIGHTS)) measure(p, &row);
  }
}

// 2ⁿ for −126 ≤ n ≤ 127.
static float power(int n) {
  uint32_t bits = (uint32_t)(n + 127) << 23;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// §2
static float exponential(float x) {
  x = x > -105 ? x : -105;
  x = x < 89 ? x : 89;
  const float n = rintf(x * 0x1.715476p+0f);
  float r = fmaf(n, -0x1.62e4p-1f, x);
  r = fmaf(n, -0x1.7f7d1cp-20f, r);
  float q = 1.9875691500e-4f;
  q = fmaf(q, r, 1.3981999507e-3f);
  q = fmaf(q, r, 8.3334519073e-3f);
  q = fmaf(q, r, 4.1665795894e-2f);
  q = fmaf(q, r, 1.6666665459e-1f);
  q = fmaf(q, r, 5.0000001201e-1f);
  q = fmaf(r * r, q, r);
  const int whole = (int)n, half = whole >> 1;
  return (q + 1) * power(half) * power(whole - half);
}

void ck_gate_scalar(const float *g, const float *u, size_t count, float *y) {
  for (size_t i = 0; i < count; i++) y[i] = g[i] / (1 + exponential(-g[i])) * u[i];
}

void ck_mirror(float *h, size_t columns) {
  enum { BLOCK = 32 };
  for (size_t i0 = 0; i0 < columns; i0 += BLOCK)
    for (size_t j0 = 0; j0 <= i0; j0 += BLOCK)
      for (size_t i = i0; i < columns && i < i0 + BLOCK; i++)
        for (size_t j = j0; j < i && j < j0 + BLOCK; j++) h[i * columns + j] = h[j * columns + i];
}

void ck_blend(float *h, const float *l, float own, float other, size_t count) {
  for (size_t i = 0; i < count; i++) h[i] = own * h[i] + other * l[i];
}

void ck_reversed(const float *h, const uint32_t *order, size_t columns, float *t) {
  for (size_t i = 0; i < columns; i++) {
    const float *row = h + (size_t)order[columns - 1 - i] * columns;
    for (size_t j = i; j < columns; j++) t[i * columns + j] = row[order[columns - 1 - j]];
  }
}
