// Runs every set of kernels of this processor against the golden vectors of Formats/golden/encodings, as vectors.py
// writes them, and the products of every set against those of scalar. Exit code 1 if anything differs.
#include <CKernels.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What vectors.py writes before the bytes of a vector.
typedef struct {
  int32_t bits, group_size, scale, row_groups, solver, is_f32, is_refused;
  uint32_t x_bytes, code_bytes, scale_bytes;
  double squared_error, squared_weight, saturated, clamped;
} vector;

static int failures;

static void check(int is_right, const char *set, const char *what, size_t index) {
  if (is_right) return;
  printf("%s: %s %zu differs\n", set, what, index);
  failures++;
}

static void *filled(FILE *file, size_t bytes) {
  void *to = malloc(bytes + 1);
  if (fread(to, 1, bytes, file) != bytes) exit(2);
  return to;
}

static void check_vector(const ck_kernel_set *set, size_t index, const vector *v, const void *x, const void *codes,
                         const void *scales) {
  const ck_scheme scheme = {.bits = v->bits, .group_size = v->group_size, .scale = v->scale,
                            .solver = v->solver, .row_groups = (size_t)v->row_groups};
  const size_t count = v->x_bytes / (v->is_f32 ? 4 : 2), groups = count / (size_t)v->group_size;
  uint8_t *found = malloc(count), *found_scales = malloc(count);  // vectors that are refused have no results
  float *y = malloc(8 * count), *expected = y + count;
  ck_sums sums = {0};
  size_t bad;
  const int32_t status =
      (v->is_f32 ? set->quantize_f32 : set->quantize_bf16)(x, groups, &scheme, found, found_scales, &sums, &bad);
  check((status != CK_OK) == v->is_refused, set->name, "the refusal of vector", index);
  if (status == CK_OK && !v->is_refused) {
    check(memcmp(found, codes, v->code_bytes) == 0, set->name, "a code of vector", index);
    check(memcmp(found_scales, scales, v->scale_bytes) == 0, set->name, "a scale of vector", index);
    check(sums.squared_error == v->squared_error && sums.squared_weight == v->squared_weight &&
              (double)sums.saturated == v->saturated && (double)sums.clamped == v->clamped,
          set->name, "a sum of vector", index);
    set->decode(found, found_scales, groups, &scheme, y);
    ck_select("scalar")->decode(found, found_scales, groups, &scheme, expected);
    check(memcmp(y, expected, 4 * count) == 0, set->name, "a decoded number of vector", index);
  }
  free(found), free(found_scales), free(y);
}

// Sums of 256 products near one: sets may differ in the order of additions.
static void check_products(const ck_kernel_set *set) {
  enum { ROWS = 37, COLUMNS = 256, TOKENS = 40 };
  static float x[TOKENS * COLUMNS], w[ROWS * COLUMNS], y[TOKENS * ROWS], expected[TOKENS * ROWS];
  uint64_t state = 1;
  for (size_t i = 0; i < TOKENS * COLUMNS; i++) x[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t i = 0; i < ROWS * COLUMNS; i++) w[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t tokens = 1; tokens <= TOKENS; tokens++) {
    ck_product product = {.weights = w, .rows = ROWS, .columns = COLUMNS, .format = CK_F32, .tokens = tokens, .x = x,
                          .x_stride = COLUMNS, .y = y, .y_stride = ROWS};
    set->multiply(&product);
    product.y = expected;
    ck_select("scalar")->multiply(&product);
    for (size_t i = 0; i < tokens * ROWS; i++)
      check(fabsf(y[i] - expected[i]) < 1e-4f, set->name, "a product of tokens", tokens);
  }
  set->exp(x, TOKENS * COLUMNS, x);
  check(fabsf(x[0] - 1) < 2, set->name, "an exponential", 0);
  check(set->xxh3(w, sizeof w) == ck_select("scalar")->xxh3(w, sizeof w), set->name, "a hash", 0);
}

