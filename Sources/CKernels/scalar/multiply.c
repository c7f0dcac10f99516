// The meaning of products and of functions of activations, in plain loops.
#include <math.h>
#include <string.h>

#include "../kernels.h"

// Sums run in 16 parts, element i in part i mod 16: more exact than one long sum, and open to the compiler's vectors.
enum { PARTS = 16 };

static float sum_parts(float *part) {
  for (int half = PARTS / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) part[i] += part[i + half];
  return part[0];
}

// Columns `first` … `first + count − 1` of a row, decoded.
static void decode_part(const ck_product *p, size_t row, size_t first, size_t count, float *w) {
  size_t i = row * p->columns + first;
  switch (p->format) {
    case CK_F32: memcpy(w, (const char *)p->weights + 4 * i, 4 * count); return;
    case CK_BF16: ck_widen_bf16_scalar((const char *)p->weights + 2 * i, count, w); return;
    case CK_F16: ck_widen_f16_scalar((const char *)p->weights + 2 * i, count, w); return;
    default: {
      const size_t group = (size_t)p->group_size, groups = p->columns / group;
      const char *scales = (const char *)p->scales + row * ck_row_scale_bytes(p->scale, groups);
      for (size_t k = 0; k < count; k++)
        w[k] = (float)ck_code_of(p->format, p->weights, i + k) * ck_scale_of(p->scale, scales, (first + k) / group);
    }
  }
}

static void add_products(const float *w, const float *x, size_t count, float *part) {
  size_t i = 0;
  for (; i + PARTS <= count; i += PARTS)
    for (size_t j = 0; j < PARTS; j++) part[j] += w[i + j] * x[i + j];
  for (; i < count; i++) part[i % PARTS] += w[i] * x[i];
}

void ck_multiply_scalar(const ck_product *p) {
  enum { PIECE = 1024, BLOCK = 8 };  // columns decoded at a time and the tokens that use them
  float w[PIECE];
  for (size_t row = 0; row < p->rows; row++)
    for (size_t t0 = 0; t0 < p->tokens; t0 += BLOCK) {
      size_t tokens = p->tokens - t0 < BLOCK ? p->tokens - t0 : BLOCK;
      float parts[BLOCK][PARTS] = {{0}};
      for (size_t k = 0; k < p->columns; k += PIECE) {
        size_t count = p->columns - k < PIECE ? p->columns - k : PIECE;
        decode_part(p, row, k, count, w);
        for (size_t t = 0; t < tokens; t++) add_products(w, p->x + (t0 + t) * p->x_stride + k, count, parts[t]);
      }
      for (size_t t = 0; t < tokens; t++) p->y[(t0 + t) * p->y_stride + row] = sum_parts(parts[t]);
    }
}

void ck_weighted_sum_scalar(const float *p, size_t p_stride, size_t tokens, const float *v, size_t v_stride,
                            size_t count, size_t columns, float *y, size_t y_stride) {
  for (size_t t = 0; t < tokens; t++) {
    float *row = y + t * y_stride;
    for (size_t c = 0; c < columns; c++) row[c] = 0;
    for (size_t j = 0; j < count; j++)
      for (size_t c = 0; c < columns; c++) row[c] += p[t * p_stride + j] * v[j * v_stride + c];
  }
}

void ck_silu_multiply_scalar(const float *g, const float *u, size_t count, float *y) {
  for (size_t i = 0; i < count; i++) y[i] = g[i] / (1 + expf(-g[i])) * u[i];
}

ck_normalizer ck_softmax_scalar(float *x, size_t count) {
  float most = -INFINITY, part[PARTS] = {0};
  for (size_t i = 0; i < count; i++)
    if (!(x[i] <= most)) most = x[i];
  for (size_t i = 0; i < count; i++) {
    x[i] = expf(x[i] - most);
    part[i % PARTS] += x[i];
  }
  const float sum = sum_parts(part), factor = 1 / sum;
  for (size_t i = 0; i < count; i++) x[i] *= factor;
  return (ck_normalizer){most, sum};
}

void ck_attend_scalar(const ck_attention *a) {
  for (size_t t = 0; t < a->tokens; t++) {
    float scores[CK_ATTEND_POSITIONS];
    const ck_product product = {
        .weights = a->keys, .rows = a->positions, .columns = a->dimension, .format = CK_F32, .group_size = 1, .tokens = 1,
        .x = a->queries + t * a->dimension, .x_stride = a->dimension, .y = scores, .y_stride = a->positions};
    ck_multiply_scalar(&product);
    const ck_normalizer of_query = ck_softmax_scalar(scores, a->positions);
    a->largest[t] = of_query.largest;
    a->sums[t] = of_query.sum;
    ck_weighted_sum_scalar(scores, a->positions, 1, a->values, a->dimension, a->positions, a->dimension,
                           a->y + t * a->dimension, a->dimension);
  }
}

void ck_score_scalar(const float *x, size_t count, ck_scores *scores) {
  *scores = (ck_scores){.largest = -INFINITY, .second = -INFINITY};
  for (size_t i = 0; i < count; i++) {
    if (x[i] > scores->largest) {
      scores->second = scores->largest;
      scores->largest = x[i];
      scores->first = i;
    } else if (x[i] > scores->second) {
      scores->second = x[i];
    }
  }
  for (size_t i = 0; i < count; i++) scores->sum += (double)expf(x[i] - scores->largest);
}

void ck_exp_scalar(const float *x, size_t count, float *y) {
  for (size_t i = 0; i < count; i++) y[i] = expf(x[i]);
}

float ck_fma_loop_scalar(size_t rounds) {
  float part[PARTS] = {0};
  for (size_t i = 0; i < rounds * (CK_FMA_STEP / PARTS); i++)
    for (int j = 0; j < PARTS; j++) part[j] = part[j] * 0.5f + (float)j;
  return sum_parts(part);
}
