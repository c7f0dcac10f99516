// Chains in vectors of LANES floats: Formats/solver.md, §1 to §3. A set includes solve_body.h, which includes this, after its
// lanes.h and SIDE. What is computed is written in scalar/solve.c.
//
// Everything comes down to one block of chains that stays in registers: SIDE elements along one index, WIDE along the
// other. Its factors are packed: by panels of SIDE or WIDE neighbouring elements, and in a panel one after the other along
// the chains.
#ifndef CHAINS_BODY_H
#define CHAINS_BODY_H

#include <string.h>

#include "solve.h"

enum { WIDE = 2 * LANES };

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

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }

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

#endif
