// Kernels on plain numbers, one set and one folder per instruction set. The only header that Swift sees.
//
// What a kernel computes is written in scalar/set.c; every other set gives the same bits. Products and functions of
// activations are written in scalar/multiply.c; there the sets agree within rounding only. Sections (§) are those of
// Formats/encodings.md. Pointers of type `void` may have any alignment. Ranges never overlap.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "CKSolve.h"

#pragma clang assume_nonnull begin

enum { CK_ABSMAX = 0, CK_SEARCH = 1, CK_SEARCH_POSITIVE = 2 };  // solvers, §8 and §9
enum { CK_SCALE_BF16 = 0, CK_SCALE_BYTE = 1 };  // scales, §3: two bytes a group, or a base a row and a byte a group
enum { CK_OK = 0, CK_NOT_FINITE = 1, CK_SCALE_TOO_LARGE = 2 };

typedef struct ck_scheme {
  int32_t bits;        // of a code: 4 or 8
  int32_t group_size;  // elements that share a scale: 16, 32, 64 or 128
  int32_t scale;       // CK_SCALE_BF16 or CK_SCALE_BYTE
  int32_t solver;      // CK_ABSMAX, CK_SEARCH or CK_SEARCH_POSITIVE; decoding does not look at it
  size_t row_groups;   // groups of a row, for CK_SCALE_BYTE alone
} ck_scheme;

// Sums over groups (§10), to which a kernel adds.
typedef struct ck_sums {
  double squared_error;
  double squared_weight;
  uint64_t saturated;
  uint64_t clamped;  // groups whose scale is below the range of its row
} ck_sums;

// group_count · group_size numbers, whole rows for CK_SCALE_BYTE, to codes and scales. When the result is not CK_OK, *bad_group is the first
// group that cannot be encoded; what lies in codes, scales and sums is then unspecified.
typedef int32_t ck_quantize(const void *x, size_t group_count, const ck_scheme *scheme, uint8_t *codes, void *scales,
                            ck_sums *sums, size_t *bad_group);
// The inverse: group_count · group_size floats, float(code) · scale.
typedef void ck_decode(const uint8_t *codes, const void *scales, size_t group_count, const ck_scheme *scheme, float *y);
// Exact, NaN included, except that the quiet bit of a NaN may become set.
typedef void ck_widen(const void *x, size_t count, float *y);
// FP8 codes to bf16: each number times the scale, rounded to binary32 and then to the nearest bf16, ties to even. What is not
// a number becomes 0x7FC0.
typedef void ck_scale_fp8(const uint8_t *codes, size_t count, float scale, void *y);
// The index of the first infinity or NaN, or count.
typedef size_t ck_first_not_finite(const void *x, size_t count);
// The upper and lower bytes of 16-bit values, apart.
typedef void ck_split16(const void *x, size_t count, uint8_t *high, uint8_t *low);
typedef void ck_join16(const uint8_t *high, const uint8_t *low, size_t count, void *x);
// Adds to counts[code + 128] (8 bits, 256 counters) or counts[code + 8] (4 bits, 16 counters).
typedef void ck_histogram(const uint8_t *codes, size_t byte_count, int32_t bits, uint64_t *counts);
// The sum of all bytes taken as 64-bit words, the rest ignored: how fast this set can read, for benchmarks.
typedef uint64_t ck_read_sum(const void *x, size_t byte_count);
// XXH3 with 64 bits and seed 0, of no bytes at NULL too.
typedef uint64_t ck_xxh3(const void *_Nullable x, size_t byte_count);
// The same of bytes that come in pieces. A state is CK_XXH3_STATE_BYTES at a multiple of 64, and belongs to the set that
// began it.
enum { CK_XXH3_STATE_BYTES = 576 };
typedef void ck_xxh3_begin(void *state);
typedef void ck_xxh3_add(void *state, const void *_Nullable x, size_t byte_count);
typedef uint64_t ck_xxh3_end(const void *state);
// Flags of BLAKE3.
enum { CK_BLAKE3_START = 1, CK_BLAKE3_END = 2, CK_BLAKE3_PARENT = 4, CK_BLAKE3_ROOT = 8 };
enum { CK_BLAKE3_CHUNK_BYTES = 1024, CK_BLAKE3_VALUE_BYTES = 32 };
// Chaining values of whole chunks of 1,024 bytes, which are counted from `first` on, or of pairs of chaining values, which lie one
// behind the other. Values may take the place of the pairs they are made of.
typedef void ck_blake3(const void *x, size_t count, int32_t is_chunk, uint64_t first, void *values);

