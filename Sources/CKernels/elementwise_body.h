// Functions of activations in vectors of LANES floats; the multiply.c of a set includes this after multiply_body.h. What it
// computes is in scalar/multiply.c.

// e^x = 2ⁿ · e^r with n = rint(x / ln 2), |r| ≤ ln 2 / 2, ln 2 in two parts. Outside of the two ends the result is an
// infinity or zero, which the ends give too; a NaN passes both comparisons as the second operand.
INLINE V v_exp(V x) {
  x = v_min(v_set1(89), v_max(v_set1(-105), x));
  V n = v_rint(v_mul(x, v_set1(0x1.715476p+0f)));
  V r = v_fma(n, v_set1(-0x1.62e4p-1f), x);  // 15 bits: exact
  r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
  // (e^r − 1 − r) / r², minimax on |r| ≤ 0.347 (Cephes, expf).
  V q = v_set1(1.9875691500e-4f);
  q = v_fma(q, r, v_set1(1.3981999507e-3f));
  q = v_fma(q, r, v_set1(8.3334519073e-3f));
  q = v_fma(q, r, v_set1(4.1665795894e-2f));
  q = v_fma(q, r, v_set1(1.6666665459e-1f));
  q = v_fma(q, r, v_set1(5.0000001201e-1f));
  q = v_fma(v_mul(r, r), q, r);
  return v_scale(v_add(q, v_set1(1)), n);
}

INLINE V v_negated(V x) { return v_sub(v_zero(), x); }
INLINE V v_silu(V x) { return v_div(x, v_add(v_set1(1), v_exp(v_negated(x)))); }

// The last elements go through a full vector.
#define REST(body)                                              \
  if (i < count) {                                              \
    float a[LANES] = {0}, b[LANES] = {0};                       \
    const size_t bytes = 4 * (count - i);                       \
    body                                                        \
  }

void SET(ck_exp)(const float *x, size_t count, float *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(y + i, v_exp(v_load(x + i)));
  REST({
    __builtin_memcpy(a, x + i, bytes);
    v_store(b, v_exp(v_load(a)));
    __builtin_memcpy(y + i, b, bytes);
  })
}

void SET(ck_silu_multiply)(const float *g, const float *u, size_t count, float *y) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(y + i, v_mul(v_silu(v_load(g + i)), v_load(u + i)));
  REST({
    __builtin_memcpy(a, g + i, bytes);
    __builtin_memcpy(b, u + i, bytes);
    v_store(b, v_mul(v_silu(v_load(a)), v_load(b)));
    __builtin_memcpy(y + i, b, bytes);
  })
}

ck_normalizer SET(ck_softmax)(float *x, size_t count) {
  V most = v_set1(-__builtin_inff());
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) most = v_max(most, v_load(x + i));
  float m = v_most(most);
  for (; i < count; i++) m = x[i] > m ? x[i] : m;  // a NaN that is lost here comes back with the sum
  V sum = v_zero(), shift = v_set1(m);
  for (i = 0; i + LANES <= count; i += LANES) {
    V e = v_exp(v_sub(v_load(x + i), shift));
    v_store(x + i, e);
    sum = v_add(sum, e);
  }
  float total = v_sum(sum);
  REST({
    __builtin_memcpy(a, x + i, bytes);
    v_store(b, v_exp(v_sub(v_load(a), shift)));
    __builtin_memcpy(x + i, b, bytes);
    for (size_t j = 0; j < count - i; j++) total += b[j];
  })
  float factor = 1 / total;
  V factors = v_set1(factor);
  for (i = 0; i + LANES <= count; i += LANES) v_store(x + i, v_mul(v_load(x + i), factors));
  for (; i < count; i++) x[i] *= factor;
  return (ck_normalizer){m, total};
}

void SET(ck_score)(const float *x, size_t count, ck_scores *scores) {
  enum { BLOCK = 64 * LANES };  // numbers among which the first largest is looked for, and whose sum is in binary32
  V most = v_set1(-__builtin_inff()), second = most;
  float largest = -__builtin_inff(), rest = largest;
  size_t block = 0, whole = count / LANES * LANES;
  for (size_t start = 0; start < whole; start += BLOCK) {
    const size_t end = whole - start < BLOCK ? whole : start + BLOCK;
    for (size_t i = start; i < end; i += LANES) {
      V v = v_load(x + i);
      second = v_max(second, v_min(most, v));
      most = v_max(most, v);
    }
    const float m = v_most(most);
    if (m > largest) {
      largest = m;
      block = start;
    }
  }
  // The second is in a lane of its own, or in the lane of the largest.
  float lanes[2 * LANES];
  v_store(lanes, most);
  v_store(lanes + LANES, second);
  int found = 0;
  for (int i = 0; i < 2 * LANES; i++) {
    if (!found && lanes[i] == largest) found = 1;
    else if (lanes[i] > rest) rest = lanes[i];
  }
  for (size_t i = whole; i < count; i++) {
    if (x[i] > largest) {
      rest = largest;
      largest = x[i];
      block = i;
    } else if (x[i] > rest) {
      rest = x[i];
    }
  }
  size_t first = block;
  while (first + 1 < count && x[first] != largest) first++;
  double sum = 0;
  const V shift = v_set1(largest);
  for (size_t start = 0; start < whole; start += BLOCK) {
    const size_t end = whole - start < BLOCK ? whole : start + BLOCK;
    V part = v_zero();
    for (size_t i = start; i < end; i += LANES) part = v_add(part, v_exp(v_sub(v_load(x + i), shift)));
    sum += (double)v_sum(part);
  }
  for (size_t i = whole; i < count; i++) {
    float a[LANES] = {0};
    a[0] = x[i] - largest;
    v_store(a, v_exp(v_load(a)));
    sum += (double)a[0];
  }
  *scores = (ck_scores){largest, rest, first, sum};
}

float SET(ck_fma_loop)(size_t rounds) {
  enum { CHAINS = 8 };
  V sum[CHAINS];
  V a = v_set1(0.5f), b = v_set1(1);
  UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = v_set1((float)i);
  for (size_t n = rounds * (CK_FMA_STEP / (CHAINS * LANES)); n > 0; n--)
    UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = v_fma(sum[i], a, b);
  UNROLL for (int i = 1; i < CHAINS; i++) sum[0] = v_add(sum[0], sum[i]);
  return v_sum(sum[0]);
}
