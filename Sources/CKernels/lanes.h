// Vectors of LANES numbers of 32 bits in portable form: the compiler's vector types. The lanes.h of a set includes this
// after it has said how many lanes there are, and adds the few operations that have no portable form:
//
//   v_round(a)                      floats to the nearest integers, ties to even
//   h_multiply_high(a, b)           floor((a · b + 2¹⁴) / 2¹⁵) of 16-bit integers
//   i_add_pair_products(sum, a, b)  sum + a[2i] · b[2i] + a[2i + 1] · b[2i + 1] in lane i
#ifndef LANES_H
#define LANES_H

#include "kernels.h"

// Vectors wider than those of the set never leave an inlined function.
#pragma clang diagnostic ignored "-Wpsabi"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define VECTOR(type, count) type __attribute__((vector_size(sizeof(type) * (count))))

typedef VECTOR(float, LANES) V;
typedef VECTOR(int32_t, LANES) I;
typedef VECTOR(uint32_t, LANES) U;
typedef VECTOR(uint16_t, LANES) W;      // as many 16-bit numbers
typedef VECTOR(uint8_t, LANES) B;       // and bytes
typedef VECTOR(int16_t, 2 * LANES) H;   // what 16-bit numbers fill a vector
typedef VECTOR(uint16_t, 2 * LANES) UH;
typedef VECTOR(uint64_t, LANES / 2) Q;
// Sixteen numbers, in as many vectors as it takes: half a run of codes.
typedef VECTOR(float, 16) V16;
typedef VECTOR(int32_t, 16) I16;
typedef VECTOR(uint32_t, 16) U16;
typedef VECTOR(uint8_t, 16) B16;

#define LOAD(type, x) \
  ({ type loaded_; __builtin_memcpy(&loaded_, (x), sizeof loaded_); loaded_; })
#define STORE(x, v) \
  do { __typeof__(v) stored_ = (v); __builtin_memcpy((x), &stored_, sizeof stored_); } while (0)
// At most `bytes`, a constant, with zeros behind them.
#define LOAD_FIRST(type, x, bytes) \
  ({ type loaded_ = {0}; __builtin_memcpy(&loaded_, (x), (bytes) < sizeof loaded_ ? (bytes) : sizeof loaded_); loaded_; })
// a where the mask is set, else b.
#define SELECT(mask, a, b) \
  ((__typeof__(a))(((mask) & (__typeof__(mask))(a)) | (~(mask) & (__typeof__(mask))(b))))
#define MAX(a, b) __builtin_elementwise_max(a, b)
#define MIN(a, b) __builtin_elementwise_min(a, b)
#define PLUS(a, b) ((a) + (b))

INLINE V v_zero(void) { return (V){0}; }
INLINE V v_set1(float x) { return x - (V){0}; }
INLINE I i_set1(int32_t x) { return x + (I){0}; }
INLINE V v_load(const float *x) { return LOAD(V, x); }
INLINE void v_store(float *x, V a) { STORE(x, a); }
INLINE V v_add(V a, V b) { return a + b; }
INLINE V v_sub(V a, V b) { return a - b; }
INLINE V v_mul(V a, V b) { return a * b; }
INLINE V v_div(V a, V b) { return a / b; }
INLINE V v_fma(V a, V b, V c) { return __builtin_elementwise_fma(a, b, c); }
// Where one operand is a NaN, the second is taken.
INLINE V v_min(V a, V b) { return SELECT(a < b, a, b); }
INLINE V v_max(V a, V b) { return SELECT(a > b, a, b); }
INLINE V v_rint(V a) { return __builtin_elementwise_roundeven(a); }
INLINE V v_magnitude(V a) { return (V)((I)a & 0x7FFFFFFF); }
INLINE V v_of_integers(I a) { return __builtin_convertvector(a, V); }
INLINE V v_of_bf16(W bits) { return (V)(__builtin_convertvector(bits, U) << 16); }

#ifndef HAS_SCALE
// 2ⁿ for −126 ≤ n ≤ 127.
INLINE V v_power(I n) { return (V)((n + 127) << 23); }

// a · 2ⁿ for −252 ≤ n ≤ 254 and a near 1, in two steps of which only the second rounds.
INLINE V v_scale(V a, V n) {
  I whole = __builtin_convertvector(n, I), half = whole >> 1;
  return a * v_power(half) * v_power(whole - half);
}
#endif

// Within each block of four lanes: i, j of the block of a (0 … 3) or of b (4 … 7), likewise k, l.
#define LANE_(i, block) ((i) < 4 ? (i) + 4 * (block) : (i)-4 + LANES + 4 * (block))
#define LANES_4_(i, j, k, l, block) LANE_(i, block), LANE_(j, block), LANE_(k, block), LANE_(l, block)
#if LANES == 16
#define IN_BLOCKS(a, b, i, j, k, l)                                                                              \
  __builtin_shufflevector(a, b, LANES_4_(i, j, k, l, 0), LANES_4_(i, j, k, l, 1), LANES_4_(i, j, k, l, 2), \
                          LANES_4_(i, j, k, l, 3))
// The first or last two, the even or odd blocks of a, then those of b.
#define FIRST_BLOCKS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define LAST_BLOCKS(a, b) __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define EVEN_BLOCKS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_BLOCKS(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#elif LANES == 8
#define IN_BLOCKS(a, b, i, j, k, l) \
  __builtin_shufflevector(a, b, LANES_4_(i, j, k, l, 0), LANES_4_(i, j, k, l, 1))
