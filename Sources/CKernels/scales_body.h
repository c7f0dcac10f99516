// The search for scales, §4, in vectors of LANES rows. See chains_body.h.
#ifndef SCALES_BODY_H
#define SCALES_BODY_H

#include "chains_body.h"

INLINE V v_code(V x, int bits) {
  const V low = v_set1((float)ck_code_min(bits)), high = v_set1((float)ck_code_max(bits));
  return v_rint(v_min(v_max(x, low), high));
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
    const V magnitude = v_magnitude(m[v]), none = p->has_zero ? v_zero() : least[v];
    v_store(scales + v * LANES, SELECT(magnitude <= v_set1(CK_NEGLIGIBLE), none, best[v].scale));
  }
}

#endif
