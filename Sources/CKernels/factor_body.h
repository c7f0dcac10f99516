// The factor of a symmetric matrix, §5, and what solve_body.h multiplies with. See chains_body.h.
#ifndef FACTOR_BODY_H
#define FACTOR_BODY_H

#include "chains_body.h"

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

#endif