#define EVEN_BLOCKS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define ODD_BLOCKS(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#else
#define IN_BLOCKS(a, b, i, j, k, l) __builtin_shufflevector(a, b, LANES_4_(i, j, k, l, 0))
#endif

// 16 bytes each from x on, `stride` bytes apart.
INLINE I i_load_blocks(const char *x, size_t stride) {
  typedef VECTOR(int32_t, 4) block;
  block a = LOAD(block, x);
#if LANES == 4
  (void)stride;
  return a;
#else
  VECTOR(int32_t, 8) ab = __builtin_shufflevector(a, LOAD(block, x + stride), 0, 1, 2, 3, 4, 5, 6, 7);
#if LANES == 8
  return ab;
#else
  a = LOAD(block, x + 2 * stride);
  VECTOR(int32_t, 8) cd = __builtin_shufflevector(a, LOAD(block, x + 3 * stride), 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}

INLINE I i_low32(I a, I b) { return IN_BLOCKS(a, b, 0, 4, 1, 5); }
INLINE I i_high32(I a, I b) { return IN_BLOCKS(a, b, 2, 6, 3, 7); }
INLINE I i_low64(I a, I b) { return IN_BLOCKS(a, b, 0, 1, 4, 5); }
INLINE I i_high64(I a, I b) { return IN_BLOCKS(a, b, 2, 3, 6, 7); }

// 16 bytes each of LANES rows: out[q] holds bytes 4 · q … 4 · q + 3 of every row.
INLINE void turn16(const char *w, size_t row_bytes, I *out) {
  I a = i_load_blocks(w, 4 * row_bytes), b = i_load_blocks(w + row_bytes, 4 * row_bytes);
  I c = i_load_blocks(w + 2 * row_bytes, 4 * row_bytes), d = i_load_blocks(w + 3 * row_bytes, 4 * row_bytes);
  I ab = i_low32(a, b), cd = i_low32(c, d);
  out[0] = i_low64(ab, cd);
  out[1] = i_high64(ab, cd);
  ab = i_high32(a, b), cd = i_high32(c, d);
  out[2] = i_low64(ab, cd);
  out[3] = i_high64(ab, cd);
}

// Lane 0 becomes all lanes together: k with k + LANES / 2, and so on down to one.
#if LANES == 16
#define HALVES_(combine, a) a = combine(a, LAST_BLOCKS(a, a)), a = combine(a, ODD_BLOCKS(a, a))
#elif LANES == 8
#define HALVES_(combine, a) a = combine(a, ODD_BLOCKS(a, a))
#else
#define HALVES_(combine, a) (void)0
#endif
#define IN_HALVES(combine, a) \
  (HALVES_(combine, a), a = combine(a, IN_BLOCKS(a, a, 2, 3, 2, 3)), combine(a, IN_BLOCKS(a, a, 1, 1, 1, 1))[0])

INLINE float v_sum(V a) { return IN_HALVES(v_add, a); }
INLINE float v_most(V a) { return IN_HALVES(v_max, a); }

// LANES vectors to the LANES results of folding each: lane k with k + LANES / 2, and so on down to one, the order of §10.
// Each step folds two vectors into one; lane i of the result belongs to v[i].
#define FOLD_STEP_(combine, count, lower, upper) \
  UNROLL for (int i_ = 0; i_ < count; i_++) \
    w_[i_] = combine(lower(w_[2 * i_], w_[2 * i_ + 1]), upper(w_[2 * i_], w_[2 * i_ + 1]));
#define FIRST_PAIRS_(a, b) IN_BLOCKS(a, b, 0, 1, 4, 5)
#define LAST_PAIRS_(a, b) IN_BLOCKS(a, b, 2, 3, 6, 7)
#define EVEN_LANES_(a, b) IN_BLOCKS(a, b, 0, 2, 4, 6)
#define ODD_LANES_(a, b) IN_BLOCKS(a, b, 1, 3, 5, 7)
#if LANES == 16
#define FOLD_BLOCKS_(combine) \
  FOLD_STEP_(combine, 8, FIRST_BLOCKS, LAST_BLOCKS) FOLD_STEP_(combine, 4, EVEN_BLOCKS, ODD_BLOCKS)
// Lane 4 · l + j holds v[4 · j + l].
#define IN_ORDER_(a) __builtin_shufflevector(a, a, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
#elif LANES == 8
#define FOLD_BLOCKS_(combine) FOLD_STEP_(combine, 4, EVEN_BLOCKS, ODD_BLOCKS)
#define IN_ORDER_(a) __builtin_shufflevector(a, a, 0, 4, 1, 5, 2, 6, 3, 7)  // lane 4 · l + j holds v[2 · j + l]
#else
#define FOLD_BLOCKS_(combine)
#define IN_ORDER_(a) (a)
#endif
#define FOLD(type, combine, v) \
  ({ \
    type w_[LANES]; \
    UNROLL for (int i_ = 0; i_ < LANES; i_++) w_[i_] = (v)[i_]; \
    FOLD_BLOCKS_(combine) \
    FOLD_STEP_(combine, 2, FIRST_PAIRS_, LAST_PAIRS_) \
    FOLD_STEP_(combine, 1, EVEN_LANES_, ODD_LANES_) \
    IN_ORDER_(w_[0]); \
  })

#endif