// How the weights of a product lie in memory.
enum { CK_F32 = 0, CK_BF16 = 1, CK_F16 = 2, CK_INT8 = 3, CK_INT4 = 4 };

// Rows of a matrix of weights, one after the other, and the numbers to multiply them with.
typedef struct ck_product {
  const void *weights;           // (rows, columns), floats or codes
  const void *_Nullable scales;  // plane 1 of the rows, for codes alone
  size_t rows;
  size_t columns;      // for codes a multiple of group_size
  int32_t format;      // CK_F32 … CK_INT4
  int32_t group_size;  // 16, 32, 64 or 128, for codes alone
  int32_t scale;       // CK_SCALE_BF16 or CK_SCALE_BYTE, likewise
  size_t tokens;
  const float *_Nullable x;  // token t starts at t · x_stride; not looked at where activations come as int8
  size_t x_stride;
  float *y;         // likewise
  size_t y_stride;
  int32_t order;  // CK_ORDER_FASTEST, CK_ORDER_ALONE or CK_ORDER_PANEL
} ck_product;

// y[t · y_stride + r] = Σ w[r, k] · x[t · x_stride + k] over all columns k, where w are the decoded weights. The order
// of the sum depends on the set, never on the other rows of the same call, and in the order that is the fastest on the number of
// tokens. The two others do not: each token has the order of one alone, or that of one among many, which is slow with few.
enum { CK_ORDER_FASTEST, CK_ORDER_ALONE, CK_ORDER_PANEL };
typedef void ck_multiply(const ck_product *product);

// Activations as int8, with the group size of the weights they are multiplied with.
typedef struct ck_activations {
  int8_t *codes;    // (tokens, columns), −127 … 127
  float *scales;    // (tokens, columns / group size)
  int32_t *starts;  // likewise: minus the sum of a group's codes, where sums with weights made unsigned start
} ck_activations;

// group_count · group_size numbers to codes, scales and starts: int8_activations.h.
typedef void ck_quantize_activations(const float *x, size_t group_count, size_t group_size, const ck_activations *to);
// y[t · y_stride + r] = Σ ((float(Σ code of w · code of x) · scale of w) · scale of x): the inner sum over a group, exact;
// the outer one over the groups in their order from 0 on, in binary32 with a rounding for each operation. For int8 and
// int4 weights. All sets give the same bits for finite scales of the weights.
typedef void ck_multiply_int8(const ck_product *product, const ck_activations *x);
// y[t · y_stride + c] = Σ p[t · p_stride + j] · v[j · v_stride + c] over j < count, which is not 0, for c < columns, t < tokens.
typedef void ck_weighted_sum(const float *p, size_t p_stride, size_t tokens, const float *v, size_t v_stride,
                             size_t count, size_t columns, float *y, size_t y_stride);