// Every chain of the calibrated solver, bit for bit.
static void check_solver(const ck_kernel_set *set) {
  enum { COLUMNS = 160, ROWS = 20, TOKENS = 70, GROUP = 32 };
  typedef struct {
    float h[COLUMNS * COLUMNS], t[COLUMNS * COLUMNS], pivots[COLUMNS], scales[ROWS * COLUMNS / GROUP], y[ROWS * COLUMNS];
    double errors[ROWS];
    int8_t codes[ROWS * COLUMNS];
  } result;
  static float z[TOKENS * COLUMNS], w[ROWS * COLUMNS], weights[TOKENS], least[ROWS], most[ROWS], diagonal[COLUMNS];
  static float room[CK_SOLVE_ROWS * (4 * COLUMNS + 64) > CK_CHAINS_ROOM ? CK_SOLVE_ROWS * (4 * COLUMNS + 64) : CK_CHAINS_ROOM];
  static float moments[COLUMNS * (COLUMNS + 16) + 64], factor[COLUMNS * (COLUMNS + 16) + 64];
  static uint32_t order[COLUMNS];
  static result results[2];
  uint64_t state = 1;
  for (size_t i = 0; i < TOKENS * COLUMNS; i++) z[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t i = 0; i < ROWS * COLUMNS; i++) w[i] = (float)((state = state * 6364136223846793005u + 1) >> 40) * 0x1p-23f - 1;
  for (size_t i = 0; i < TOKENS; i++) weights[i] = (float)(i % 5 + 1) / 8;
  for (size_t i = 0; i < ROWS; i++) least[i] = 0x1p-17f, most[i] = 65280;
  for (size_t i = 0; i < COLUMNS; i++) order[i] = (uint32_t)(i * 7 % COLUMNS);
  memset(results, 0, sizeof results);
  for (int n = 0; n < 2; n++) {
    const ck_kernel_set *s = n == 0 ? set : ck_select("scalar");
    result *r = &results[n];
    const ck_factor states = {z, COLUMNS, CK_F32, 0};
    const ck_chains chains = {.a = states, .b = states, .weights = weights, .rows = COLUMNS, .columns = COLUMNS,
                              .depth = TOKENS, .c = r->h, .c_stride = COLUMNS, .upper = 1, .room = room};
    s->accumulate(&chains);
    ck_mirror(r->h, COLUMNS);
    for (size_t j = 0; j < COLUMNS; j++) diagonal[j] = r->h[j * COLUMNS + j] += 1;
    ck_reversed(r->h, order, COLUMNS, r->t);
    enum { REST = COLUMNS - CK_FACTOR_BLOCK };
    float *right = r->t + CK_FACTOR_BLOCK, *below = r->t + CK_FACTOR_BLOCK * (COLUMNS + 1);
    const ck_factor block = {right, COLUMNS, CK_F32, 0};
    const ck_chains update = {.a = block, .b = block, .rows = REST, .columns = REST, .depth = CK_FACTOR_BLOCK, .c = below,
                              .c_stride = COLUMNS, .subtract = 1, .upper = 1, .room = room};
    check(s->factor_block(r->t, COLUMNS, CK_FACTOR_BLOCK) == CK_FACTOR_BLOCK, s->name, "a pivot", 0);
    s->factor_strip(r->t, COLUMNS, right, COLUMNS, REST);
    s->accumulate(&update);
    check(s->factor_block(below, COLUMNS, REST) == REST, s->name, "a pivot", 1);
    s->pack_symmetric(r->h, COLUMNS, moments);
    s->pack_factor(r->t, COLUMNS, factor, r->pivots);
    const ck_solve solve = {.steps = CK_SEARCH_SCALES | CK_FEEDBACK | CK_POLISH, .bits = 4, .mantissa_bits = 7,
                            .group_size = GROUP, .has_zero = 1, .rows = ROWS, .columns = COLUMNS, .weights = w, .least = least,
                            .most = most, .scales = r->scales, .codes = r->codes, .errors = r->errors,
                            .diagonal = diagonal, .moments = moments, .factor = factor, .pivots = r->pivots,
                            .order = order, .room = room};
    s->solve_rows(&solve);
    s->gate(w, z, ROWS * COLUMNS, r->y);
  }
  const result *a = &results[0], *b = &results[1];
  check(memcmp(a->h, b->h, sizeof a->h) == 0, set->name, "a moment", 0);
  check(memcmp(a->pivots, b->pivots, sizeof a->pivots) == 0, set->name, "a pivot", 2);
  check(memcmp(a->scales, b->scales, sizeof a->scales) == 0, set->name, "a scale of the solver", 0);
  check(memcmp(a->codes, b->codes, sizeof a->codes) == 0, set->name, "a code of the solver", 0);
  check(memcmp(a->errors, b->errors, sizeof a->errors) == 0, set->name, "an error of the solver", 0);
  check(memcmp(a->y, b->y, sizeof a->y) == 0, set->name, "a gate", 0);
}

int main(int count, char **arguments) {
  FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
  if (!file) return 2;
  size_t vectors = 0;
  for (vector v; fread(&v, sizeof v, 1, file) == 1; vectors++) {
    void *x = filled(file, v.x_bytes), *codes = filled(file, v.code_bytes), *scales = filled(file, v.scale_bytes);
    for (size_t i = 0; i < ck_set_count(); i++) check_vector(ck_set(i), vectors, &v, x, codes, scales);
    free(x), free(codes), free(scales);
  }
  for (size_t i = 0; i < ck_set_count(); i++) {
    check_products(ck_set(i));
    check_solver(ck_set(i));
    printf("%s: ", ck_set(i)->name);
  }
  printf("%zu vectors, %d differences\n", vectors, failures);
  return failures != 0 || vectors == 0;
}
