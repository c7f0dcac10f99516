// Kernels of the calibrated solver. Sections (§) in this file and in solve_body.h are those of Formats/solver.md.
//
// What a kernel computes is written in scalar/solve.c; every other set gives the same bits. Each element of a result is
// one chain: a sum of products over an ascending index in binary32, each product and its addition rounded once together.
// Vectors run along elements, never along a chain, so that bits depend neither on the width of vectors nor on how the
// work is cut.
#ifndef CKSOLVE_H
#define CKSOLVE_H

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

// One factor of a product of two matrices.
typedef struct ck_factor {
  const void *x;
  size_t stride;   // elements from row to row
  int32_t format;  // CK_F32 or CK_BF16
  int32_t turned;  // whether rows run along the chains: (elements, depth) rather than (depth, elements)
} ck_factor;

// c[i, j] = fma(±(weights[k] · a[k, i]), b[k, j], c[i, j]) for k = 0 … depth − 1 in this order; the product with a weight
// is rounded.
typedef struct ck_chains {
  ck_factor a, b;
  const float *_Nullable weights;  // (depth)
  size_t rows, columns, depth;
  float *c;
  size_t c_stride;
  int32_t subtract;
  int32_t upper;        // whether only elements with first_column + j ≥ i are wanted; the others are unspecified then
  size_t first_column;  // of c in the whole of which it is a part
  float *room;          // CK_CHAINS_ROOM floats
} ck_chains;

enum { CK_CHAINS_ROOM = 1 << 18 };
typedef void ck_accumulate(const ck_chains *chains);

// The factor of a symmetric matrix (§5), in blocks of CK_FACTOR_BLOCK rows of its upper half.
enum { CK_FACTOR_BLOCK = 96 };
// Factors the diagonal block in place: (count, count). Returns the index of the first pivot that is not a positive finite
// number, or count.
typedef size_t ck_factor_block(float *t, size_t stride, size_t count);
// Brings CK_FACTOR_BLOCK rows right of a factored block up to it, in place: (CK_FACTOR_BLOCK, columns).
typedef void ck_factor_strip(const float *block, size_t block_stride, float *t, size_t stride, size_t columns);

// A square matrix as ck_solve_rows multiplies with it; the order of its elements belongs to the set.
static inline size_t ck_packed_floats(size_t columns) { return columns * (columns + 16) + 64; }
typedef void ck_pack_symmetric(const float *h, size_t columns, float *packed);
// The unit factor of §5 from the factor of the reversed matrix, t, which is overwritten; pivots[j] is the diagonal.
typedef void ck_pack_factor(float *t, size_t columns, float *packed, float *pivots);

// What ck_solve_rows does, in this order.
enum {
  CK_SEARCH_SCALES = 1,  // §4: scales
  CK_FEEDBACK = 2,       // §6: codes, errors
  CK_ROUND = 4,          // §7: codes
  CK_POLISH = 8,         // §8: codes, errors
  CK_MEASURE = 16,       // §9: errors, of the codes
  CK_MEASURE_WEIGHTS = 32,  // §9: errors, of the weights themselves, as if all codes were zero
};

enum { CK_SOLVE_ROWS = 128 };  // the most rows of a call

typedef struct ck_solve {
  int32_t steps;
  int32_t bits;           // of a code: 4 or 8
  int32_t mantissa_bits;  // of a scale
  int32_t group_size;     // 16, 32, 64 or 128
  int32_t has_zero;       // whether a group of negligible numbers has the scale +0, or else the least
  size_t rows, columns;   // columns: a multiple of group_size
  const float *weights;   // (rows, columns), finite
  const float *least;     // (rows): the least magnitude of a scale
  const float *most;      // (rows): and the greatest
  float *scales;          // (rows, columns / group_size)
  int8_t *codes;          // (rows, columns)
  double *errors;         // (rows)
  const float *diagonal;            // (columns) of the moments
  const float *_Nullable moments;   // packed; for CK_POLISH, CK_MEASURE and CK_MEASURE_WEIGHTS
  const float *_Nullable factor;    // packed; for CK_FEEDBACK, as are the next two
  const float *_Nullable pivots;    // (columns)
  const uint32_t *_Nullable order;  // (columns): the column that comes k-th
  float *room;                      // ck_solve_room(columns) floats
} ck_solve;

static inline size_t ck_solve_room(size_t columns) { return (size_t)CK_SOLVE_ROWS * (4 * columns + 64); }
typedef void ck_solve_rows(const ck_solve *solve);

// y[i] = g[i] / (1 + e^−g[i]) · u[i] with the exponential of §2. y may be g or u.
typedef void ck_gate(const float *g, const float *u, size_t count, float *y);

// The same for all sets.

// h[i, j] = h[j, i] for i > j.
void ck_mirror(float *h, size_t columns);
// h[i, j] = own · h[i, j] + other · l[i, j], each operation rounded.
void ck_blend(float *h, const float *l, float own, float other, size_t count);
// t[i, j] = h[order[n − 1 − i], order[n − 1 − j]] for j ≥ i.
void ck_reversed(const float *h, const uint32_t *order, size_t columns, float *t);

#pragma clang assume_nonnull end

#endif