// y[i] = g[i] / (1 + e^−g[i]) · u[i]. y may be g or u.
typedef void ck_silu_multiply(const float *g, const float *u, size_t count, float *y);
typedef struct ck_normalizer {
  float largest, sum;
} ck_normalizer;
// In place: x[i] = e^(x[i] − m) / Σ e^(x[j] − m) with the maximum m; returns m and the sum. All NaN where m is NaN or an infinity.
typedef ck_normalizer ck_softmax(float *x, size_t count);
// Attention of some queries to some positions: y[t] = softmax(queries[t] · keysᵀ) · values, each of which has `dimension`
// numbers, in one piece; largest[t] and sums[t] are what the softmax was normalized with. y is NaN where a score is, and where all are −∞.
enum { CK_ATTEND_POSITIONS = 512 };  // at most
typedef struct ck_attention {
  const float *queries, *keys, *values;
  size_t tokens, positions, dimension;  // none is 0
  float *y, *largest, *sums;
} ck_attention;
typedef void ck_attend(const ck_attention *attention);
// What a softmax over some numbers comes to, without writing it.
typedef struct ck_scores {
  float largest, second;  // the second is the largest again where two are equal; −∞ of fewer than two numbers
  size_t first;           // the index of the first that is largest
  double sum;             // Σ e^(x[i] − largest)
} ck_scores;
// Of finite numbers, at least one. All sets find the same but for the rounding of the sum.
typedef void ck_score(const float *x, size_t count, ck_scores *scores);
// y[i] = e^x[i]. x and y may be the same.
typedef void ck_exp(const float *x, size_t count, float *y);
// rounds · CK_FMA_STEP multiply-adds of two operations each, which depend on each other as little as needed to keep the
// units busy: the rate of arithmetic that this set can reach, for benchmarks. Without fused operations in scalar.
enum { CK_FMA_STEP = 256 };
typedef float ck_fma_loop(size_t rounds);

typedef struct ck_kernel_set {
  const char *name;
  int32_t lanes;                  // floats that a product of few tokens adds up side by side
  int32_t (*is_supported)(void);  // by this processor
  ck_quantize *quantize_bf16;
  ck_quantize *quantize_f32;
  ck_decode *decode;
  ck_widen *widen_bf16;
  ck_widen *widen_f16;
  ck_scale_fp8 *scale_e4m3;
  ck_scale_fp8 *scale_e5m2;
  ck_first_not_finite *first_not_finite_bf16;
  ck_first_not_finite *first_not_finite_f16;
  ck_first_not_finite *first_not_finite_f32;
  ck_first_not_finite *first_not_finite_e4m3;
  ck_first_not_finite *first_not_finite_e5m2;
  ck_split16 *split16;
  ck_join16 *join16;
  ck_histogram *histogram;
  ck_read_sum *read_sum;
  ck_xxh3 *xxh3;
  ck_xxh3_begin *xxh3_begin;
  ck_xxh3_add *xxh3_add;
  ck_xxh3_end *xxh3_end;
  ck_blake3 *blake3;
  ck_multiply *multiply;
  ck_quantize_activations *quantize_activations;
  ck_multiply_int8 *multiply_int8;
  ck_weighted_sum *weighted_sum;
  ck_silu_multiply *silu_multiply;
  ck_softmax *softmax;
  ck_attend *attend;
  ck_score *score;
  ck_exp *exp;
  ck_fma_loop *fma_loop;
  ck_accumulate *accumulate;
  ck_factor_block *factor_block;
  ck_factor_strip *factor_strip;
  ck_pack_symmetric *pack_symmetric;
  ck_pack_factor *pack_factor;
  ck_solve_rows *solve_rows;
  ck_gate *gate;
} ck_kernel_set;

// How many sets this processor can run; at least one.
size_t ck_set_count(void);
// The set at an index below ck_set_count(), the fastest first.
const ck_kernel_set *ck_set(size_t index);
// The set of that name, or NULL where there is none or this processor cannot run it.
const ck_kernel_set *_Nullable ck_select(const char *name);

// The index of the first bf16 scale that is zero or not portable (§3), or count. The same for all sets.
size_t ck_first_unusual_scale(const void *_Nullable scales, size_t count);

// The value of one chunk of up to 1,024 bytes or of one pair, or the digest where it is the root of the tree. The same for all sets.
void ck_blake3_end(const void *_Nullable x, size_t byte_count, int32_t is_chunk, uint64_t counter, int32_t is_root, void *value);

// One part of a region.
typedef void ck_part(void *context, size_t index);
// Runs body(context, i) for all i < count on the calling thread and on up to count − 1 others, which wait for the next
// region awake for a while. Returns when all parts are done. Where a region runs already, in this thread or in another,
// the calling thread does all parts itself.
void ck_parallel(size_t count, ck_part *body, void *context);

#pragma clang assume_nonnull end

#endif
